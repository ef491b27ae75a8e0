// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "fs/daemonizer.h"
#include "fs/file_reader.h"
#include "fs/fuse_session.h"
#include "fs/image.h"
#include "fs/image_file_system.h"
#include "index/base/log.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/services.h"

namespace layerfs {
namespace {

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
  if (!S_ISDIR(attributes.st_mode)) return FailErrno(path, ENOTDIR);
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
    app->add_option("IMAGE", image_, "The converted image")->required();
    app->add_option("DIRECTORY", directory_, "Where it is mounted")->required();
    app->add_flag("-f,--foreground", foreground_,
                  "Stay in the foreground until it is unmounted or interrupted");
    app->add_option("-o", mount_options_,
                    "Mount options, as mount.fuse3(8) and the kernel take them")
        ->type_name("OPTION[,OPTION…]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app->add_option("--threads", threads_, "How many threads answer the kernel")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    app->add_flag("--no-passthrough", no_passthrough_,
                  "Read whole cached files through the daemon as well");
    app->add_flag("--fuse-debug", fuse_debug_, "Trace the kernel's requests (with --foreground)");
    // For `layerfs run`, see tools/run/mount_process.h: in no group, so that --help is silent.
    app->add_option("--report-fd", report_fd_, "Tell the image's config once it is mounted")
        ->group("");
    image_options_.Declare(*app);
    options_.DeclareCache(*app);
    options_.DeclareRegistry(*app);
    Document(
        *app,
        {"  Mounts the image's merged tree, read-only, as soon as its indexes are there. Files "
         "are\n"
         "  fetched in pieces when they are read, verified against SHA-256 and kept in the cache.\n"
         "  Without --foreground the command returns when the mount answers, and reports its\n"
         "  failure otherwise. While the registry cannot be reached, what is cached is read as "
         "ever;\n"
         "  other reads are retried until --fetch-timeout and then fail with EIO.\n"
         "\n"
         "  Mount options of interest: allow_other, noexec, nosuid, nodev, io_uring (where the\n"
         "  kernel has it enabled).",
         {"layerfs mount docker://127.0.0.1:5000/app:1-lazy /mnt/app",
          "layerfs mount -f --cache /var/tmp/cache -o allow_other oci:/images/app:1 /mnt/app"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(reference, ImageReference::Parse(image_));
    LAYERFS_TRY(mount_point, CheckMountPoint(directory_));
    LAYERFS_TRY(absolute, WithAbsolutePaths(reference));
    LAYERFS_CHECK_OK(MakeCachePathAbsolute());
    if (foreground_) {
      LAYERFS_CHECK_OK(Serve(absolute, mount_point, io, nullptr));
      return ExitStatus::kSuccess;
    }
    LAYERFS_TRY(daemon, Daemonizer::Fork("layerfs mount: "));
    const Status served = Serve(absolute, mount_point, io, &daemon);
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

  Status MakeCachePathAbsolute() {
    if (options_.cache_directory.empty() || options_.cache_directory.front() == '/') return {};
    char* const here = ::getcwd(nullptr, 0);
    if (here == nullptr) return FailErrno("working directory", errno);
    options_.cache_directory = std::string(here) + "/" + options_.cache_directory;
    std::free(here);
    return {};
  }

  std::vector<std::string> SplitMountOptions() const {
    std::vector<std::string> words;
    for (const std::string& list : mount_options_) {
      std::string word;
      for (size_t i = 0; i <= list.size(); ++i) {
        if (i == list.size() || list[i] == ',') {
          if (!word.empty()) words.push_back(word);
          word.clear();
        } else {
          word.push_back(list[i]);
        }
      }
    }
    return words;
  }

  // Words that would make a mount which is not what it says.
  static Status RefuseOption(const std::string& word) {
    std::string_view why;
    if (word == "rw") why = "an image is mounted read-only";
    if (word.starts_with("subtype=")) why = "layerfs knows its mounts by it";
    if (word.starts_with("max_read=")) why = "the size of reads is agreed with the kernel";
    if (why.empty()) return {};
    return Fail(ErrorCode::kInvalidArgument,
                "-o " + word + ": " + std::string(why) + "; leave it out");
  }

  Result<FuseOptions> MakeFuseOptions(const ImageReference& reference,
                                      const std::string& mount_point) const {
    FuseOptions fuse;
    fuse.mount_point = mount_point;
    fuse.source = reference.ToString();
    fuse.max_threads = threads_;
    fuse.debug = fuse_debug_;
    for (const std::string& word : SplitMountOptions()) {
      LAYERFS_CHECK_OK(RefuseOption(word));
      if (word == "io_uring") {
        fuse.io_uring = true;
      } else if (word != "ro") {
        fuse.options.push_back(word);
      }
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

  Status Serve(const ImageReference& reference, const std::string& mount_point, CommandIo& io,
               Daemonizer* daemon) {
    LAYERFS_TRY(fuse_options, MakeFuseOptions(reference, mount_point));
    Services services(options_);
    LAYERFS_TRY(cache, services.Cache());
    LAYERFS_TRY(stores, services.Stores());
    LAYERFS_TRY(scheduler, services.Fetcher());
    LAYERFS_TRY(timeout, services.FetchTimeout());
    LAYERFS_TRY(image_options, image_options_.Get(timeout));
    const ImageContext context{*stores, *scheduler, cache};
    LAYERFS_TRY(image, Image::Load(reference, context, image_options));
    LAYERFS_TRY(config, ConfigToTell(*image));
    FileReader reader(image, context, FileReader::Options{timeout});
    ImageFileSystem::Options file_system_options;
    file_system_options.passthrough = !no_passthrough_;
    ImageFileSystem file_system(image, reader, file_system_options);
    LAYERFS_TRY(session, FuseSession::Mount(file_system, fuse_options));
    std::jthread answering;
    if (daemon != nullptr) {
      answering = std::jthread([&] { ReportWhenAnswering(mount_point, *daemon); });
    } else if (report_fd_ >= 0) {
      answering = std::jthread([&] { TellConfig(mount_point, config, UniqueFd(report_fd_)); });
    } else {
      std::fprintf(io.err, "layerfs mount: %s is mounted on %s\n", reference.ToString().c_str(),
                   mount_point.c_str());
    }
    return session->Run();
  }

  std::string image_;
  std::string directory_;
  bool foreground_ = false;
  std::vector<std::string> mount_options_;
  int threads_ = FuseOptions{}.max_threads;
  bool no_passthrough_ = false;
  bool fuse_debug_ = false;
  int report_fd_ = -1;
  ImageOptionWords image_options_;
  ServiceOptions options_;
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
