// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/startup_samples.h"

#include <algorithm>
#include <cstdio>

#include "tools/bench/report_text.h"

namespace layerfs {
namespace {

constexpr int kRounds = 3;  // TCP's own, the image index, the pack

}  // namespace

double ImageResult::LimitSeconds() const {
  const double rounds = kRounds * std::chrono::duration<double>(round_trip).count();
  const double stream =
      bytes_per_second > 0 ? static_cast<double>(page_stream_bytes) / bytes_per_second : 0;
  return run_seconds + rounds + stream;
}

Spread SpreadOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

Spread ReadySpread(const WaySamples& way) {
  std::vector<double> ready;
  for (const StartSample& sample : way.samples) ready.push_back(sample.ready);
  return SpreadOf(std::move(ready));
}

const StartSample& MedianSample(const WaySamples& way) {
  static const StartSample kNone;
  if (way.samples.empty()) return kNone;
  std::vector<const StartSample*> order;
  for (const StartSample& sample : way.samples) order.push_back(&sample);
  std::ranges::sort(order, {}, [](const StartSample* sample) { return sample->ready; });
  return *order[order.size() / 2];
}

bool HasFailures(const std::vector<ImageResult>& results) {
  return std::ranges::any_of(results, [](const ImageResult& result) {
    return !result.failure.empty() || std::ranges::any_of(result.ways, [](const WaySamples& w) {
      return !w.failures.empty();
    });
  });
}

namespace {

// How much of the image, as a pull would move it, came over the link.
double ImageShare(const ImageResult& result, const StartSample& sample) {
  if (result.image_bytes == 0) return 0;
  return static_cast<double>(sample.link_bytes) / static_cast<double>(result.image_bytes);
}

// Null for what the way does not have.
Json Moment(double seconds) { return seconds > 0 ? Json(seconds) : Json(); }

std::string FormatWay(const ImageResult& result, const WaySamples& way) {
  std::string text;
  if (!way.samples.empty()) {
    const Spread ready = ReadySpread(way);
    const StartSample& sample = MedianSample(way);
    const double share = 100 * ImageShare(result, sample);
    text +=
        Format("%-12s %8.3f %8.3f..%-8.3f %7.2f %8.3f %8.3f %8.3f %8.3f %9.2f %5lu %6.1f%%\n",
               way.way.c_str(), ready.median, ready.least, ready.greatest,
               ready.median / result.LimitSeconds(), sample.resolved, sample.opened, sample.mounted,
               sample.first_byte, static_cast<double>(sample.link_bytes) / kMebi,
               static_cast<unsigned long>(sample.requests), share);
  }
  for (const std::string& failure : way.failures) {
    text += Format("%-12s FAILED: ", way.way.c_str()) + failure + "\n";
  }
  return text;
}

}  // namespace

std::string FormatTable(const std::vector<ImageResult>& results) {
  std::string text;
  for (const ImageResult& result : results) {
    if (!result.failure.empty()) {
      text += result.image + ": FAILED: " + result.failure + "\n\n";
      continue;
    }
    text += result.image + " over " + result.profile +
            Format(
                " (%.1f ms, %.1f MB/s): image %.1f MiB, pack %.2f MiB (pages %.2f, tree %.2f)\n"
                "T_run %.3f s, limit %.3f s\n",
                1000 * std::chrono::duration<double>(result.round_trip).count(),
                result.bytes_per_second / 1e6, static_cast<double>(result.image_bytes) / kMebi,
                static_cast<double>(result.pack_bytes) / kMebi,
                static_cast<double>(result.page_stream_bytes) / kMebi,
                static_cast<double>(result.tree_bytes) / kMebi, result.run_seconds,
                result.LimitSeconds());
    text +=
        Format("%-12s %8s %18s %7s %8s %8s %8s %8s %9s %5s %7s\n", "way", "ready_s", "min..max",
               "x limit", "resolve", "metadata", "mount", "1st byte", "link MiB", "reqs", "image");
    for (const WaySamples& way : result.ways) text += FormatWay(result, way);
    text += "\n";
  }
  return text;
}

Json ResultsToJson(const std::vector<ImageResult>& results) {
  Json all = Json::array();
  for (const ImageResult& result : results) {
    Json ways = Json::array();
    for (const WaySamples& way : result.ways) {
      Json samples = Json::array();
      for (const StartSample& sample : way.samples) {
        samples.push_back({{"ready_s", sample.ready},
                           {"limit_ratio", sample.ready / result.LimitSeconds()},
                           {"phases",
                            {{"resolve", Moment(sample.resolved)},
                             {"metadata", Moment(sample.opened)},
                             {"mount", Moment(sample.mounted)},
                             {"first_byte", Moment(sample.first_byte)},
                             {"ready", Moment(sample.ready)}}},
                           {"link_bytes", sample.link_bytes},
                           {"image_share", ImageShare(result, sample)},
                           {"requests", sample.requests},
                           {"connections", sample.connections}});
      }
      Json of_way = {{"way", way.way}, {"samples", samples}, {"failures", way.failures}};
      if (!way.samples.empty()) {
        const Spread ready = ReadySpread(way);
        of_way["ready_s"] = ready.median;
        of_way["ready_min_s"] = ready.least;
        of_way["ready_max_s"] = ready.greatest;
        of_way["limit_ratio"] = ready.median / result.LimitSeconds();
      }
      ways.push_back(std::move(of_way));
    }
    if (!result.failure.empty()) {
      all.push_back({{"image", result.image}, {"failure", result.failure}});
      continue;
    }
    all.push_back({{"image", result.image},
                   {"profile", result.profile},
                   {"round_trip_s", std::chrono::duration<double>(result.round_trip).count()},
                   {"bytes_per_second", result.bytes_per_second},
                   {"image_bytes", result.image_bytes},
                   {"pack_bytes", result.pack_bytes},
                   {"page_stream_bytes", result.page_stream_bytes},
                   {"tree_bytes", result.tree_bytes},
                   {"run_s", result.run_seconds},
                   {"limit_s", result.LimitSeconds()},
                   {"ways", ways}});
  }
  return all;
}

}  // namespace layerfs
