// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_server.h"

#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "fs/directory_source.h"
#include "fs/fuse_session.h"
#include "fs/image_file_system.h"
#include "fs/image_source.h"
#include "fs/layered_file_system.h"
#include "fs/program_prefetch.h"
#include "fs/startup_phase.h"
#include "fs/startup_pusher.h"
#include "index/base/log.h"
#include "tools/run/lifeline.h"
#include "tools/startup/access_recorder.h"

namespace layerfs {
namespace {

constexpr int kHeaps = 1;

// A stat through the mount, which this process serves itself. Where it fails the session ends, as
// a user would end it.
Status CheckAnswers(const std::string& mount_point) {
  struct stat attributes;
  if (::stat(mount_point.c_str(), &attributes) == 0) return {};
  const int error = errno;
  ::kill(::getpid(), SIGTERM);
  return Fail(ErrorCode::kIo, mount_point + ": the mount does not answer: " + std::strerror(error));
}

// The end of the descriptor without the config is the failure.
void TellConfig(const std::string& mount_point, const std::string& config, UniqueFd to) {
  const Status answers = CheckAnswers(mount_point);
  if (!answers.has_value()) return LogError(answers.error().context);
  const Status told = WriteFull(to.get(), AsBytes(config));
  if (!told.has_value()) LogWarning("--report-fd: " + told.error().context);
}

void TellParent(const std::string& mount_point, Daemonizer& daemon) {
  const Status answers = CheckAnswers(mount_point);
  if (answers.has_value()) {
    Daemonizer::LeaveCaller();
    return daemon.ReportSuccess();
  }
  daemon.ReportFailure(answers.error().context, static_cast<int>(ExitStatus::kFailure));
}

}  // namespace

Status MountServer::Serve() {
  // A hundred mounts on one machine are a hundred of these processes: of the C library's heaps,
  // one for nearly each thread else, each keeps what it once needed.
  ::mallopt(M_ARENA_MAX, kHeaps);
  RaiseLimits();
  if (options_.lifeline_fd >= 0) LAYERFS_CHECK_OK(EndWithLifeline(options_.lifeline_fd));
  return target_.image.has_value() ? ServeImage() : ServeDirectories();
}

Status MountServer::ServeDirectories() {
  const OverlayOptions& overlay = target_.overlay;
  std::vector<std::unique_ptr<LowerSource>> sources;
  for (const std::string& lower : overlay.lower_directories) {
    LAYERFS_TRY(source, OpenDirectorySource(lower));
    sources.push_back(std::move(source));
  }
  std::optional<ContainerLayer> layer;
  if (!target_.container_layer.empty()) {
    LAYERFS_TRY(opened, ContainerLayer::Open(target_.container_layer, LayerBinding{}));
    layer = std::move(opened);
  } else if (!overlay.upper_directory.empty()) {
    LAYERFS_TRY(opened, ContainerLayer::OpenPlain(overlay.upper_directory, overlay.work_directory,
                                                  overlay.lower_directories, overlay.marks));
    layer = std::move(opened);
  }
  if (layer.has_value()) LAYERFS_CHECK_OK(layer->NoteMount(target_.mount_point));
  LayeredFileSystem::Options options = overlay.file_system;
  options.passthrough = !options_.no_passthrough;
  options.ids = NamespaceIds::OfThisProcess();
  LAYERFS_TRY(file_system, LayeredFileSystem::Make(std::move(layer), std::move(sources), options));
  return RunSession(*file_system, {});
}

Result<ImageOptions> MountServer::LoadOptions(std::chrono::milliseconds timeout,
                                              EventLog& events) const {
  LAYERFS_TRY(load, options_.image.Get(timeout));
  load.offline = options_.services.offline;
  load.startup = !options_.no_startup && options_.record.empty();
  load.referrers = options_.referrers;
  load.config = options_.report_fd >= 0;
  if (!options_.events.empty()) {
    load.on_event = [&events](std::string_view event, uint64_t bytes) {
      events.Note(event, bytes);
    };
  }
  return load;
}

Result<std::string> MountServer::ConfigToTell(Image& image) const {
  if (options_.report_fd < 0) return std::string();
  LAYERFS_TRY(config, image.Config());
  return config.document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status MountServer::ServeImage() {
  Services services(options_.services);
  LAYERFS_TRY(cache, services.Cache());
  LAYERFS_TRY(stores, services.Stores());
  LAYERFS_TRY(scheduler, services.Fetcher());
  LAYERFS_TRY(timeout, services.FetchTimeout());
  EventLog events;
  LAYERFS_TRY(load, LoadOptions(timeout, events));
  const ImageContext context{*stores, *scheduler, cache};
  LAYERFS_TRY(image, Image::Load(*target_.image, context, load));
  LAYERFS_TRY(config, ConfigToTell(*image));
  ProgramPrefetch programs(image, context, config, timeout);
  FileReader reader(image, context, FileReader::Options{timeout});
  LAYERFS_TRY(watch, MountWatch::Start(options_.watch, target_.mount_point, image, context, reader,
                                       !options_.services.offline && !cache->read_only()));
  if (!options_.events.empty()) {
    reader.AddObserver([&events](const ReadReport& report) { events.NoteRead(report); });
  }
  // Without a network there is nothing to fetch, and a recording is of the program's own reads.
  if (options_.record.empty() && !options_.services.offline) {
    reader.SetOnWait(
        [&programs](InodeNumber file, uint64_t offset) { programs.NoteWait(file, offset); });
    if (options_.report_fd >= 0) programs.Begin();  // Whoever asks for the config runs its command.
  }
  const ImageSession session{&reader, watch.get(), std::move(config)};
  LAYERFS_CHECK_OK(target_.container_layer.empty() ? ServeReadOnly(image, session)
                                                   : ServeWritable(image, session));
  return options_.events.empty() ? Status() : events.Write(options_.events, reader.paths());
}

Status MountServer::ServeReadOnly(const std::shared_ptr<Image>& image,
                                  const ImageSession& session) {
  ImageFileSystem::Options options;
  // A recording sees every page, once, from whoever touches it first.
  options.passthrough = !options_.no_passthrough && options_.record.empty();
  options.ids = NamespaceIds::OfThisProcess();
  std::optional<AccessRecorder> recorder;
  if (!options_.record.empty()) recorder.emplace(*session.reader, options);
  ImageFileSystem file_system(image, *session.reader, options);
  LAYERFS_CHECK_OK(RunSession(file_system, session));
  if (!recorder.has_value()) return {};
  return WriteFileAtomically(options_.record, AsBytes(std::move(*recorder).Finish().Encode()));
}

Status MountServer::ServeWritable(const std::shared_ptr<Image>& image,
                                  const ImageSession& session) {
  LAYERFS_TRY(load, options_.image.Get({}));
  LayerBinding binding;
  binding.manifest = image->manifest_digest();
  binding.reference = target_.image->ToString();
  binding.platform = load.platform.value_or(Platform::Host()).ToString();
  LAYERFS_TRY(layer, ContainerLayer::Open(target_.container_layer, binding));
  LAYERFS_CHECK_OK(layer.NoteMount(target_.mount_point));
  std::vector<std::unique_ptr<LowerSource>> sources;
  sources.push_back(MakeImageSource(image, *session.reader));
  LayeredFileSystem::Options options;
  options.passthrough = !options_.no_passthrough;
  options.ids = NamespaceIds::OfThisProcess();
  std::optional<StartupPusher> pusher;
  if (image->startup() != nullptr) {
    pusher.emplace(image->startup(),
                   [&image](InodeNumber file) { return image->tree().Get(file).size; });
    options.pusher = &*pusher;
  }
  LAYERFS_TRY(file_system, LayeredFileSystem::Make(std::move(layer), std::move(sources), options));
  return RunSession(*file_system, session);
}

Status MountServer::RunSession(FileSystem& file_system, const ImageSession& image) {
  FuseOptions fuse = target_.fuse;
  fuse.no_readahead = !options_.record.empty();
  if (image.watch != nullptr) fuse.on_request = [watch = image.watch] { watch->NoteUse(); };
  LAYERFS_TRY(session, FuseSession::Mount(file_system, fuse));
  std::optional<StartupPhase> startup;
  if (image.reader != nullptr) {
    startup.emplace(image.reader->image().startup(), *image.reader, target_.mount_point,
                    StartupPhase::Hooks{.uses = [&image] { return image.watch->uses(); },
                                        .on_settled = [&image] { image.watch->StartFill(); }});
  }
  std::jthread answering;
  if (daemon_ != nullptr) {
    answering = std::jthread([&] { TellParent(target_.mount_point, *daemon_); });
  } else if (options_.report_fd >= 0) {
    answering = std::jthread(
        [&] { TellConfig(target_.mount_point, image.config, UniqueFd(options_.report_fd)); });
  } else {
    std::fprintf(io_.err, "layerfs mount: %s is mounted on %s\n", fuse.source.c_str(),
                 target_.mount_point.c_str());
  }
  if (image.watch != nullptr) image.watch->status().SetSession(session.get());
  ::malloc_trim(0);  // What it took to get here is not needed any more.
  Status ran = session->Run();
  if (image.watch != nullptr) image.watch->status().SetSession(nullptr);
  return ran;
}

}  // namespace layerfs
