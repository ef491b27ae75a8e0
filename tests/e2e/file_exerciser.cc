// SPDX-License-Identifier: Apache-2.0
// file_exerciser FILE: random operations on one file by every way in which a program reaches it
// (read, write, mmap, O_DIRECT, fallocate, copy_file_range, SEEK_HOLE, reopening), each result
// compared with the same done in memory; as fsx does it. Run on a file of which a mount has only
// parts. Ends with 0, or says which operation lied. One thread; the file is nobody else's.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHistory = 40;

struct Exerciser {
  std::string path;
  size_t max_size = 0;
  std::mt19937_64 random;
  std::vector<uint8_t> model;
  int fd = -1;
  int direct = -1;  // O_DIRECT; -1 where there is none
  int other = -1;   // another open file of the same inode, for reading
  std::vector<std::string> history;
  std::string current;

  [[noreturn]] void Die(const std::string& what) {
    for (const std::string& line : history) std::fprintf(stderr, "  %s\n", line.c_str());
    std::fprintf(stderr, "file_exerciser: %s: %s\n", current.c_str(), what.c_str());
    std::exit(1);
  }
  [[noreturn]] void DieErrno(const std::string& call) { Die(call + ": " + std::strerror(errno)); }
  void Begin(const std::string& name, size_t a, size_t b) {
    current = name + " " + std::to_string(a) + "+" + std::to_string(b) + " of " +
              std::to_string(model.size());
    history.push_back(current);
    if (history.size() > kHistory) history.erase(history.begin());
  }

