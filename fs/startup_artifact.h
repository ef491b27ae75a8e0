// SPDX-License-Identifier: Apache-2.0
// The startup artifact: how the documents of an image lead to its startup pack. index/PACK.md,
// "Where it is found", is normative.
// Thread-safe: functions of values.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "index/base/digest.h"
#include "index/base/error.h"

namespace layerfs {

inline constexpr char kStartupArtifactType[] = "application/vnd.layerfs.startup.v1";
inline constexpr char kStartupPackType[] = "application/vnd.layerfs.startup.v1.pack";
inline constexpr char kStartupHeadAnnotation[] = "io.layerfs.startup.head";
inline constexpr char kStartupImageAnnotation[] = "io.layerfs.startup.image";
inline constexpr char kCreatedAnnotation[] = "org.opencontainers.image.created";

// Where a startup pack lies and what covers it.
struct StartupReference {
  Digest image;  // the manifest of the image that it belongs to
  Digest blob;
  uint64_t blob_size = 0;
  Digest head;
  uint64_t head_size = 0;
  bool operator==(const StartupReference&) const = default;
};

// What a referrer has besides.
struct StartupReferrer {
  Descriptor subject;
  int64_t created_seconds = 0;  // since 1970
};

// The artifact manifest for a pack; `referrer` where it is not for an image index.
RawDocument MakeStartupManifest(const StartupReference& reference,
                                const std::optional<StartupReferrer>& referrer);
// The reverse; `image` is set.
Result<StartupReference> ParseStartupManifest(ByteSpan raw, const Digest& image);

// Its entry in an image index, the manifest inline.
Descriptor StartupEntry(const RawDocument& manifest, const Digest& image);
// The entry that belongs to the manifest `image`, known by its annotation: tools of before OCI 1.1
// drop artifact types and inline data when they copy an index. Null where there is none.
const Descriptor* FindStartupEntry(const ImageIndex& index, const Digest& image);

// A referrer's entry in the list of them.
Descriptor StartupReferrerEntry(const RawDocument& manifest, const Digest& image,
                                int64_t created_seconds);
// When a referrer was made, as its entry says; nothing where it does not.
std::optional<int64_t> CreatedSeconds(const Descriptor& entry);
// The one of an image's referrers that counts: the newest, of those that are equally old the one
// with the greatest digest. Registries list them in any order. Null where there is none.
const Descriptor* NewestStartup(std::span<const Descriptor> referrers);

}  // namespace layerfs
