// SPDX-License-Identifier: Apache-2.0
// TarWriter: tars for tests, byte for byte as the test says — ustar, PAX and GNU entries, xattrs,
// hard links, sparse files, and headers that are wrong on purpose. Deterministic.
//
//   Bytes tar = TarWriter().Directory("etc").File("etc/passwd", "root").Symlink("p",
//   "etc").Finish(); TarWriter().Add({.path = "a", .content = "x", .uid = 1000, .xattrs =
//   {{"user.k", "v"}}});
//
// What does not fit a ustar header (a long name, a large uid, xattrs, a mtime with nanoseconds)
// goes into a PAX header, or, with `dialect = kGnu`, into L and K entries and base-256 numbers.
// One thread at a time.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "index/base/bytes.h"

namespace layerfs {

inline constexpr size_t kTarBlock = 512;

enum class TarDialect { kPax, kGnu };

using TarPairs = std::vector<std::pair<std::string, std::string>>;

struct TarItem {
  std::string path = {};
  char type = '0';
  std::string content = {};
  std::string link_target = {};
  uint32_t mode = 0644;
  uint64_t uid = 0;
  uint64_t gid = 0;
  int64_t mtime = 0;
  uint32_t mtime_nanoseconds = 0;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  TarPairs xattrs = {};  // written as SCHILY.xattr.NAME
  TarPairs pax = {};     // further PAX records, as they are
  TarDialect dialect = TarDialect::kPax;
  std::optional<uint64_t> claimed_size = {};  // in the header instead of content.size()
};

// Where a sparse file has data: (offset in the file, bytes). GNU tar wants whole blocks but for the
// last piece, and writes a final piece {real size, ""} where the file ends in a hole.
using TarSparseMap = std::vector<std::pair<uint64_t, std::string>>;

class TarWriter {
 public:
  TarWriter& Directory(std::string path, uint32_t mode = 0755) {
    return Add({.path = std::move(path) + "/", .type = '5', .mode = mode});
  }
  TarWriter& File(std::string path, std::string content = "", uint32_t mode = 0644) {
    return Add({.path = std::move(path), .content = std::move(content), .mode = mode});
  }
  TarWriter& Symlink(std::string path, std::string target) {
    return Add(
        {.path = std::move(path), .type = '2', .link_target = std::move(target), .mode = 0777});
  }
  TarWriter& HardLink(std::string path, std::string target) {
    return Add({.path = std::move(path), .type = '1', .link_target = std::move(target)});
  }
  TarWriter& Fifo(std::string path) { return Add({.path = std::move(path), .type = '6'}); }
  // `type` is '3' (character) or '4' (block).
  TarWriter& Device(std::string path, char type, uint32_t device_major, uint32_t device_minor) {
    return Add({.path = std::move(path),
                .type = type,
                .device_major = device_major,
                .device_minor = device_minor});
  }

  // One entry with whatever extension headers it needs.
  TarWriter& Add(const TarItem& item) {
    if (item.dialect == TarDialect::kGnu) return AddGnu(item);
    TarPairs records = PaxRecords(item);
    if (!records.empty()) Pax(records);
    TarItem header = item;
    header.path = item.path.substr(0, 100);
    header.link_target = item.link_target.substr(0, 100);
    if (item.uid > kMaxOctalId) header.uid = 0;
    if (item.gid > kMaxOctalId) header.gid = 0;
    if (item.mtime < 0) header.mtime = 0;
    return Raw(Header(header)).Payload(item.content);
  }

  // A PAX header: 'x' for the next entry, 'g' for all.
  TarWriter& Pax(const TarPairs& records, char type = 'x') {
    std::string payload;
    for (const auto& [key, value] : records) payload += PaxRecord(key, value);
    return Extension(type, "PaxHeaders/0", payload);
  }
  // A GNU long name ('L') or long link target ('K') for the next entry.
  TarWriter& GnuLong(char type, const std::string& text) {
    return Extension(type, "././@LongLink", text + '\0');
  }

