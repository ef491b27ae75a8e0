// SPDX-License-Identifier: Apache-2.0
#include "tools/run/mount_process.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <thread>

#include "fs/fuse_session.h"
#include "index/base/file.h"
#include "tools/run/lifeline.h"

namespace layerfs {
namespace {

// As much as Image takes of a config.
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// The child's numbers for the descriptor of its report, and of its lifeline.
constexpr int kReportFd = 3;
constexpr int kLifelineFd = 4;

constexpr std::chrono::milliseconds kUnmountPoll{50};
constexpr std::chrono::milliseconds kCancelPoll{50};  // A person does not notice it.

Status WaitReadable(int fd, const std::function<bool()>& is_cancelled) {
  pollfd polled{fd, POLLIN, 0};
  const int wait = is_cancelled ? static_cast<int>(kCancelPoll.count()) : -1;
  while (::poll(&polled, 1, wait) <= 0) {
    if (is_cancelled && is_cancelled()) return Fail(ErrorCode::kCancelled, "a signal ended it");
  }
  return {};
}

Result<Bytes> ReadToEnd(int fd, const std::function<bool()>& is_cancelled) {
  Bytes bytes;
  std::array<uint8_t, 65536> buffer{};
  while (true) {
    LAYERFS_CHECK_OK(WaitReadable(fd, is_cancelled));
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno("the mount's report", errno);
    if (got == 0) return bytes;
    bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + got);
    if (bytes.size() > kMaxConfigBytes) {
      return Fail(ErrorCode::kTooLarge, "the image's config is too large");
    }
  }
}

}  // namespace

Result<MountProcess> MountProcess::Start(const Options& options) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno("pipe", errno);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  LAYERFS_TRY(null, OpenFile("/dev/null", O_RDWR));

  ChildProcess::Options child;
  child.arguments = {options.program, "mount", "--foreground", "--report-fd",
                     std::to_string(kReportFd)};
  Lifeline lifeline;
  if (options.ends_with_starter) {
    LAYERFS_TRY(made, Lifeline::Make());
    lifeline = std::move(made);
    child.arguments.insert(child.arguments.end(), {"--lifeline-fd", std::to_string(kLifelineFd)});
  }
  child.arguments.insert(child.arguments.end(), options.words.begin(), options.words.end());
  child.arguments.insert(child.arguments.end(), {"--", options.image, options.mount_point});
  child.descriptors = {{null.get(), 0}, {null.get(), 1}, {write_end.get(), kReportFd}};
  child.descriptors.emplace_back(lifeline.watched.get(), kLifelineFd);
  child.new_session = true;
  LAYERFS_TRY(process, ChildProcess::Start(child));
  write_end.Reset();

  const Result<Bytes> report = ReadToEnd(read_end.get(), options.is_cancelled);
  if (!report.has_value()) {
    ::kill(process.pid(), SIGKILL);
    (void)process.Wait();
    return Fail(report.error());
  }
  if (report->empty()) {
    LAYERFS_TRY(status, process.Wait());
    return Fail(ErrorCode::kIo,
                options.image + ": cannot be mounted (exit status " + std::to_string(status) + ")");
  }
  LAYERFS_TRY_IN(config, ParseJson(*report, kMaxConfigBytes), options.image + ": config");
  return MountProcess(std::move(process), std::move(lifeline.held), options.mount_point,
                      std::move(config));
}

Status MountProcess::End(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (true) {
    const Status unmounted = Unmount(mount_point_, false);
    if (unmounted.has_value() || unmounted.error().code == ErrorCode::kNotFound) break;
    if (unmounted.error().code != ErrorCode::kBusy) return unmounted;
    if (std::chrono::steady_clock::now() >= deadline) return Unmount(mount_point_, true);
    std::this_thread::sleep_for(kUnmountPoll);
  }
  LAYERFS_CHECK_OK(process_.Wait());
  return {};
}

}  // namespace layerfs
