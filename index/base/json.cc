// SPDX-License-Identifier: Apache-2.0
#include "index/base/json.h"

namespace layerfs {
namespace {

constexpr int kMaxDepth = 64;

Error Wrong(std::string_view key, std::string_view what) {
  return Error{ErrorCode::kCorrupt,
               "JSON member \"" + std::string(key) + "\": " + std::string(what)};
}

const Json* Find(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(std::string(key));
  if (it == object.end() || it->is_null()) return nullptr;
  return &*it;
}

// Depth is bounded before the tree is built, so that neither parsing nor destruction recurses far.
Status CheckDepth(ByteSpan text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) {
        return Fail(ErrorCode::kTooLarge, "JSON at byte " + std::to_string(i) + ": more than " +
                                              std::to_string(kMaxDepth) + " levels deep");
      }
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return {};
}

}  // namespace

Result<Json> ParseJson(ByteSpan text, uint64_t limit) {
  if (text.size() > limit) {
    return Fail(ErrorCode::kTooLarge, "JSON of " + std::to_string(text.size()) +
                                          " bytes; the limit is " + std::to_string(limit));
  }
  LAYERFS_CHECK_OK(CheckDepth(text));
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    return Fail(ErrorCode::kCorrupt, "JSON at byte " + std::to_string(error.byte) + ": malformed");
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorCode::kCorrupt, std::string("JSON: ") + error.what());
  }
}

Result<std::string> JsonString(const Json& object, std::string_view key) {
  const Json* value = Find(object, key);
  if (value == nullptr) return Fail(Wrong(key, "missing"));
  if (!value->is_string()) return Fail(Wrong(key, "not a string"));
  return value->get<std::string>();
}

Result<uint64_t> JsonUint(const Json& object, std::string_view key) {
  const Json* value = Find(object, key);
  if (value == nullptr) return Fail(Wrong(key, "missing"));
  if (!value->is_number_unsigned()) return Fail(Wrong(key, "not a whole number of 0 or more"));
  return value->get<uint64_t>();
}

Result<std::string> JsonOptionalString(const Json& object, std::string_view key,
                                       std::string_view fallback) {
  const Json* value = Find(object, key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return Fail(Wrong(key, "not a string"));
  return value->get<std::string>();
}

Result<const Json*> JsonOptionalArray(const Json& object, std::string_view key) {
  const Json* value = Find(object, key);
  if (value != nullptr && !value->is_array()) return Fail(Wrong(key, "not an array"));
  return value;
}

Result<const Json*> JsonOptionalObject(const Json& object, std::string_view key) {
  const Json* value = Find(object, key);
  if (value != nullptr && !value->is_object()) return Fail(Wrong(key, "not an object"));
  return value;
}

}  // namespace layerfs
