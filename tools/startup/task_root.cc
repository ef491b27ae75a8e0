// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/task_root.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "index/base/file.h"
#include "tools/run/bundle.h"

namespace layerfs {
namespace {

// Docker's (bundle.cc) without CAP_MKNOD: no device controller stands behind it here.
constexpr std::array kCapabilities = {
    CAP_CHOWN,      CAP_DAC_OVERRIDE, CAP_FSETID,     CAP_FOWNER,  CAP_NET_RAW,
    CAP_SETGID,     CAP_SETUID,       CAP_SETFCAP,    CAP_SETPCAP, CAP_NET_BIND_SERVICE,
    CAP_SYS_CHROOT, CAP_KILL,         CAP_AUDIT_WRITE};

struct Device {
  const char* path;
  unsigned minor_number;  // of major number 1, but for the terminal's
};
constexpr Device kDevices[] = {{"/dev/null", 3},   {"/dev/zero", 5},    {"/dev/full", 7},
                               {"/dev/random", 8}, {"/dev/urandom", 9}, {"/dev/tty", 0}};
constexpr unsigned kMemoryMajor = 1;
constexpr unsigned kTerminalMajor = 5;
struct Link {
  const char* target;
  const char* path;
};
constexpr Link kLinks[] = {{"/proc/self/fd", "/dev/fd"},
                           {"/proc/self/fd/0", "/dev/stdin"},
                           {"/proc/self/fd/1", "/dev/stdout"},
                           {"/proc/self/fd/2", "/dev/stderr"},
                           {"pts/ptmx", "/dev/ptmx"}};

void Mount(const char* source, const std::string& target, const char* type, unsigned long flags,
           const std::string& data) {
  ::mkdir(target.c_str(), 0755);
  if (::mount(source, target.c_str(), type, flags, data.c_str()) != 0) EndTask(target.c_str());
}

// A detached mount of a copy, at `copy`, of this machine's file; invalid where there is none.
UniqueFd DetachedCopy(const char* file, const std::string& copy) {
  std::error_code error;
  if (!std::filesystem::copy_file(file, copy, error)) return {};
  return UniqueFd(::open_tree(AT_FDCWD, copy.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

// Where the image has a directory for it.
void Lend(const UniqueFd& file, const char* path) {
  if (!file.valid()) return;
  const UniqueFd place(::open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!place.valid()) return;
  ::move_mount(file.get(), "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
}

void MakeDevices() {
  Mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k");
  for (const Device& device : kDevices) {
    const unsigned major_number = device.minor_number == 0 ? kTerminalMajor : kMemoryMajor;
    if (::mknod(device.path, S_IFCHR | 0666, makedev(major_number, device.minor_number)) != 0 ||
        ::chmod(device.path, 0666) != 0) {
      EndTask(device.path);
    }
  }
  for (const Link& link : kLinks) static_cast<void>(::symlink(link.target, link.path));
  Mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666");
  Mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m");
  // Not every kernel has it.
  ::mkdir("/dev/mqueue", 0755);
  ::mount("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
}

// What is not there need not be hidden.
void HideHost() {
  for (const char* const path : DefaultReadOnlyPaths()) {
    if (::mount(path, path, nullptr, MS_BIND | MS_REC, nullptr) != 0) continue;
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::mount(nullptr, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, nullptr) != 0) {
      EndTask(path);
    }
  }
  for (const char* const path : DefaultMaskedPaths()) {
    struct stat attributes{};
    if (::stat(path, &attributes) != 0) continue;
    const bool is_directory = S_ISDIR(attributes.st_mode);
    const int masked = is_directory ? ::mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0")
                                    : ::mount("/dev/null", path, nullptr, MS_BIND, nullptr);
    if (masked != 0) EndTask(path);
  }
}

// All of the old root goes out of sight (pivot_root(2), "pivot_root(".", ".")").
void ChangeRoot(const std::string& root) {
  if (::chdir(root.c_str()) != 0) EndTask(root.c_str());
  if (::syscall(SYS_pivot_root, ".", ".") == 0) {
    if (::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) EndTask("root");
    return;
  }
  // The first root of all cannot be left so (a machine that runs in its initramfs).
  if (::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0 ||
      ::chdir("/") != 0) {
    EndTask("root");
  }
}

}  // namespace

void EndTask(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::_Exit(125);
}

void EnterTaskRoot(const std::string& lower, const std::string& scratch) {
  // What is unmounted outside goes here too: nobody else's mount is to outlive its time because of
  // us.
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) EndTask("mount namespace");
  Mount("tmpfs", scratch, "tmpfs", 0, "mode=755");
  const std::string upper = scratch + "/upper";
  const std::string work = scratch + "/work";
  const std::string merged = scratch + "/merged";
  for (const std::string& directory : {upper, work}) ::mkdir(directory.c_str(), 0755);
  Mount("overlay", merged, "overlay", MS_NODEV,
        "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work);
  const UniqueFd hosts = DetachedCopy("/etc/hosts", scratch + "/hosts");
  const UniqueFd servers = DetachedCopy("/etc/resolv.conf", scratch + "/resolv.conf");
  // From here on the image says where a path leads, and it leads nowhere else.
  ChangeRoot(merged);
  Mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
  MakeDevices();
  Mount("sysfs", "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
  HideHost();
  Lend(hosts, "/etc/hosts");
  Lend(servers, "/etc/resolv.conf");
}

void BoundTaskCapabilities() {
  uint64_t kept = 0;
  for (const int capability : kCapabilities) kept |= uint64_t{1} << capability;
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (((kept >> capability) & 1U) != 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) EndTask("capabilities");
  }
}

void DropTaskCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data) != 0) EndTask("capabilities");
  __user_cap_data_struct bounded[_LINUX_CAPABILITY_U32S_3]{};
  for (const int capability : kCapabilities) {
    const uint32_t bit = CAP_TO_MASK(capability);
    bounded[CAP_TO_INDEX(capability)].permitted |= data[CAP_TO_INDEX(capability)].permitted & bit;
  }
  for (auto& part : bounded) part.effective = part.permitted;
  if (::syscall(SYS_capset, &header, bounded) != 0) EndTask("capabilities");
}

}  // namespace layerfs
