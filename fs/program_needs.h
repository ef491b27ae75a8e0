// SPDX-License-Identifier: Apache-2.0
// What a program's file says that it needs before it runs: an ELF file its interpreter and
// libraries (elf(5), ld.so(8)), a script its interpreter and the programs that it calls. For
// fetching ahead: what is not understood needs nothing.
// Pure functions of bytes from an image, which may be anything. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/bytes.h"

namespace layerfs {

// A part of a file.
struct FilePart {
  uint64_t offset = 0;
  uint64_t size = 0;
};

// From the beginning of an ELF file, little-endian and of 64 bits.
struct ElfHead {
  struct Load {
    uint64_t address = 0;
    FilePart part;
  };
  std::vector<Load> loads;
  FilePart dynamic;         // empty: it is linked statically
  std::string interpreter;  // empty: a library
};
// Nothing where it is no such file, or its headers do not lie in `head`.
std::optional<ElfHead> ParseElfHead(ByteSpan head);

// From its dynamic section.
struct ElfNeeds {
  FilePart strings;
  std::vector<uint64_t> libraries;  // offsets of names in `strings`
  std::optional<uint64_t> run_path;
};
std::optional<ElfNeeds> ParseElfNeeds(const ElfHead& head, ByteSpan dynamic);

// The string at `offset`; empty where there is none.
std::string ElfString(ByteSpan strings, uint64_t offset);

// What the C library reads for `locale`, the value of LANG or LC_ALL: "C.UTF-8". Nothing for the
// locales that it has built in, or in an archive.
std::vector<std::string> LocaleFiles(std::string_view locale);

// Whether a file that begins so is a script (execve(2)).
bool IsScript(ByteSpan head);
// What a script may run, in its order: its interpreter, absolute paths wherever they stand, and
// the words that stand where a shell expects a command and are none of its own.
std::vector<std::string> ProgramsInScript(ByteSpan text);

}  // namespace layerfs