  // Sparse files: PAX 1.0 (map in the payload), and old GNU (map in the header and extension
  // blocks).
  TarWriter& SparsePax10(const std::string& path, uint64_t real_size, const TarSparseMap& map) {
    std::string head = std::to_string(map.size()) + "\n";
    for (const auto& [offset, data] : map) {
      head += std::to_string(offset) + "\n" + std::to_string(data.size()) + "\n";
    }
    head.resize(AlignUp(head.size(), kTarBlock));
    return Add({.path = "GNUSparseFile.0/" + path,
                .content = head + Joined(map),
                .pax = {{"GNU.sparse.major", "1"},
                        {"GNU.sparse.minor", "0"},
                        {"GNU.sparse.name", path},
                        {"GNU.sparse.realsize", std::to_string(real_size)}}});
  }
  TarWriter& SparseOldGnu(const std::string& path, uint64_t real_size, const TarSparseMap& map) {
    const std::string data = Joined(map);
    std::string header =
        UnsummedHeader({.path = path, .type = 'S', .content = data, .dialect = TarDialect::kGnu});
    PutNumber(header, 483, 12, real_size);
    size_t next = PutSparse(header, 386, 4, map, 0);
    header[482] = next < map.size() ? '\1' : '\0';
    Raw(Summed(std::move(header)));
    while (next < map.size()) {
      std::string block(kTarBlock, '\0');
      next = PutSparse(block, 0, 21, map, next);
      block[504] = next < map.size() ? '\1' : '\0';
      Raw(block);
    }
    return Payload(data);
  }

  // The bytes as they are; nothing is padded.
  TarWriter& Raw(std::string_view bytes) {
    tar_ += bytes;
    return *this;
  }
  // Padded to a block.
  TarWriter& Payload(std::string_view bytes) {
    tar_ += bytes;
    tar_.resize(AlignUp(tar_.size(), kTarBlock));
    return *this;
  }

  uint64_t size() const { return tar_.size(); }
  // The tar with its end marker.
  Bytes Finish() const { return ToBytes(tar_ + std::string(2 * kTarBlock, '\0')); }
  Bytes WithoutEndMarker() const { return ToBytes(tar_); }

  // "LENGTH KEY=VALUE\n" where LENGTH counts itself.
  static std::string PaxRecord(const std::string& key, const std::string& value) {
    const size_t rest = key.size() + value.size() + 3;
    size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length) ++length;
    return std::to_string(length) + " " + key + "=" + value + "\n";
  }
  // One ustar (or, by dialect, GNU) block with its checksum.
  static std::string Header(const TarItem& item) { return Summed(UnsummedHeader(item)); }
  // Recomputes the checksum of a block that a test has changed.
  static std::string Summed(std::string block) {
    block.replace(148, 8, 8, ' ');
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<uint8_t>(c);
    char text[8];
    std::snprintf(text, sizeof text, "%06o", sum & 0777777U);
    block.replace(148, 7, text, 7);
    return block;
  }

 private:
  static constexpr uint64_t kMaxOctalId = 07777777;

  static Bytes ToBytes(const std::string& text) { return {text.begin(), text.end()}; }

  static std::string Joined(const TarSparseMap& map) {
    std::string data;
    for (const auto& piece : map) data += piece.second;
    return data;
  }

  // Octal where it fits, else base-256.
  static void PutNumber(std::string& block, size_t at, size_t width, uint64_t value) {
    const size_t digits = width - 1;
    if (digits * 3 < 64 && value >> (digits * 3) != 0) return PutBase256(block, at, width, value);
    for (size_t i = digits; i-- > 0; value >>= 3)
      block[at + i] = static_cast<char>('0' + (value & 7));
  }
  static void PutBase256(std::string& block, size_t at, size_t width, uint64_t value) {
    const bool negative = static_cast<int64_t>(value) < 0 && width > 8;
    for (size_t i = width; i-- > 0;) {
      const size_t shift = 8 * (width - 1 - i);
      block[at + i] = static_cast<char>(shift < 64 ? value >> shift : (negative ? 0xff : 0));
    }
    block[at] = static_cast<char>(negative ? 0xff : block[at] | 0x80);
  }

