// SPDX-License-Identifier: Apache-2.0
// Any bytes as the parts of a startup pack that have a structure: the first byte chooses which.
// Invariant: what is accepted encodes to the same bytes again, and runs lie inside their files.
#include <cstdlib>

#include "index/pack.h"
#include "tests/index/index_samples.h"

namespace {

using namespace layerfs;

const Index& Tree() {
  static const Index tree = std::move(*Index::Open(SampleTree()));
  return tree;
}

void CheckHead(ByteSpan bytes) {
  const auto head = PackHead::Decode(bytes);
  if (!head.has_value()) return;
  // The compat bits are passed over and not kept.
  Bytes expected(bytes.begin(), bytes.end());
  std::fill_n(expected.begin() + 16, 8, 0);
  if (head->Encode() != expected || head->EncodedSize() != bytes.size()) std::abort();
}

void CheckRuns(ByteSpan bytes) {
  PackHead head;
  head.run_count = static_cast<uint32_t>(bytes.size() / 12);
  for (uint32_t pages = 0; pages < 8; ++pages) {
    head.page_count = pages;
    const auto runs = DecodePackRuns(bytes, head, Tree());
    if (!runs.has_value()) continue;
    if (EncodePackRuns(*runs) != Bytes(bytes.begin(), bytes.end())) std::abort();
    for (const PackRun& run : *runs) {
      const uint64_t end = (uint64_t{run.first_page} + run.pages - 1) * kPackPageBytes;
      if (end >= Tree().Get(run.inode).size) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteSpan rest(data + 1, size - 1);
  if (data[0] % 3 == 0) CheckHead(rest);
  if (data[0] % 3 == 1) CheckRuns(rest);
  if (data[0] % 3 == 2) (void)DecodePackSegments(rest, Tree());
  return 0;
}
