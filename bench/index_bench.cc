// SPDX-License-Identifier: Apache-2.0
// What a mount pays for a cached tree of a million entries: to open it (checksums and validation,
// from a mapped file), to look a name up, and in resident memory. Run: index_bench.
#include <benchmark/benchmark.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "index/base/file.h"
#include "index/index.h"
#include "index/index_writer.h"

namespace layerfs {
namespace {

constexpr uint32_t kDirectories = 50'000;
constexpr uint32_t kFilesPerDirectory = 19;  // and the directory itself: a million entries

[[noreturn]] void Stop(const Error& error) {
  std::fprintf(stderr, "%s\n", error.context.c_str());
  std::exit(1);
}

std::string Numbered(const char* prefix, uint32_t number) {
  char name[32];
  std::snprintf(name, sizeof name, "%s-%06u", prefix, number);
  return name;
}

Inode MakeInode(uint32_t mode, uint32_t nlink) {
  Inode inode;
  inode.mode = mode;
  inode.nlink = nlink;
  inode.mtime = {.seconds = 1'700'000'000, .nanoseconds = 0};
  return inode;
}

Bytes MakeTree() {
  IndexWriter writer(IndexKind::kTree);
  const InodeNumber root = writer.AddInode({.inode = MakeInode(S_IFDIR | 0755, 2 + kDirectories)});
  std::vector<std::string> names;
  std::vector<InodeNumber> directories;
  for (uint32_t i = 0; i < kDirectories; ++i) {
    names.push_back(Numbered("directory", i));
    directories.push_back(writer.AddInode({.inode = MakeInode(S_IFDIR | 0755, 2)}));
  }
  std::vector<Dirent> entries;
  for (uint32_t i = 0; i < kDirectories; ++i) entries.push_back({names[i], directories[i]});
  writer.SetEntries(root, entries);
  for (const InodeNumber directory : directories) {
    std::vector<std::string> files;
    for (uint32_t i = 0; i < kFilesPerDirectory; ++i) files.push_back(Numbered("file", i));
    entries.clear();
    for (const std::string& file : files) {
      entries.push_back({file, writer.AddInode({.inode = MakeInode(S_IFREG | 0644, 1)})});
    }
    writer.SetEntries(directory, entries);
  }
  auto bytes = std::move(writer).Finish({}, {});
  if (!bytes.has_value()) Stop(bytes.error());
  return std::move(*bytes);
}

// The tree as a mount finds it: a file in the cache.
const std::string& TreeFile() {
  static const std::string path = [] {
    const std::string file = "/tmp/layerfs-index-bench." + std::to_string(::getpid());
    const Status written = WriteFileAtomically(file, MakeTree());
    if (!written.has_value()) Stop(written.error());
    return file;
  }();
  return path;
}

Index OpenTree() {
  auto mapped = MappedFile::Open(TreeFile());
  if (!mapped.has_value()) Stop(mapped.error());
  auto index = Index::Open(std::move(*mapped));
  if (!index.has_value()) Stop(index.error());
  return std::move(*index);
}

double ResidentMib() {
  const auto text = ReadFile("/proc/self/statm", 256);
  if (!text.has_value()) return 0;
  std::istringstream words{std::string(AsText(*text))};
  unsigned long size = 0;
  unsigned long resident = 0;
  words >> size >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

void OpenMillion(benchmark::State& state) {
  TreeFile();
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(OpenTree().inode_count());
  const double before = ResidentMib();
  const Index index = OpenTree();
  state.counters["resident_mib_added"] = ResidentMib() - before;
  state.counters["file_mib"] = static_cast<double>(index.bytes().size()) / (1 << 20);
}
BENCHMARK(OpenMillion)->Unit(benchmark::kMillisecond);

void LookUp(benchmark::State& state) {
  const Index index = OpenTree();
  uint32_t number = 0;
  for ([[maybe_unused]] auto _ : state) {
    number = (number + 7919) % kDirectories;
    const auto directory = index.Lookup(kRootInode, Numbered("directory", number));
    benchmark::DoNotOptimize(index.Lookup(directory->inode, "file-000007"));
  }
}
BENCHMARK(LookUp)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace layerfs

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  ::unlink(layerfs::TreeFile().c_str());
  return 0;
}
