// SPDX-License-Identifier: Apache-2.0
#include "index/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerfs {
namespace {

using testing::HasSubstr;

Json Parse(std::string_view text) {
  Result<Json> json = ParseJson(AsBytes(text), 1 << 20);
  EXPECT_TRUE(json.has_value()) << text;
  return json.value_or(Json());
}

struct BadJson {
  std::string name;
  std::string text;
  ErrorCode code;
  std::string message;
};

TEST(ParseJson, RefusesWithTheByteOffset) {
  const std::vector<BadJson> cases = {
      {"should-fail-empty", "", ErrorCode::kCorrupt, "JSON at byte 1"},
      {"should-fail-cut", R"({"a": [1,)", ErrorCode::kCorrupt, "JSON at byte 10"},
      {"should-fail-trailing", "{} x", ErrorCode::kCorrupt, "JSON at byte 4"},
      {"should-fail-not-utf8", "\"\xff\"", ErrorCode::kCorrupt, "JSON at byte 2"},
      {"should-fail-comment", "{/* */}", ErrorCode::kCorrupt, "JSON at byte 2"},
      {"should-fail-number-too-large", "1e999", ErrorCode::kCorrupt, "JSON"},
      {"should-fail-65-levels", std::string(65, '[') + std::string(65, ']'), ErrorCode::kTooLarge,
       "JSON at byte 64: more than 64 levels deep"},
      {"should-fail-a-million-levels", std::string(1 << 20, '['), ErrorCode::kTooLarge, "levels"},
      {"should-fail-over-the-limit", std::string((1 << 20) + 1, ' '), ErrorCode::kTooLarge,
       "the limit is 1048576"},
  };
  for (const BadJson& row : cases) {
    const Result<Json> json = ParseJson(AsBytes(row.text), 1 << 20);
    ASSERT_FALSE(json.has_value()) << row.name;
    EXPECT_EQ(json.error().code, row.code) << row.name;
    EXPECT_THAT(json.error().context, HasSubstr(row.message)) << row.name;
  }
}

TEST(ParseJson, Accepts64LevelsAndBracketsInStrings) {
  EXPECT_TRUE(Parse(std::string(64, '[') + std::string(64, ']')).is_array());
  const std::string many(100, '[');
  EXPECT_EQ(*JsonString(Parse(R"({"a": "\")" + many + R"("})"), "a"), "\"" + many);
}

TEST(ParseJson, KeepsTheOrderOfMembers) {
  EXPECT_EQ(Parse(R"({"z":1,"a":2})").dump(), R"({"z":1,"a":2})");
}

TEST(JsonMember, IsTyped) {
  const Json json =
      Parse(R"({"s":"x","n":18446744073709551615,"neg":-1,"f":1.5,"null":null,"o":{},"a":[]})");
  EXPECT_EQ(*JsonString(json, "s"), "x");
  EXPECT_EQ(*JsonUint(json, "n"), UINT64_MAX);
  EXPECT_EQ(*JsonOptionalString(json, "s", "fallback"), "x");
  EXPECT_EQ(*JsonOptionalString(json, "null", "fallback"), "fallback");
  EXPECT_EQ(*JsonOptionalString(json, "missing", "fallback"), "fallback");
  EXPECT_TRUE((*JsonOptionalArray(json, "a"))->is_array());
  EXPECT_TRUE((*JsonOptionalObject(json, "o"))->is_object());
  EXPECT_EQ(*JsonOptionalArray(json, "missing"), nullptr);
  EXPECT_EQ(*JsonOptionalObject(json, "null"), nullptr);
}

TEST(JsonMember, OfAnotherTypeIsCorruptAndNamed) {
  const Json json = Parse(R"({"s":"x","neg":-1,"f":1.5,"big":18446744073709551616,"o":{}})");
  for (const auto& error :
       {JsonString(json, "neg").error(), JsonUint(json, "neg").error(),
        JsonOptionalString(json, "neg").error(), JsonOptionalArray(json, "neg").error(),
        JsonOptionalObject(json, "neg").error()}) {
    EXPECT_EQ(error.code, ErrorCode::kCorrupt);
    EXPECT_THAT(error.context, HasSubstr("\"neg\""));
  }
  EXPECT_FALSE(JsonUint(json, "f").has_value());
  EXPECT_FALSE(JsonUint(json, "big").has_value());
  EXPECT_THAT(JsonString(json, "missing").error().context, HasSubstr("missing"));
  EXPECT_THAT(JsonUint(json, "missing").error().context, HasSubstr("missing"));
  EXPECT_FALSE(JsonString(Parse("[1]"), "a").has_value());
  EXPECT_EQ(*JsonOptionalString(Parse("7"), "a", "fallback"), "fallback");
}

}  // namespace
}  // namespace layerfs
