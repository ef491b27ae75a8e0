// SPDX-License-Identifier: Apache-2.0
#include <poll.h>

#include <chrono>

#include "fs/fuse_session.h"
#include "fs/mount_table.h"
#include "tools/command.h"
#include "tools/status_server.h"

namespace layerfs {
namespace {

// The daemon ends within milliseconds, but for a machine or a disk that is busy.
constexpr std::chrono::milliseconds kEndPatience{5'000};

// The process that serves the mount, as a descriptor; not valid where it cannot be found.
UniqueFd FindDaemon(const std::string& directory) {
  const auto mount_point = CanonicalMountPoint(directory);
  if (!mount_point.has_value()) return {};
  const auto socket = ControlSocketPath(*mount_point, false);
  if (!socket.has_value()) return {};
  auto process = FindStatusServer(*socket);
  return process.has_value() ? std::move(*process) : UniqueFd();
}

bool IsStillMount(const std::string& directory) {
  const auto mount_point = CanonicalMountPoint(directory);
  return mount_point.has_value() && MountedType(*mount_point).starts_with(kMountType);
}

bool EndsInTime(const UniqueFd& process) {
  pollfd ended{process.get(), POLLIN, 0};
  return ::poll(&ended, 1, static_cast<int>(kEndPatience.count())) > 0;
}

class UmountCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("umount", "end a mount");
    app->add_option("DIRECTORY", directory_, "Where the image is mounted")->required();
    app->add_flag("-l,--lazy", lazy_, "Detach at once; it ends when its last user does");
    Document(*app, {"  Unmounts an image and waits a moment for its daemon to end.",
                    {"layerfs umount /mnt/app"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    const UniqueFd daemon = lazy_ ? UniqueFd() : FindDaemon(directory_);
    LAYERFS_CHECK_OK(Unmount(directory_, lazy_));
    // Of several on one directory the lowest has the socket: it serves what is there now.
    const bool was_stacked = IsStillMount(directory_);
    if (daemon.valid() && !was_stacked && !EndsInTime(daemon)) {
      std::fprintf(io.err,
                   "layerfs umount: the daemon goes on: another mount namespace has the mount "
                   "still, or its disk is busy\n");
    }
    return ExitStatus::kSuccess;
  }

 private:
  std::string directory_;
  bool lazy_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeUmountCommand() { return std::make_unique<UmountCommand>(); }

}  // namespace layerfs
