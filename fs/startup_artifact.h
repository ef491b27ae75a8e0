// SPDX-License-Identifier: Apache-2.0
// The startup artifact: how the documents of an image lead to its startup pack. index/PACK.md,
// "Where it is found", is normative.
// Thread-safe: functions of values.
#pragma once

#include <cstdint>
#include <optional>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "index/base/digest.h"
#include "index/base/error.h"

namespace layerfs {

inline constexpr char kStartupArtifactType[] = "application/vnd.layerfs.startup.v1";
inline constexpr char kStartupPackType[] = "application/vnd.layerfs.startup.v1.pack";
inline constexpr char kStartupHeadAnnotation[] = "io.layerfs.startup.head";
inline constexpr char kStartupImageAnnotation[] = "io.layerfs.startup.image";

// Where a startup pack lies and what covers it.
struct StartupReference {
  Digest image;  // the manifest of the image that it belongs to
  Digest blob;
  uint64_t blob_size = 0;
  Digest head;
  uint64_t head_size = 0;
  bool operator==(const StartupReference&) const = default;
};

// The artifact manifest for a pack. `subject`: of a referrer; none for one in an image index.
RawDocument MakeStartupManifest(const StartupReference& reference,
                                const std::optional<Descriptor>& subject);
// The reverse; `image` is set.
Result<StartupReference> ParseStartupManifest(ByteSpan raw, const Digest& image);

// Its entry in an image index, the manifest inline.
Descriptor StartupEntry(const RawDocument& manifest, const Digest& image);
// The entry that belongs to the manifest `image`, known by its annotation: tools of before OCI 1.1
// drop artifact types and inline data when they copy an index. Null where there is none.
const Descriptor* FindStartupEntry(const ImageIndex& index, const Digest& image);

}  // namespace layerfs
