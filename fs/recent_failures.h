// SPDX-License-Identifier: Apache-2.0
// RecentFailures: the ranges of files whose read has just ended in a timeout. When a readahead
// fails, the kernel asks for the reader's own page once more (mm/filemap.c, filemap_read_folio);
// without a memory that would wait for the whole timeout again.
// Thread-safe.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "fetch/clock.h"
#include "index/base/error.h"
#include "index/base/lru_map.h"
#include "index/base/synchronized.h"
#include "index/index.h"

namespace layerfs {

class RecentFailures {
 public:
  // The kernel asks at once; a reader that tries again by itself is to be tried for.
  static constexpr std::chrono::milliseconds kMemory{250};

  void Note(InodeNumber inode, uint64_t offset, uint64_t size, const Error& error, TimePoint now) {
    ranges_.With([&](auto& files) {
      std::vector<Range>* ranges = files.Find(ToUint(inode));
      if (ranges == nullptr) ranges = &files.Put(ToUint(inode), {});
      std::erase_if(*ranges, [&](const Range& range) { return range.until <= now; });
      if (ranges->size() < kRangesKept) {
        ranges->push_back({offset, offset + size, now + kMemory, error});
      }
    });
  }

  std::optional<Error> Find(InodeNumber inode, uint64_t offset, uint64_t size, TimePoint now) {
    return ranges_.With([&](auto& files) -> std::optional<Error> {
      const std::vector<Range>* ranges = files.Find(ToUint(inode));
      if (ranges == nullptr) return std::nullopt;
      const auto found = std::find_if(ranges->begin(), ranges->end(), [&](const Range& range) {
        return range.until > now && offset < range.end && range.begin < offset + size;
      });
      return found != ranges->end() ? std::optional(found->error) : std::nullopt;
    });
  }

 private:
  struct Range {
    uint64_t begin;
    uint64_t end;
    TimePoint until;
    Error error;
  };
  static constexpr size_t kFilesKept = 256;
  static constexpr size_t kRangesKept = 64;  // of one file; the kernel has fewer on their way

  using Files = LruMap<uint32_t, std::vector<Range>>;
  Synchronized<Files> ranges_{Files(kFilesKept)};
};

}  // namespace layerfs
