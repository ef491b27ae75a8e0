// SPDX-License-Identifier: Apache-2.0
// RecordStartup: mounts an image so that every page which is touched is seen, runs its program
// until it is ready, and gives back what was read.
// One thread at a time. Needs root.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/trace.h"
#include "tools/services.h"
#include "tools/startup/ready_condition.h"

namespace layerfs {

struct RecordOptions {
  std::string image;
  std::string platform;
  std::vector<std::string> command;  // empty: the image's own
  ReadyCondition ready;
  std::chrono::milliseconds timeout{300'000};
};

// Whether that may be and can tell anything, for who has much to do before.
Status CheckRecording(const ReadyCondition& ready);
Result<Trace> RecordStartup(const RecordOptions& options, const ServiceOptions& services);

}  // namespace layerfs
