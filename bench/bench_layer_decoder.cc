// SPDX-License-Identifier: Apache-2.0
// How fast layers are decoded and their tars parsed, on a tar of real files, beside what ISA-L does
// with the same bytes in one call:
//   bench_layer_decoder                     /usr/include and /usr/bin of this machine
//   LAYERFS_BENCH_TREE=DIR bench_layer_decoder
#include <benchmark/benchmark.h>
#include <isa-l/igzip_lib.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "index/base/bytes.h"
#include "index/layer_decoder.h"
#include "index/tar_parser.h"
#include "tests/index/tar_writer.h"

namespace layerfs {
namespace {

// What a fetch hands over at a time.
constexpr size_t kPiece = size_t{64} << 10;
constexpr size_t kMaxTar = size_t{256} << 20;

Bytes OutputOf(const std::string& command) {
  Bytes output;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  if (pipe == nullptr) return output;
  Bytes buffer(1 << 20);
  while (const size_t size = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) {
    output.insert(output.end(), buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(size));
  }
  return output;
}

std::string TarCommand() {
  const char* tree = std::getenv("LAYERFS_BENCH_TREE");
  const std::string what =
      tree != nullptr ? "-C '" + std::string(tree) + "' ." : "-C /usr include bin";
  return "tar -cf - --format=pax " + what + " 2>/dev/null | head -c " + std::to_string(kMaxTar);
}

const Bytes& Tar() {
  static const Bytes bytes = OutputOf(TarCommand());
  return bytes;
}
const Bytes& Gzip() {
  static const Bytes bytes = OutputOf(TarCommand() + " | gzip -6");
  return bytes;
}
const Bytes& Zstd() {
  static const Bytes bytes = OutputOf(TarCommand() + " | zstd -q -3");
  return bytes;
}

void CountTarBytes(benchmark::State& state) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * Tar().size()));
}

void Decode(benchmark::State& state, const Bytes& blob) {
  const uint64_t tar_size = Tar().size();
  while (state.KeepRunning()) {
    LayerDecoder decoder([](ByteSpan) { return Status(); });
    for (size_t at = 0; at < blob.size(); at += kPiece) {
      const Status status =
          decoder.Feed(ByteSpan(blob).subspan(at, std::min(kPiece, blob.size() - at)));
      if (!status.has_value()) return state.SkipWithError(status.error().context.c_str());
    }
    if (decoder.tar_size() != tar_size) return state.SkipWithError("wrong size");
  }
  CountTarBytes(state);
}
void DecodeGzip(benchmark::State& state) { Decode(state, Gzip()); }
BENCHMARK(DecodeGzip)->Unit(benchmark::kMillisecond);
void DecodeZstd(benchmark::State& state) { Decode(state, Zstd()); }
BENCHMARK(DecodeZstd)->Unit(benchmark::kMillisecond);

// The ceiling of DecodeGzip: ISA-L with the whole blob and 256 KiB outputs.
void IsalInflate(benchmark::State& state) {
  Bytes out(size_t{256} << 10);
  const auto stream = std::make_unique<inflate_state>();
  const Bytes& blob = Gzip();
  while (state.KeepRunning()) {
    isal_inflate_init(stream.get());
    stream->crc_flag = ISAL_GZIP;
    stream->next_in = const_cast<uint8_t*>(blob.data());
    stream->avail_in = static_cast<uint32_t>(blob.size());
    do {
      stream->next_out = out.data();
      stream->avail_out = static_cast<uint32_t>(out.size());
      if (isal_inflate(stream.get()) != ISAL_DECOMP_OK) return state.SkipWithError("broken");
    } while (stream->block_state != ISAL_BLOCK_FINISH);
  }
  CountTarBytes(state);
}
BENCHMARK(IsalInflate)->Unit(benchmark::kMillisecond);

void Parse(benchmark::State& state, const Bytes& tar) {
  int64_t entries = 0;
  while (state.KeepRunning()) {
    TarParser parser([&](TarEntry&&) {
      ++entries;
      return Status();
    });
    for (size_t at = 0; at < tar.size(); at += kPiece) {
      const Status status =
          parser.Feed(ByteSpan(tar).subspan(at, std::min(kPiece, tar.size() - at)));
      if (!status.has_value()) return state.SkipWithError(status.error().context.c_str());
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * tar.size()));
  state.counters["entries"] =
      benchmark::Counter(static_cast<double>(entries), benchmark::Counter::kIsRate);
}
void ParseRealTar(benchmark::State& state) { Parse(state, Tar()); }
BENCHMARK(ParseRealTar)->Unit(benchmark::kMillisecond);

// Nothing but headers: empty files with PAX headers, as containers' tars mostly have them.
void ParsePaxEntries(benchmark::State& state) {
  TarWriter writer;
  for (int i = 0; i < 100'000; ++i) {
    writer.Add({.path = "usr/share/some/directory/file" + std::to_string(i),
                .mtime = 1700000000,
                .mtime_nanoseconds = 123456789,
                .pax = {{"atime", "1700000000.123456789"}, {"ctime", "1700000000.123456789"}}});
  }
  Parse(state, writer.Finish());
}
BENCHMARK(ParsePaxEntries)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace layerfs

BENCHMARK_MAIN();
