// SPDX-License-Identifier: Apache-2.0
// A mounted image whose registry takes connections and never answers. The image is pinned by digest
// and its documents are in the cache, so that mounting needs no answer; its data do.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "fetch/oci_layout.h"
#include "fs/recent_failures.h"
#include "index/base/file.h"
#include "index/base/log.h"
#include "tests/fs/mounted_image.h"
#include "tests/fs/test_image.h"

namespace layerfs {
namespace {

// Connections are made by the kernel and lie in the backlog.
class SilentServer {
 public:
  SilentServer() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_.get(), 64), 0);
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  int port() const { return port_; }

 private:
  UniqueFd socket_;
  int port_ = 0;
};

class SilentRegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0 || ::access("/dev/fuse", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "needs root and /dev/fuse";
    }
    auto made = TestImage::Make();
    ASSERT_TRUE(made.has_value()) << made.error().context;
    image_.emplace(std::move(*made));
    ASSERT_EQ(::mkdir(Mnt().c_str(), 0755), 0);
    // The documents come into the cache from the layout.
    Mount(image_->reference());
    mounted_.reset();
    ASSERT_TRUE(ConfigureLog({.path = image_->directory() + "/log"}).has_value());
    const auto manifest = OciLayout(image_->directory() + "/lazy").FindTag("latest");
    ASSERT_TRUE(manifest.has_value());
    Mount("docker://127.0.0.1:" + std::to_string(server_.port()) + "/a/b@" +
          manifest->digest.ToString());
  }
  void TearDown() override {
    mounted_.reset();
    ASSERT_TRUE(ConfigureLog({}).has_value());
  }

  void Mount(const std::string& reference) {
    MountedImage::Options options;
    options.reference = reference;
    options.mount_point = Mnt();
    options.cache = image_->directory() + "/cache";
    options.timeout = timeout_;
    auto mounted = MountedImage::Mount(options);
    ASSERT_TRUE(mounted.has_value()) << mounted.error().context;
    mounted_ = std::move(*mounted);
  }
  std::string Mnt() const { return image_->directory() + "/mnt"; }

  // A process that reads a file; it exits with the errno.
  pid_t StartReader(int flags = 0) const {
    const std::string path = Mnt() + "/dir/big";
    const pid_t child = ::fork();
    if (child != 0) return child;
    // Not the server's /dev/fuse: the kernel ends a connection when the last of them is closed.
    ::close_range(3, ~0U, 0);
    alignas(4096) static char page[4096];
    const int fd = ::open(path.c_str(), O_RDONLY | flags);
    ::_exit(::read(fd, page, sizeof page) < 0 ? errno : 0);
  }
  // Until the reader's request has arrived at the daemon and waits for data.
  std::string ReadLog() const {
    const auto log = ReadFile(image_->directory() + "/log", 1U << 20);
    return log.has_value() ? std::string(AsText(*log)) : log.error().context;
  }
  void WaitForRequest() const {
    while (mounted_->waiting_reads() == 0) std::this_thread::yield();
  }

  std::chrono::milliseconds timeout_ = FileReader::Options().timeout;
  std::optional<TestImage> image_;
  SilentServer server_;
  std::unique_ptr<MountedImage> mounted_;
};

TEST_F(SilentRegistryTest, PinnedImageIsMountedAndListedWithoutARequest) {
  struct stat attributes{};
  EXPECT_EQ(::stat((Mnt() + "/etc/small").c_str(), &attributes), 0);
  EXPECT_EQ(mounted_->Statistics().requests, 0U);
}

// Far below the 60 s after which the read itself would fail.
constexpr std::chrono::seconds kAtOnce{10};

// Buffered reads wait for a page, direct ones for the answer itself.
TEST_F(SilentRegistryTest, KilledReaderEndsAtOnceWhileNamesAreAnswered) {
  for (const int flags : {0, O_DIRECT}) {
    const pid_t reader = StartReader(flags);
    WaitForRequest();
    struct stat attributes{};
    EXPECT_EQ(::stat((Mnt() + "/dir/sub").c_str(), &attributes), 0);
    ::kill(reader, SIGKILL);
    const auto killed = std::chrono::steady_clock::now();
    int status = 0;
    ASSERT_EQ(::waitpid(reader, &status, 0), reader);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_LT(std::chrono::steady_clock::now() - killed, kAtOnce) << "flags " << flags;
  }
}

class ShortTimeoutTest : public SilentRegistryTest {
 protected:
  ShortTimeoutTest() { timeout_ = std::chrono::seconds(2); }
};

// The kernel reads ahead, is told of the failure, and asks for the reader's page once more; that
// must not wait for the timeout a second time.
TEST_F(ShortTimeoutTest, BufferedReadFailsAfterOneTimeout) {
  for (int round = 0; round < 2; ++round) {
    const auto started = std::chrono::steady_clock::now();
    const pid_t reader = StartReader();
    int status = 0;
    ASSERT_EQ(::waitpid(reader, &status, 0), reader);
    const auto took = std::chrono::steady_clock::now() - started;
    EXPECT_EQ(WEXITSTATUS(status), EIO);
    // The second reader is one that tries again: it waits for as long as the first.
    EXPECT_GE(took, timeout_);
    EXPECT_LT(took, timeout_ * 7 / 4) << "round " << round;
    const std::string log = ReadLog();
    EXPECT_NE(log.find("image docker://127.0.0.1:"), std::string::npos) << log;
    EXPECT_NE(log.find("file /dir/big"), std::string::npos) << log;
    EXPECT_NE(log.find("range "), std::string::npos) << log;
    // A reader's own next try comes later than the kernel's.
    std::this_thread::sleep_for(RecentFailures::kMemory);
  }
}

TEST_F(SilentRegistryTest, UnmountEndsReadsThatWait) {
  const pid_t reader = StartReader();
  WaitForRequest();
  mounted_.reset();
  int status = 0;
  ASSERT_EQ(::waitpid(reader, &status, 0), reader);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_NE(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace layerfs
