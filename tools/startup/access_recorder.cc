// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/access_recorder.h"

#include <algorithm>

namespace layerfs {

AccessRecorder::AccessRecorder(FileReader& reader, ImageFileSystem::Options& options)
    : reader_(reader) {
  reader.AddObserver([this](const ReadReport& report) {
    if (report.error != nullptr || report.size == 0) return;
    const Time now = std::chrono::steady_clock::now();
    Add({now - report.took, report.inode, report.offset, report.size});
  });
  options.on_lookup = [this](InodeNumber inode) {
    Add({std::chrono::steady_clock::now(), inode, 0, 0});
  };
}

void AccessRecorder::Add(const Access& access) {
  accesses_.With([&](auto& all) {
    if (all.size() < kMaxAccesses) all.push_back(access);
  });
}

Trace AccessRecorder::Finish() && {
  auto accesses = accesses_.With([](auto& all) { return std::move(all); });
  std::ranges::stable_sort(accesses, {}, &Access::began);
  TraceBuilder builder(kMaxMadeTraceBytes);
  for (const Access& access : accesses) {
    const std::string path = reader_.paths().PathOf(access.inode);
    if (!path.starts_with('/')) continue;
    if (access.size == 0) {
      builder.Stat(path);
      continue;
    }
    const uint64_t first = access.offset / kTracePageBytes;
    const uint64_t last = (access.offset + access.size - 1) / kTracePageBytes;
    builder.Read(path, first, last - first + 1);
  }
  return std::move(builder).Finish();
}

}  // namespace layerfs
