// SPDX-License-Identifier: Apache-2.0
#include "index/base/digest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerfs {
namespace {

// FIPS 180-2, appendix B.
constexpr std::string_view kAbc = "abc";
constexpr std::string_view kAbcDigest =
    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kEmptyDigest =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Digest, IsSha256) {
  EXPECT_EQ(Digest::Of(AsBytes(kAbc)).ToString(), kAbcDigest);
  EXPECT_EQ(Digest::Of({}).ToString(), kEmptyDigest);
}

TEST(Digest, ParseGivesBackWhatToStringWrote) {
  const Result<Digest> digest = Digest::Parse(kAbcDigest);
  ASSERT_TRUE(digest.has_value());
  EXPECT_EQ(digest->ToString(), kAbcDigest);
  EXPECT_EQ(digest->Hex(), kAbcDigest.substr(7));
  EXPECT_EQ(*digest, Digest::Of(AsBytes(kAbc)));
  EXPECT_FALSE(digest->is_zero());
  EXPECT_TRUE(Digest().is_zero());
}

struct BadDigest {
  std::string name;
  std::string text;
  ErrorCode code;
};

TEST(Digest, ParseRefusesAnythingElse) {
  const std::string good(kAbcDigest);
  const std::vector<BadDigest> cases = {
      {"should-fail-empty", "", ErrorCode::kInvalidArgument},
      {"should-fail-no-algorithm", good.substr(7), ErrorCode::kInvalidArgument},
      {"should-fail-algorithm-only", "sha256:", ErrorCode::kInvalidArgument},
      {"should-fail-short", good.substr(0, good.size() - 1), ErrorCode::kInvalidArgument},
      {"should-fail-long", good + "0", ErrorCode::kInvalidArgument},
      {"should-fail-upper-case", "sha256:" + std::string(64, 'A'), ErrorCode::kInvalidArgument},
      {"should-fail-not-hexadecimal", "sha256:" + std::string(64, 'g'),
       ErrorCode::kInvalidArgument},
      {"should-fail-path", "sha256:" + std::string(61, 'a') + "/..", ErrorCode::kInvalidArgument},
      {"should-fail-other-algorithm", "sha512:" + std::string(128, 'a'), ErrorCode::kUnsupported},
  };
  for (const BadDigest& row : cases) {
    const Result<Digest> digest = Digest::Parse(row.text);
    ASSERT_FALSE(digest.has_value()) << row.name;
    EXPECT_EQ(digest.error().code, row.code) << row.name;
  }
}

TEST(Sha256, PiecesAreOneStreamAndFinishStartsAnew) {
  Sha256 hasher;
  hasher.Update(AsBytes("a"));
  hasher.Update({});
  hasher.Update(AsBytes("bc"));
  EXPECT_EQ(hasher.Finish().ToString(), kAbcDigest);
  EXPECT_EQ(hasher.Finish().ToString(), kEmptyDigest);
  hasher.Update(AsBytes(kAbc));
  Sha256 moved = std::move(hasher);
  EXPECT_EQ(moved.Finish().ToString(), kAbcDigest);
}

}  // namespace
}  // namespace layerfs
