// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "tools/text.h"

namespace layerfs {
namespace {

constexpr int64_t kRedrawMs = 100;
constexpr size_t kBarWidth = 30;

const char* StageName(LayerStage stage) {
  switch (stage) {
    case LayerStage::kWaiting:
      return "waiting";
    case LayerStage::kConverting:
      return "converting";
    case LayerStage::kWriting:
      return "writing";
    case LayerStage::kDone:
      return "done";
  }
  return "";
}

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string Bar(const LayerProgress& layer) {
  double share = layer.stage == LayerStage::kDone ? 1.0 : 0.0;
  if (layer.stage != LayerStage::kDone && layer.total_bytes > 0) {
    share = std::min(
        1.0, static_cast<double>(layer.done_bytes) / static_cast<double>(layer.total_bytes));
  }
  const auto filled = static_cast<size_t>(share * kBarWidth);
  return std::string(filled, '#') + std::string(kBarWidth - filled, '.');
}

}  // namespace

void LayerProgressBars::OnLayers(size_t layer_count) {
  screen_.With([&](Screen& screen) {
    screen.layers.assign(layer_count, LayerProgress{});
    for (size_t i = 0; i < layer_count; ++i) screen.layers[i].layer = i;
  });
}

void LayerProgressBars::OnProgress(const LayerProgress& progress) {
  screen_.With([&](Screen& screen) {
    if (progress.layer >= screen.layers.size()) return;
    const bool finished = progress.stage == LayerStage::kDone &&
                          screen.layers[progress.layer].stage != LayerStage::kDone;
    screen.layers[progress.layer] = progress;
    if (!terminal_) {
      if (finished) {
        std::fprintf(stream_, "layer %zu of %zu: source %s done\n", progress.layer + 1,
                     screen.layers.size(), progress.source.ToString().substr(0, 19).c_str());
      }
      return;
    }
    const int64_t now = NowMs();
    if (!finished && now - screen.last_drawn_ms < kRedrawMs) return;
    screen.last_drawn_ms = now;
    Draw(screen);
  });
}

void LayerProgressBars::Draw(Screen& screen) const {
  if (screen.lines_drawn > 0) std::fprintf(stream_, "\x1b[%zuA", screen.lines_drawn);
  for (const LayerProgress& layer : screen.layers) {
    std::fprintf(stream_, "\r\x1b[K%s [%s] %s %s\n",
                 layer.source.is_zero() ? "                   "
                                        : layer.source.ToString().substr(0, 19).c_str(),
                 Bar(layer).c_str(), StageName(layer.stage),
                 layer.total_bytes > 0 ? FormatBytes(layer.total_bytes).c_str() : "");
  }
  screen.lines_drawn = screen.layers.size();
  std::fflush(stream_);
}

}  // namespace layerfs
