// SPDX-License-Identifier: Apache-2.0
// How near conversion comes to what one pass allows. In one run, on the same data: inflate, SHA-256
// and zstd by themselves, the limit that they set, and the converter; then how large the output is
// against plain zstd of the whole tar.
//
//   convert_bench LAYER.tar.gz...           layers of a real image, the largest first, e.g. of an
//                                           OCI layout's blobs
//   convert_bench --generated GIB           one generated layer of so many GiB, for memory
//
// limit = cores / (inflate + SHA-256 of the tar + SHA-256 of the chunks + SHA-256 of the blob
//                  + zstd of the tar), per byte of tar; once by the parts of a core alone, once by
//                  the parts of all cores at once
//
// By processor time both sides can be compared on a busy machine; by the clock only on an idle one.
//
// Why the policy's sizes are what they are. Measured with this program and variations of
// ChunkPolicy, zstd 1.5.4 level 3, on an image of three layers (Debian 12 minbase with perl and
// locales, 167 MB; python3, 46 MB; an application, 15 MB), which is the hardest that we have: whole
// tars compress to 28.7 % because near copies lie 1 to 4 MiB apart. Bytes per read are what a cold
// read of one page has to fetch.
//
//   chunk  own  group min/target/max   chunks  output   small file  large file
//   KiB    KiB  KiB                                     KB/read     KB/read
//     64    32   32/64/128               4807   +23.3 %      10         23
//    128    64   64/128/256              2276   +19.0 %      23         46
//    256   128  128/256/512              1049   +13.1 %      59         88
//    256   256  512/768/1024              673    +9.5 %     130         97
//    256   384  640/896/1280              551    +8.5 %     165         94
//    256   384  896/1152/1536             519    +7.4 %     206         94   <- chosen
//    384   384  896/1152/1536             412    +7.5 %     206        144
//    512   512  896/1152/1536             326    +6.9 %     213        183
//   2048   512  512/1024/2048             194    +4.5 %     277        470
//
// On /usr/bin and the libraries of python3 (650 MB) the chosen row is +4.5 %. Large files are
// programs and libraries, read a page here and there: small chunks pay. Small files are read
// whole, and with their neighbours: larger groups cost little and gain most. Groups that end where
// a directory begins are 0.4 points smaller than groups that end anywhere.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "index/base/digest.h"
#include "index/base/file.h"
#include "index/base/inflate.h"
#include "index/base/thread_pool.h"
#include "index/base/zstd_codec.h"
#include "tests/index/tar_writer.h"
#include "tools/convert/layer_converter.h"

namespace layerfs {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;  // what a reader hands on at once
constexpr int kLayersAtOnce = 2;

int Cores() { return static_cast<int>(std::thread::hardware_concurrency()); }

struct Cost {
  double wall_seconds = 0;
  double cpu_seconds = 0;  // of all threads
  Cost operator+(const Cost& other) const {
    return {wall_seconds + other.wall_seconds, cpu_seconds + other.cpu_seconds};
  }
};

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

Cost Measure(const std::function<void()>& work) {
  const auto wall = std::chrono::steady_clock::now();
  const double cpu = CpuSeconds();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count(),
          CpuSeconds() - cpu};
}

template <typename T>
T OrDie(Result<T> result) {
  if (!result.has_value()) {
    std::fprintf(stderr, "convert_bench: %s\n", result.error().context.c_str());
    std::exit(1);
  }
  return std::move(*result);
}
void OrDie(const Status& status) {
  if (status.has_value()) return;
  std::fprintf(stderr, "convert_bench: %s\n", status.error().context.c_str());
  std::exit(1);
}

Bytes Inflate(ByteSpan gzip) {
  GzipStreamDecoder decoder;
  Bytes tar;
  Bytes room(kPieceBytes);
  while (true) {
    const size_t size = OrDie(decoder.Decode(gzip, room));
    tar.insert(tar.end(), room.begin(), room.begin() + static_cast<ptrdiff_t>(size));
    if (gzip.empty() && size < room.size()) return tar;
  }
}

void InflateAndDrop(ByteSpan gzip) {
  GzipStreamDecoder decoder;
  Bytes room(kPieceBytes);
  while (OrDie(decoder.Decode(gzip, room)) == room.size() || !gzip.empty()) {
  }
}

void Row(const char* name, double megabytes, const Cost& cost) {
  std::printf("  %-28s %8.0f MB/s by the clock %8.0f MB/s by processor time\n", name,
              megabytes / cost.wall_seconds, megabytes / cost.cpu_seconds);
}

