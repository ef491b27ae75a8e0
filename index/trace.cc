// SPDX-License-Identifier: Apache-2.0
#include "index/trace.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "index/path.h"

namespace layerfs {
namespace {

constexpr std::string_view kFirstWords = "layerfs trace ";
constexpr std::string_view kVersion = "1";
constexpr size_t kMaxPathBytes = 4096;

bool IsPlain(uint8_t byte) { return byte > 0x20 && byte < 0x7f && byte != '\\'; }

void AppendEscaped(std::string& out, std::string_view path) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (const char c : path) {
    const auto byte = static_cast<uint8_t>(c);
    if (IsPlain(byte)) {
      out.push_back(c);
      continue;
    }
    out += "\\x";
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
}

std::optional<uint8_t> HexDigit(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint8_t>(c - 'a' + 10);
  return std::nullopt;
}

std::optional<std::string> Unescape(std::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsPlain(static_cast<uint8_t>(text[i]))) {
      path.push_back(text[i]);
      continue;
    }
    if (text.size() - i < 4 || text[i] != '\\' || text[i + 1] != 'x') return std::nullopt;
    const auto high = HexDigit(text[i + 2]);
    const auto low = HexDigit(text[i + 3]);
    if (!high.has_value() || !low.has_value()) return std::nullopt;
    const auto byte = static_cast<uint8_t>(*high << 4 | *low);
    if (IsPlain(byte)) return std::nullopt;  // One spelling for each path.
    path.push_back(static_cast<char>(byte));
    i += 3;
  }
  return path;
}

bool IsSoundPath(std::string_view path) {
  if (path == "/") return true;
  if (path.empty() || path.size() > kMaxPathBytes || path.front() != '/') return false;
  if (path.find('\0') != std::string_view::npos) return false;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view name = path.substr(0, path.find('/'));
    if (name.empty() || name == "." || name == ".." || name.size() > kMaxNameBytes) return false;
    path.remove_prefix(name.size());
  }
  return true;
}

// The next field, and the rest behind its space.
std::string_view TakeField(std::string_view& rest) {
  const size_t space = rest.find(' ');
  const std::string_view field = rest.substr(0, space);
  rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
  return field;
}

std::optional<uint32_t> ParseNumber(std::string_view text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return number;
}

struct Range {
  uint32_t first = 0;
  uint32_t last = 0;
};

std::optional<Range> ParseRange(std::string_view text) {
  const size_t dash = text.find('-');
  const auto first = ParseNumber(text.substr(0, dash));
  if (!first.has_value()) return std::nullopt;
  if (dash == std::string_view::npos) return Range{*first, *first};
  const auto last = ParseNumber(text.substr(dash + 1));
  if (!last.has_value() || *last < *first) return std::nullopt;
  return Range{*first, *last};
}

class Parser {
 public:
  Result<Trace> Parse(std::string_view text) {
    if (text.size() > kMaxTraceBytes) {
      return Fail(ErrorCode::kTooLarge, "trace: more than 64 MiB");
    }
    while (!text.empty()) {
      const size_t end = text.find('\n');
      if (end == std::string_view::npos) {
        ++line_;
        return Refuse("does not end with a newline");
      }
      LAYERFS_CHECK_OK(Line(text.substr(0, end)));
      text.remove_prefix(end + 1);
    }
    if (line_ == 0) return Fail(ErrorCode::kCorrupt, "trace: is empty");
    return std::move(builder_).Finish();
  }

 private:
  std::unexpected<Error> Refuse(const std::string& what,
                                ErrorCode code = ErrorCode::kCorrupt) const {
    return Fail(code, "trace: line " + std::to_string(line_) + ": " + what);
  }

  Status Line(std::string_view line) {
    if (++line_ == 1) return FirstLine(line);
    if (line.empty() || line.front() == '#') return {};
    const std::string_view word = TakeField(line);
    if (word != "read" && word != "stat") return Refuse("begins neither with read nor with stat");
    const auto path = Unescape(TakeField(line));
    if (!path.has_value() || !IsSoundPath(*path)) return Refuse("a path that cannot be one");
    if (++lines_ > kMaxTraceLines) return Refuse("too many lines", ErrorCode::kTooLarge);
    if (word == "stat") {
      if (!line.empty()) return Refuse("something behind the path");
      if (!builder_.Stat(*path)) return RefusePath();
      return {};
    }
    if (line.empty()) return Refuse("no pages");
    while (!line.empty()) {
      const auto range = ParseRange(TakeField(line));
      if (!range.has_value()) return Refuse("a range that cannot be one");
      const uint64_t pages = uint64_t{range->last} - range->first + 1;
      pages_ += pages;
      if (pages_ > kMaxTracePages) return Refuse("too many pages", ErrorCode::kTooLarge);
      if (!builder_.Read(*path, range->first, pages)) return RefusePath();
    }
    return {};
  }

  // The pages have been counted: it is the path that the builder has no room for.
  std::unexpected<Error> RefusePath() const {
    return Refuse("more than " + std::to_string(kMaxTracePaths) + " different paths",
                  ErrorCode::kTooLarge);
  }

  Status FirstLine(std::string_view line) const {
    if (!line.starts_with(kFirstWords)) return Refuse("is not \"layerfs trace 1\"");
    const std::string version(line.substr(kFirstWords.size()));
    if (version == kVersion) return {};
    return Refuse("version \"" + version.substr(0, 20) + "\"; this layerfs reads version 1",
                  ErrorCode::kUnsupported);
  }

