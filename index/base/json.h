// SPDX-License-Identifier: Apache-2.0
// JSON from foreign bytes, without exceptions and within limits. Writers use nlohmann::ordered_json
// directly so that documents are deterministic.
// Thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

using Json = nlohmann::ordered_json;

// A manifest or image index is at most 4 MiB (distribution-spec, "Pushing Manifests").
inline constexpr uint64_t kMaxManifestBytes = uint64_t{4} << 20;

// Parses one JSON document, at most `limit` bytes and 64 levels deep. Errors (kCorrupt, kTooLarge)
// carry the byte offset.
Result<Json> ParseJson(ByteSpan text, uint64_t limit);

// The member `key` of `object`, typed; kCorrupt naming the key when it is missing or of another
// type. The Optional forms return the fallback when the key is missing, and kCorrupt for a wrong
// type.
Result<std::string> JsonString(const Json& object, std::string_view key);
Result<uint64_t> JsonUint(const Json& object, std::string_view key);
Result<std::string> JsonOptionalString(const Json& object, std::string_view key,
                                       std::string_view fallback = "");
// Null where the key is missing; kCorrupt when it is there and not an array (object).
Result<const Json*> JsonOptionalArray(const Json& object, std::string_view key);
Result<const Json*> JsonOptionalObject(const Json& object, std::string_view key);

}  // namespace layerfs
