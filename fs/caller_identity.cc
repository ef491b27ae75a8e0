// SPDX-License-Identifier: Apache-2.0
#include "fs/caller_identity.h"

#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

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

bool CallerIsInGroup(pid_t pid, gid_t own_group, gid_t group) {
  if (own_group == group) return true;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (!line.starts_with("Groups:")) continue;
    std::istringstream groups(line.substr(std::string_view("Groups:").size()));
    for (gid_t one = 0; groups >> one;) {
      if (one == group) return true;
    }
    return false;
  }
  return false;
}

}  // namespace layerfs
