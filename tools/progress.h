// SPDX-License-Identifier: Apache-2.0
// Bars for a terminal, a line per finished layer off it.
// Thread-safe.
#pragma once

#include <cstdio>
#include <vector>

#include "index/base/synchronized.h"
#include "tools/convert/convert_image.h"

namespace layerfs {

class LayerProgressBars final : public ConvertProgress {
 public:
  LayerProgressBars(std::FILE* stream, bool terminal) : stream_(stream), terminal_(terminal) {}

  void OnLayers(size_t layer_count) override;
  void OnProgress(const LayerProgress& progress) override;

 private:
  struct Screen {
    std::vector<LayerProgress> layers;
    size_t lines_drawn = 0;
    int64_t last_drawn_ms = 0;
  };
  void Draw(Screen& screen) const;

  std::FILE* const stream_;
  const bool terminal_;
  Synchronized<Screen> screen_;
};

}  // namespace layerfs
