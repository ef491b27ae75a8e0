// SPDX-License-Identifier: Apache-2.0
// The FUSE edge without a mount: requests as the kernel writes them come through a socket, and
// every byte that goes back is seen. Needs a libfuse with custom I/O (tools/setup.sh builds one).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fs/fuse_operations.h"
#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr NodeId kParked = 7;
constexpr int kPatienceMs = 20'000;
constexpr int kSilenceMs = 50;  // how long "no answer" is waited for
constexpr size_t kMaxMessage = size_t{64} << 10;

// Reads of kParked wait until they are interrupted or let go; lookups of "dropped" are forgotten.
class EdgeFileSystem final : public FileSystem {
 public:
  SessionWishes Wishes() const override { return {}; }
  void Interrupt(uint64_t token) override {
    if (auto reply = Unpark(token)) reply->Errno(EINTR);
  }
  void Lookup(const Caller&, NodeId, std::string_view name, Reply reply) override {
    ++lookups;
    if (name == "dropped") return;
    reply.Errno(ENOENT);
  }
  void GetAttributes(const Caller&, NodeId, uint64_t, Reply reply) override { reply.Errno(ESTALE); }
  void ReadLink(const Caller&, NodeId, Reply reply) override { reply.Errno(EINVAL); }
  void Open(const Caller&, NodeId, int, Reply reply) override { reply.Open({}); }
  void Read(const Caller&, NodeId, uint64_t, uint64_t offset, size_t, int, Reply reply) override {
    Reply* const place = parked.With(
        [&](auto& all) { return &all.emplace(offset, std::move(reply)).first->second; });
    // Outside of the lock, because it may call Interrupt at once.
    place->SetInterruptToken(offset);
  }
  void Release(NodeId, uint64_t, int32_t, Reply reply) override { reply.Errno(0); }
  void OpenDirectory(const Caller&, NodeId, Reply reply) override { reply.Open({}); }
  void ReadDirectory(const Caller&, NodeId, uint64_t, uint64_t, DirectoryBuffer,
                     Reply reply) override {
    reply.Errno(ENOTDIR);
  }
  void ReleaseDirectory(NodeId, uint64_t, Reply reply) override { reply.Errno(0); }
  void Statfs(NodeId, Reply reply) override { reply.Errno(ENOSYS); }
  void GetXattr(const Caller&, NodeId, std::string_view, size_t, Reply reply) override {
    reply.Errno(ENODATA);
  }
  void ListXattrs(const Caller&, NodeId, size_t capacity, Reply reply) override {
    reply.XattrBytes("", capacity);
  }

  std::optional<Reply> Unpark(uint64_t token) {
    return parked.With([&](auto& all) -> std::optional<Reply> {
      const auto it = all.find(token);
      if (it == all.end()) return std::nullopt;
      std::optional<Reply> reply(std::move(it->second));
      all.erase(it);
      return reply;
    });
  }

  std::atomic<int> lookups{0};
  Synchronized<std::map<uint64_t, Reply>> parked;  // by the read's offset, its token
};

class NoNotifier final : public Notifier {
 public:
  void InvalidateEntry(NodeId, std::string_view) override {}
  void InvalidateNode(NodeId, int64_t, int64_t) override {}
  bool Store(NodeId, uint64_t, ByteSpan) override { return false; }
  int RegisterBackingFile(int) override { return -EPERM; }
  void UnregisterBackingFile(int) override {}
};

// libfuse takes the end of the socket for an unmounted file system.
ssize_t ReadRequest(int fd, void* buffer, size_t size, void* /*userdata*/) {
  const ssize_t got = ::recv(fd, buffer, size, 0);
  if (got > 0) return got;
  if (got == 0) errno = ENODEV;
  return -1;
}
ssize_t WriteAnswer(int fd, iovec* parts, int count, void* /*userdata*/) {
  return ::writev(fd, parts, count);
}

template <typename T>
std::string BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct Answer {
  uint64_t unique = 0;
  int error = 0;  // an errno, positive
  std::string body;
};

class FuseEdgeTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.file_system = &file_system_;
    context_.notifier = &notifier_;
    fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
    fuse_opt_add_arg(&arguments, "layerfs");
    session_ = fuse_session_new(&arguments, &kFuseOperations, sizeof kFuseOperations, &context_);
    fuse_opt_free_args(&arguments);
    ASSERT_NE(session_, nullptr);
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel_ = UniqueFd(ends[0]);
    fuse_custom_io io{};
    io.read = ReadRequest;
    io.writev = WriteAnswer;
    const int result = fuse_session_custom_io(session_, &io, ends[1]);
    if (result != 0) {
      ::close(ends[1]);
      GTEST_SKIP() << "libfuse without custom I/O: " << std::strerror(-result);
    }
    server_ = std::thread([this] { fuse_session_loop(session_); });
  }
  void TearDown() override {
    // A reply that is still parked has to go before its session does.
    file_system_.parked.With([](auto& all) { all.clear(); });
    kernel_.Reset();
    if (server_.joinable()) server_.join();
    if (session_ != nullptr) fuse_session_destroy(session_);
  }

  // Writes a request; returns its number.
  uint64_t Send(uint32_t opcode, NodeId node, const std::string& body) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + body.size());
    header.opcode = opcode;
    header.unique = next_unique_ += 2;
    header.nodeid = node;
    const std::string message = BytesOf(header) + body;
    EXPECT_EQ(::send(kernel_.get(), message.data(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
    return header.unique;
  }
  uint64_t SendName(uint32_t opcode, const std::string& name) {
    return Send(opcode, kRootNode, name + '\0');
  }
  uint64_t SendRead(uint64_t offset) {
    fuse_read_in read{};
    read.offset = offset;
    read.size = 4096;
    return Send(FUSE_READ, kParked, BytesOf(read));
  }
  void SendInterrupt(uint64_t unique) {
    fuse_interrupt_in interrupt{};
    interrupt.unique = unique;
    Send(FUSE_INTERRUPT, 0, BytesOf(interrupt));
  }
  std::optional<Answer> Receive(int timeout_ms = kPatienceMs) {
    pollfd ready{kernel_.get(), POLLIN, 0};
    if (::poll(&ready, 1, timeout_ms) != 1) return std::nullopt;
    std::string message(kMaxMessage, '\0');
    const ssize_t got = ::recv(kernel_.get(), message.data(), message.size(), 0);
    fuse_out_header header{};
    if (got < static_cast<ssize_t>(sizeof header)) return std::nullopt;
    std::memcpy(&header, message.data(), sizeof header);
    EXPECT_EQ(header.len, static_cast<uint32_t>(got));
    return Answer{header.unique, -header.error,
                  message.substr(sizeof header, static_cast<size_t>(got) - sizeof header)};
  }
  void ExpectError(uint64_t unique, int error) {
    const auto answer = Receive();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->unique, unique);
    EXPECT_EQ(answer->error, error);
  }
  void ExpectSilence() { EXPECT_FALSE(Receive(kSilenceMs).has_value()); }

  void Init() {
    fuse_init_in init{};
    init.major = FUSE_KERNEL_VERSION;
    init.minor = 31;
    init.max_readahead = 1U << 17;
    init.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES;
    ExpectError(Send(FUSE_INIT, 0, BytesOf(init)), 0);
  }

  EdgeFileSystem file_system_;
  NoNotifier notifier_;
  FuseContext context_;
  fuse_session* session_ = nullptr;
  UniqueFd kernel_;  // the end of the socket that the kernel's place is at
  std::thread server_;
  uint64_t next_unique_ = 0;
};

TEST_F(FuseEdgeTest, NothingIsServedBeforeTheKernelHasSaidItsVersion) {
  ExpectError(SendName(FUSE_LOOKUP, "a"), EIO);
  EXPECT_EQ(file_system_.lookups, 0);
}

TEST_F(FuseEdgeTest, EveryRequestIsAnsweredOnce) {
  Init();
  std::map<uint64_t, int> answers;
  for (int i = 0; i < 100; ++i) answers[SendName(FUSE_LOOKUP, "missing")] = 0;
  for (int i = 0; i < 100; ++i) {
    const auto answer = Receive();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->error, ENOENT);
    ++answers[answer->unique];
  }
  for (const auto& [unique, count] : answers) EXPECT_EQ(count, 1) << unique;
  ExpectSilence();
}

