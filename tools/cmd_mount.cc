// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "fs/daemonizer.h"
#include "fs/directory_source.h"
#include "fs/file_reader.h"
#include "fs/fuse_session.h"
#include "fs/image.h"
#include "fs/image_file_system.h"
#include "fs/image_source.h"
#include "fs/layered_file_system.h"
#include "fs/startup_phase.h"
#include "index/base/log.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/mount_watch.h"
#include "tools/overlay_options.h"
#include "tools/services.h"
#include "tools/startup/access_recorder.h"
#include "tools/startup/event_log.h"

namespace layerfs {
namespace {

constexpr int kHeaps = 2;

Result<std::string> CheckMountPoint(const std::string& path) {
  // A dead mount still answers a stat, from the kernel's memory, but never a statfs.
  struct statvfs statistics;
  if (::statvfs(path.c_str(), &statistics) != 0 && errno == ENOTCONN) {
    return Fail(ErrorCode::kBusy, path +
                                      ": a dead mount lies there; remove it first: "
                                      "layerfs umount " +
                                      path);
  }
  struct stat attributes;
  if (::stat(path.c_str(), &attributes) != 0) return FailErrno(path, errno);
  if (!S_ISDIR(attributes.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument,
                path + ": is not a directory, and images are mounted on one");
  }
  char* const resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return FailErrno(path, errno);
  std::string absolute = resolved;
  std::free(resolved);
  return absolute;
}

class MountCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("mount", "show a converted image's files in a directory");
    app->add_option("IMAGE", image_, "The converted image; not with -o lowerdir=");
    app->add_option("DIRECTORY", directory_, "Where it is mounted");
    app->add_option("--container-layer", container_layer_,
                    "Make the mount writable; keep the changes in this directory")
        ->type_name("DIR");
    app->add_flag("-f,--foreground", foreground_,
                  "Stay in the foreground until it is unmounted or interrupted");
    app->add_option("-o", mount_options_,
                    "Mount options, as mount.fuse3(8) and the kernel take them")
        ->type_name("OPTION[,OPTION…]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    app->add_option("--threads", threads_, "How many threads answer the kernel")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    app->add_flag("--no-passthrough", no_passthrough_,
                  "Read whole cached files through the daemon as well");
    app->add_flag("--fuse-debug", fuse_debug_, "Trace the kernel's requests (with --foreground)");
    // For `layerfs run`, see tools/run/mount_process.h: in no group, so that --help is silent.
    app->add_option("--report-fd", report_fd_, "Tell the image's config once it is mounted")
        ->group("");
    app->add_flag("--no-startup", no_startup_, "Leave the image's startup pack alone");
    app->add_flag(
        "--referrers", referrers_,
        "Where the image has no startup pack, use one that was attached to it: anybody who "
        "may push to its repository can do that");
    // For `layerfs record` and `layerfs bench`: in no group.
    app->add_option("--record", record_, "Write what is read to a trace when it is unmounted")
        ->group("");
    app->add_option("--events", events_, "Write what happened when to a file, as lines of JSON")
        ->group("");
    image_options_.Declare(*app);
    options_.DeclareCache(*app);
    options_.DeclareRegistry(*app);
    options_.DeclareOffline(*app);
    watch_words_.Declare(*app);
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
         "  mount at a time.\n"
         "\n"
         "  With -o lowerdir=A:B[,upperdir=U,workdir=W] directories are merged instead of an "
         "image,\n"
         "  as overlayfs and fuse-overlayfs do it and with their options. Called by the name\n"
         "  mount.fuse.layerfs it is a helper of mount(8), and Podman's mount_program.\n"
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
    LAYERFS_TRY(mount, WhatToMount());
    LAYERFS_TRY(mount_point, CheckMountPoint(directory_));
    LAYERFS_CHECK_OK(MakeAbsolute(options_.cache_directory));
    LAYERFS_CHECK_OK(MakeAbsolute(container_layer_));
    if (foreground_) {
      LAYERFS_CHECK_OK(Serve(mount, mount_point, io, nullptr));
      return ExitStatus::kSuccess;
    }
    LAYERFS_TRY(daemon, Daemonizer::Fork("layerfs mount: "));
    const Status served = Serve(mount, mount_point, io, &daemon);
    if (!served.has_value()) {
      const bool told = daemon.ReportFailure(served.error().context,
                                             static_cast<int>(ExitStatusOf(served.error().code)));
      if (!told) LogError(served.error().context);
      std::_Exit(static_cast<int>(ExitStatusOf(served.error().code)));
    }
    return ExitStatus::kSuccess;
  }

