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

// Of the process that asks, as proc(5) shows it; none of them where it is gone.
//
// Has the capability (CAP_FSETID, …) in the first user namespace, as the kernel's capable().
bool IsCapable(pid_t pid, int capability);
// In the daemon's own, as ns_capable() of it.
bool IsCapableHere(pid_t pid, int capability);
// Whether it is of the group, by its own or its supplementary ones.
bool CallerIsInGroup(pid_t pid, gid_t own_group, gid_t group);

}  // namespace layerfs
