// SPDX-License-Identifier: Apache-2.0
// FuseSession: a file system mounted on a directory, from mount to unmount.
// Run blocks one thread; RequestEnd is thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/file_system.h"
#include "index/base/error.h"

namespace layerfs {

struct FuseOptions {
  std::string mount_point;
  std::string source = "layerfs";    // what /proc/mounts shows first (fsname)
  std::vector<std::string> options;  // -o words as given: "allow_other", "noexec", "max_read=…"
  bool io_uring = false;             // where libfuse and the kernel have it; else silently not
  int max_threads = 8;
  // The kernel asks for the pages that are touched and for no others (recording).
  bool no_readahead = false;
  bool debug = false;  // libfuse's own trace of requests on stderr
  // Called with each request but statfs and forget, by the session's threads; must be quick.
  // Outlives the session.
  std::function<void()> on_request;
};

class FuseSession {
 public:
  // Mounts. `file_system` outlives the session. Errors name the mount point and what libfuse or the
  // kernel said.
  static Result<std::unique_ptr<FuseSession>> Mount(FileSystem& file_system,
                                                    const FuseOptions& options);
  ~FuseSession();  // Unmounts where it is still mounted.
  FuseSession(const FuseSession&) = delete;
  FuseSession& operator=(const FuseSession&) = delete;

  // Serves until it is unmounted or the process gets SIGTERM, SIGINT, SIGHUP or
  // SIGQUIT.
  Status Run();
  // All false until the kernel has been answered for the first time. Thread-safe.
  SessionAbilities abilities() const;

 private:
  struct Impl;
  explicit FuseSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Unmounts what layerfs has mounted on `mount_point`, as root or by fusermount3. With `lazy` it
// disappears at once and ends with its last user. kNotFound where nothing is mounted, kBusy where
// it is in use.
Status Unmount(const std::string& mount_point, bool lazy);

}  // namespace layerfs
