// SPDX-License-Identifier: Apache-2.0
// MountServer: a mount from its words to its end: opens what is mounted, serves the session, and
// tells whoever started it once the mount answers.
// One thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/daemonizer.h"
#include "fs/file_reader.h"
#include "fs/file_system.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/mount_target.h"
#include "tools/mount_watch.h"
#include "tools/services.h"
#include "tools/startup/event_log.h"

namespace layerfs {

struct MountServerOptions {
  bool no_passthrough = false;
  bool no_startup = false;
  bool referrers = false;
  int report_fd = -1;  // gets the image's config once the mount answers (tools/run/mount_process.h)
  int lifeline_fd = -1;  // the mount ends with it (tools/run/lifeline.h)
  std::string record;    // a trace of what is read goes there; empty: none
  std::string events;    // what happened when goes there, as lines of JSON; empty: nowhere
  ImageOptionWords image;
  ServiceOptions services;
  MountWatchWords watch;
};

class MountServer {
 public:
  // All outlive it. `daemon`: whom to tell; null: the mount stays in the foreground.
  MountServer(const MountServerOptions& options, const MountTarget& target, CommandIo& io,
              Daemonizer* daemon)
      : options_(options), target_(target), io_(io), daemon_(daemon) {}

  // Until it is unmounted.
  Status Serve();

 private:
  // What a session over an image has besides.
  struct ImageSession {
    FileReader* reader = nullptr;
    MountWatch* watch = nullptr;
    std::string config;  // to tell; empty where nobody asks
  };

  Status ServeDirectories();
  Status ServeImage();
  Status ServeReadOnly(const std::shared_ptr<Image>& image, const ImageSession& session);
  Status ServeWritable(const std::shared_ptr<Image>& image, const ImageSession& session);
  Result<ImageOptions> LoadOptions(std::chrono::milliseconds timeout, EventLog& events) const;
  Result<std::string> ConfigToTell(Image& image) const;
  Status RunSession(FileSystem& file_system, const ImageSession& image);

  const MountServerOptions& options_;
  const MountTarget& target_;
  CommandIo& io_;
  Daemonizer* const daemon_;
};

}  // namespace layerfs