 private:
  // The daemon leaves the caller's directory.
  static Result<ImageReference> WithAbsolutePaths(ImageReference reference) {
    if (reference.transport == ImageTransport::kRegistry) return reference;
    char* const resolved = ::realpath(reference.path.c_str(), nullptr);
    if (resolved == nullptr) return FailErrno(reference.path, errno);
    reference.path = resolved;
    std::free(resolved);
    return reference;
  }

  static Status MakeAbsolute(std::string& path) {
    if (path.empty() || path.front() == '/') return {};
    char* const here = ::getcwd(nullptr, 0);
    if (here == nullptr) return FailErrno("working directory", errno);
    path = std::string(here) + "/" + path;
    std::free(here);
    return {};
  }

  // An image, or directories.
  struct WhatIsMounted {
    std::optional<ImageReference> image;
    OverlayOptions overlay;  // with an image, only what concerns the file system
  };
  Result<WhatIsMounted> WhatToMount() {
    const std::vector<std::string> words = SplitMountWords(mount_options_);
    WhatIsMounted mount;
    if (NamesDirectories(words)) {
      if (!container_layer_.empty()) {
        return Fail(ErrorCode::kInvalidArgument,
                    "--container-layer goes with an image; with -o lowerdir= give upperdir= and "
                    "workdir=");
      }
      // mount(8) gives a source, which is not one.
      if (directory_.empty()) directory_ = std::exchange(image_, "");
      LAYERFS_TRY(overlay, ParseOverlayOptions(words));
      mount.overlay = std::move(overlay);
      for (std::string& lower : mount.overlay.lower_directories) {
        LAYERFS_CHECK_OK(MakeAbsolute(lower));
      }
      LAYERFS_CHECK_OK(MakeAbsolute(mount.overlay.upper_directory));
      LAYERFS_CHECK_OK(MakeAbsolute(mount.overlay.work_directory));
    } else {
      if (image_.empty()) {
        return Fail(ErrorCode::kInvalidArgument, "IMAGE is required; or -o lowerdir=");
      }
      LAYERFS_TRY(reference, ImageReference::Parse(image_));
      LAYERFS_TRY(absolute, WithAbsolutePaths(reference));
      mount.image = std::move(absolute);
      mount.overlay.others = words;
    }
    if (directory_.empty()) return Fail(ErrorCode::kInvalidArgument, "DIRECTORY is required");
    return mount;
  }

  // Words that would make a mount which is not what it says.
  static Status RefuseOption(const std::string& word, bool writable) {
    std::string_view why;
    if (word == "rw" && !writable) why = "without --container-layer the mount is read-only";
    if (word.starts_with("subtype=")) why = "layerfs knows its mounts by it";
    if (word.starts_with("max_read=")) why = "the size of reads is agreed with the kernel";
    if (why.empty()) return {};
    return Fail(ErrorCode::kInvalidArgument,
                "-o " + word + ": " + std::string(why) + "; leave it out");
  }

  // A request keeps its ring entry until it is answered: with a hundred reads that waited for a
  // registry, `ls` waited as well. No depth rules that out, so such a mount does without the rings.
  static Status RefuseIoUring(const WhatIsMounted& mount) {
    if (!mount.image.has_value() || mount.image->transport != ImageTransport::kRegistry) return {};
    return Fail(ErrorCode::kUnsupported,
                "-o io_uring: is for images in a local layout (oci:); reads that wait for a "
                "registry would hold up all others; leave it out");
  }

  Result<FuseOptions> MakeFuseOptions(const WhatIsMounted& mount,
                                      const std::string& mount_point) const {
    FuseOptions fuse;
    fuse.mount_point = mount_point;
    fuse.source = mount.image.has_value() ? mount.image->ToString() : "layerfs";
    fuse.max_threads = mount.overlay.one_thread ? 1 : threads_;
    fuse.debug = fuse_debug_;
    const bool writable = !container_layer_.empty() || !mount.overlay.upper_directory.empty();
    bool has_allow = false;
    for (const std::string& word : mount.overlay.others) {
      LAYERFS_CHECK_OK(RefuseOption(word, writable || !mount.image.has_value()));
      has_allow |= word == "allow_other" || word == "allow_root";
      if (word == "io_uring") {
        LAYERFS_CHECK_OK(RefuseIoUring(mount));
        fuse.io_uring = true;
      } else if (word != "rw" && (word != "ro" || writable)) {
        fuse.options.push_back(word);
      }
    }
    // A container has more users than the one who started it.
    if (!has_allow && ::geteuid() == 0 && (writable || !mount.image.has_value())) {
      fuse.options.push_back("allow_other");
    }
    return fuse;
  }

