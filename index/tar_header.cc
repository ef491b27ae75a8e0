// SPDX-License-Identifier: Apache-2.0
#include "index/tar_header.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

namespace layerfs {
namespace {

struct Field {
  size_t offset;
  size_t size;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr Field kLinkName{157, 100};
constexpr Field kMagicField{257, 8};
constexpr Field kDeviceMajor{329, 8};
constexpr Field kDeviceMinor{337, 8};
constexpr Field kPrefix{345, 155};
constexpr Field kStarPrefix{345, 131};
constexpr Field kGnuAtime{345, 12};
constexpr Field kGnuCtime{357, 12};
constexpr Field kGnuRealSize{483, 12};
constexpr Field kStarTrailer{508, 4};

constexpr std::string_view kGnuMagic("ustar  \0", 8);
constexpr std::string_view kUstarMagic("ustar\0", 6);  // The version after it is not looked at.
constexpr std::string_view kStarTrailerText("tar\0", 4);

// dev_t of the kernel: 12 bits of major, 20 of minor number.
constexpr uint64_t kMaxDeviceMajor = 0xfff;
constexpr uint64_t kMaxDeviceMinor = 0xfffff;

ByteSpan Part(ByteSpan block, Field field) { return block.subspan(field.offset, field.size); }

// Up to the first NUL, or the whole field where it is full.
std::string_view TextField(ByteSpan block, Field field) {
  const std::string_view text = AsText(Part(block, field));
  return text.substr(0, text.find('\0'));
}

std::optional<int64_t> ParseBase256(ByteSpan field) {
  const bool negative = (field[0] & 0x40) != 0;
  uint64_t value = negative ? UINT64_MAX : 0;
  const uint64_t fill = negative ? 0xff : 0;
  for (size_t i = 0; i < field.size(); ++i) {
    const uint64_t byte = i == 0 ? (field[0] & 0x7f) | (negative ? 0x80 : 0) : field[i];
    if (value >> 56 != fill) return std::nullopt;
    value = value << 8 | byte;
  }
  const auto result = static_cast<int64_t>(value);
  if ((result < 0) != negative) return std::nullopt;
  return result;
}

bool IsAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

}  // namespace

bool IsZeroBlock(ByteSpan block) {
  return block[0] == 0 && std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

std::optional<int64_t> ParseTarNumber(ByteSpan field) {
  if (!field.empty() && (field[0] & 0x80) != 0) return ParseBase256(field);
  size_t i = 0;
  while (i < field.size() && (field[i] == ' ' || field[i] == 0)) ++i;
  uint64_t value = 0;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) {
    if (value >> 60 != 0) return std::nullopt;
    value = value << 3 | (field[i] - '0');
  }
  if (i < field.size() && field[i] != ' ' && field[i] != 0) return std::nullopt;
  return static_cast<int64_t>(value);
}

Result<TarHeader> TarHeader::Parse(ByteSpan block) {
  const std::optional<int64_t> stored = ParseTarNumber(Part(block, kChecksum));
  // The checksum's own bytes count as spaces.
  int64_t sum = int64_t{' '} * static_cast<int64_t>(kChecksum.size);
  int64_t high_bytes = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool counted = i < kChecksum.offset || i >= kChecksum.offset + kChecksum.size;
    sum += counted ? block[i] : 0;
    high_bytes += counted ? block[i] >> 7 : 0;
  }
  if (!stored.has_value() || (*stored != sum && *stored != sum - 256 * high_bytes)) {
    return Fail(ErrorCode::kCorrupt, "header checksum is wrong");
  }
  return TarHeader(block);
}

bool TarHeader::is_gnu() const { return AsText(Part(block_, kMagicField)) == kGnuMagic; }

std::string TarHeader::Prefix() const {
  if (AsText(Part(block_, kMagicField)).starts_with(kUstarMagic)) {
    const bool is_star = AsText(Part(block_, kStarTrailer)) == kStarTrailerText;
    return std::string(TextField(block_, is_star ? kStarPrefix : kPrefix));
  }
  if (!is_gnu() || block_[kPrefix.offset] == 0) return "";
  // GNU has times where ustar has the prefix. Tars that Go wrote before its release 1.8 (old Docker
  // images are full of them) have a prefix there nevertheless; Go's reader tells them in this way.
  const bool has_times = ParseTarNumber(Part(block_, kGnuAtime)).has_value() &&
                         ParseTarNumber(Part(block_, kGnuCtime)).has_value();
  const std::string_view prefix = TextField(block_, kPrefix);
  return !has_times && IsAscii(prefix) ? std::string(prefix) : "";
}

std::string TarHeader::Path() const {
  std::string path = Prefix();
  if (!path.empty()) path += '/';
  path += TextField(block_, kName);
  return path;
}

std::string TarHeader::LinkTarget() const { return std::string(TextField(block_, kLinkName)); }

Result<uint64_t> TarHeader::Unsigned(size_t offset, size_t size, std::string_view name,
                                     uint64_t limit) const {
  const std::optional<int64_t> value = ParseTarNumber(block_.subspan(offset, size));
  if (!value.has_value() || *value < 0 || static_cast<uint64_t>(*value) > limit) {
    return Fail(ErrorCode::kCorrupt, std::string(name) + " is not a number or out of range");
  }
  return static_cast<uint64_t>(*value);
}

Result<uint64_t> TarHeader::Size() const {
  return Unsigned(kSize.offset, kSize.size, "size", kMaxTarOffset);
}

Result<uint32_t> TarHeader::Permissions() const {
  LAYERFS_TRY(mode, Unsigned(kMode.offset, kMode.size, "mode", kMaxTarOffset));
  return static_cast<uint32_t>(mode & 07777);
}

Result<uint32_t> TarHeader::Uid() const {
  LAYERFS_TRY(uid, Unsigned(kUid.offset, kUid.size, "uid", kMaxTarId));
  return static_cast<uint32_t>(uid);
}

Result<uint32_t> TarHeader::Gid() const {
  LAYERFS_TRY(gid, Unsigned(kGid.offset, kGid.size, "gid", kMaxTarId));
  return static_cast<uint32_t>(gid);
}

Result<Timestamp> TarHeader::Mtime() const {
  const std::optional<int64_t> seconds = ParseTarNumber(Part(block_, kMtime));
  if (!seconds.has_value()) {
    return Fail(ErrorCode::kCorrupt, "mtime is not a number or out of range");
  }
  return Timestamp{*seconds, 0};
}

Result<dev_t> TarHeader::Device() const {
  LAYERFS_TRY(device_major, Unsigned(kDeviceMajor.offset, kDeviceMajor.size, "device major number",
                                     kMaxDeviceMajor));
  LAYERFS_TRY(device_minor, Unsigned(kDeviceMinor.offset, kDeviceMinor.size, "device minor number",
                                     kMaxDeviceMinor));
  return makedev(static_cast<unsigned>(device_major), static_cast<unsigned>(device_minor));
}

Result<uint64_t> TarHeader::SparseRealSize() const {
  return Unsigned(kGnuRealSize.offset, kGnuRealSize.size, "sparse size", kMaxTarOffset);
}

}  // namespace layerfs