double PeakMiB() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Of one pass over all layers, done by one core while as many others as were asked for do the same.
struct PassCost {
  Cost inflate, tar_hash, chunk_hash, blob_hash, zstd;
  double megabytes = 0;    // of tar
  double plain_bytes = 0;  // that zstd made of whole tars
  Cost all() const { return inflate + tar_hash + chunk_hash + blob_hash + zstd; }
};

ConvertedLayer Convert(const BlobReader& reader, CompressionPool& pool) {
  return OrDie(
      ConvertLayer(reader, {ChunkPolicy(), InFlightBytes(Cores(), kLayersAtOnce), "", &pool}));
}

BlobReader ReaderOf(const Bytes& blob) {
  return [&blob](const BlobConsumer& consume) -> Status {
    for (size_t at = 0; at < blob.size(); at += kPieceBytes) {
      const size_t size = std::min(kPieceBytes, blob.size() - at);
      LAYERFS_CHECK_OK(consume(ByteSpan(blob).subspan(at, size)));
    }
    return {};
  };
}

// The same work on each of `threads` threads at once; how long it took, for one of them.
Cost MeasureEach(int threads, const std::function<void(size_t)>& work) {
  const Cost cost = Measure([&] {
    std::vector<std::jthread> running;
    for (int i = 0; i < threads; ++i) {
      running.emplace_back([&work, i] { work(static_cast<size_t>(i)); });
    }
  });
  return {cost.wall_seconds, cost.cpu_seconds / threads};
}

// The parts of one pass, by themselves, on `threads` cores at once.
void MeasureParts(const Bytes& blob, int threads, PassCost& pass) {
  const Bytes tar = Inflate(blob);
  std::vector<Bytes> frames(static_cast<size_t>(threads));
  std::vector<std::unique_ptr<ZstdCompressor>> compressors;
  const auto compress = [&](size_t i) { OrDie(compressors[i]->Compress(tar, frames[i])); };
  for (size_t i = 0; i < frames.size(); ++i) {
    compressors.push_back(std::make_unique<ZstdCompressor>(ChunkPolicy().level));
    compress(i);  // once for warmth: the room's pages are there then
  }
  const auto add = [threads](Cost& sum, const std::function<void(size_t)>& work) {
    sum = sum + MeasureEach(threads, work);
  };
  add(pass.inflate, [&](size_t) { InflateAndDrop(blob); });
  add(pass.tar_hash, [&](size_t) { Digest::Of(tar); });
  add(pass.chunk_hash, [&](size_t) { Digest::Of(tar); });
  add(pass.zstd, compress);
  add(pass.blob_hash, [&](size_t i) { Digest::Of(frames[i]); });
  pass.megabytes += static_cast<double>(tar.size()) / 1e6;
  pass.plain_bytes += static_cast<double>(frames[0].size());
}

struct ConverterCost {
  Cost cost;
  double bytes = 0;  // of output
};

// All layers, side by side as ConvertImage has them.
ConverterCost MeasureConverter(const std::vector<Bytes>& blobs) {
  CompressionPool pool(Cores(), ChunkPolicy().level);
  std::vector<std::optional<ConvertedLayer>> layers(blobs.size());
  ConverterCost result;
  result.cost = Measure([&] {
    ThreadPool readers("layer", kLayersAtOnce);
    for (size_t i = 0; i < blobs.size(); ++i) {
      readers.Submit([&, i] { layers[i].emplace(Convert(ReaderOf(blobs[i]), pool)); });
    }
  });
  for (const auto& layer : layers) result.bytes += static_cast<double>(layer->spool.size());
  return result;
}

void PrintParts(const PassCost& pass) {
  Row("inflate", pass.megabytes, pass.inflate);
  Row("SHA-256 of the tar", pass.megabytes, pass.tar_hash);
  Row("SHA-256 of the chunks", pass.megabytes, pass.chunk_hash);
  Row("SHA-256 of the blob", pass.megabytes, pass.blob_hash);
  Row("zstd", pass.megabytes, pass.zstd);
}

// `converted`: the converter's cost, on all cores.
void PrintShare(const char* limit_name, const PassCost& pass, const Cost& converted) {
  const Cost limit = pass.all();
  Row(limit_name, pass.megabytes * Cores(), limit);
  std::printf("    the converter's share      %8.0f %%                  %8.0f %%\n",
              100 * limit.wall_seconds / Cores() / converted.wall_seconds,
              100 * limit.cpu_seconds / converted.cpu_seconds);
}

