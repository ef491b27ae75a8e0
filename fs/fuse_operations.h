// SPDX-License-Identifier: Apache-2.0
// The libfuse side of the FUSE edge, for its own files only: the table of trampolines and what
// hangs on a session. Everybody else uses fuse_session.h.
// Thread-safe.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>

#include <functional>

#include "fs/file_system.h"
#include "index/base/synchronized.h"

namespace layerfs {

// The session's userdata.
struct FuseContext {
  FileSystem* file_system = nullptr;
  Notifier* notifier = nullptr;
  SessionAbilities abilities;  // the thread's that carries out INIT
  // What came of it, for everybody else.
  Synchronized<SessionAbilities> agreed;
  bool want_io_uring = false;
  bool no_readahead = false;
  // Whether the kernel checks modes and ACLs, as on a disk; else who gets in may read everything.
  bool kernel_checks = true;
  std::function<void()> on_request;  // FuseOptions
};

extern const fuse_lowlevel_ops kFuseOperations;

// The interrupt hook that Reply::SetInterruptToken installs; `data` is the token.
void OnFuseInterrupt(fuse_req_t request, void* data);

}  // namespace layerfs