  // The image's config for the one who asked with --report-fd, once the mount answers. The end of
  // the descriptor without it is the failure.
  static void TellConfig(const std::string& mount_point, const std::string& config, UniqueFd to) {
    struct stat attributes;
    if (::stat(mount_point.c_str(), &attributes) != 0) {
      LogError(mount_point + ": the mount does not answer: " + std::strerror(errno));
      ::kill(::getpid(), SIGTERM);  // Ends the session as a user would.
      return;
    }
    const Status told = WriteFull(to.get(), AsBytes(config));
    if (!told.has_value()) LogWarning("--report-fd: " + told.error().context);
  }

  // Empty where nobody asks.
  Result<std::string> ConfigToTell(Image& image) const {
    if (report_fd_ < 0) return std::string();
    LAYERFS_TRY(config, image.Config());
    return config.document.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  // Tells the parent once the mount answers: a stat through it, which this process serves itself.
  static void ReportWhenAnswering(const std::string& mount_point, Daemonizer& daemon) {
    struct stat attributes;
    if (::stat(mount_point.c_str(), &attributes) == 0) {
      daemon.ReportSuccess();
    } else {
      daemon.ReportFailure(mount_point + ": the mount does not answer: " + std::strerror(errno), 1);
      ::kill(::getpid(), SIGTERM);  // Ends the session as a user would.
    }
  }

  Status Serve(const WhatIsMounted& mount, const std::string& mount_point, CommandIo& io,
               Daemonizer* daemon) {
    // A hundred mounts on one machine are a hundred of these processes: of the C library's heaps,
    // one for nearly each thread else, each keeps what it once needed.
    ::mallopt(M_ARENA_MAX, kHeaps);
    RaiseDescriptorLimit();
    // Options that cannot be are told before anything is fetched.
    LAYERFS_CHECK_OK(MakeFuseOptions(mount, mount_point));
    return mount.image.has_value() ? ServeImage(mount, mount_point, io, daemon)
                                   : ServeDirectories(mount, mount_point, io, daemon);
  }

  Status ServeDirectories(const WhatIsMounted& mount, const std::string& mount_point, CommandIo& io,
                          Daemonizer* daemon) {
    const OverlayOptions& overlay = mount.overlay;
    std::vector<std::unique_ptr<LowerSource>> sources;
    for (const std::string& lower : overlay.lower_directories) {
      LAYERFS_TRY(source, OpenDirectorySource(lower));
      sources.push_back(std::move(source));
    }
    std::optional<ContainerLayer> layer;
    if (!overlay.upper_directory.empty()) {
      LAYERFS_TRY(opened, ContainerLayer::OpenPlain(overlay.upper_directory, overlay.work_directory,
                                                    overlay.user_marks));
      layer = std::move(opened);
    }
    LayeredFileSystem::Options options = overlay.file_system;
    options.passthrough = !no_passthrough_;
    LAYERFS_TRY(file_system,
                LayeredFileSystem::Make(std::move(layer), std::move(sources), options));
    return RunSession(*file_system, mount, mount_point, "", io, daemon, {});
  }

  Status ServeImage(const WhatIsMounted& mount, const std::string& mount_point, CommandIo& io,
                    Daemonizer* daemon) {
    Services services(options_);
    LAYERFS_TRY(cache, services.Cache());
    LAYERFS_TRY(stores, services.Stores());
    LAYERFS_TRY(scheduler, services.Fetcher());
    LAYERFS_TRY(timeout, services.FetchTimeout());
    LAYERFS_TRY(image_options, image_options_.Get(timeout));
    image_options.offline = options_.offline;
    image_options.startup = !no_startup_ && record_.empty();
    image_options.referrers = referrers_;
    EventLog events;
    if (!events_.empty()) {
      image_options.on_event = [&events](std::string_view event, uint64_t bytes) {
        events.Note(event, bytes);
      };
    }
    const ImageContext context{*stores, *scheduler, cache};
    LAYERFS_TRY(image, Image::Load(*mount.image, context, image_options));
    LAYERFS_TRY(config, ConfigToTell(*image));
    FileReader reader(image, context, FileReader::Options{timeout});
    LAYERFS_TRY(watch, MountWatch::Start(watch_words_, mount_point, image, context, reader,
                                         !options_.offline && !cache->read_only()));
    watch_ = watch.get();
    if (!events_.empty()) {
      reader.AddObserver([&events](const ReadReport& report) { events.NoteRead(report); });
    }
    const auto start_fill = [&watch] { watch->StartFill(); };
    if (container_layer_.empty()) {
      ImageFileSystem::Options file_system_options;
      // A recording sees every page, once, from whoever touches it first.
      file_system_options.passthrough = !no_passthrough_ && record_.empty();
      std::optional<AccessRecorder> recorder;
      if (!record_.empty()) recorder.emplace(reader, file_system_options);
      ImageFileSystem file_system(image, reader, file_system_options);
      LAYERFS_CHECK_OK(
          RunSession(file_system, mount, mount_point, config, io, daemon, {&reader, start_fill}));
      if (!events_.empty()) LAYERFS_CHECK_OK(events.Write(events_));
      if (!recorder.has_value()) return {};
      return WriteFileAtomically(record_, AsBytes(std::move(*recorder).Finish().Encode()));
    }
    LayerBinding binding;
    binding.manifest = image->manifest_digest();
    binding.reference = mount.image->ToString();
    binding.platform = image_options.platform.value_or(Platform::Host()).ToString();
    LAYERFS_TRY(layer, ContainerLayer::Open(container_layer_, binding));
    std::vector<std::unique_ptr<LowerSource>> sources;
    sources.push_back(MakeImageSource(image, reader));
    LayeredFileSystem::Options options;
    options.passthrough = !no_passthrough_;
    LAYERFS_TRY(file_system,
                LayeredFileSystem::Make(std::move(layer), std::move(sources), options));
    return RunSession(*file_system, mount, mount_point, config, io, daemon, {&reader, start_fill});
  }

  // What a session over an image has besides.
  struct ImageSession {
    FileReader* reader = nullptr;
    std::function<void()> start_fill;  // once start-up has what it needs
  };

  Status RunSession(FileSystem& file_system, const WhatIsMounted& mount,
                    const std::string& mount_point, const std::string& config, CommandIo& io,
                    Daemonizer* daemon, const ImageSession& image) {
    LAYERFS_TRY(fuse_options, MakeFuseOptions(mount, mount_point));
    fuse_options.no_readahead = !record_.empty();
    LAYERFS_TRY(session, FuseSession::Mount(file_system, fuse_options));
    std::optional<StartupPhase> startup;
    if (image.reader != nullptr) {
      startup.emplace(image.reader->image().startup(), *image.reader, mount_point,
                      image.start_fill);
    }
    std::jthread answering;
    if (daemon != nullptr) {
      answering = std::jthread([&] { ReportWhenAnswering(mount_point, *daemon); });
    } else if (report_fd_ >= 0) {
      answering = std::jthread([&] { TellConfig(mount_point, config, UniqueFd(report_fd_)); });
    } else {
      std::fprintf(io.err, "layerfs mount: %s is mounted on %s\n", fuse_options.source.c_str(),
                   mount_point.c_str());
    }
    if (watch_ != nullptr) watch_->status().SetSession(session.get());
    ::malloc_trim(0);  // What it took to get here is not needed any more.
    Status ran = session->Run();
    if (watch_ != nullptr) watch_->status().SetSession(nullptr);
    return ran;
  }

  std::string container_layer_;
  std::string image_;
  std::string directory_;
  bool foreground_ = false;
  std::vector<std::string> mount_options_;
  int threads_ = FuseOptions{}.max_threads;
  bool no_passthrough_ = false;
  bool fuse_debug_ = false;
  int report_fd_ = -1;
  bool no_startup_ = false;
  bool referrers_ = false;
  std::string record_;
  std::string events_;
  ImageOptionWords image_options_;
  ServiceOptions options_;
  MountWatchWords watch_words_;
  MountWatch* watch_ = nullptr;  // while an image is served
};

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

std::unique_ptr<Command> MakeMountCommand() { return std::make_unique<MountCommand>(); }
std::unique_ptr<Command> MakeUmountCommand() { return std::make_unique<UmountCommand>(); }

}  // namespace layerfs
