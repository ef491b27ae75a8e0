// SPDX-License-Identifier: Apache-2.0
// What `layerfs bench startup` measures: samples of starts, the limit that they are held against,
// and what is made of them.
// Values; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "index/base/json.h"
#include "tools/netmodel/network_profile.h"
#include "tools/startup/event_log.h"

namespace layerfs {

// Seconds from the command's start; phases that a way does not have are 0.
struct StartSample {
  double resolved = 0;    // the image's documents are there
  double opened = 0;      // the tree is there (layerfs), or everything is pulled (the others)
  double mounted = 0;     // the mount answers, the task begins
  double first_byte = 0;  // the task's first read has been answered
  double ready = 0;
  uint64_t link_bytes = 0;  // towards us
  uint64_t requests = 0;
  uint64_t connections = 0;
  std::vector<LoggedEvent> events;  // layerfs; `at` is from the command's start
};

// One way to start an image over one link.
struct WaySamples {
  std::string way;  // "layerfs", "nopack", "run", "overlayfs", "podman", "local"
  std::vector<StartSample> samples;
  std::vector<std::string> failures;  // of the runs that gave no sample
};

struct ImageResult {
  std::string image;
  std::string profile;
  Duration round_trip{};
  double bytes_per_second = 0;     // 0: not shaped
  uint64_t image_bytes = 0;        // compressed layers of the image as it was
  uint64_t pack_bytes = 0;         // the whole startup blob
  uint64_t page_stream_bytes = 0;  // S: of it, the pages that the traces read
  uint64_t tree_bytes = 0;
  double run_seconds = 0;  // T_run: the local copy's median
  std::vector<WaySamples> ways;
  std::string failure;  // why nothing was measured; empty where something was

  // T_run + (set-up + 2 rounds) * R + S / B; set-up of a plain TCP connection is one round.
  double LimitSeconds() const;
};

struct Spread {
  double median = 0;
  double least = 0;
  double greatest = 0;
};
Spread SpreadOf(std::vector<double> values);
Spread ReadySpread(const WaySamples& way);
// The sample whose time to ready is the median.
const StartSample& MedianSample(const WaySamples& way);

// Whether anything of it went wrong.
bool HasFailures(const std::vector<ImageResult>& results);

std::string FormatTable(const std::vector<ImageResult>& results);
Json ResultsToJson(const std::vector<ImageResult>& results);
// A page that needs no network: tables, a bar a phase, and a timeline of reads and arrivals (see
// startup_html.cc). `machine` says where it was measured.
std::string ResultsToHtml(const std::vector<ImageResult>& results, const std::string& machine);

}  // namespace layerfs
