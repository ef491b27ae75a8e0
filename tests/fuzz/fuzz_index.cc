// SPDX-License-Identifier: Apache-2.0
// Any bytes as an index, as they are and in the form in which layers carry it. Invariant: what Open
// accepts can be walked whole, and arranging it for the wire and back gives the same bytes. The
// checksums are put right first, so that the fuzzer gets to the structure behind them.
#include <cstdlib>
#include <utility>

#include "index/index.h"
#include "index/index_codec.h"
#include "tests/index/index_samples.h"

namespace {

void Check(layerfs::Bytes bytes) {
  const layerfs::Bytes copy = bytes;
  auto index = layerfs::Index::Open(std::move(bytes));
  if (!index.has_value()) return;
  layerfs::WalkIndex(*index);
  const auto arranged = layerfs::EncodeIndex(copy);
  if (!arranged.has_value()) std::abort();
  const auto back = layerfs::DecodeIndex(*arranged);
  if (!back.has_value() || *back != copy) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  layerfs::Bytes bytes(data, data + size);
  auto decoded = layerfs::DecodeIndex(bytes);
  if (decoded.has_value()) Check(std::move(*decoded));
  layerfs::Reseal(bytes);
  Check(std::move(bytes));
  return 0;
}
