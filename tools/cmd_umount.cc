// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse_session.h"
#include "tools/command.h"

namespace layerfs {
namespace {

class UmountCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("umount", "end a mount");
    app->add_option("DIRECTORY", directory_, "Where the image is mounted")->required();
    app->add_flag("-l,--lazy", lazy_, "Detach at once; it ends when its last user does");
    Document(*app, {"  Unmounts an image and ends its daemon.", {"layerfs umount /mnt/app"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& /*io*/) override {
    LAYERFS_CHECK_OK(Unmount(directory_, lazy_));
    return ExitStatus::kSuccess;
  }

 private:
  std::string directory_;
  bool lazy_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeUmountCommand() { return std::make_unique<UmountCommand>(); }

}  // namespace layerfs