  size_t Pick(size_t below) { return below == 0 ? 0 : random() % below; }
  size_t Offset(size_t limit) {
    const size_t at = Pick(limit);
    switch (Pick(3)) {
      case 0:
        return at / kPage * kPage;
      case 1:
        return std::min(at / kPage * kPage + kPage - 1, limit == 0 ? 0 : limit - 1);
      default:
        return at;
    }
  }
  size_t Length() { return 1 + Pick(Pick(4) == 0 ? 300 * 1024 : 3 * kPage); }
  std::vector<uint8_t> Data(size_t size) {
    std::vector<uint8_t> data(size);
    const uint64_t seed = random();
    for (size_t i = 0; i < size; ++i) data[i] = static_cast<uint8_t>(seed + i * 31 + (i >> 9));
    return data;
  }
  void Put(size_t offset, const std::vector<uint8_t>& data) {
    if (data.empty()) return;
    if (model.size() < offset + data.size()) model.resize(offset + data.size());
    std::copy(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  void Open() {
    if (fd >= 0) close(fd);
    if (direct >= 0) close(direct);
    if (other >= 0) close(other);
    fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) DieErrno("open");
    other = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (other < 0) DieErrno("open for reading");
    direct = open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  }

  void Expect(const uint8_t* got, size_t offset, size_t size, const char* how) {
    for (size_t i = 0; i < size; ++i) {
      if (got[i] == model[offset + i]) continue;
      size_t bad = 0;
      for (size_t j = i; j < size; ++j) bad += got[j] != model[offset + j] ? 1 : 0;
      Die(std::string(how) + ": byte " + std::to_string(offset + i) + " is " +
          std::to_string(got[i]) + ", not " + std::to_string(model[offset + i]) + "; " +
          std::to_string(bad) + " of the bytes up to " + std::to_string(offset + size) +
          " are wrong");
    }
  }
  size_t Expected(size_t offset, size_t size) const {
    return offset < model.size() ? std::min(size, model.size() - offset) : 0;
  }

  void Read(int from, const char* how) {
    const size_t offset = Offset(model.size() + 10);
    const size_t size = Length();
    Begin(how, offset, size);
    std::vector<uint8_t> got(size);
    const ssize_t n = pread(from, got.data(), size, static_cast<off_t>(offset));
    if (n < 0) DieErrno("pread");
    if (static_cast<size_t>(n) != Expected(offset, size))
      Die("read " + std::to_string(n) + " bytes instead of " +
          std::to_string(Expected(offset, size)));
    Expect(got.data(), offset, static_cast<size_t>(n), how);
  }
  void Write() {
    const size_t offset = Offset(std::min(model.size() + 3 * kPage, max_size));
    const auto data = Data(Length());
    Begin("write", offset, data.size());
    const ssize_t n = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n != static_cast<ssize_t>(data.size())) DieErrno("pwrite");
    Put(offset, data);
  }
  void Append() {
    const auto data = Data(1 + Pick(500));
    if (model.size() + data.size() > max_size) return;
    Begin("append", model.size(), data.size());
    const int append = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (append < 0) DieErrno("open");
    if (write(append, data.data(), data.size()) != static_cast<ssize_t>(data.size()))
      DieErrno("write");
    close(append);
    Put(model.size(), data);
  }
  struct Aligned {
    explicit Aligned(size_t size) : bytes(static_cast<uint8_t*>(aligned_alloc(kPage, size))) {}
    ~Aligned() { free(bytes); }
    uint8_t* bytes;
  };
  void DirectWrite() {
    if (direct < 0) return;
    const size_t offset = Offset(std::min(model.size() + kPage, max_size)) / kPage * kPage;
    const auto data = Data(kPage * (1 + Pick(4)));
    Begin("direct write", offset, data.size());
    const Aligned buffer(data.size());
    std::memcpy(buffer.bytes, data.data(), data.size());
    if (pwrite(direct, buffer.bytes, data.size(), static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(data.size()))
      DieErrno("pwrite");
    Put(offset, data);
  }
  void DirectRead() {
    if (direct < 0) return;
    const size_t offset = Offset(model.size() + 1) / kPage * kPage;
    const size_t size = kPage * (1 + Pick(6));
    Begin("direct read", offset, size);
    const Aligned buffer(size);
    const ssize_t n = pread(direct, buffer.bytes, size, static_cast<off_t>(offset));
    if (n < 0) DieErrno("pread");
    if (static_cast<size_t>(n) != Expected(offset, size)) Die("a short direct read");
    Expect(buffer.bytes, offset, static_cast<size_t>(n), "direct read");
  }
  void Map(bool writes) {
    if (model.empty()) return;
    const size_t offset = Offset(model.size()) / kPage * kPage;
    const size_t size = std::min(Length(), model.size() - offset);
    Begin(writes ? "mapped write" : "mapped read", offset, size);
    void* const at = mmap(nullptr, size, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                          fd, static_cast<off_t>(offset));
    if (at == MAP_FAILED) DieErrno("mmap");
    auto* const bytes = static_cast<uint8_t*>(at);
    if (writes) {
      const size_t begin = Pick(size);
      const auto data = Data(1 + Pick(size - begin));
      std::memcpy(bytes + begin, data.data(), data.size());
      Put(offset + begin, data);
      if (Pick(2) == 0 && msync(at, size, MS_SYNC) != 0) DieErrno("msync");
    }
    Expect(bytes, offset, size, "mapped");
    munmap(at, size);
  }
  void Truncate() {
    const size_t size = Pick(12) == 0 ? 0 : Offset(max_size);
    Begin("truncate", size, 0);
    if (ftruncate(fd, static_cast<off_t>(size)) != 0) DieErrno("ftruncate");
    model.resize(size);
  }
  void Allocate() {
    constexpr int kModes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    const int mode = kModes[Pick(std::size(kModes))];
    const size_t offset = Offset(model.size() + 1);
    const size_t size = std::min(Length(), max_size - std::min(offset, max_size - 1));
    Begin("fallocate " + std::to_string(mode), offset, size);
    if (fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(size)) != 0)
      DieErrno("fallocate");
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && model.size() < offset + size)
      model.resize(offset + size);
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) return;
    for (size_t i = offset; i < std::min(offset + size, model.size()); ++i) model[i] = 0;
  }
  void Copy() {
    const size_t from = Offset(model.size() + 1);
    const size_t to = Offset(std::min(model.size() + kPage, max_size));
    const size_t size = std::min(Length(), from > to ? from - to : to - from);
    if (size == 0) return;
    Begin("copy to " + std::to_string(to) + " from", from, size);
    auto in = static_cast<off_t>(from);
    auto out = static_cast<off_t>(to);
    const ssize_t n = copy_file_range(fd, &in, fd, &out, size, 0);
    if (n < 0) DieErrno("copy_file_range");
    const auto count = static_cast<size_t>(n);
    if (count > Expected(from, size) || (count == 0 && Expected(from, size) > 0))
      Die("copied " + std::to_string(count));
    Put(to, std::vector<uint8_t>(model.begin() + static_cast<std::ptrdiff_t>(from),
                                 model.begin() + static_cast<std::ptrdiff_t>(from + count)));
  }
  void Seek() {
    Begin("seek", 0, model.size());
    for (size_t at = 0; at < model.size();) {
      const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno != ENXIO) DieErrno("SEEK_DATA");
      const size_t data_at = data < 0 ? model.size() : static_cast<size_t>(data);
      for (size_t i = at; i < data_at; ++i) {
        if (model[i] != 0) Die("byte " + std::to_string(i) + " lies in a hole");
      }
      if (data < 0) break;
      const off_t hole = lseek(fd, data, SEEK_HOLE);
      if (hole <= data) Die("SEEK_HOLE went nowhere");
      at = static_cast<size_t>(hole);
    }
  }
  void Stat() {
    Begin("stat", 0, 0);
    struct stat attributes{};
    if (stat(path.c_str(), &attributes) != 0) DieErrno("stat");
    if (static_cast<size_t>(attributes.st_size) != model.size())
      Die("the size is " + std::to_string(attributes.st_size));
  }
  void CheckAll() {
    Begin("read all", 0, model.size());
    std::vector<uint8_t> got(model.size() + 1);
    size_t done = 0;
    while (done < got.size()) {
      const ssize_t n = pread(fd, got.data() + done, got.size() - done, static_cast<off_t>(done));
      if (n < 0) DieErrno("pread");
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    if (done != model.size()) Die("it has " + std::to_string(done) + " bytes");
    Expect(got.data(), 0, model.size(), "read all");
  }

  void Step(bool only_reads_and_writes) {
    switch (Pick(only_reads_and_writes ? 14 : 24)) {
      case 0:
      case 1:
      case 2:
        return Write();
      case 3:
        return Read(fd, "read");
      case 4:
        return Read(other, "read by another");
      case 5:
        return DirectWrite();
      case 6:
        return DirectRead();
      case 7:
      case 8:
        return Map(true);
      case 9:
        return Map(false);
      case 10:
        return Read(fd, "read");
      case 11:
        return Append();
      case 12:
        if (fsync(fd) != 0) DieErrno("fsync");
        return;
      case 13:
        return Stat();
      case 14:
        return Truncate();
      case 15:
      case 16:
      case 17:
        return Allocate();
      case 18:
      case 19:
        return Copy();
      case 20:
        return Seek();
      case 21:
        return Open();
      case 22:
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return;
      default:
        return CheckAll();
    }
  }
};

