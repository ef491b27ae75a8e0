// SPDX-License-Identifier: Apache-2.0
// CheckStartup: whether a mount by an image's startup pack shows what the layers say. The pack's
// own digests only say that it is as it was made. One thread at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "fs/image.h"

namespace layerfs {

struct StartupCheckOptions {
  bool pages = false;                          // compare the pages too, not only the trees
  std::chrono::milliseconds timeout{60'000};   // of a read
  const std::atomic<bool>* stopped = nullptr;  // ends it with kCancelled; may be null
};

// A line for each finding; nothing where the image has no pack. `layers` is the same image, opened
// without one.
Result<std::vector<std::string>> CheckStartup(const Image& image,
                                              const std::shared_ptr<Image>& layers,
                                              const ImageContext& context,
                                              const StartupCheckOptions& options);

}  // namespace layerfs
