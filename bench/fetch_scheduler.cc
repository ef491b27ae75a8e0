// SPDX-License-Identifier: Apache-2.0
// fetch_scheduler [PROFILE…]: the scheduler and the cache over links of several kinds (see
// simulated_link.h): which share of the link streams get, how long demand reads take while the fill
// runs, how many bytes move for those that are wanted.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>

#include "bench/simulated_link.h"
#include "fetch/scheduler.h"
#include "index/base/zstd_codec.h"

namespace layerfs {
namespace {

constexpr size_t kChunkBytes = 256 * 1024;
// Each measurement moves what the link carries in this time, within the bounds below.
constexpr double kSeconds = 4;
constexpr size_t kLeastChunks = 24;
constexpr size_t kMostChunks = 1600;
constexpr size_t kFillAhead = 512;  // chunks that the fill keeps asked for

struct Image {
  std::shared_ptr<const Bytes> blob;
  std::vector<ChunkRef> chunks;
};

// Chunks that compress to about 40 %, like programs do.
Bytes ChunkContent(uint64_t seed) {
  Bytes content(kChunkBytes);
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < content.size(); i += 8) {
    const uint64_t word = random();
    std::memcpy(&content[i], &word, 3);
  }
  return content;
}

Image MakeImage(size_t chunks) {
  Image image;
  Bytes blob;
  ZstdCompressor compressor(3);
  Bytes stored;
  for (size_t i = 0; i < chunks; ++i) {
    const Bytes content = ChunkContent(i);
    if (!compressor.Compress(content, stored).has_value()) continue;
    image.chunks.push_back({Digest::Of(content), blob.size(), static_cast<uint32_t>(stored.size()),
                            static_cast<uint32_t>(content.size()), ChunkCodec::kZstdFrame});
    blob.insert(blob.end(), stored.begin(), stored.end());
  }
  image.blob = std::make_shared<const Bytes>(std::move(blob));
  return image;
}

// A cold cache and a scheduler over one link.
class Run {
 public:
  Run(const LinkProfile& profile, const Image& image, const std::string& directory)
      : image_(image), link_(std::make_shared<SimulatedLink>(profile, image.blob)) {
    static int sequence = 0;
    cache_ = ObjectCache::Open({.directory = directory + "/" + std::to_string(sequence++)}).value();
    blob_ = std::make_shared<SourceBlob>(
        SourceBlob{link_, Digest::Of(*image.blob), image.blob->size(), profile.name});
    scheduler_ = std::make_unique<Scheduler>(Scheduler::Options{});
  }
  ~Run() { scheduler_.reset(); }
  // Each chunk is an object of its own, as for small files.
  void Fetch(size_t chunk, FetchClass fetch_class, ChunkDone done) {
    ChunkRequest request;
    request.blob = blob_;
    request.chunk = image_.chunks[chunk];
    request.object = cache_->OpenObject({request.chunk.digest, request.chunk.size, {}}).value();
    request.fetch_class = fetch_class;
    scheduler_->Fetch(std::move(request), std::move(done));
  }
  // Keeps the chunks [next, end) coming, kFillAhead of them asked for.
  void Fill(size_t begin, size_t end, FetchClass fetch_class) {
    next_.store(begin);
    fill_end_ = end;
    for (size_t i = 0; i < kFillAhead; ++i) FillNext(fetch_class);
  }
  void WaitForFill() {
    done_.WaitThen([&](size_t& done) { return done >= fill_end_; }, [](size_t&) {});
  }
  SchedulerStatistics statistics() const { return scheduler_->Statistics(); }
  uint64_t sent_bytes() const { return link_->sent_bytes(); }

 private:
  void FillNext(FetchClass fetch_class) {
    const size_t chunk = next_.fetch_add(1);
    if (chunk >= fill_end_) return;
    Fetch(chunk, fetch_class, [this, fetch_class](const Result<SharedBytes>& result) {
      if (!result.has_value() && result.error().code == ErrorCode::kCancelled) return;
      done_.WithNotify([](size_t& done) { ++done; });
      FillNext(fetch_class);
    });
  }

