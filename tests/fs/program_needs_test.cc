// SPDX-License-Identifier: Apache-2.0
#include "fs/program_needs.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace layerfs {
namespace {

constexpr std::string_view kInterpreter = "/lib64/ld.so";
constexpr uint64_t kAddress = 0x400000;

// Headers, the interpreter's path at 0x200, the dynamic section at 0x300, its strings at 0x400; all
// in one segment.
Bytes MakeElf() {
  Bytes file(0x500);
  const auto put = [&](uint64_t at, const auto& record) {
    std::memcpy(file.data() + at, &record, sizeof record);
  };
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 3;
  put(0, header);
  const auto segment = [&](int i, uint32_t type, uint64_t offset, uint64_t size) {
    Elf64_Phdr program{};
    program.p_type = type;
    program.p_offset = offset;
    program.p_filesz = size;
    program.p_vaddr = kAddress + offset;
    put(sizeof header + static_cast<uint64_t>(i) * sizeof program, program);
  };
  segment(0, PT_INTERP, 0x200, kInterpreter.size() + 1);
  segment(1, PT_LOAD, 0, file.size());
  segment(2, PT_DYNAMIC, 0x300, 6 * sizeof(Elf64_Dyn));
  std::ranges::copy(kInterpreter, file.begin() + 0x200);
  const int64_t dynamic[][2] = {{DT_NEEDED, 1},   {DT_STRTAB, int64_t{kAddress} + 0x400},
                                {DT_NEEDED, 11},  {DT_RUNPATH, 21},
                                {DT_STRSZ, 0x80}, {DT_NULL, 0}};
  put(0x300, dynamic);
  constexpr std::string_view kStrings("\0libone.so\0libtwo.so\0/opt/lib", 29);
  std::ranges::copy(kStrings, file.begin() + 0x400);
  return file;
}

TEST(ProgramNeedsTest, AnElfFileNamesItsInterpreterAndLibraries) {
  const Bytes file = MakeElf();
  const auto head = ParseElfHead(file);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->interpreter, kInterpreter);
  const ByteSpan dynamic = ByteSpan(file).subspan(head->dynamic.offset, head->dynamic.size);
  const auto needs = ParseElfNeeds(*head, dynamic);
  ASSERT_TRUE(needs.has_value());
  EXPECT_EQ(needs->strings.offset, 0x400U);
  ASSERT_EQ(needs->libraries.size(), 2U);
  const ByteSpan strings = ByteSpan(file).subspan(needs->strings.offset, needs->strings.size);
  EXPECT_EQ(ElfString(strings, needs->libraries[0]), "libone.so");
  EXPECT_EQ(ElfString(strings, needs->libraries[1]), "libtwo.so");
  EXPECT_EQ(ElfString(strings, *needs->run_path), "/opt/lib");
}

TEST(ProgramNeedsTest, WhatIsCutShortOrBentNeedsNothing) {
  const Bytes file = MakeElf();
  const size_t headers = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
  for (size_t size = 0; size < headers; ++size) {
    EXPECT_FALSE(ParseElfHead(ByteSpan(file).first(size)).has_value()) << size;
  }
  for (size_t at = 0; at < headers; ++at) {
    Bytes bent = file;
    bent[at] = 0xff;
    const auto head = ParseElfHead(bent);
    if (head.has_value()) static_cast<void>(ParseElfNeeds(*head, ByteSpan(file).subspan(0x300)));
  }
  EXPECT_FALSE(ParseElfNeeds(ElfHead{}, ByteSpan(file).subspan(0x300)).has_value());
  EXPECT_EQ(ElfString(AsBytes("no end"), 0), "");
  EXPECT_EQ(ElfString(AsBytes("x"), 7), "");
}

TEST(ProgramNeedsTest, AScriptNamesItsInterpreterAndTheProgramsThatItCalls) {
  using Programs = std::vector<std::string>;
  EXPECT_EQ(ProgramsInScript(AsBytes("#!/bin/sh -e\n/usr/bin/a --x=/tmp/y; exec \"/usr/bin/b\"\n")),
            (Programs{"/bin/sh", "/usr/bin/a", "/tmp/y", "/usr/bin/b"}));
  EXPECT_EQ(ProgramsInScript(AsBytes("#!/bin/sh\n# which find is it\nmkdir -p run\n"
                                     "if test -x sort; then MODE=fast exec serve now; fi\n"
                                     "id=$(hostname); date | tee log\n")),
            (Programs{"/bin/sh", "mkdir", "serve", "fi", "date", "tee"}));
  EXPECT_EQ(ProgramsInScript(AsBytes("#!/usr/bin/env python3\nimport os\n")),
            (Programs{"/usr/bin/env", "python3", "import"}));
  EXPECT_EQ(ProgramsInScript(AsBytes("#!/bin/bash\ncd /srv; echo hello | cat\nprintf x; "
                                     "kill %1; wait || true\n")),
            (Programs{"/bin/bash", "/srv", "cat"}));
  EXPECT_EQ(ProgramsInScript(AsBytes("/bin/sh")), Programs{});
  EXPECT_EQ(ProgramsInScript(AsBytes("#! / //")), (Programs{"//"}));
  EXPECT_LE(
      ProgramsInScript(AsBytes("#!" + std::string(60000, ';') + std::string(9000, '\n'))).size(),
      64U);
}

TEST(ProgramNeedsTest, ALocalesFilesAreFoundByItsNormalizedName) {
  for (const char* const built_in : {"", "C", "POSIX", "../../etc", "a/b.UTF-8"}) {
    EXPECT_TRUE(LocaleFiles(built_in).empty()) << built_in;
  }
  const auto first = [](std::string_view locale) { return LocaleFiles(locale).front(); };
  EXPECT_EQ(first("C.UTF-8"), "/usr/lib/locale/C.utf8/LC_CTYPE");
  EXPECT_EQ(first("de_DE.ISO-8859-15@euro"), "/usr/lib/locale/de_DE.iso885915@euro/LC_CTYPE");
  EXPECT_EQ(first("de_DE@euro"), "/usr/lib/locale/de_DE@euro/LC_CTYPE");
  EXPECT_EQ(first("tr_TR"), "/usr/lib/locale/tr_TR/LC_CTYPE");
  EXPECT_EQ(first("x."), "/usr/lib/locale/x./LC_CTYPE");
}

}  // namespace
}  // namespace layerfs
