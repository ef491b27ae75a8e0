// SPDX-License-Identifier: Apache-2.0
#include "fs/caller_identity.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
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

// Its inode number (linux include/linux/proc_ns.h, PROC_USER_INIT_INO).
constexpr ino_t kFirstUserNamespace = 0xEFFFFFFD;

std::optional<ino_t> UserNamespaceOf(const std::string& process) {
  struct stat attributes{};
  if (::stat(("/proc/" + process + "/ns/user").c_str(), &attributes) != 0) return std::nullopt;
  return attributes.st_ino;
}

// What follows `key` in /proc/PID/status; empty where the process is gone.
std::string StatusLine(pid_t pid, std::string_view key) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with(key)) return line.substr(key.size());
  }
  return "";
}

bool HasEffective(pid_t pid, int capability) {
  const uint64_t set = std::strtoull(StatusLine(pid, "CapEff:").c_str(), nullptr, 16);
  return ((set >> static_cast<unsigned>(capability)) & 1U) != 0;
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

bool IsCapable(pid_t pid, int capability) {
  return UserNamespaceOf(std::to_string(pid)) == kFirstUserNamespace &&
         HasEffective(pid, capability);
}

bool IsCapableHere(pid_t pid, int capability) {
  const auto here = UserNamespaceOf("self");
  return here.has_value() && here == UserNamespaceOf(std::to_string(pid)) &&
         HasEffective(pid, capability);
}

bool CallerIsInGroup(pid_t pid, gid_t own_group, gid_t group) {
  if (own_group == group) return true;
  std::istringstream groups(StatusLine(pid, "Groups:"));
  for (gid_t one = 0; groups >> one;) {
    if (one == group) return true;
  }
  return false;
}

}  // namespace layerfs
