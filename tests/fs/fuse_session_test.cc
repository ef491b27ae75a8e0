// SPDX-License-Identifier: Apache-2.0
// The FUSE edge against the kernel: a file system of a few nodes, really mounted.
#include "fs/fuse_session.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "index/base/file.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

constexpr NodeId kPlain = 2;
constexpr NodeId kBacked = 3;
constexpr NodeId kParked = 4;
constexpr NodeId kPrivate = 5;
constexpr char kText[] = "what the file system answers";
constexpr char kBackingText[] = "what the backing file holds";
constexpr uid_t kSomebody = 65534;

struct Node {
  NodeId number;
  mode_t mode;
};
const std::map<std::string, Node, std::less<>> kNodes = {
    {"plain", {kPlain, S_IFREG | 0644}},
    {"backed", {kBacked, S_IFREG | 0644}},
    {"parked", {kParked, S_IFREG | 0644}},
    {"private", {kPrivate, S_IFREG | 0600}},
};

// udev gives /dev/fuse to everybody; where there is no udev, a node of our own is laid over it,
// which only this process and its children see.
bool LetEverybodyOpenFuse(const std::string& directory) {
  struct stat device{};
  if (::stat("/dev/fuse", &device) != 0) return false;
  if ((device.st_mode & 0006) == 0006) return true;
  const std::string node = directory + "/fuse";
  const bool laid = ::unshare(CLONE_NEWNS) == 0 &&
                    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                    ::mknod(node.c_str(), S_IFCHR, device.st_rdev) == 0 &&
                    ::chmod(node.c_str(), 0666) == 0 &&
                    ::mount(node.c_str(), "/dev/fuse", nullptr, MS_BIND, nullptr) == 0;
  ::unlink(node.c_str());
  return laid;
}

// Owned by root. Reads of "parked" wait until their reader is interrupted.
class TestFileSystem : public FileSystem {
 public:
  // Before it is mounted.
  void SetBackingFile(std::string path) { backing_path_ = std::move(path); }

  SessionWishes Wishes() const override { return {}; }
  void Start(const SessionAbilities& abilities, Notifier& notifier) override {
    passthrough_ = abilities.passthrough;
    notifier_ = &notifier;
  }
  void Interrupt(uint64_t token) override {
    std::optional<Reply> reply;
    parked_.WithNotify([&](auto& parked) {
      const auto it = parked.find(token);
      if (it == parked.end()) return;
      reply.emplace(std::move(it->second));
      parked.erase(it);
    });
    if (reply.has_value()) reply->Errno(EINTR);
  }

  void Lookup(const Caller&, NodeId, std::string_view name, Reply reply) override {
    ++lookups;
    const auto it = kNodes.find(name);
    EntryReply entry;
    entry.entry_seconds = kForeverSeconds;
    if (it != kNodes.end()) {
      entry.node = it->second.number;
      entry.attribute_seconds = kForeverSeconds;
      entry.attributes = Stat(it->second.number, it->second.mode);
    }
    reply.Entry(entry);
  }
  void GetAttributes(const Caller&, NodeId node, uint64_t, Reply reply) override {
    if (node == kRootNode) return reply.Attributes(Stat(node, S_IFDIR | 0755), kForeverSeconds);
    for (const auto& [name, entry] : kNodes) {
      if (entry.number == node) return reply.Attributes(Stat(node, entry.mode), kForeverSeconds);
    }
    reply.Errno(ESTALE);
  }
  void ReadLink(const Caller&, NodeId, Reply reply) override { reply.Errno(EINVAL); }
  void Open(const Caller&, NodeId node, int, Reply reply) override {
    OpenReply opened;
    opened.keep_cache = node != kParked;
    opened.direct_io = node == kParked;
    if (node == kBacked && passthrough_) {
      backing_file_ = OpenFile(backing_path_, O_RDONLY).value();
      opened.backing_id = notifier_->RegisterBackingFile(backing_file_.get());
      if (opened.backing_id < 0) return reply.Errno(-opened.backing_id);
    }
    reply.Open(opened);
  }
  void Read(const Caller&, NodeId node, uint64_t, uint64_t offset, size_t size, int,
            Reply reply) override {
    if (node == kParked) return Park(std::move(reply));
    const ByteSpan all = AsBytes(std::string_view(kText));
    const size_t begin = std::min<size_t>(offset, all.size());
    reply.Data(all.subspan(begin, std::min(size, all.size() - begin)));
  }
  void Release(NodeId, uint64_t, int32_t, Reply reply) override { reply.Errno(0); }
  void OpenDirectory(const Caller&, NodeId, Reply reply) override { reply.Open({}); }
  void ReadDirectory(const Caller&, NodeId, uint64_t, uint64_t offset, DirectoryBuffer buffer,
                     Reply reply) override {
    uint64_t position = 0;
    for (const auto& [name, node] : kNodes) {
      if (position++ < offset) continue;
      EntryReply entry;
      entry.attributes = Stat(node.number, node.mode);
      if (!buffer.Add(name, entry, position)) break;
    }
    reply.Directory(buffer);
  }
  void ReleaseDirectory(NodeId, uint64_t, Reply reply) override { reply.Errno(0); }
  void Statfs(NodeId, Reply reply) override { reply.Errno(ENOSYS); }
  void GetXattr(const Caller&, NodeId, std::string_view, size_t, Reply reply) override {
    reply.Errno(ENODATA);
  }
  void ListXattrs(const Caller&, NodeId, size_t capacity, Reply reply) override {
    reply.XattrBytes("", capacity);
  }