  static size_t PutSparse(std::string& block, size_t at, size_t slots, const TarSparseMap& map,
                          size_t next) {
    for (size_t slot = 0; slot < slots && next < map.size(); ++slot, ++next) {
      PutNumber(block, at + 24 * slot, 12, map[next].first);
      PutNumber(block, at + 24 * slot + 12, 12, map[next].second.size());
    }
    return next;
  }

  static std::string UnsummedHeader(const TarItem& item) {
    std::string block(kTarBlock, '\0');
    block.replace(0, item.path.substr(0, 100).size(), item.path.substr(0, 100));
    PutNumber(block, 100, 8, item.mode);
    PutNumber(block, 108, 8, item.uid);
    PutNumber(block, 116, 8, item.gid);
    PutNumber(block, 124, 12, item.claimed_size.value_or(item.content.size()));
    PutNumber(block, 136, 12, static_cast<uint64_t>(item.mtime));
    block[156] = item.type;
    block.replace(157, item.link_target.substr(0, 100).size(), item.link_target.substr(0, 100));
    const std::string_view magic = item.dialect == TarDialect::kGnu
                                       ? std::string_view("ustar  \0", 8)
                                       : std::string_view("ustar\00000", 8);
    block.replace(257, 8, magic);
    PutNumber(block, 329, 8, item.device_major);
    PutNumber(block, 337, 8, item.device_minor);
    return block;
  }

  static TarPairs PaxRecords(const TarItem& item) {
    TarPairs records = item.pax;
    if (item.path.size() > 100) records.emplace_back("path", item.path);
    if (item.link_target.size() > 100) records.emplace_back("linkpath", item.link_target);
    if (item.uid > kMaxOctalId) records.emplace_back("uid", std::to_string(item.uid));
    if (item.gid > kMaxOctalId) records.emplace_back("gid", std::to_string(item.gid));
    if (item.mtime < 0 || item.mtime_nanoseconds != 0) records.emplace_back("mtime", PaxTime(item));
    for (const auto& [name, value] : item.xattrs) {
      records.emplace_back("SCHILY.xattr." + name, value);
    }
    return records;
  }

  static std::string PaxTime(const TarItem& item) {
    // The seconds are floored: -1 s and 250 ms is written -0.75.
    const bool borrow = item.mtime < 0 && item.mtime_nanoseconds != 0;
    const int64_t seconds = borrow ? item.mtime + 1 : item.mtime;
    const uint32_t nanoseconds =
        borrow ? 1'000'000'000U - item.mtime_nanoseconds : item.mtime_nanoseconds;
    char fraction[16];
    std::snprintf(fraction, sizeof fraction, ".%09u", nanoseconds);
    const std::string sign = borrow && seconds == 0 ? "-" : "";
    return sign + std::to_string(seconds) + (nanoseconds != 0 ? fraction : "");
  }

  // GNU has no place for xattrs and nanoseconds: those still go into a PAX header.
  TarWriter& AddGnu(const TarItem& item) {
    TarItem rest = item;
    rest.path = rest.link_target = "";
    rest.uid = rest.gid = 0;
    if (item.mtime_nanoseconds == 0) rest.mtime = 0;
    const TarPairs records = PaxRecords(rest);
    if (!records.empty()) Pax(records);
    if (item.path.size() > 100) GnuLong('L', item.path);
    if (item.link_target.size() > 100) GnuLong('K', item.link_target);
    return Raw(Header(item)).Payload(item.content);
  }

  TarWriter& Extension(char type, const std::string& path, const std::string& payload) {
    return Raw(Header({.path = path, .type = type, .content = payload})).Payload(payload);
  }

  std::string tar_;
};

}  // namespace layerfs
