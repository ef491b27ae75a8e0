// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/pax_writer.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "index/path.h"

namespace layerfs {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kNameBytes = 100;
constexpr size_t kPrefixBytes = 155;
constexpr uint64_t kMaxOctal7 = 07777777;       // the fields of modes, owners and devices
constexpr uint64_t kMaxOctal11 = 077777777777;  // those of sizes and times
constexpr std::string_view kOpaqueName = ".wh..wh..opq";

// A block of a header. Field positions: POSIX.1-2017, pax, "ustar Interchange Format".
class Header {
 public:
  Header() { block_.fill(0); }

  void Text(size_t offset, size_t size, std::string_view text) {
    std::memcpy(block_.data() + offset, text.data(), std::min(size, text.size()));
  }
  void Octal(size_t offset, size_t size, uint64_t value) {
    std::array<char, 24> digits{};
    std::snprintf(digits.data(), digits.size(), "%0*llo", static_cast<int>(size - 1),
                  static_cast<unsigned long long>(value));
    Text(offset, size - 1, digits.data());
  }
  ByteSpan Seal() {
    Text(257, 6, std::string_view("ustar\0", 6));
    Text(263, 2, "00");
    Text(148, 8, "        ");
    unsigned sum = 0;
    for (const uint8_t byte : block_) sum += byte;
    std::array<char, 8> digits{};
    std::snprintf(digits.data(), digits.size(), "%06o", sum);
    Text(148, 8, std::string_view(digits.data(), 7));  // six digits and a NUL, then the space
    return block_;
  }

