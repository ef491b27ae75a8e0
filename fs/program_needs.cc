// SPDX-License-Identifier: Apache-2.0
#include "fs/program_needs.h"

#include <elf.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string_view>

namespace layerfs {
namespace {

constexpr size_t kMaxSegments = 64;
constexpr size_t kMaxLibraries = 512;
constexpr uint64_t kMaxStringsBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxDynamicBytes = uint64_t{64} << 10;
constexpr size_t kMaxProgramsOfScript = 64;
constexpr size_t kMaxPathBytes = 4096;

template <typename T>
bool CopyAt(ByteSpan bytes, uint64_t offset, T& record) {
  if (!RangeFits(offset, sizeof record, bytes.size())) return false;
  std::memcpy(&record, bytes.data() + offset, sizeof record);
  return true;
}

bool IsWordByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("/._+-").contains(c);
}

// Words after which a shell expects a command again.
bool IsBeforeCommand(std::string_view word) {
  constexpr std::string_view kWords[] = {"exec",  "then",  "do",   "else", "if",    "elif",
                                         "while", "until", "time", "env",  "nohup", "command"};
  return std::ranges::find(kWords, word) != std::ranges::end(kWords);
}

// What shells do themselves (dash(1), bash(1)), though there is a program of that name.
bool IsBuiltIn(std::string_view word) {
  constexpr std::string_view kWords[] = {
      "alias", "bg",   "cd",      "echo",   "eval",  "exit",    "export", "false",
      "fc",    "fg",   "getopts", "hash",   "jobs",  "kill",    "local",  "printf",
      "pwd",   "read", "return",  "set",    "shift", "source",  "test",   "times",
      "trap",  "true", "type",    "ulimit", "umask", "unalias", "unset",  "wait"};
  return std::ranges::find(kWords, word) != std::ranges::end(kWords);
}

}  // namespace

std::optional<ElfHead> ParseElfHead(ByteSpan head) {
  Elf64_Ehdr header;
  if (!CopyAt(head, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxSegments) {
    return std::nullopt;
  }
  ElfHead elf;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const auto at = CheckedAdd<uint64_t>(header.e_phoff, i * sizeof segment);
    if (!at.has_value() || !CopyAt(head, *at, segment)) return std::nullopt;
    const FilePart part{segment.p_offset, segment.p_filesz};
    if (segment.p_type == PT_LOAD) elf.loads.push_back({segment.p_vaddr, part});
    if (segment.p_type == PT_DYNAMIC && part.size <= kMaxDynamicBytes) elf.dynamic = part;
    if (segment.p_type == PT_INTERP && RangeFits(part.offset, part.size, head.size())) {
      elf.interpreter = ElfString(head.subspan(part.offset, part.size), 0);
    }
  }
  return elf;
}

std::optional<ElfNeeds> ParseElfNeeds(const ElfHead& head, ByteSpan dynamic) {
  ElfNeeds needs;
  uint64_t strings_address = 0;
  ByteReader reader(dynamic);
  while (reader.remaining() >= sizeof(Elf64_Dyn)) {
    const auto tag = reader.Read<int64_t>();
    const auto value = reader.Read<uint64_t>();
    if (tag == DT_NULL) break;
    if (tag == DT_NEEDED && needs.libraries.size() < kMaxLibraries) {
      needs.libraries.push_back(value);
    }
    if (tag == DT_STRTAB) strings_address = value;
    if (tag == DT_STRSZ) needs.strings.size = std::min(value, kMaxStringsBytes);
    if (tag == DT_RUNPATH || (tag == DT_RPATH && !needs.run_path.has_value())) {
      needs.run_path = value;
    }
  }
  for (const ElfHead::Load& load : head.loads) {
    if (strings_address < load.address || strings_address - load.address >= load.part.size) {
      continue;
    }
    const auto at = CheckedAdd(load.part.offset, strings_address - load.address);
    if (!at.has_value()) return std::nullopt;
    needs.strings.offset = *at;
    return needs;
  }
  return std::nullopt;
}

std::string ElfString(ByteSpan strings, uint64_t offset) {
  if (offset >= strings.size()) return {};
  const std::string_view text = AsText(strings.subspan(offset));
  const size_t end = text.find('\0');
  return end == std::string_view::npos || end > kMaxPathBytes ? std::string()
                                                              : std::string(text.substr(0, end));
}

std::vector<std::string> LocaleFiles(std::string_view locale) {
  if (locale.empty() || locale == "C" || locale == "POSIX" || locale.contains('/')) return {};
  // The C library looks for a normalized code set: "utf8" for "UTF-8".
  const size_t dot = std::min(locale.find('.'), locale.size());
  const size_t end = std::min(locale.find('@', dot), locale.size());
  std::string name(locale.substr(0, std::min(dot + 1, locale.size())));
  for (size_t i = dot + 1; i < end; ++i) {
    if (std::isalnum(static_cast<unsigned char>(locale[i])) == 0) continue;
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(locale[i])));
  }
  if (end > dot) name += locale.substr(end);
  std::vector<std::string> files;
  for (const char* const category :
       {"LC_CTYPE", "LC_COLLATE", "LC_MESSAGES/SYS_LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC",
        "LC_TIME", "LC_ADDRESS", "LC_IDENTIFICATION", "LC_MEASUREMENT", "LC_NAME", "LC_PAPER",
        "LC_TELEPHONE"}) {
    files.push_back("/usr/lib/locale/" + name + "/" + category);
  }
  return files;
}

bool IsScript(ByteSpan head) { return AsText(head).starts_with("#!"); }

std::vector<std::string> ProgramsInScript(ByteSpan text) {
  std::string_view rest = AsText(text);
  std::vector<std::string> programs;
  if (!IsScript(text)) return programs;
  rest.remove_prefix(2);
  bool command = true;  // a word that begins here is one
  while (!rest.empty() && programs.size() < kMaxProgramsOfScript) {
    size_t size = 0;
    while (size < rest.size() && IsWordByte(rest[size])) ++size;
    const std::string_view word = rest.substr(0, size);
    const char next = size < rest.size() ? rest[size] : '\n';
    rest.remove_prefix(std::max<size_t>(size, 1));
    if (size == 0) {
      if (next == '#' && command) rest.remove_prefix(std::min(rest.find('\n'), rest.size()));
      if (std::string_view("\n;|&({`").contains(next)) command = true;
      continue;
    }
    // What stands before a command leaves its place open.
    if (command && next == '=') {
      while (!rest.empty() && !std::string_view(" \t\n;").contains(rest.front()))
        rest.remove_prefix(1);
      continue;
    }
    if (command && IsBeforeCommand(word)) continue;
    const bool is_program = word.front() == '/' || (command && !IsBuiltIn(word));
    if (size > 1 && size <= kMaxPathBytes && is_program) {
      programs.emplace_back(word);
    }
    command = word.ends_with("/env");  // what follows is what it runs
  }
  return programs;
}

}  // namespace layerfs