  void WaitForParkedRead() {
    parked_.WaitThen([this](auto&) { return reads_parked_ > 0; }, [](auto&) {});
  }
  bool passthrough() const { return passthrough_; }

  std::atomic<int> lookups{0};

 private:
  static struct stat Stat(NodeId node, mode_t mode) {
    struct stat attributes{};
    attributes.st_ino = node;
    attributes.st_mode = mode;
    attributes.st_nlink = 1;
    attributes.st_size = sizeof kText - 1;
    return attributes;
  }
  void Park(Reply reply) {
    const uint64_t token = next_token_++;
    Reply* const place = parked_.With(
        [&](auto& parked) { return &parked.emplace(token, std::move(reply)).first->second; });
    // Outside of the lock, because it may call Interrupt at once.
    place->SetInterruptToken(token);
    parked_.WithNotify([&](auto&) { ++reads_parked_; });
  }

  std::string backing_path_;
  UniqueFd backing_file_;
  std::atomic<bool> passthrough_{false};
  Notifier* notifier_ = nullptr;
  std::atomic<uint64_t> next_token_{1};
  int reads_parked_ = 0;  // under the lock of parked_
  Synchronized<std::map<uint64_t, Reply>> parked_;
};

// /tmp may be a file system that is no good as a backing file's.
class FuseSessionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "needs /dev/fuse";
    char name[] = "/var/tmp/layerfs-fuse-session.XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    mount_point_ = directory_ + "/mnt";
    ASSERT_EQ(::mkdir(mount_point_.c_str(), 0755), 0);
    ASSERT_EQ(::chmod(name, 0755), 0);
  }
  void TearDown() override {
    Unmount();
    if (directory_.empty()) return;
    ::rmdir(mount_point_.c_str());
    ::unlink((directory_ + "/backing").c_str());
    ::rmdir(directory_.c_str());
  }

  void Mount(std::vector<std::string> words = {}) {
    FuseOptions options;
    options.mount_point = mount_point_;
    options.options = std::move(words);
    options.on_request = [this] { ++requests_; };
    auto mounted = FuseSession::Mount(file_system_, options);
    ASSERT_TRUE(mounted.has_value()) << mounted.error().context;
    session_ = std::move(*mounted);
    server_ = std::thread([this] { result_ = session_->Run(); });
    struct stat root{};
    ASSERT_EQ(::stat(mount_point_.c_str(), &root), 0);
  }
  void Unmount() {
    if (session_ == nullptr) return;
    ::umount2(mount_point_.c_str(), MNT_DETACH);
    server_.join();
    session_.reset();
  }
  std::string Path(std::string_view name) const { return mount_point_ + "/" + std::string(name); }

  static std::string Contents(const std::string& path) {
    const auto bytes = ReadFile(path, 1 << 20);
    return bytes.has_value() ? std::string(AsText(*bytes)) : bytes.error().context;
  }

  std::string directory_;
  std::string mount_point_;
  TestFileSystem file_system_;
  std::atomic<int> requests_{0};
  std::unique_ptr<FuseSession> session_;
  std::thread server_;
  Status result_;
};

TEST_F(FuseSessionTest, ReadsWhatTheFileSystemAnswers) {
  Mount();
  EXPECT_EQ(Contents(Path("plain")), kText);
}

TEST_F(FuseSessionTest, MissingNameIsAskedForOnce) {
  Mount();
  struct stat attributes{};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(::stat(Path("missing").c_str(), &attributes), -1);
    EXPECT_EQ(errno, ENOENT);
  }
  EXPECT_EQ(file_system_.lookups, 1);
}

TEST_F(FuseSessionTest, TellsOfEachRequest) {
  Mount();
  struct stat attributes{};
  const int before = requests_;
  EXPECT_EQ(::stat(Path("missing").c_str(), &attributes), -1);
  EXPECT_EQ(requests_, before + 1);
}

