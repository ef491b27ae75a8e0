// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/mount_child.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "fs/fuse_session.h"
#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr int kUnmountAttempts = 100;
constexpr std::chrono::milliseconds kUnmountWait{50};

Result<Bytes> ReadToEnd(int fd) {
  Bytes bytes;
  uint8_t buffer[16384];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno("the mount's report", errno);
    if (got == 0) return bytes;
    bytes.insert(bytes.end(), buffer, buffer + got);
    if (bytes.size() > kMaxConfigBytes) return Fail(ErrorCode::kTooLarge, "the image's config");
  }
}

[[noreturn]] void BecomeMount(std::vector<std::string> words, int report_fd) {
  ::fcntl(report_fd, F_SETFD, 0);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv("/proc/self/exe", arguments.data());
  std::_Exit(127);
}

}  // namespace

Result<std::unique_ptr<MountChild>> MountChild::Start(const std::string& image,
                                                      const std::string& mount_point,
                                                      const std::vector<std::string>& options) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno("pipe", errno);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::vector<std::string> words = {"layerfs", "mount", "--foreground", "--report-fd",
                                    std::to_string(write_end.get())};
  words.insert(words.end(), options.begin(), options.end());
  words.push_back(image);
  words.push_back(mount_point);
  const pid_t pid = ::fork();
  if (pid < 0) return FailErrno("fork", errno);
  if (pid == 0) BecomeMount(std::move(words), write_end.get());
  write_end.Reset();
  auto child = std::unique_ptr<MountChild>(new MountChild(pid, mount_point));
  LAYERFS_TRY(report, ReadToEnd(read_end.get()));
  if (report.empty()) {
    LAYERFS_CHECK_OK(child->Stop());
    return Fail(ErrorCode::kIo, "mount " + mount_point + ": ended without a word");
  }
  LAYERFS_TRY(config, ParseJson(report, kMaxConfigBytes));
  child->config_ = std::move(config);
  return child;
}

MountChild::~MountChild() { (void)Stop(); }

Status MountChild::Stop() {
  if (pid_ < 0) return {};
  // What ran on it may take a moment to be gone.
  for (int i = 0; i < kUnmountAttempts; ++i) {
    if (Unmount(mount_point_, i + 1 == kUnmountAttempts).has_value()) break;
    if (::waitpid(pid_, nullptr, WNOHANG | WNOWAIT) != 0) break;
    std::this_thread::sleep_for(kUnmountWait);
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Fail(ErrorCode::kIo, "layerfs mount ended with status " +
                                  std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1) +
                                  "; it has said why");
}

Result<ScratchDirectory> ScratchDirectory::Make(const std::string& prefix) {
  std::string path = "/tmp/" + prefix + ".XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return FailErrno(path, errno);
  return ScratchDirectory(path);
}

ScratchDirectory::~ScratchDirectory() {
  if (path_.empty()) return;
  std::error_code error;
  // Never across a mount that is still there: its root would be busy, and its content is not ours.
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    if (!entry.is_directory(error)) std::filesystem::remove(entry.path(), error);
    if (entry.is_directory(error)) ::rmdir(entry.path().c_str());
  }
  ::rmdir(path_.c_str());
}

}  // namespace layerfs