  const Image& image_;
  std::shared_ptr<SimulatedLink> link_;
  std::shared_ptr<SourceBlob> blob_;
  std::shared_ptr<ObjectCache> cache_;
  std::atomic<size_t> next_{0};
  size_t fill_end_ = 0;
  Synchronized<size_t> done_;
  std::unique_ptr<Scheduler> scheduler_;
};

double SecondsSince(TimePoint began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double CpuSeconds() {
  struct rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const struct timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void MeasureStream(const LinkProfile& profile, const Image& image, const std::string& directory) {
  Run run(profile, image, directory);
  const double cpu_before = CpuSeconds();
  const TimePoint began = std::chrono::steady_clock::now();
  run.Fill(0, image.chunks.size(), FetchClass::kFill);
  run.WaitForFill();
  const double seconds = SecondsSince(began);
  const double rate = static_cast<double>(image.blob->size()) / seconds;
  const SchedulerStatistics statistics = run.statistics();
  std::printf(
      "%-6s stream            %6.1f MB/s  %5.1f %% of the link  %llu requests  moved/wanted %.3f  "
      "CPU %.2f s in %.2f s  link seen as %.2f ms, %.1f MB/s\n",
      profile.name.c_str(), rate / 1e6, 100 * rate / profile.bytes_per_second,
      static_cast<unsigned long long>(statistics.requests),
      static_cast<double>(run.sent_bytes()) / static_cast<double>(image.blob->size()),
      CpuSeconds() - cpu_before, seconds, statistics.round_trip_ms,
      statistics.bytes_per_second / 1e6);
}

// Demand reads at random places, one after the other, while the fill runs in front of them.
void MeasureDemand(const LinkProfile& profile, const Image& image, const std::string& directory,
                   bool fill) {
  Run run(profile, image, directory);
  const size_t half = image.chunks.size() / 2;
  if (fill) {
    run.Fill(0, half, FetchClass::kFill);
    std::this_thread::sleep_for(4 * profile.round_trip + std::chrono::milliseconds(300));
  }
  std::vector<double> waits;
  std::mt19937_64 random(3);
  std::vector<size_t> places;
  for (size_t i = half; i < image.chunks.size(); ++i) places.push_back(i);
  std::shuffle(places.begin(), places.end(), random);
  const TimePoint began = std::chrono::steady_clock::now();
  for (const size_t place : places) {
    if (SecondsSince(began) > kSeconds) break;
    const TimePoint asked = std::chrono::steady_clock::now();
    Synchronized<bool> answered;
    run.Fetch(place, FetchClass::kDemand, [&](const Result<SharedBytes>&) {
      answered.WithNotify([](bool& flag) { flag = true; });
    });
    answered.WaitThen([](bool& flag) { return flag; }, [](bool&) {});
    waits.push_back(SecondsSince(asked));
  }
  std::sort(waits.begin(), waits.end());
  const double own = static_cast<double>(image.chunks[half].stored_size) / profile.bytes_per_second;
  const double trip = std::chrono::duration<double>(profile.round_trip).count();
  const double p99 = waits[waits.size() * 99 / 100];
  std::printf(
      "%-6s demand, %-9s p50 %7.2f ms  p99 %7.2f ms  goal (3 trips + own bytes) %7.2f ms  %zu "
      "reads\n",
      profile.name.c_str(), fill ? "filling" : "idle", waits[waits.size() / 2] * 1e3, p99 * 1e3,
      (3 * trip + own) * 1e3, waits.size());
}

int Main(int argc, char** argv) {
  // Removed at the end only: ext4 looks long for an inode while many have just been deleted.
  std::string directory =
      (std::filesystem::temp_directory_path() / "layerfs-bench-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) return 1;
  for (const LinkProfile& profile : LinkProfiles()) {
    const bool wanted = argc < 2 || std::find(argv + 1, argv + argc, profile.name) != argv + argc;
    if (!wanted) continue;
    const double stored_bytes = kChunkBytes * 0.4;
    const size_t chunks =
        std::clamp(static_cast<size_t>(profile.bytes_per_second * kSeconds / stored_bytes),
                   kLeastChunks, kMostChunks);
    const Image image = MakeImage(chunks);
    MeasureStream(profile, image, directory);
    MeasureDemand(profile, image, directory, false);
    MeasureDemand(profile, image, directory, true);
  }
  std::filesystem::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace layerfs

int main(int argc, char** argv) { return layerfs::Main(argc, argv); }
