// SPDX-License-Identifier: Apache-2.0
#include "tools/metrics_text.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace layerfs {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST(MetricsText, OneMetricIsDescribedOnce) {
  MetricsText text("a \"b\"\\\n");
  text.Add("bytes_total", "counter", "Bytes.", 100'000, ",class=\"one\"");
  text.Add("bytes_total", "counter", "Bytes.", 2.5, ",class=\"two\"");
  text.Add("other", "gauge", "Other.", 0);
  EXPECT_EQ(std::move(text).Take(),
            "# HELP bytes_total Bytes.\n"
            "# TYPE bytes_total counter\n"
            "bytes_total{image=\"a \\\"b\\\"\\\\\\n\",class=\"one\"} 100000\n"
            "bytes_total{image=\"a \\\"b\\\"\\\\\\n\",class=\"two\"} 2.5\n"
            "# HELP other Other.\n"
            "# TYPE other gauge\n"
            "other{image=\"a \\\"b\\\"\\\\\\n\"} 0\n");
}

TEST(MetricsText, HistogramIsOneMetricOfCumulativeBuckets) {
  const milliseconds bounds[] = {milliseconds(1), milliseconds(20), milliseconds(2000)};
  const uint64_t counts[] = {3, 0, 2, 1};
  MetricsText text("i");
  text.AddHistogram("wait_seconds", "Waits.", {bounds, counts, microseconds(10'400)});
  EXPECT_EQ(std::move(text).Take(),
            "# HELP wait_seconds Waits.\n"
            "# TYPE wait_seconds histogram\n"
            "wait_seconds_bucket{image=\"i\",le=\"0.001\"} 3\n"
            "wait_seconds_bucket{image=\"i\",le=\"0.02\"} 3\n"
            "wait_seconds_bucket{image=\"i\",le=\"2\"} 5\n"
            "wait_seconds_bucket{image=\"i\",le=\"+Inf\"} 6\n"
            "wait_seconds_sum{image=\"i\"} 0.0104\n"
            "wait_seconds_count{image=\"i\"} 6\n");
}

TEST(MetricsText, NumbersAreTheShortestThatReadBackTheSame) {
  const struct {
    double value;
    const char* text;
  } rows[] = {{0.0004, "0.0004"},
              {1e10, "10000000000"},
              {1.0 / 3, "0.3333333333333333"},
              {123'456'789'012'345, "123456789012345"}};
  for (const auto& row : rows) {
    MetricsText text("i");
    text.Add("n", "gauge", "N.", row.value);
    EXPECT_TRUE(std::move(text).Take().ends_with("} " + std::string(row.text) + "\n")) << row.text;
  }
  for (const double value : {5e-324, 1.7976931348623157e308, -1.7976931348623157e308}) {
    MetricsText text("i");
    text.Add("n", "gauge", "N.", value);
    const std::string all = std::move(text).Take();
    EXPECT_EQ(std::strtod(all.c_str() + all.find("} ") + 2, nullptr), value);
  }
}

}  // namespace
}  // namespace layerfs