// The limit is given twice: by parts measured on one core while the others rest, times the cores;
// and by parts measured on all cores at once, which share caches and memory.
void MeasureLayers(const std::vector<std::string>& paths) {
  std::vector<Bytes> blobs;
  for (const std::string& path : paths) blobs.push_back(OrDie(ReadFile(path, uint64_t{4} << 30)));
  PassCost alone;
  PassCost together;
  for (const Bytes& blob : blobs) {
    MeasureParts(blob, 1, alone);
    MeasureParts(blob, Cores(), together);
  }
  const ConverterCost converter = MeasureConverter(blobs);
  std::printf("%.0f MB of tar, %d cores\none core, the others at rest, per byte of tar:\n",
              alone.megabytes, Cores());
  PrintParts(alone);
  std::printf("one core, the others at the same work:\n");
  PrintParts(together);
  std::printf("all cores:\n");
  std::printf(
      "  converter                    %8.0f MB/s by the clock %8.0f MB/s by processor time\n",
      alone.megabytes / converter.cost.wall_seconds,
      alone.megabytes / converter.cost.cpu_seconds * Cores());
  PrintShare("limit, cores one by one", alone, converter.cost);
  PrintShare("limit, cores at once", together, converter.cost);
  std::printf("output: %.1f MB, plain zstd of the whole tars %.1f MB: %+.2f %%\n",
              converter.bytes / 1e6, alone.plain_bytes / 1e6,
              100 * (converter.bytes / alone.plain_bytes - 1));
}

// A tar of files of many sizes, made as it is read: text that compresses about as programs do.
Status ReadGenerated(uint64_t bytes, const BlobConsumer& consume) {
  constexpr uint64_t kLargeFile = uint64_t{512} << 20;
  std::string text(size_t{4} << 20, '\0');
  uint32_t state = 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>((state >> 24) & ((state >> 8) % 3 == 0 ? 0xff : 0x0f));
  }
  uint64_t written = 0;
  const auto put = [&](std::string_view piece) {
    written += piece.size();
    return consume(AsBytes(piece));
  };
  for (uint64_t number = 0; written < bytes; ++number) {
    // One large file, then many small ones.
    const bool is_large = number % 20000 == 0;
    const uint64_t size = is_large ? kLargeFile : 512 * (1 + number % 97);
    const std::string path =
        "dir" + std::to_string(number / 100) + "/file" + std::to_string(number);
    LAYERFS_CHECK_OK(put(TarWriter::Header({.path = path, .claimed_size = size})));
    for (uint64_t done = 0; done < size;) {
      const uint64_t offset = (number * 7919 + done) % (text.size() / 2);
      const uint64_t piece = std::min<uint64_t>(size - done, text.size() / 2);
      LAYERFS_CHECK_OK(put(std::string_view(text).substr(offset, piece)));
      done += piece;
    }
  }
  return put(std::string(2 * kTarBlock, '\0'));
}

void MeasureGenerated(uint64_t gib) {
  CompressionPool pool(Cores(), ChunkPolicy().level);
  const uint64_t bytes = gib << 30;
  uint64_t converted = 0;
  const Cost cost = Measure([&] {
    const ConvertedLayer layer = Convert(
        [bytes](const BlobConsumer& consume) { return ReadGenerated(bytes, consume); }, pool);
    converted = layer.spool.size();
  });
  const double megabytes = static_cast<double>(bytes) / 1e6;
  Row("a plain tar, all cores", megabytes, cost);
  std::printf("  %.0f MB of tar to %.0f MB; memory at its peak: %.0f MiB\n", megabytes,
              static_cast<double>(converted) / 1e6, PeakMiB());
}

}  // namespace
}  // namespace layerfs

int main(int argc, char** argv) {
  layerfs::GiveLargeBlocksBack();  // as `layerfs convert` does
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "--generated") {
    layerfs::MeasureGenerated(std::strtoull(arguments[1].c_str(), nullptr, 10));
    return 0;
  }
  if (arguments.empty() || arguments[0].starts_with("-")) {
    std::fprintf(stderr, "usage: convert_bench LAYER.tar.gz... | --generated GIB\n");
    return 2;
  }
  layerfs::MeasureLayers(arguments);
  return 0;
}