  size_t line_ = 0;
  size_t lines_ = 0;  // but for comments
  uint64_t pages_ = 0;
  TraceBuilder builder_;
};

void AppendRange(std::string& out, uint32_t first, uint32_t pages) {
  out += ' ' + std::to_string(first);
  if (pages > 1) out += '-' + std::to_string(uint64_t{first} + pages - 1);
}

}  // namespace

Result<Trace> Trace::Parse(std::string_view text) { return Parser().Parse(text); }

std::string Trace::Encode(std::span<const std::string> comments) const {
  std::string text = std::string(kFirstWords) + std::string(kVersion) + "\n";
  for (const std::string& comment : comments) {
    text += "# ";
    // A comment is one line, whatever it is made of.
    for (const char c : comment) text.push_back(c == '\n' ? ' ' : c);
    text += "\n";
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    const TraceEntry& entry = entries[i];
    text += entry.pages == 0 ? "stat " : "read ";
    AppendEscaped(text, entry.path);
    if (entry.pages > 0) AppendRange(text, entry.first_page, entry.pages);
    while (entry.pages > 0 && i + 1 < entries.size() && entries[i + 1].pages > 0 &&
           entries[i + 1].path == entry.path) {
      ++i;
      AppendRange(text, entries[i].first_page, entries[i].pages);
    }
    text += "\n";
  }
  return text;
}

uint64_t Trace::page_count() const {
  uint64_t count = 0;
  for (const TraceEntry& entry : entries) count += entry.pages;
  return count;
}

TraceBuilder::Seen* TraceBuilder::Find(std::string_view path) {
  const auto known = seen_.find(std::string(path));
  if (known != seen_.end()) return &known->second;
  if (seen_.size() >= kMaxTracePaths) return nullptr;
  return &seen_[std::string(path)];
}

bool TraceBuilder::TakeText(std::string_view path, bool is_line) {
  constexpr uint64_t kLineBytes = 8;    // "read ", the line's end
  constexpr uint64_t kRangeBytes = 22;  // " 4294967295-4294967295"
  uint64_t taken = kRangeBytes;
  if (is_line) {
    std::string escaped;
    AppendEscaped(escaped, path);
    taken += kLineBytes + escaped.size();
  }
  if (taken > text_left_) return false;
  text_left_ -= taken;
  return true;
}

bool TraceBuilder::Read(std::string_view path, uint64_t first_page, uint64_t pages) {
  Seen* const seen = Find(path);
  if (seen == nullptr) return false;
  for (uint64_t page = first_page; page < first_page + pages; ++page) {
    if (page > UINT32_MAX || full()) return false;
    const auto number = static_cast<uint32_t>(page);
    if (seen->pages.contains(number)) continue;
    TraceEntry* const last = entries_.empty() ? nullptr : &entries_.back();
    if (last != nullptr && last->pages > 0 && last->path == path &&
        uint64_t{last->first_page} + last->pages == page) {
      ++last->pages;
    } else {
      const bool is_line = last == nullptr || last->pages == 0 || last->path != path;
      if (!TakeText(path, is_line)) return false;
      entries_.push_back({std::string(path), number, 1});
    }
    seen->pages.insert(number);
    ++page_count_;
  }
  return true;
}

bool TraceBuilder::Stat(std::string_view path) {
  Seen* const seen = Find(path);
  if (seen == nullptr) return false;
  if (seen->stat) return true;
  if (!TakeText(path, true)) return false;
  seen->stat = true;
  entries_.push_back({std::string(path), 0, 0});
  return true;
}

Trace TraceBuilder::Finish() && {
  std::erase_if(entries_, [&](const TraceEntry& entry) {
    return entry.pages == 0 && !seen_[entry.path].pages.empty();
  });
  // What was between two runs may be gone now.
  Trace trace;
  for (TraceEntry& entry : entries_) {
    TraceEntry* const last = trace.entries.empty() ? nullptr : &trace.entries.back();
    if (last != nullptr && entry.pages > 0 && last->pages > 0 && last->path == entry.path &&
        uint64_t{last->first_page} + last->pages == entry.first_page) {
      last->pages += entry.pages;
    } else {
      trace.entries.push_back(std::move(entry));
    }
  }
  return trace;
}

Trace MergeTraces(std::span<const Trace> traces) {
  struct Place {
    uint64_t position = 0;
    const TraceEntry* entry = nullptr;
    uint32_t page = 0;
  };
  std::vector<Place> places;
  for (const Trace& trace : traces) {
    uint64_t position = 0;
    for (const TraceEntry& entry : trace.entries) {
      if (entry.pages == 0) places.push_back({position, &entry, 0});
      for (uint32_t i = 0; i < entry.pages; ++i) {
        places.push_back({position++, &entry, entry.first_page + i});
      }
    }
  }
  std::ranges::stable_sort(places, {}, &Place::position);
  TraceBuilder builder(kMaxMadeTraceBytes);
  for (const Place& place : places) {
    if (place.entry->pages == 0) {
      builder.Stat(place.entry->path);
    } else {
      builder.Read(place.entry->path, place.page, 1);
    }
  }
  return std::move(builder).Finish();
}

}  // namespace layerfs
