// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_artifact.h"

#include <gtest/gtest.h>

#include <vector>

namespace layerfs {
namespace {

Descriptor Referrer(const char* content, const char* created) {
  Descriptor entry;
  entry.digest = Digest::Of(AsBytes(content));
  if (created != nullptr) entry.annotations[kCreatedAnnotation] = created;
  return entry;
}

TEST(NewestStartup, IsTheSameInWhateverOrderTheyAreListed) {
  const Descriptor unknown = Referrer("e", nullptr);
  const Descriptor wrong = Referrer("d", "yesterday");
  const Descriptor old = Referrer("c", "2026-01-01T00:00:00Z");
  const Descriptor newer = Referrer("b", "2026-01-01T02:00:00+01:00");
  const Descriptor as_new = Referrer("a", "2026-01-01T01:00:00Z");
  const Digest newest = std::max(newer.digest.Hex(), as_new.digest.Hex()) == newer.digest.Hex()
                            ? newer.digest
                            : as_new.digest;
  std::vector<Descriptor> all = {unknown, wrong, old, newer, as_new};
  for (size_t i = 0; i < all.size(); ++i) {
    std::ranges::rotate(all, all.begin() + 1);
    ASSERT_NE(NewestStartup(all), nullptr);
    EXPECT_EQ(NewestStartup(all)->digest, newest) << i;
  }
  EXPECT_EQ(NewestStartup({}), nullptr);
}

TEST(NewestStartup, OneThatDoesNotSayWhenIsOlderThanAnyThatDoes) {
  const std::vector<Descriptor> all = {Referrer("a", "1970-01-01T00:00:00Z"),
                                       Referrer("b", nullptr), Referrer("c", nullptr)};
  EXPECT_EQ(NewestStartup(all), all.data());
}

TEST(StartupReferrer, SaysInItsManifestAndInTheListWhenItWasMade) {
  StartupReference reference;
  reference.image = Digest::Of(AsBytes("image"));
  reference.head_size = reference.blob_size = 1;
  const RawDocument manifest =
      MakeStartupManifest(reference, StartupReferrer{Referrer("image", nullptr), 1700000000});
  const auto parsed = Manifest::Parse(manifest.raw);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->annotations.at(kCreatedAnnotation), "2023-11-14T22:13:20Z");
  EXPECT_EQ(ParseStartupManifest(manifest.raw, reference.image), reference);
  const Descriptor entry = StartupReferrerEntry(manifest, reference.image, 1700000000);
  EXPECT_EQ(CreatedSeconds(entry), 1700000000);
  EXPECT_FALSE(entry.platform.has_value());
}

}  // namespace
}  // namespace layerfs