TEST_F(FuseEdgeTest, ARequestThatTheFileSystemDropsIsAnsweredWithEio) {
  Init();
  ExpectError(SendName(FUSE_LOOKUP, "dropped"), EIO);
}

TEST_F(FuseEdgeTest, AnOperationThatNobodyKnowsIsAnsweredWithEnosys) {
  Init();
  for (const uint32_t opcode : {7U, 60U, 4095U}) {
    ExpectError(Send(opcode, kRootNode, std::string(64, '\xff')), ENOSYS);
  }
  ExpectError(SendName(FUSE_LOOKUP, "still served"), ENOENT);
}

TEST_F(FuseEdgeTest, ANameThatIsTooLongDoesNotReachTheFileSystem) {
  Init();
  ExpectError(SendName(FUSE_LOOKUP, std::string(256, 'n')), ENAMETOOLONG);
  ExpectError(SendName(FUSE_LOOKUP, std::string(1023, 'n')), ENAMETOOLONG);
  EXPECT_EQ(file_system_.lookups, 0);
  ExpectError(SendName(FUSE_LOOKUP, std::string(255, 'n')), ENOENT);
}

TEST_F(FuseEdgeTest, ChangesOfAFileSystemThatMakesNoneAreRefusedAsReadOnly) {
  Init();
  const std::string name("name\0", 5);
  const std::pair<uint32_t, std::string> changes[] = {
      {FUSE_MKDIR, BytesOf(fuse_mkdir_in{}) + name},
      {FUSE_MKNOD, BytesOf(fuse_mknod_in{}) + name},
      {FUSE_UNLINK, name},
      {FUSE_RMDIR, name},
      {FUSE_SYMLINK, name + name},
      {FUSE_SETATTR, BytesOf(fuse_setattr_in{})},
      {FUSE_REMOVEXATTR, "user.x" + std::string(1, '\0')},
  };
  for (const auto& [opcode, body] : changes) {
    SCOPED_TRACE(opcode);
    ExpectError(Send(opcode, kRootNode, body), EROFS);
  }
}

TEST_F(FuseEdgeTest, ForgettingHasNoAnswer) {
  Init();
  fuse_forget_in forget{};
  forget.nlookup = 1;
  Send(FUSE_FORGET, kParked, BytesOf(forget));
  fuse_batch_forget_in batch{};
  batch.count = 2;
  fuse_forget_one one{};
  one.nodeid = kParked;
  one.nlookup = 1;
  Send(FUSE_BATCH_FORGET, 0, BytesOf(batch) + BytesOf(one) + BytesOf(one));
  ExpectError(SendName(FUSE_LOOKUP, "next"), ENOENT);
  ExpectSilence();
}

TEST_F(FuseEdgeTest, ReadsThatWaitHoldUpNobody) {
  Init();
  std::map<uint64_t, uint64_t> offsets;  // by the number of the request
  for (uint64_t offset = 1; offset <= 100; ++offset) offsets[SendRead(offset)] = offset;
  ExpectError(SendName(FUSE_LOOKUP, "meanwhile"), ENOENT);
  for (uint64_t offset = 100; offset > 0; --offset) {
    auto reply = file_system_.Unpark(offset);
    ASSERT_TRUE(reply.has_value());
    reply->Data(AsBytes("read " + std::to_string(offset)));
    const auto answer = Receive();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(offsets[answer->unique], offset);
    EXPECT_EQ(answer->body, "read " + std::to_string(offset));
  }
}

TEST_F(FuseEdgeTest, AReadThatIsInterruptedIsAnsweredWithEintrOnce) {
  Init();
  const uint64_t other = SendRead(1);
  const uint64_t read = SendRead(2);
  SendInterrupt(read);
  ExpectError(read, EINTR);
  file_system_.Unpark(1)->Data(AsBytes(std::string_view("whole")));
  const auto answer = Receive();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->unique, other);
  EXPECT_EQ(answer->body, "whole");
  ExpectSilence();
}

// The kernel sends both, and two threads may take them in the other order.
TEST_F(FuseEdgeTest, AnInterruptThatComesBeforeItsReadIsHeeded) {
  Init();
  SendInterrupt(next_unique_ + 4);  // the number that the read after it gets
  const uint64_t read = SendRead(1);
  ExpectError(read, EINTR);
}

}  // namespace
}  // namespace layerfs
