// SPDX-License-Identifier: Apache-2.0
#include "fs/caller_identity.h"

#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace layerfs {
namespace {

// A change of the file system uid would drop the capabilities that the daemon works with
// (capabilities(7), SECBIT_NO_SETUID_FIXUP); the bits belong to the thread.
void KeepCapabilities() {
  thread_local const bool kept = ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0;
  (void)kept;
}

}  // namespace

CallerIdentity::CallerIdentity(uid_t uid, gid_t gid)
    : changes_uid_(::geteuid() == 0 && uid != 0), changes_gid_(::geteuid() == 0 && gid != 0) {
  if (changes_gid_) ::setfsgid(gid);
  if (!changes_uid_) return;
  KeepCapabilities();
  ::setfsuid(uid);
}

CallerIdentity::~CallerIdentity() {
  if (changes_uid_) ::setfsuid(0);
  if (changes_gid_) ::setfsgid(0);
}

}  // namespace layerfs
