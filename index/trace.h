// SPDX-License-Identifier: Apache-2.0
// Trace: what a start-up reads of an image, by path and page, in the order of first read. TRACE.md
// is normative for its text.
// A value; TraceBuilder: one thread at a time.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

inline constexpr uint64_t kTracePageBytes = 4096;
inline constexpr uint64_t kMaxTraceBytes = uint64_t{64} << 20;
// Of what is made here, comments aside.
inline constexpr uint64_t kMaxMadeTraceBytes = kMaxTraceBytes - (uint64_t{1} << 20);
inline constexpr size_t kMaxTracePages = size_t{1} << 22;
inline constexpr size_t kMaxTracePaths = size_t{1} << 20;  // different ones
// A line has a page at least, or a path that was only looked at.
inline constexpr size_t kMaxTraceLines = kMaxTracePages + kMaxTracePaths;

// Pages [first_page, first_page + pages) of a file; `pages` 0: the path was only looked up.
struct TraceEntry {
  std::string path;  // absolute, as bytes
  uint32_t first_page = 0;
  uint32_t pages = 0;
  bool operator==(const TraceEntry&) const = default;
};

struct Trace {
  // In order; no page occurs twice, and a path that is read has no entry without pages.
  std::vector<TraceEntry> entries;

  static Result<Trace> Parse(std::string_view text);
  // `comments` become lines that begin with '#'. Deterministic.
  std::string Encode(std::span<const std::string> comments = {}) const;
  uint64_t page_count() const;
};

// Collects pages in any order with repetitions; only the first counts.
class TraceBuilder {
 public:
  // `max_text`: of the encoded trace, at least as far as it is made of paths.
  explicit TraceBuilder(uint64_t max_text = UINT64_MAX) : text_left_(max_text) {}

  // False where a limit leaves something of it out: which a recording passes over, and a reader of
  // files must not.
  bool Read(std::string_view path, uint64_t first_page, uint64_t pages);
  bool Stat(std::string_view path);
  bool full() const { return page_count_ >= kMaxTracePages; }
  Trace Finish() &&;

 private:
  struct Seen {
    bool stat = false;
    std::set<uint32_t> pages;
  };
  Seen* Find(std::string_view path);
  // Whether there is room for one more line, or for one more range of the last.
  bool TakeText(std::string_view path, bool is_line);

  std::unordered_map<std::string, Seen> seen_;
  std::vector<TraceEntry> entries_;
  size_t page_count_ = 0;
  uint64_t text_left_;
};

// TRACE.md, "Merging".
Trace MergeTraces(std::span<const Trace> traces);

}  // namespace layerfs