// What FILE has before, read by way of ORACLE, which is another file with the same bytes.
std::vector<uint8_t> ReadOracle(const char* path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path, "rb"), std::fclose);
  if (file == nullptr) {
    std::perror(path);
    std::exit(2);
  }
  std::vector<uint8_t> bytes;
  uint8_t block[65536];
  while (const size_t n = std::fread(block, 1, sizeof block, file.get()))
    bytes.insert(bytes.end(), block, block + n);
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: file_exerciser FILE ORACLE OPERATIONS SEED\n");
    return 2;
  }
  Exerciser exerciser;
  exerciser.path = argv[1];
  exerciser.model = ReadOracle(argv[2]);
  exerciser.max_size = std::max<size_t>(exerciser.model.size() + (size_t{1} << 20), 64 * kPage);
  const long operations = std::strtol(argv[3], nullptr, 10);
  exerciser.random.seed(std::strtoull(argv[4], nullptr, 10));
  exerciser.Open();
  // At first without what cuts the file, so that much of it stays to be fetched.
  for (long i = 0; i < operations; ++i) exerciser.Step(i < operations / 4);
  exerciser.CheckAll();
  exerciser.Open();
  exerciser.CheckAll();
  // What it must be after a remount.
  std::FILE* const after = std::fopen((std::string(argv[2]) + ".after").c_str(), "wb");
  if (after == nullptr ||
      std::fwrite(exerciser.model.data(), 1, exerciser.model.size(), after) !=
          exerciser.model.size() ||
      std::fclose(after) != 0) {
    std::perror("writing what it must be");
    return 2;
  }
  return 0;
}
