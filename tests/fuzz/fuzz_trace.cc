// SPDX-License-Identifier: Apache-2.0
// Any bytes as a trace. Invariant: what Parse accepts is written and read again the same, and
// merging it with itself changes nothing.
#include <cstdlib>

#include "index/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto trace = layerfs::Trace::Parse(layerfs::AsText({data, size}));
  if (!trace.has_value() || trace->page_count() > 100'000) return 0;
  const auto again = layerfs::Trace::Parse(trace->Encode());
  if (!again.has_value() || again->entries != trace->entries) std::abort();
  const layerfs::Trace twice[] = {*trace, *trace};
  if (layerfs::MergeTraces(twice).entries != trace->entries) std::abort();
  return 0;
}
