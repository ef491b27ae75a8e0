// SPDX-License-Identifier: Apache-2.0
// ParseJson over any bytes, and every typed accessor over what it gives. Invariant: what parses is
// within the limits and comes out the same when it is written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "index/base/json.h"

namespace {

using layerfs::AsBytes;
using layerfs::ByteSpan;
using layerfs::Json;
using layerfs::Result;

constexpr uint64_t kLimit = 1 << 16;

void Require(bool holds) {
  if (!holds) std::abort();
}

void TryAccessors(const Json& json) {
  for (const std::string key : {"mediaType", "size", "layers", "config", "annotations"}) {
    const Result<std::string> text = layerfs::JsonString(json, key);
    const Result<uint64_t> number = layerfs::JsonUint(json, key);
    const Result<std::string> maybe_text = layerfs::JsonOptionalString(json, key, "fallback");
    const Result<const Json*> array = layerfs::JsonOptionalArray(json, key);
    const Result<const Json*> object = layerfs::JsonOptionalObject(json, key);
    Require(!text.has_value() || !number.has_value());
    Require(!text.has_value() || *maybe_text == *text);
    Require(!array.has_value() || *array == nullptr || (*array)->is_array());
    Require(!object.has_value() || *object == nullptr || (*object)->is_object());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Result<Json> json = layerfs::ParseJson(ByteSpan(data, size), kLimit);
  if (!json.has_value()) {
    Require(!json.error().context.empty());
    return 0;
  }
  Require(size <= kLimit);
  TryAccessors(*json);
  const std::string text = json->dump(-1, ' ', false, Json::error_handler_t::replace);
  const Result<Json> again = layerfs::ParseJson(AsBytes(text), UINT64_MAX);
  Require(again.has_value());
  Require(again->dump(-1, ' ', false, Json::error_handler_t::replace) == text);
  return 0;
}
