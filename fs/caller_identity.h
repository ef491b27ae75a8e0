// SPDX-License-Identifier: Apache-2.0
// CallerIdentity: while it lives, what this thread creates belongs to the caller of a request, so
// that creation and ownership are one step. Other rights stay the daemon's.
// One thread at a time.
#pragma once

#include <sys/types.h>

namespace layerfs {

class CallerIdentity {
 public:
  // No effect where the daemon may not change its identity.
  CallerIdentity(uid_t uid, gid_t gid);
  ~CallerIdentity();
  CallerIdentity(const CallerIdentity&) = delete;
  CallerIdentity& operator=(const CallerIdentity&) = delete;

 private:
  const bool changes_uid_;
  const bool changes_gid_;
};

}  // namespace layerfs
