// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/trace_files.h"

#include "index/base/file.h"

namespace layerfs {

Result<std::vector<Trace>> ReadTraces(std::span<const std::string> files) {
  std::vector<Trace> traces;
  for (const std::string& file : files) {
    LAYERFS_TRY(text, ReadFile(file, kMaxTraceBytes));
    LAYERFS_TRY_IN(trace, Trace::Parse(AsText(text)), file);
    traces.push_back(std::move(trace));
  }
  return traces;
}

}  // namespace layerfs
