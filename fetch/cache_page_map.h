// SPDX-License-Identifier: Apache-2.0
// PageMap: which pages of a partial object are there. On disk it is a footer of the partial file
// (CACHE.md), so that it can never belong to other bytes than those before it; in memory a process
// keeps the bits that it has seen, and reads the footer again only when a page seems to be missing.
// Bits are only ever set.
// Covers is thread-safe against everything; the rest is one thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "fetch/object_cache.h"
#include "index/base/error.h"

namespace layerfs {

struct PageRange {
  uint64_t first = 0;
  uint64_t end = 0;
};

// The pages that [offset, offset + size) touches.
PageRange PagesOf(uint64_t offset, uint64_t size);

class PageMap {
 public:
  explicit PageMap(uint64_t object_bytes);

  // The size of a partial file with its footer.
  static uint64_t FileBytes(uint64_t object_bytes);
  // Makes an empty file a partial file without any page. Its last step is the footer's header, so
  // that a half-made one is not taken for a whole.
  static Status Format(int fd, uint64_t object_bytes);
  // Whether the file has the footer of an object of this size.
  static bool IsFormatted(int fd, uint64_t object_bytes);

  bool Covers(PageRange pages) const;
  // Takes over the bits on disk that hold `pages`, or all.
  Status Load(int fd, PageRange pages);
  Status LoadAll(int fd);
  // Marks the pages in memory and on disk. The caller keeps other processes out.
  Status Mark(int fd, PageRange pages);
  // Whether every page is there; reads from disk what is not known to be.
  Result<bool> IsFull(int fd);
  // Marks the pages in memory only: for what this process has verified.
  void Set(PageRange pages);
  bool IsFullInMemory() const { return Covers({0, page_count_}); }
  uint64_t page_count() const { return page_count_; }

 private:
  uint64_t WordBits(uint64_t word) const;  // the bits of `word` that stand for pages

  uint64_t object_bytes_;
  uint64_t page_count_;
  std::vector<uint64_t> words_;  // through atomic_ref only
  uint64_t full_words_ = 0;      // words before this one are full
};

}  // namespace layerfs
