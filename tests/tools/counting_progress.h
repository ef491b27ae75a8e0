// SPDX-License-Identifier: Apache-2.0
// For tests of the converter: a progress that remembers.
// Thread-safe but for Reset and layers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>

#include "index/base/synchronized.h"
#include "tools/convert/convert_image.h"

namespace layerfs {

// Counts what is really read and written, layer by layer.
class CountingProgress : public ConvertProgress {
 public:
  void OnLayers(size_t layer_count) override { layers = layer_count; }
  void OnProgress(const LayerProgress& progress) override {
    stages_.With([&](auto& stages) {
      LayerProgress& last = stages[{progress.layer, progress.stage}];
      // A layer that was not what it said begins anew.
      EXPECT_TRUE(progress.done_bytes == 0 || progress.done_bytes >= last.done_bytes);
      EXPECT_LE(progress.done_bytes, progress.total_bytes);
      last = progress;
    });
  }
  size_t Count(LayerStage stage) const {
    return stages_.With([&](const auto& stages) {
      return std::ranges::count_if(stages,
                                   [&](const auto& row) { return row.first.second == stage; });
    });
  }
  bool AllComplete() const {
    return stages_.With([](const auto& stages) {
      return std::ranges::all_of(
          stages, [](const auto& row) { return row.second.done_bytes == row.second.total_bytes; });
    });
  }
  void Reset() {
    layers = 0;
    stages_.With([](auto& stages) { stages.clear(); });
  }
  size_t layers = 0;

 private:
  Synchronized<std::map<std::pair<size_t, LayerStage>, LayerProgress>> stages_;
};

}  // namespace layerfs
