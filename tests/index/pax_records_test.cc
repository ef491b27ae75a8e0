// SPDX-License-Identifier: Apache-2.0
// Records and values by themselves; what they do to entries is in tar_parser_test.cc.
#include "index/pax_records.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "index/tar_header.h"
#include "tests/index/tar_writer.h"

namespace layerfs {
namespace {

TEST(PaxRecords, ComeInOrderWithWhateverBytes) {
  const std::string value("a=b\n\0\xff", 6);
  const std::string payload = TarWriter::PaxRecord("one", value) + TarWriter::PaxRecord("two", "") +
                              TarWriter::PaxRecord("long", std::string(100, 'x'));
  TarPairs records;
  const Status status =
      ForEachPaxRecord(AsBytes(payload), [&](std::string_view key, std::string_view text) {
        records.emplace_back(key, text);
        return Status();
      });
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(records, (TarPairs{{"one", value}, {"two", ""}, {"long", std::string(100, 'x')}}));
}

struct TimeCase {
  std::string text;
  std::optional<Timestamp> expected;
};

TEST(PaxTime, IsSecondsAndNanosecondsRoundedDown) {
  const std::vector<TimeCase> cases = {
      {"0", Timestamp{0, 0}},
      {"1350244992.023960108", Timestamp{1350244992, 23960108}},
      {"1350244992.02396010", Timestamp{1350244992, 23960100}},
      {"1350244992.0239601089", Timestamp{1350244992, 23960108}},
      {"1.", Timestamp{1, 0}},
      {"1.0000000000000000000000000000001", Timestamp{1, 0}},
      {"-1", Timestamp{-1, 0}},
      {"-1.000000001", Timestamp{-2, 999999999}},
      {"-0.5", Timestamp{-1, 500000000}},
      {"-1350244992.3", Timestamp{-1350244993, 700000000}},
      {"9223372036854775807.9", Timestamp{INT64_MAX, 900000000}},
      {"-9223372036854775808", Timestamp{INT64_MIN, 0}},
      {"-9223372036854775808.5", std::nullopt},
      {"9223372036854775808", std::nullopt},
      {"", std::nullopt},
      {"-", std::nullopt},
      {".5", std::nullopt},
      {"-.5", std::nullopt},
      {"+1", std::nullopt},
      {" 1", std::nullopt},
      {"1 ", std::nullopt},
      {"1.5.5", std::nullopt},
      {"1.-5", std::nullopt},
      {"1e5", std::nullopt},
      {"0x1", std::nullopt},
      {"1,5", std::nullopt},
  };
  for (const TimeCase& row : cases) EXPECT_EQ(ParsePaxTime(row.text), row.expected) << row.text;
}

struct NumberCase {
  std::string field;
  std::optional<int64_t> expected;
};

TEST(TarNumber, IsOctalOrBase256) {
  const auto bytes = [](std::initializer_list<int> values) {
    std::string text;
    for (const int value : values) text += static_cast<char>(value);
    return text;
  };
  const std::vector<NumberCase> cases = {
      {"", 0},
      {"0000644", 0644},
      {"  644 ", 0644},
      {std::string("644\0junk", 8), 0644},
      {std::string("\0\0\0\0", 4), 0},
      {"777777777777", 0777777777777},
      {"644x", std::nullopt},
      {"8", std::nullopt},
      {"-1", std::nullopt},
      {"777777777777777777777777", std::nullopt},
      {bytes({0x80, 0, 0, 5}), 5},
      {bytes({0x81, 0}), 256},
      {bytes({0xff, 0xff}), -1},
      {bytes({0xff, 0xfe}), -2},
      {bytes({0x80, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), INT64_MAX},
      {bytes({0x80, 0x80, 0, 0, 0, 0, 0, 0, 0}), std::nullopt},
      {bytes({0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}), INT64_MIN},
      {bytes({0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0}), std::nullopt},
      {bytes({0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}), std::nullopt},
      {bytes({0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0}), std::nullopt},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(ParseTarNumber(AsBytes(cases[i].field)), cases[i].expected) << "row " << i;
  }
}

}  // namespace
}  // namespace layerfs
