// SPDX-License-Identifier: Apache-2.0
// AccessRecorder: what is read of a mounted image, page by page, and what is only looked up, as a
// trace. It sees what the kernel asks for: whoever mounts keeps the kernel from reading ahead.
// Thread-safe, but for Finish.
#pragma once

#include <chrono>
#include <vector>

#include "fs/file_reader.h"
#include "fs/image_file_system.h"
#include "index/base/synchronized.h"
#include "index/trace.h"

namespace layerfs {

class AccessRecorder {
 public:
  // Before the first read, and before the file system is made of `options`. Outlives both.
  AccessRecorder(FileReader& reader, ImageFileSystem::Options& options);

  // Once nothing is read any more. In the order in which the reads began.
  Trace Finish() &&;

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Access {
    Time began;
    InodeNumber inode{0};
    uint64_t offset = 0;
    uint64_t size = 0;  // 0: looked up
  };
  static constexpr size_t kMaxAccesses = size_t{8} << 20;
  void Add(const Access& access);

  FileReader& reader_;
  Synchronized<std::vector<Access>> accesses_;
};

}  // namespace layerfs
