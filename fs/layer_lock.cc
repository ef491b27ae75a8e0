// SPDX-License-Identifier: Apache-2.0
#include "fs/layer_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <optional>
#include <string_view>
#include <thread>

#include "fs/mount_table.h"

namespace layerfs {
namespace {

constexpr char kName[] = "lock";
constexpr std::chrono::milliseconds kPoll{20};

struct Holder {
  pid_t pid = 0;
  std::string mount_point;
};

// "PID MOUNTPOINT\n", or nothing: a command, or a mount that is not there yet.
std::optional<Holder> ReadHolder(int fd) {
  std::array<char, PATH_MAX + 32> buffer{};
  const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
  if (got <= 0) return std::nullopt;
  const std::string_view text(buffer.data(), static_cast<size_t>(got));
  Holder holder;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), holder.pid);
  if (error != std::errc() || holder.pid <= 0 || !text.ends_with('\n')) return std::nullopt;
  const auto digits = static_cast<size_t>(end - text.data());
  if (digits + 2 >= text.size()) return std::nullopt;
  holder.mount_point = text.substr(digits + 1, text.size() - digits - 2);
  return holder;
}

// Whether the holder's mount is where it was, as the holder sees it.
bool Serves(const Holder& holder) {
  return MountedType(holder.mount_point, holder.pid).starts_with(kMountType);
}

std::unexpected<Error> FailInUse(const std::string& directory, const std::optional<Holder>& holder,
                                 bool serves) {
  std::string text = directory + ": the container layer is in use by ";
  if (!holder.has_value()) {
    text += "another mount or command; wait for it, or give each container a layer of its own";
  } else {
    text += "process " + std::to_string(holder->pid) + ", mounted on " + holder->mount_point;
    text += serves ? "; unmount it first, or give each container a layer of its own"
                   : ", which is unmounted; the process goes on while another mount namespace has "
                     "the mount: end what runs there";
  }
  return Fail(ErrorCode::kBusy, text);
}

}  // namespace

Result<LayerLock> LayerLock::Take(int directory_fd, const std::string& directory,
                                  Patience patience) {
  LAYERFS_TRY_IN(file, OpenFileAt(directory_fd, kName, O_RDWR | O_CREAT | O_NOFOLLOW, 0600),
                 directory);
  const auto begin = std::chrono::steady_clock::now();
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return FailErrno(directory + "/lock", errno);
    const auto holder = ReadHolder(file.get());
    const bool serves = holder.has_value() && Serves(*holder);
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited >= (serves ? patience.for_serving : patience.for_ending)) {
      return FailInUse(directory, holder, serves);
    }
    std::this_thread::sleep_for(kPoll);
  }
  // What the last one noted.
  if (::ftruncate(file.get(), 0) != 0) return FailErrno(directory + "/lock", errno);
  return LayerLock(std::move(file));
}

Status LayerLock::TakeOpen(int directory_fd, const std::string& directory, Patience patience) {
  const auto begin = std::chrono::steady_clock::now();
  while (::flock(directory_fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return FailErrno(directory, errno);
    if (std::chrono::steady_clock::now() - begin >= patience.for_serving) {
      return Fail(ErrorCode::kBusy, directory +
                                        ": is in use by another mount; unmount it first, or "
                                        "give each mount an upper directory of its own");
    }
    std::this_thread::sleep_for(kPoll);
  }
  return {};
}

Status LayerLock::NoteMount(const std::string& mount_point) const {
  const std::string text = std::to_string(::getpid()) + " " + mount_point + "\n";
  LAYERFS_CHECK_OK_IN(WriteFullAt(file_.get(), 0, AsBytes(text)), kName);
  return {};
}

}  // namespace layerfs
