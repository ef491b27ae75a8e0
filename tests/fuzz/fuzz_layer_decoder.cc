// SPDX-License-Identifier: Apache-2.0
// LayerDecoder over any bytes: gzip and zstd framing. Invariants: the tar's size is what came out
// and stays within the limits, and the same bytes in pieces give the same outcome.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "index/layer_decoder.h"

namespace {

using layerfs::ByteSpan;
using layerfs::LayerDecoder;
using layerfs::LayerDecoderLimits;
using layerfs::LayerEncoding;
using layerfs::Status;

constexpr LayerDecoderLimits kLimits{.floor_bytes = 1 << 17, .ratio = 30};

void Require(bool holds) {
  if (!holds) std::abort();
}

struct Outcome {
  bool ok = false;
  LayerEncoding encoding = LayerEncoding::kUnknown;
  uint64_t checksum = 0;
};

Outcome Decode(ByteSpan blob, size_t piece) {
  Outcome outcome;
  uint64_t size_seen = 0;
  LayerDecoder decoder(
      [&](ByteSpan bytes) -> Status {
        for (const uint8_t byte : bytes) outcome.checksum = outcome.checksum * 31 + byte;
        size_seen += bytes.size();
        return {};
      },
      kLimits);
  const uint64_t limit = std::max<uint64_t>(kLimits.floor_bytes, kLimits.ratio * blob.size());
  Status status;
  while (status.has_value() && !blob.empty()) {
    const size_t size = std::min(piece, blob.size());
    status = decoder.Feed(blob.first(size));
    blob = blob.subspan(size);
  }
  if (status.has_value()) status = decoder.Finish();
  outcome.ok = status.has_value();
  outcome.encoding = decoder.encoding();
  Require(size_seen <= limit);
  Require(!outcome.ok || decoder.tar_size() == size_seen);
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteSpan blob(data, size);
  const Outcome whole = Decode(blob, SIZE_MAX);
  const Outcome pieces = Decode(blob, 61);
  Require(whole.ok == pieces.ok && whole.encoding == pieces.encoding);
  Require(!whole.ok || whole.checksum == pieces.checksum);
  return 0;
}
