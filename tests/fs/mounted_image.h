// SPDX-License-Identifier: Apache-2.0
// For tests: an image mounted in this process, as `layerfs mount` does it.
// One thread at a time.
#pragma once

#include <pthread.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fs/file_reader.h"
#include "fs/fuse_session.h"
#include "fs/image.h"
#include "fs/image_file_system.h"

namespace layerfs {

class MountedImage {
 public:
  struct Options {
    std::string reference;
    std::string mount_point;
    std::string cache;
    std::vector<std::string> words;
    bool passthrough = true;
    bool io_uring = false;
    std::chrono::milliseconds timeout = FileReader::Options().timeout;
  };
  static Result<std::unique_ptr<MountedImage>> Mount(const Options& options) {
    auto mounted = std::unique_ptr<MountedImage>(new MountedImage());
    LAYERFS_TRY(reference, ImageReference::Parse(options.reference));
    LAYERFS_TRY(cache, ObjectCache::Open({options.cache, 0, false}));
    const ImageContext context{mounted->stores_, mounted->scheduler_, cache};
    LAYERFS_TRY(image, Image::Load(reference, context, {}));
    mounted->reader_ =
        std::make_unique<FileReader>(image, context, FileReader::Options{options.timeout});
    ImageFileSystem::Options file_system_options;
    file_system_options.passthrough = options.passthrough;
    mounted->file_system_ =
        std::make_unique<ImageFileSystem>(image, *mounted->reader_, file_system_options);
    FuseOptions fuse;
    fuse.mount_point = options.mount_point;
    fuse.options = options.words;
    fuse.io_uring = options.io_uring;
    LAYERFS_TRY(session, FuseSession::Mount(*mounted->file_system_, fuse));
    mounted->mount_point_ = options.mount_point;
    mounted->session_ = std::move(session);
    mounted->server_ = std::thread([raw = mounted.get()] { raw->result_ = raw->session_->Run(); });
    // What was negotiated is known once something has been answered.
    struct stat root{};
    if (::stat(options.mount_point.c_str(), &root) != 0) {
      return FailErrno(options.mount_point, errno);
    }
    return mounted;
  }
  ~MountedImage() {
    if (session_ == nullptr) return;
    // Ends the session whoever waits in it, as for a daemon that is told to end.
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): the session handles it.
    ::pthread_kill(server_.native_handle(), SIGTERM);
    server_.join();
    session_.reset();
  }
  SchedulerStatistics Statistics() const { return scheduler_.Statistics(); }
  size_t waiting_reads() const { return reader_->waiting_reads(); }
  SessionAbilities abilities() const { return session_->abilities(); }

 private:
  MountedImage() = default;
  ImageStores stores_{StoreOptions{}};
  Scheduler scheduler_{Scheduler::Options{}};
  std::unique_ptr<FileReader> reader_;
  std::unique_ptr<ImageFileSystem> file_system_;
  std::string mount_point_;
  std::unique_ptr<FuseSession> session_;
  std::thread server_;
  Status result_;
};

}  // namespace layerfs