 private:
  std::array<uint8_t, kBlock> block_{};
};

// "LENGTH KEY=VALUE\n", where the length counts itself.
void AddRecord(std::string& records, std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t size = rest + std::to_string(rest).size();
  size = rest + std::to_string(size).size();
  records.append(std::to_string(size)).append(" ").append(key).append("=").append(value);
  records.push_back('\n');
}

std::string TimeText(const Timestamp& time) {
  // Below zero, the fraction counts from the seconds down.
  int64_t seconds = time.seconds;
  uint32_t fraction = time.nanoseconds;
  const bool negative = seconds < 0;
  if (negative && fraction != 0) {
    seconds += 1;
    fraction = 1'000'000'000 - fraction;
  }
  std::string text = negative && seconds == 0 ? "-0" : std::to_string(seconds);
  if (fraction == 0) return text;
  std::array<char, 16> digits{};
  std::snprintf(digits.data(), digits.size(), ".%09u", fraction);
  text += digits.data();
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

// As the tar spells it.
std::string NameInTar(const LayerEntry& entry) {
  switch (entry.type) {
    case EntryType::kDirectory:
      return entry.path.empty() ? "./" : entry.path + "/";
    case EntryType::kOpaque:
      return entry.path.empty() ? std::string(kOpaqueName) : (entry.path + "/").append(kOpaqueName);
    case EntryType::kWhiteout: {
      const size_t slash = entry.path.rfind('/');
      const size_t name = slash == std::string::npos ? 0 : slash + 1;
      return entry.path.substr(0, name).append(kWhiteoutPrefix) + entry.path.substr(name);
    }
    default:
      return entry.path;
  }
}

char TypeFlag(const LayerEntry& entry) {
  switch (entry.type) {
    case EntryType::kDirectory:
      return '5';
    case EntryType::kSymlink:
      return '2';
    case EntryType::kHardLink:
      return '1';
    case EntryType::kNode:
      if (S_ISCHR(entry.mode)) return '3';
      return S_ISBLK(entry.mode) ? '4' : '6';
    default:
      return '0';
  }
}

// The place of `name` in the name and prefix fields; false where it has none.
bool SetName(Header& header, std::string_view name) {
  if (name.size() <= kNameBytes) {
    header.Text(0, kNameBytes, name);
    return true;
  }
  for (size_t slash = name.rfind('/', std::min(name.size() - 2, kPrefixBytes));
       slash != std::string_view::npos && slash > 0; slash = name.rfind('/', slash - 1)) {
    if (name.size() - slash - 1 > kNameBytes) return false;
    if (slash > kPrefixBytes || slash + 1 == name.size()) continue;
    header.Text(0, kNameBytes, name.substr(slash + 1));
    header.Text(345, kPrefixBytes, name.substr(0, slash));
    return true;
  }
  return false;
}

std::string SparseMapText(const DataRuns& runs) {
  std::string text = std::to_string(runs.size()) + "\n";
  for (const auto& [offset, size] : runs) {
    text += std::to_string(offset) + "\n" + std::to_string(size) + "\n";
  }
  text.resize(AlignUp(text.size(), kBlock), '\0');
  return text;
}

// An entry's header and the records of what does not fit into it.
class EntryHeader {
 public:
  EntryHeader(const LayerEntry& entry, uint64_t size, bool sparse) {
    const bool marker = entry.type == EntryType::kWhiteout || entry.type == EntryType::kOpaque;
    const std::string name = NameInTar(entry);
    if (sparse) {
      AddRecord(records_, "GNU.sparse.major", "1");
      AddRecord(records_, "GNU.sparse.minor", "0");
      AddRecord(records_, "GNU.sparse.name", name);
      AddRecord(records_, "GNU.sparse.realsize", std::to_string(entry.size));
      header_.Text(0, kNameBytes, "GNUSparseFile.0/" + LastName(name));
    } else if (!SetName(header_, name)) {
      AddRecord(records_, "path", name);
      header_.Text(0, kNameBytes, LastName(name));
    }
    if (entry.type == EntryType::kSymlink || entry.type == EntryType::kHardLink) {
      SetTarget(entry.target);
    }
    Number(100, 8, marker ? 0 : entry.mode & 07777, kMaxOctal7, "");
    Number(108, 8, marker ? 0 : entry.uid, kMaxOctal7, "uid");
    Number(116, 8, marker ? 0 : entry.gid, kMaxOctal7, "gid");
    Number(124, 12, size, kMaxOctal11, "size");
    SetTime(marker ? Timestamp{} : entry.mtime);
    header_.Text(156, 1, std::string(1, TypeFlag(entry)));
    if (entry.type == EntryType::kNode) {
      header_.Octal(329, 8, major(entry.device));
      header_.Octal(337, 8, minor(entry.device));
    }
    if (marker || entry.type == EntryType::kHardLink) return;
    for (const auto& [key, value] : entry.xattrs) AddRecord(records_, "SCHILY.xattr." + key, value);
  }

  Status Write(const PaxWriter::Sink& sink) {
    if (!records_.empty()) {
      Header extended;
      extended.Text(0, kNameBytes, "PaxHeaders.0/entry");
      extended.Octal(100, 8, 0644);
      extended.Octal(108, 8, 0);
      extended.Octal(116, 8, 0);
      extended.Octal(124, 12, records_.size());
      extended.Octal(136, 12, 0);
      extended.Text(156, 1, "x");
      LAYERFS_CHECK_OK(sink(extended.Seal()));
      records_.resize(AlignUp(records_.size(), kBlock), '\0');
      LAYERFS_CHECK_OK(sink(AsBytes(records_)));
    }
    return sink(header_.Seal());
  }

 private:
  static std::string LastName(std::string_view path) {
    while (path.ends_with('/')) path.remove_suffix(1);
    const size_t slash = path.rfind('/');
    return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
  }
  void SetTarget(const std::string& target) {
    header_.Text(157, kNameBytes, target);
    if (target.size() > kNameBytes) AddRecord(records_, "linkpath", target);
  }
  void Number(size_t offset, size_t size, uint64_t value, uint64_t limit, std::string_view key) {
    header_.Octal(offset, size, value <= limit ? value : 0);
    if (value > limit) AddRecord(records_, key, std::to_string(value));
  }
  void SetTime(const Timestamp& time) {
    const bool fits = time.seconds >= 0 && static_cast<uint64_t>(time.seconds) <= kMaxOctal11;
    header_.Octal(136, 12, fits ? static_cast<uint64_t>(time.seconds) : 0);
    if (!fits || time.nanoseconds != 0) AddRecord(records_, "mtime", TimeText(time));
  }

  Header header_;
  std::string records_;
};

}  // namespace

Status PaxWriter::Begin(const LayerEntry& entry, const DataRuns* runs) {
  LAYERFS_CHECK_OK(Pad());
  uint64_t size = entry.type == EntryType::kFile ? entry.size : 0;
  std::string map;
  if (runs != nullptr) {
    map = SparseMapText(*runs);
    size = map.size();
    for (const auto& run : *runs) size += run.second;
  }
  LAYERFS_CHECK_OK(EntryHeader(entry, size, runs != nullptr).Write(sink_));
  expected_ = size;
  if (!map.empty()) LAYERFS_CHECK_OK(WriteData(AsBytes(map)));
  return {};
}

Status PaxWriter::WriteData(ByteSpan data) {
  if (data.size() > expected_) {
    return Fail(ErrorCode::kCorrupt, "a file of the layer is longer than it said");
  }
  expected_ -= data.size();
  written_ += data.size();
  return sink_(data);
}

Status PaxWriter::Pad() {
  if (expected_ != 0) {
    return Fail(ErrorCode::kCorrupt, "a file of the layer is shorter than it said");
  }
  const uint64_t padding = AlignUp(written_, kBlock) - written_;
  written_ = 0;
  if (padding == 0) return {};
  const Bytes zeros(padding);
  return sink_(zeros);
}

Status PaxWriter::Finish() {
  LAYERFS_CHECK_OK(Pad());
  const Bytes end(2 * kBlock);
  return sink_(end);
}

}  // namespace layerfs
