// SPDX-License-Identifier: Apache-2.0
// gzip members for tests, byte for byte: headers with any fields, stored deflate blocks, and
// trailers that are wrong on purpose; and members that a real compressor made. Without a
// compression library, so that the decoder is not tested against itself.
// Thread-safe: values only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "index/base/bytes.h"

namespace layerfs {

struct GzipMember {
  std::string content;
  std::optional<std::string> extra = {};
  std::optional<std::string> name = {};
  std::optional<std::string> comment = {};
  bool header_checksum = false;
  uint8_t reserved_flags = 0;
  uint32_t crc_error = 0;   // XORed into the trailer's CRC-32
  uint32_t size_error = 0;  // likewise into its size
  uint32_t header_checksum_error = 0;
};

// CRC-32 as RFC 1952, section 8, has it, bit by bit.
inline uint32_t PlainCrc32(std::string_view text) {
  uint32_t crc = UINT32_MAX;
  for (const char c : text) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320U : 0);
  }
  return ~crc;
}

inline std::string LittleEndian(uint64_t value, int size) {
  std::string text;
  for (int i = 0; i < size; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

inline std::string WriteGzip(const GzipMember& member) {
  const int flags = (member.header_checksum ? 2 : 0) | (member.extra.has_value() ? 4 : 0) |
                    (member.name.has_value() ? 8 : 0) | (member.comment.has_value() ? 16 : 0) |
                    member.reserved_flags;
  std::string out = "\x1f\x8b\x08" + LittleEndian(flags, 1) + LittleEndian(0, 4) + "\x02\x03";
  if (member.extra.has_value()) out += LittleEndian(member.extra->size(), 2) + *member.extra;
  if (member.name.has_value()) out += *member.name + '\0';
  if (member.comment.has_value()) out += *member.comment + '\0';
  if (member.header_checksum) {
    out += LittleEndian((PlainCrc32(out) & 0xffff) ^ member.header_checksum_error, 2);
  }
  std::string_view rest = member.content;
  do {  // Stored blocks: RFC 1951, section 3.2.4.
    const std::string_view block = rest.substr(0, 65535);
    rest.remove_prefix(block.size());
    out += rest.empty() ? '\1' : '\0';
    out += LittleEndian(block.size(), 2) + LittleEndian(~block.size(), 2);
    out += block;
  } while (!rest.empty());
  out += LittleEndian(PlainCrc32(member.content) ^ member.crc_error, 4);
  return out + LittleEndian(member.content.size() ^ member.size_error, 4);
}

inline std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// What zlib 1.2.13 made of LinesText(), at level 9: dynamic and fixed Huffman codes.
inline std::string LinesText() {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "line " + std::to_string(i % 37) + "\n";
  return text;
}
inline std::string LinesGzipDynamic() {
  return FromHex(
      "1f8b0800000000000203edd0bb0d02411044419f28088199e51b1006d2e9f237119abe2090ca6a6b9f666bfb"
      "eceff3e5b4fda6667a66cd5c676e33f799c7cc73e695e747269d4aa852aaa42aad4aac52abe42abd4eaf8fbb"
      "d2ebf43abd4eafd3ebf43abd4e6fa5b7d25bc747d35be9adf4567a74e8d0a143870e1d3a74e8d0a143870e1d"
      "3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143870e"
      "1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a14387"
      "0e1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143870e1d3a74e8d0a143"
      "870e1d3a74e8d0a143870e1d3a74e8d0a1f33f3a5fa9dfaea1f5960000");
}
// "hello hello hello" in fixed codes.
inline std::string HelloGzipFixed() {
  return FromHex("1f8b0800000000000203cb48cdc9c957c84090008088f9e511000000");
}

}  // namespace layerfs
