// SPDX-License-Identifier: Apache-2.0
// What a layer index and a merged tree cost to build, for a million entries in few layers and in as
// many as an image may have. Run: merge_bench; `peak_mib` is of the process so far, so that a
// figure for one case wants --benchmark_filter.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "index/index.h"
#include "index/layer_index_builder.h"
#include "index/merge.h"

namespace layerfs {
namespace {

constexpr uint32_t kEntries = 1'000'000;
constexpr uint32_t kFilesPerDirectory = 20;
constexpr uint64_t kTarSize = uint64_t{4} << 30;

[[noreturn]] void Stop(const Error& error) {
  std::fprintf(stderr, "%s\n", error.context.c_str());
  std::exit(1);
}

template <typename T>
T Take(Result<T> result) {
  if (!result.has_value()) Stop(result.error());
  return std::move(*result);
}

// Like a package's files: three levels, twenty files in a directory.
TarEntry EntryAt(uint32_t number) {
  const uint32_t directory = number / (kFilesPerDirectory + 1);
  TarEntry entry;
  entry.path = "usr/share/package-" + std::to_string(directory / 50) + "/part-" +
               std::to_string(directory % 50);
  entry.permissions = 0755;
  entry.mtime = {.seconds = 1'700'000'000, .nanoseconds = number};
  if (number % (kFilesPerDirectory + 1) == 0) {
    entry.type = TarEntryType::kDirectory;
    return entry;
  }
  entry.path += "/file-" + std::to_string(number);
  entry.size = entry.data_size = 1000;
  entry.data_offset = uint64_t{number} * 2048;
  return entry;
}

Bytes BuildLayer(uint32_t begin, uint32_t end) {
  LayerIndexBuilder builder;
  for (uint32_t i = begin; i < end; ++i) {
    if (const Status added = builder.Add(EntryAt(i)); !added.has_value()) Stop(added.error());
  }
  return Take(builder.Finish({.diff_id = {}, .tar_size = kTarSize, .segments = {}}));
}

std::vector<Index> BuildLayers(uint32_t count) {
  std::vector<Index> layers;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t begin = static_cast<uint32_t>(uint64_t{kEntries} * i / count);
    const uint32_t end = static_cast<uint32_t>(uint64_t{kEntries} * (i + 1) / count);
    layers.push_back(Take(Index::Open(BuildLayer(begin, end))));
  }
  return layers;
}

void CountPeakMemory(benchmark::State& state) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["peak_mib"] = static_cast<double>(usage.ru_maxrss) / 1024;
}

void BuildLayerIndex(benchmark::State& state) {
  while (state.KeepRunning()) benchmark::DoNotOptimize(BuildLayer(0, kEntries));
  state.SetItemsProcessed(state.iterations() * kEntries);
  CountPeakMemory(state);
}
BENCHMARK(BuildLayerIndex)->Unit(benchmark::kMillisecond)->Iterations(1);

Bytes MergeAll(const std::vector<Index>& layers) {
  TreeMerger merger;
  for (const Index& layer : layers) {
    if (const Status applied = merger.Apply(layer, {}); !applied.has_value()) Stop(applied.error());
  }
  return Take(std::move(merger).Finish());
}

// A million entries in 1, 3 and 127 layers.
void MergeLayers(benchmark::State& state) {
  const std::vector<Index> layers = BuildLayers(static_cast<uint32_t>(state.range(0)));
  while (state.KeepRunning()) benchmark::DoNotOptimize(MergeAll(layers));
  state.SetItemsProcessed(state.iterations() * kEntries);
  CountPeakMemory(state);
}
BENCHMARK(MergeLayers)->Arg(1)->Arg(3)->Arg(127)->Unit(benchmark::kMillisecond);

// A small layer on top of the million, as the bytes of trees: what an image costs whose lower part
// is known.
void ApplySmallLayer(benchmark::State& state) {
  const std::vector<Index> lower = BuildLayers(1);
  const Index upper = Take(Index::Open(BuildLayer(5000, 6000)));
  while (state.KeepRunning()) {
    state.PauseTiming();
    TreeMerger merger;
    if (const Status applied = merger.Apply(lower[0], {}); !applied.has_value()) {
      Stop(applied.error());
    }
    state.ResumeTiming();
    if (const Status applied = merger.Apply(upper, {}); !applied.has_value()) {
      Stop(applied.error());
    }
    state.PauseTiming();
    {
      const TreeMerger gone = std::move(merger);
    }
    state.ResumeTiming();
  }
}
BENCHMARK(ApplySmallLayer)->Unit(benchmark::kMicrosecond)->Iterations(3);

}  // namespace
}  // namespace layerfs

BENCHMARK_MAIN();
