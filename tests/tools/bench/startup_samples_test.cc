// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/startup_samples.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

StartSample Sample(double ready) {
  StartSample sample;
  sample.opened = ready / 2;
  sample.ready = ready;
  sample.link_bytes = 1 << 20;
  return sample;
}

ImageResult Result100() {
  ImageResult result;
  result.image = "oci:<i>&\"image\"";
  result.profile = "wan";
  result.round_trip = std::chrono::milliseconds(100);
  result.bytes_per_second = 1e6;
  result.image_bytes = 4 << 20;
  result.page_stream_bytes = 2'000'000;
  result.run_seconds = 1;
  result.ways = {{"layerfs", {Sample(3), Sample(9), Sample(4)}, {}},
                 {"podman", {}, {"pull: <refused>"}}};
  return result;
}

TEST(ImageResult, LimitIsTheTaskThreeRoundTripsAndTheStream) {
  EXPECT_DOUBLE_EQ(Result100().LimitSeconds(), 1 + 3 * 0.1 + 2);
  ImageResult unshaped = Result100();
  unshaped.bytes_per_second = 0;
  EXPECT_DOUBLE_EQ(unshaped.LimitSeconds(), 1 + 3 * 0.1);
}

TEST(WaySamples, MediansOfEvenAndOddCounts) {
  EXPECT_DOUBLE_EQ(SpreadOf({3, 1, 2}).median, 2);
  EXPECT_DOUBLE_EQ(SpreadOf({4, 1, 2, 3}).median, 2.5);
  EXPECT_DOUBLE_EQ(SpreadOf({}).median, 0);
  const ImageResult result = Result100();
  const Spread spread = ReadySpread(result.ways[0]);
  EXPECT_DOUBLE_EQ(spread.median, 4);
  EXPECT_DOUBLE_EQ(spread.least, 3);
  EXPECT_DOUBLE_EQ(spread.greatest, 9);
  EXPECT_DOUBLE_EQ(MedianSample(result.ways[0]).ready, 4);
  EXPECT_DOUBLE_EQ(MedianSample(result.ways[1]).ready, 0);
}

TEST(Results, FailuresAreSeenWhereverTheyAre) {
  ImageResult good = Result100();
  good.ways.pop_back();
  ImageResult lost;
  lost.image = "gone";
  lost.failure = "no such image";
  EXPECT_FALSE(HasFailures({good}));
  EXPECT_TRUE(HasFailures({Result100()}));
  EXPECT_TRUE(HasFailures({good, lost}));
}

TEST(Results, InEveryFormSayWhatWasMeasuredAndWhatFailed) {
  ImageResult lost;
  lost.image = "gone";
  lost.failure = "no such image";
  const std::vector<ImageResult> results = {Result100(), lost};
  const Json json = ResultsToJson(results);
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[0]["ways"][0]["ready_s"], 4.0);
  EXPECT_EQ(json[0]["ways"][0]["samples"].size(), 3U);
  EXPECT_FALSE(json[0]["ways"][1].contains("ready_s"));
  EXPECT_EQ(json[0]["ways"][1]["failures"][0], "pull: <refused>");
  EXPECT_EQ(json[1]["failure"], "no such image");
  const std::string table = FormatTable(results);
  for (const char* text : {"4.000", "FAILED: pull: <refused>", "gone: FAILED: no such image"}) {
    EXPECT_NE(table.find(text), std::string::npos) << text << " in " << table;
  }
}

TEST(Results, AsHtmlAskForNothingAndEscapeNames) {
  ImageResult result = Result100();
  StartSample& sample = result.ways[0].samples[2];  // the median
  sample.mounted = 2.5;
  sample.events = {{0.5, "resolved", 0},
                   {2.6, "pages", 4096},
                   {2.6, "read", 4096, 0.2, true, "/usr/lib/<a>.so", 8192},
                   {3, "read", 4096, 0.001, false, "/etc/b", 0}};
  const std::string html = ResultsToHtml({result}, "a machine");
  EXPECT_NE(html.find("oci:&lt;i&gt;&amp;&quot;image&quot;"), std::string::npos);
  EXPECT_EQ(html.find("<i>"), std::string::npos);
  EXPECT_EQ(html.find("src="), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos);
  EXPECT_NE(html.find("pull: &lt;refused&gt;"), std::string::npos);
  EXPECT_NE(html.find("stalls of more than 5 ms: 1"), std::string::npos);
  EXPECT_NE(html.find("class=\"stall\""), std::string::npos);
  EXPECT_NE(html.find("<td>/usr/lib/&lt;a&gt;.so <small>4096 bytes at 8192"), std::string::npos);
  EXPECT_EQ(html.find("<td>/etc/b"), std::string::npos) << "no stall";
}

}  // namespace
}  // namespace layerfs
