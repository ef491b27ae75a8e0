// SPDX-License-Identifier: Apache-2.0
// For tests of TarParser and of what is built on it: a whole tar in memory → its entries, fed in
// pieces of a given size; and tars that are a little special.
// Thread-safe.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/tar_parser.h"
#include "tests/index/tar_writer.h"

namespace layerfs {

inline Result<std::vector<TarEntry>> ParseTar(ByteSpan tar, size_t piece = SIZE_MAX,
                                              TarLimits limits = {}) {
  std::vector<TarEntry> entries;
  TarParser parser(
      [&](TarEntry&& entry) {
        entries.push_back(std::move(entry));
        return Status();
      },
      limits);
  while (!tar.empty()) {
    const size_t size = std::min(piece, tar.size());
    LAYERFS_CHECK_OK(parser.Feed(tar.first(size)));
    tar = tar.subspan(size);
  }
  LAYERFS_CHECK_OK(parser.Finish());
  return entries;
}

inline std::string Repeat(char c, size_t count) { return std::string(count, c); }

// A header whose bytes at `offset` are replaced before it is summed.
inline std::string Patched(const TarItem& item, size_t offset, std::string_view bytes) {
  std::string block = TarWriter::Header(item);
  block.replace(offset, bytes.size(), bytes);
  return TarWriter::Summed(std::move(block));
}

inline TarWriter WithPax(const TarPairs& records) {
  TarWriter writer;
  writer.Add({.path = "f", .content = "abc", .pax = records});
  return writer;
}

// A test's name from a case's: letters and digits only.
inline std::string CaseName(const std::string& name) {
  std::string safe = name;
  for (char& c : safe) c = std::isalnum(static_cast<uint8_t>(c)) != 0 ? c : '_';
  return safe;
}

}  // namespace layerfs
