// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "fs/daemonizer.h"
#include "index/base/log.h"
#include "tools/command.h"
#include "tools/mount_server.h"
#include "tools/mount_target.h"

namespace layerfs {
namespace {

class MountCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("mount", "show a converted image's files in a directory");
    app->add_option("IMAGE", words_.image, "The converted image; not with -o lowerdir=");
    app->add_option("DIRECTORY", words_.directory, "Where it is mounted");
    app->add_option("--container-layer", words_.container_layer,
                    "Make the mount writable; keep the changes in this directory")
        ->type_name("DIR");
    app->add_flag("-f,--foreground", foreground_,
                  "Stay in the foreground until it is unmounted or interrupted");
    app->add_option("-o", words_.options,
                    "Mount options, as mount.fuse3(8) and the kernel take them")
        ->type_name("OPTION[,OPTION…]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    app->add_option("--threads", words_.threads, "How many threads answer the kernel")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    app->add_flag("--no-passthrough", options_.no_passthrough,
                  "Read whole cached files through the daemon as well");
    app->add_flag("--fuse-debug", words_.fuse_debug,
                  "Log each of the kernel's requests and its answer (with --debug)");
    app->add_flag("--no-startup", options_.no_startup, "Leave the image's startup pack alone");
    app->add_flag(
        "--referrers", options_.referrers,
        "Where the image has no startup pack, use one that was attached to it: anybody who "
        "may push to its repository can do that");
    DeclareForOurselves(*app);
    options_.image.Declare(*app);
    options_.services.DeclareCache(*app);
    options_.services.DeclareRegistry(*app);
    options_.services.DeclareOffline(*app);
    options_.watch.Declare(*app);
    Document(
        *app,
        {"  Mounts the image's merged tree as soon as its indexes are there. Files are fetched in\n"
         "  pieces when they are read, verified against SHA-256 and kept in the cache. Without\n"
         "  --foreground the command returns when the mount answers, and reports its failure\n"
         "  otherwise. While the registry cannot be reached, what is cached is read as ever; "
         "other\n"
         "  reads are retried until --fetch-timeout and then fail with EIO. The rest of the image "
         "is\n"
         "  fetched behind (--fill); once it is all there (layerfs cache stat), the registry is "
         "not\n"
         "  needed any more.\n"
         "\n"
         "  The mount is read-only, or writable with --container-layer DIR: DIR (made where it is\n"
         "  missing) takes the changes, belongs to this image from then on, and is in use by one\n"
         "  mount at a time. As IMAGE, the word scratch is none: the layer alone is a base "
         "image's.\n"
         "\n"
         "  With -o lowerdir=A:B[,upperdir=U,workdir=W] directories are merged instead of an "
         "image,\n"
         "  as overlayfs and fuse-overlayfs do it and with their options. Called by the name\n"
         "  mount.fuse.layerfs it is a helper of mount(8), and Podman's mount_program.\n"
         "\n"
         "  A user's mount that only he sees lets him read all of the image, whatever its owners "
         "and\n"
         "  modes, as if he had unpacked it; with -o default_permissions the kernel checks.\n"
         "\n"
         "  Mount options of interest: allow_other (the default for root's writable mounts), "
         "noexec,\n"
         "  nosuid, nodev, io_uring (oci: only, where the kernel has it enabled).",
         {"layerfs mount docker://127.0.0.1:5000/app:1-lazy /mnt/app",
          "layerfs mount -f --cache /var/tmp/cache -o allow_other oci:/images/app:1 /mnt/app",
          "layerfs mount --container-layer /var/lib/c1 docker://127.0.0.1:5000/app:1-lazy /mnt/c1",
          "layerfs mount -o lowerdir=/a:/b,upperdir=/u,workdir=/w /mnt/merged"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(target, MakeMountTarget(words_));
    // The daemon leaves this directory, and reads some of these again later.
    LAYERFS_CHECK_OK(options_.services.MakeAbsolute());
    if (foreground_) {
      LAYERFS_CHECK_OK(MountServer(options_, target, io, nullptr).Serve());
      return ExitStatus::kSuccess;
    }
    LAYERFS_TRY(daemon, Daemonizer::Fork("layerfs mount: "));
    const Status served = MountServer(options_, target, io, &daemon).Serve();
    if (!served.has_value()) {
      const bool told = daemon.ReportFailure(served.error().context,
                                             static_cast<int>(ExitStatusOf(served.error().code)));
      if (!told) LogError(served.error().context);
      std::_Exit(static_cast<int>(ExitStatusOf(served.error().code)));
    }
    return ExitStatus::kSuccess;
  }

 private:
  // For `layerfs run` (tools/run/mount_process.h), `record` and `bench`: in no group, so that
  // --help is silent.
  void DeclareForOurselves(CLI::App& app) {
    app.add_option("--report-fd", options_.report_fd, "Tell the image's config once it is mounted")
        ->group("");
    app.add_option("--lifeline-fd", options_.lifeline_fd, "End with whoever has the other end")
        ->group("");
    app.add_option("--record", options_.record,
                   "Write what is read to a trace when it is unmounted")
        ->group("");
    app.add_option("--events", options_.events,
                   "Write what happened when to a file, as lines of JSON")
        ->group("");
  }

  MountWords words_;
  bool foreground_ = false;
  MountServerOptions options_;
};

}  // namespace

std::unique_ptr<Command> MakeMountCommand() { return std::make_unique<MountCommand>(); }

}  // namespace layerfs
