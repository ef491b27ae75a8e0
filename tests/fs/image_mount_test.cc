// SPDX-License-Identifier: Apache-2.0
// A mounted image beside its unpacked copy, mounted read-only: every call has the same result.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "index/base/file.h"
#include "tests/fs/mounted_image.h"
#include "tests/fs/test_image.h"

namespace layerfs {
namespace {

constexpr uint64_t kAllRead = uint64_t{64} << 20;  // larger files are read at their data only

class ImageMountTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0 || ::access("/dev/fuse", R_OK | W_OK) != 0) return;
    auto made = TestImage::Make();
    ASSERT_TRUE(made.has_value()) << made.error().context;
    image_.emplace(std::move(*made));
    ::mkdir(Mnt().c_str(), 0755);
    ::mkdir(Ref().c_str(), 0755);
    ASSERT_EQ(::mount(image_->tree().c_str(), Ref().c_str(), nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(::mount(nullptr, Ref().c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr),
              0);
  }
  static void TearDownTestSuite() {
    if (!image_.has_value()) return;
    ::umount2(Ref().c_str(), MNT_DETACH);
    image_.reset();
  }
  void SetUp() override {
    if (::geteuid() != 0 || ::access("/dev/fuse", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "needs root and /dev/fuse";
    }
    ASSERT_TRUE(image_.has_value());
  }
  void TearDown() override { mounted_.reset(); }

  // With an empty cache of its own, or with one that is named.
  void Mount(bool passthrough = true, const std::string& cache = "", bool io_uring = false) {
    MountedImage::Options options;
    options.reference = image_->reference();
    options.mount_point = Mnt();
    options.cache =
        image_->directory() + "/cache-" + (cache.empty() ? std::to_string(next_cache_++) : cache);
    options.passthrough = passthrough;
    options.io_uring = io_uring;
    auto mounted = MountedImage::Mount(options);
    ASSERT_TRUE(mounted.has_value()) << mounted.error().context;
    mounted_ = std::move(*mounted);
  }

  static std::string Mnt() { return image_->directory() + "/mnt"; }
  static std::string Ref() { return image_->directory() + "/ref"; }

  static std::optional<TestImage> image_;
  static int next_cache_;
  std::unique_ptr<MountedImage> mounted_;
};
std::optional<TestImage> ImageMountTest::image_;
int ImageMountTest::next_cache_ = 0;

std::vector<std::string> Names(const std::string& path) {
  std::vector<std::string> names;
  DIR* const stream = ::opendir(path.c_str());
  if (stream == nullptr) return {"opendir: " + std::to_string(errno)};
  while (const dirent* entry = ::readdir(stream)) names.emplace_back(entry->d_name);
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

std::map<std::string, std::string> Xattrs(const std::string& path) {
  std::map<std::string, std::string> xattrs;
  std::string names(65536, '\0');
  const ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
  if (size < 0) return {{"llistxattr", std::to_string(errno)}};
  for (size_t at = 0; at < static_cast<size_t>(size);) {
    const std::string name = names.c_str() + at;
    std::string value(65536, '\0');
    const ssize_t got = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    value.resize(got < 0 ? 0 : static_cast<size_t>(got));
    xattrs[name] = got < 0 ? "errno " + std::to_string(errno) : value;
    at += name.size() + 1;
  }
  return xattrs;
}

// (offset, whence) pairs as SEEK_DATA and SEEK_HOLE tell them; empty for a file without holes.
std::vector<off_t> Holes(int fd) {
  std::vector<off_t> edges;
  for (off_t at = 0;;) {
    const off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0) return edges;
    at = ::lseek(fd, data, SEEK_HOLE);
    edges.push_back(data);
    edges.push_back(at);
  }
}

std::string ReadAt(int fd, off_t offset, size_t size) {
  std::string text(size, '\0');
  const ssize_t got = ::pread(fd, text.data(), size, offset);
  if (got < 0) return "errno " + std::to_string(errno);
  text.resize(static_cast<size_t>(got));
  return text;
}

void ExpectSameContent(const std::string& mnt, const std::string& ref, uint64_t size) {
  const UniqueFd ours(::open(mnt.c_str(), O_RDONLY));
  const UniqueFd theirs(::open(ref.c_str(), O_RDONLY));
  ASSERT_TRUE(ours.valid() && theirs.valid()) << mnt << ": " << errno;
  if (size <= kAllRead) {
    EXPECT_TRUE(ReadAt(ours.get(), 0, size + 1) == ReadAt(theirs.get(), 0, size + 1)) << mnt;
    return;
  }
  const std::vector<off_t> holes = Holes(ours.get());
  EXPECT_EQ(holes, Holes(theirs.get())) << mnt;
  for (const off_t edge : holes) {
    const off_t begin = std::max<off_t>(0, edge - 5000);
    EXPECT_TRUE(ReadAt(ours.get(), begin, 10000) == ReadAt(theirs.get(), begin, 10000))
        << mnt << " at " << begin;
  }
}

void ExpectSame(const std::string& mnt, const std::string& ref) {
  struct stat ours{};
  struct stat theirs{};
  ASSERT_EQ(::lstat(mnt.c_str(), &ours), 0) << mnt << ": " << errno;
  ASSERT_EQ(::lstat(ref.c_str(), &theirs), 0) << ref;
  EXPECT_EQ(ours.st_mode, theirs.st_mode) << mnt;
  EXPECT_EQ(ours.st_nlink, theirs.st_nlink) << mnt;
  EXPECT_EQ(ours.st_uid, theirs.st_uid) << mnt;
  EXPECT_EQ(ours.st_gid, theirs.st_gid) << mnt;
  EXPECT_EQ(ours.st_rdev, theirs.st_rdev) << mnt;
  EXPECT_EQ(ours.st_mtim.tv_sec, theirs.st_mtim.tv_sec) << mnt;
  EXPECT_EQ(ours.st_mtim.tv_nsec, theirs.st_mtim.tv_nsec) << mnt;
  EXPECT_EQ(Xattrs(mnt), Xattrs(ref)) << mnt;
  if (S_ISDIR(ours.st_mode)) {
    const std::vector<std::string> names = Names(mnt);
    EXPECT_EQ(names, Names(ref)) << mnt;
    for (const std::string& name : names) {
      if (name != "." && name != "..") ExpectSame(mnt + "/" + name, ref + "/" + name);
    }
    return;
  }
  EXPECT_EQ(ours.st_size, theirs.st_size) << mnt;
  if (S_ISLNK(ours.st_mode)) {
    char a[4096] = {};
    char b[4096] = {};
    EXPECT_EQ(::readlink(mnt.c_str(), a, sizeof a - 1), ::readlink(ref.c_str(), b, sizeof b - 1));
    EXPECT_STREQ(a, b);
  } else if (S_ISREG(ours.st_mode)) {
    ExpectSameContent(mnt, ref, static_cast<uint64_t>(ours.st_size));
  }
}

TEST_F(ImageMountTest, TreeIsTheUnpackedOneWithAnEmptyCache) {
  Mount();
  ExpectSame(Mnt(), Ref());
}

TEST_F(ImageMountTest, TreeIsTheUnpackedOneThroughTheDaemonAlone) {
  Mount(false);
  ExpectSame(Mnt(), Ref());
}

TEST_F(ImageMountTest, SecondMountIsTheSameAndFetchesNothing) {
  Mount(true, "shared");
  ExpectSame(Mnt(), Ref());
  mounted_.reset();
  Mount(true, "shared");
  ExpectSame(Mnt(), Ref());
  EXPECT_EQ(mounted_->Statistics().requests, 0U);
}

TEST_F(ImageMountTest, TreeIsTheUnpackedOneOverIoUring) {
  Mount(true, "", true);
  if (!mounted_->abilities().io_uring) GTEST_SKIP() << "the kernel has it not enabled";
  ExpectSame(Mnt(), Ref());
}

// A call's result, or -errno.
struct Call {
  const char* what;
  std::function<long(const std::string&)> make;
};

long Outcome(long result) { return result < 0 ? -errno : result; }
long OpenOutcome(const std::string& path, int flags) {
  const UniqueFd fd(::open(path.c_str(), flags, 0644));
  return fd.valid() ? 0 : -errno;
}

const std::vector<Call>& Calls() {
  using R = const std::string&;
  static const std::vector<Call> calls = {
      {"open for writing", [](R r) { return OpenOutcome(r + "/etc/small", O_WRONLY); }},
      {"open with O_TRUNC", [](R r) { return OpenOutcome(r + "/etc/small", O_RDONLY | O_TRUNC); }},
      {"open for both", [](R r) { return OpenOutcome(r + "/etc/small", O_RDWR); }},
      {"open a directory for writing", [](R r) { return OpenOutcome(r + "/etc", O_WRONLY); }},
      {"create", [](R r) { return OpenOutcome(r + "/new", O_CREAT | O_WRONLY); }},
      {"create what is there", [](R r) { return OpenOutcome(r + "/etc/small", O_CREAT | O_EXCL); }},
      {"open a file as a directory",
       [](R r) { return OpenOutcome(r + "/etc/small", O_DIRECTORY); }},
      {"open below a file", [](R r) { return OpenOutcome(r + "/etc/small/x", O_RDONLY); }},
      {"open a symlink itself", [](R r) { return OpenOutcome(r + "/dir/soft", O_NOFOLLOW); }},
      {"open a loop", [](R r) { return OpenOutcome(r + "/dir/loop", O_RDONLY); }},
      {"open a dangling link", [](R r) { return OpenOutcome(r + "/dir/dangling", O_RDONLY); }},
      {"open a fifo", [](R r) { return OpenOutcome(r + "/special/fifo", O_RDONLY | O_NONBLOCK); }},
      {"open a deleted name", [](R r) { return OpenOutcome(r + "/etc/gone", O_RDONLY); }},
      {"open below an opaque directory", [](R r) { return OpenOutcome(r + "/opaque/old", 0); }},
      {"open a whiteout", [](R r) { return OpenOutcome(r + "/etc/.wh.gone", O_RDONLY); }},
      {"open with a name of 256 bytes",
       [](R r) { return OpenOutcome(r + "/" + std::string(256, 'n'), O_RDONLY); }},
      {"unlink", [](R r) { return Outcome(::unlink((r + "/etc/small").c_str())); }},
      {"unlink nothing", [](R r) { return Outcome(::unlink((r + "/etc/none").c_str())); }},
      {"rmdir", [](R r) { return Outcome(::rmdir((r + "/dir/sub").c_str())); }},
      {"mkdir", [](R r) { return Outcome(::mkdir((r + "/new").c_str(), 0755)); }},
      {"mkdir what is there", [](R r) { return Outcome(::mkdir((r + "/etc").c_str(), 0755)); }},
      {"mknod", [](R r) { return Outcome(::mknod((r + "/new").c_str(), S_IFIFO | 0644, 0)); }},
      {"symlink", [](R r) { return Outcome(::symlink("x", (r + "/new").c_str())); }},
      {"link", [](R r) { return Outcome(::link((r + "/etc/small").c_str(), (r + "/n").c_str())); }},
      {"rename",
       [](R r) { return Outcome(::rename((r + "/etc/small").c_str(), (r + "/n").c_str())); }},
      {"chmod", [](R r) { return Outcome(::chmod((r + "/etc/small").c_str(), 0600)); }},
      {"chown", [](R r) { return Outcome(::lchown((r + "/dir/soft").c_str(), 1, 1)); }},
      {"truncate", [](R r) { return Outcome(::truncate((r + "/etc/small").c_str(), 0)); }},
      {"utimensat",
       [](R r) { return Outcome(::utimensat(AT_FDCWD, (r + "/etc/small").c_str(), nullptr, 0)); }},
      {"setxattr",
       [](R r) { return Outcome(::setxattr((r + "/etc/small").c_str(), "user.x", "y", 1, 0)); }},
      {"removexattr",
       [](R r) { return Outcome(::removexattr((r + "/dir/page").c_str(), "user.binary")); }},
      {"access for writing",
       [](R r) { return Outcome(::access((r + "/etc/small").c_str(), W_OK)); }},
      {"access to run", [](R r) { return Outcome(::access((r + "/bin/true").c_str(), X_OK)); }},
      {"access to run what is not a program",
       [](R r) { return Outcome(::access((r + "/etc/small").c_str(), X_OK)); }},
      {"readlink of a file",
       [](R r) {
         char target[8];
         return Outcome(::readlink((r + "/etc/small").c_str(), target, sizeof target));
       }},
      {"getxattr of none",
       [](R r) {
         char value[8];
         return Outcome(::getxattr((r + "/dir/page").c_str(), "user.none", value, sizeof value));
       }},
      {"getxattr's size",
       [](R r) {
         return Outcome(::getxattr((r + "/dir/page").c_str(), "user.binary", nullptr, 0));
       }},
      {"getxattr into too little room",
       [](R r) {
         char value[2];
         return Outcome(::getxattr((r + "/dir/page").c_str(), "user.binary", value, sizeof value));
       }},
      {"listxattr into too little room",
       [](R r) {
         char names[2];
         return Outcome(::listxattr((r + "/dir/page").c_str(), names, sizeof names));
       }},
      {"read of a directory",
       [](R r) {
         const UniqueFd fd(::open((r + "/etc").c_str(), O_RDONLY));
         char byte = 0;
         return Outcome(::read(fd.get(), &byte, 1));
       }},
      {"read past the end",
       [](R r) {
         const UniqueFd fd(::open((r + "/dir/page").c_str(), O_RDONLY));
         char byte = 0;
         return Outcome(::pread(fd.get(), &byte, 1, 1 << 20));
       }},
      {"read across the end",
       [](R r) {
         const UniqueFd fd(::open((r + "/dir/more").c_str(), O_RDONLY));
         char bytes[8192];
         return Outcome(::pread(fd.get(), bytes, sizeof bytes, 4000));
       }},
      {"SEEK_DATA past the end",
       [](R r) {
         const UniqueFd fd(::open((r + "/dir/page").c_str(), O_RDONLY));
         return Outcome(::lseek(fd.get(), 1 << 20, SEEK_DATA));
       }},
      {"SEEK_DATA in a file that is a hole",
       [](R r) {
         const UniqueFd fd(::open((r + "/special/hole").c_str(), O_RDONLY));
         return Outcome(::lseek(fd.get(), 0, SEEK_DATA));
       }},
      {"SEEK_HOLE in a file without one",
       [](R r) {
         const UniqueFd fd(::open((r + "/dir/big").c_str(), O_RDONLY));
         return Outcome(::lseek(fd.get(), 100, SEEK_HOLE));
       }},
      {"longest name",
       [](R r) {
         struct statvfs statistics{};
         return ::statvfs(r.c_str(), &statistics) == 0 ? static_cast<long>(statistics.f_namemax)
                                                       : -errno;
       }},
      {"O_TMPFILE", [](R r) { return OpenOutcome(r + "/dir", O_TMPFILE | O_RDWR); }},
      {"fsync",
       [](R r) {
         const UniqueFd fd(::open((r + "/etc/small").c_str(), O_RDONLY));
         return Outcome(::fsync(fd.get()));
       }},
      {"fsync of a directory",
       [](R r) {
         const UniqueFd fd(::open((r + "/etc").c_str(), O_RDONLY));
         return Outcome(::fsync(fd.get()));
       }},
  };
  return calls;
}

TEST_F(ImageMountTest, CallsHaveTheResultsOfAReadOnlyDisk) {
  for (const bool passthrough : {true, false}) {
    mounted_.reset();
    Mount(passthrough);
    for (const Call& call : Calls()) {
      EXPECT_EQ(call.make(Mnt()), call.make(Ref())) << call.what;
      EXPECT_EQ(call.make(Mnt()), call.make(Ref())) << call.what << ", again";
    }
  }
}

// `ls -l` then asks once, and not for each file. (With SELinux the kernel itself answers.)
TEST_F(ImageMountTest, WhereNoFileHasALabelLabelsAreNotSupported) {
  if (::access("/sys/fs/selinux/enforce", F_OK) == 0) GTEST_SKIP() << "this kernel has SELinux";
  Mount();
  char value[64];
  const std::string file = Mnt() + "/dir/page";
  EXPECT_EQ(::getxattr(file.c_str(), "security.selinux", value, sizeof value), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(::getxattr(file.c_str(), "security.none", value, sizeof value), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(ImageMountTest, DirectoryIsReadFromAnyPositionOn) {
  Mount();
  DIR* const stream = ::opendir((Mnt() + "/many").c_str());
  ASSERT_NE(stream, nullptr);
  std::vector<std::pair<long, std::string>> entries;
  for (long at = ::telldir(stream); const dirent* entry = ::readdir(stream);
       at = ::telldir(stream)) {
    entries.emplace_back(at, entry->d_name);
  }
  ASSERT_EQ(entries.size(), 602U);
  for (const size_t i : {size_t{0}, size_t{1}, size_t{2}, size_t{300}, size_t{601}}) {
    ::seekdir(stream, entries[i].first);
    for (size_t j = i; j < std::min(i + 5, entries.size()); ++j) {
      const dirent* const entry = ::readdir(stream);
      ASSERT_NE(entry, nullptr);
      EXPECT_EQ(entries[j].second, entry->d_name);
    }
  }
  ::closedir(stream);
}

TEST_F(ImageMountTest, DirectReadsAndMappingsSeeTheSameBytes) {
  Mount();
  const std::string expected(AsText(ReadFile(Ref() + "/dir/big", kAllRead).value()));
  const UniqueFd direct(::open((Mnt() + "/dir/big").c_str(), O_RDONLY | O_DIRECT));
  ASSERT_TRUE(direct.valid());
  void* aligned = nullptr;
  ASSERT_EQ(::posix_memalign(&aligned, 4096, 65536), 0);
  const std::unique_ptr<void, decltype(&std::free)> buffer(aligned, &std::free);
  EXPECT_EQ(::pread(direct.get(), aligned, 65536, 8192), 65536);
  EXPECT_EQ(expected.compare(8192, 65536, static_cast<const char*>(aligned), 65536), 0);
  auto mapped = MappedFile::Open(Mnt() + "/dir/big");
  ASSERT_TRUE(mapped.has_value());
  EXPECT_TRUE(AsText(mapped->bytes()) == AsText(ReadFile(Ref() + "/dir/big", kAllRead).value()));
}

TEST_F(ImageMountTest, ProgramsRunOutOfIt) {
  Mount();
  EXPECT_EQ(std::system((Mnt() + "/bin/true").c_str()), 0);
}

TEST_F(ImageMountTest, FileHandlesWorkAndOutliveARemount) {
  Mount(true, "handles");
  struct {
    file_handle head;
    unsigned char room[MAX_HANDLE_SZ];
  } handle{};
  handle.head.handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  ASSERT_EQ(::name_to_handle_at(AT_FDCWD, (Mnt() + "/dir/sub/../big").c_str(), &handle.head,
                                &mount_id, 0),
            0);
  mounted_.reset();
  Mount(true, "handles");
  const UniqueFd root(::open(Mnt().c_str(), O_RDONLY | O_DIRECTORY));
  const UniqueFd file(::open_by_handle_at(root.get(), &handle.head, O_RDONLY));
  ASSERT_TRUE(file.valid()) << errno;
  EXPECT_EQ(ReadAt(file.get(), 0, 4), "1\n2\n");
}

// The first open is in cached mode; when the content is whole, the next ones have a backing file.
TEST_F(ImageMountTest, FileIsReadInEveryModeWhileItIsOpenInAnother) {
  Mount();
  const std::string path = Mnt() + "/dir/big";
  const UniqueFd cached(::open(path.c_str(), O_RDONLY));
  const std::string expected(AsText(ReadFile(Ref() + "/dir/big", kAllRead).value()));
  EXPECT_TRUE(ReadAt(cached.get(), 0, kAllRead) == expected);
  const UniqueFd beside(::open(path.c_str(), O_RDONLY));
  ASSERT_TRUE(beside.valid()) << errno;
  EXPECT_TRUE(ReadAt(beside.get(), 0, kAllRead) == expected);
}

TEST_F(ImageMountTest, FileInTheCacheIsReadWithoutTheDaemon) {
  Mount();
  if (!mounted_->abilities().passthrough) GTEST_SKIP() << "libfuse or kernel without passthrough";
  const std::string path = Mnt() + "/dir/big";
  const std::string expected(AsText(ReadFile(Ref() + "/dir/big", kAllRead).value()));
  for (int i = 0; i < 3; ++i) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY));
    ASSERT_TRUE(fd.valid()) << errno;
    EXPECT_TRUE(ReadAt(fd.get(), 0, kAllRead) == expected);
  }
}

TEST_F(ImageMountTest, ImageThatIsNotConvertedIsRefusedWithTheRemedy) {
  MountedImage::Options options;
  options.reference = image_->plain_reference();
  options.mount_point = Mnt();
  options.cache = image_->directory() + "/cache-plain";
  const auto mounted = MountedImage::Mount(options);
  ASSERT_FALSE(mounted.has_value());
  EXPECT_EQ(mounted.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(mounted.error().context.find("layerfs convert"), std::string::npos)
      << mounted.error().context;
}

}  // namespace
}  // namespace layerfs
