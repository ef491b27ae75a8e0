// SPDX-License-Identifier: Apache-2.0
#include "index/base/rfc3339.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

TEST(Rfc3339, IsWrittenAndReadAgain) {
  EXPECT_EQ(FormatRfc3339(1700000000), "2023-11-14T22:13:20Z");
  for (const int64_t seconds : {int64_t{0}, int64_t{1700000000}, int64_t{253402300799}}) {
    EXPECT_EQ(ParseRfc3339(FormatRfc3339(seconds)), seconds);
  }
}

TEST(Rfc3339, OtherWritersMoments) {
  struct Row {
    const char* text;
    std::optional<int64_t> seconds;
  };
  for (const Row& row : {
           Row{"2023-11-14T22:13:20.123456789Z", 1700000000},
           Row{"2023-11-15T00:13:20+02:00", 1700000000},
           Row{"2023-11-14T20:43:20-01:30", 1700000000},
           Row{"", std::nullopt},
           Row{"2023-11-14", std::nullopt},
           Row{"2023-11-14T22:13:20", std::nullopt},
           Row{"2023-11-14T22:13:20.Z", std::nullopt},
           Row{"2023-11-14T22:13:20Zx", std::nullopt},
           Row{"2023-02-29T22:13:20Z", std::nullopt},
           Row{"2023-11-14T24:13:20Z", std::nullopt},
           Row{"2023-11-14T22:13:20+24:00", std::nullopt},
           Row{"2023-11-14T22:1x:20Z", std::nullopt},
       }) {
    EXPECT_EQ(ParseRfc3339(row.text), row.seconds) << row.text;
  }
}

}  // namespace
}  // namespace layerfs