TEST_F(FuseSessionTest, NameOf256BytesIsTooLongAndOf255Missing) {
  Mount();
  struct stat attributes{};
  EXPECT_EQ(::stat(Path(std::string(256, 'n')).c_str(), &attributes), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  EXPECT_EQ(::stat(Path(std::string(255, 'n')).c_str(), &attributes), -1);
  EXPECT_EQ(errno, ENOENT);
}

// The kernel refuses FOPEN_PASSTHROUGH beside FOPEN_KEEP_CACHE with EIO (fs/fuse/iomode.c,
// FOPEN_PASSTHROUGH_MASK), however the file system came to ask for both.
TEST_F(FuseSessionTest, BackingFileIsReadInPlaceOfTheFileSystem) {
  const std::string backing = directory_ + "/backing";
  ASSERT_TRUE(WriteFileAtomically(backing, AsBytes(std::string_view(kBackingText))).has_value());
  file_system_.SetBackingFile(backing);
  Mount();
  if (!file_system_.passthrough()) GTEST_SKIP() << "libfuse or kernel without passthrough";
  EXPECT_EQ(Contents(Path("backed")), kBackingText);
}

TEST_F(FuseSessionTest, KilledReaderOfAParkedReadEndsAtOnce) {
  Mount();
  const std::string path = Path("parked");
  const pid_t child = ::fork();
  if (child == 0) {
    ::close_range(3, ~0U, 0);  // Not the server's /dev/fuse.
    const int fd = ::open(path.c_str(), O_RDONLY);
    char byte = 0;
    const ssize_t got = ::read(fd, &byte, 1);
    ::_exit(got < 0 ? errno : 0);
  }
  file_system_.WaitForParkedRead();
  ::kill(child, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_EQ(Contents(Path("plain")), kText);
}

TEST_F(FuseSessionTest, OthersAreKeptOutByModeWhereRootLetsThemIn) {
  Mount({"allow_other"});
  const std::string open_path = Path("plain");
  const std::string private_path = Path("private");
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(kSomebody) != 0) ::_exit(1);
    if (::open(open_path.c_str(), O_RDONLY) < 0) ::_exit(2);
    if (::open(private_path.c_str(), O_RDONLY) >= 0 || errno != EACCES) ::_exit(3);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// Nobody else sees a user's mount, and owners in an image are not this machine's users: modes must
// not keep the one who mounted it out of what he could unpack and read.
TEST_F(FuseSessionTest, UserReadsAllOfHisOwnMount) {
  ASSERT_EQ(::chown(mount_point_.c_str(), kSomebody, kSomebody), 0);
  if (std::system("command -v fusermount3 >/dev/null") != 0) GTEST_SKIP() << "needs fusermount3";
  const std::string path = Path("private");
  const pid_t child = ::fork();
  if (child == 0) {
    if (!LetEverybodyOpenFuse(directory_)) ::_exit(4);
    if (::setgid(kSomebody) != 0 || ::setuid(kSomebody) != 0) ::_exit(1);
    TestFileSystem file_system;
    FuseOptions options;
    options.mount_point = mount_point_;
    auto session = FuseSession::Mount(file_system, options);
    if (!session.has_value()) {
      std::fprintf(stderr, "%s\n", session.error().context.c_str());
      ::_exit(2);
    }
    std::thread server([&] { [[maybe_unused]] const Status result = (*session)->Run(); });
    const int fd = ::open(path.c_str(), O_RDONLY);
    const int error = errno;
    ::close(fd);
    const bool unmounted = layerfs::Unmount(mount_point_, false).has_value();
    server.join();
    ::_exit(fd < 0 ? 100 + error : (unmounted ? 0 : 3));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::umount2(mount_point_.c_str(), MNT_DETACH);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "100 + errno of open";
}

TEST_F(FuseSessionTest, RunEndsWithSuccessWhenUnmounted) {
  Mount();
  ASSERT_TRUE(layerfs::Unmount(mount_point_, false).has_value());
  server_.join();
  session_.reset();
  EXPECT_TRUE(result_.has_value());
  EXPECT_EQ(layerfs::Unmount(mount_point_, false).error().code, ErrorCode::kNotFound);
}

TEST_F(FuseSessionTest, OptionNobodyKnowsIsNamed) {
  TestFileSystem file_system;
  FuseOptions options;
  options.mount_point = mount_point_;
  options.options = {"no_such_option"};
  const auto session = FuseSession::Mount(file_system, options);
  ASSERT_FALSE(session.has_value());
  EXPECT_NE(session.error().context.find("no_such_option"), std::string::npos)
      << session.error().context;
}

}  // namespace
}  // namespace layerfs
