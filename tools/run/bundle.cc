// SPDX-License-Identifier: Apache-2.0
#include "tools/run/bundle.h"

#include <algorithm>
#include <array>

namespace layerfs {
namespace {

// The newest version that runc 1.1 and crun 1.8 both take.
constexpr char kRuntimeSpecVersion[] = "1.0.2";

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// moby oci/caps/defaults.go, and podman's list with MKNOD, NET_RAW and AUDIT_WRITE.
constexpr std::array kCapabilities = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE",
};

// moby oci/defaults.go: what tells about the host or reaches out of the container.
constexpr std::array kMaskedPaths = {
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
};
constexpr std::array kReadOnlyPaths = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

// The name of "NAME=VALUE".
std::string_view NameOf(std::string_view word) { return word.substr(0, word.find('=')); }

void SetEnvironment(std::vector<std::string>& environment, const std::string& word) {
  const auto same = std::ranges::find_if(
      environment, [&](const std::string& known) { return NameOf(known) == NameOf(word); });
  if (same != environment.end()) {
    *same = word;
  } else {
    environment.push_back(word);
  }
}

std::vector<BundleMount> DefaultMounts(const PlatformFacts& platform, NetworkMode network) {
  constexpr size_t kDevPts = 2;
  constexpr size_t kSys = 3;
  std::vector<BundleMount> mounts = {
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
      {"/dev/pts",
       "devpts",
       "devpts",
       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
      {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
  };
  if (platform.has_tty_group) mounts[kDevPts].options.emplace_back("gid=5");
  // Only the owner of the network may mount a sysfs.
  if (platform.rootless && network == NetworkMode::kHost) {
    mounts[kSys] = {"/sys", "bind", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}};
  }
  if (platform.has_cgroups) {
    mounts.push_back({"/sys/fs/cgroup", "cgroup", "cgroup", {"ro", "nosuid", "noexec", "nodev"}});
  }
  if (platform.has_mqueue) {
    mounts.push_back({"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}});
  }
  return mounts;
}

// A mount below another comes after it.
std::vector<BundleMount> OrderMounts(const BundleSpec& spec) {
  std::vector<BundleMount> mounts;
  for (BundleMount& mount : DefaultMounts(spec.platform, spec.network)) {
    const bool replaced = std::ranges::any_of(
        spec.mounts, [&](const BundleMount& own) { return own.destination == mount.destination; });
    if (!replaced) mounts.push_back(std::move(mount));
  }
  mounts.insert(mounts.end(), spec.mounts.begin(), spec.mounts.end());
  std::ranges::stable_sort(mounts, std::ranges::less(), [](const BundleMount& mount) {
    return std::ranges::count(mount.destination, '/');
  });
  return mounts;
}

Json MountsJson(const BundleSpec& spec) {
  Json list = Json::array();
  for (const BundleMount& mount : OrderMounts(spec)) {
    list.push_back({{"destination", mount.destination},
                    {"type", mount.type},
                    {"source", mount.source},
                    {"options", mount.options}});
  }
  return list;
}

// Who is not root has none but through files that give them, as after a login.
Json CapabilitiesJson(const ImageUser& user) {
  const Json all = kCapabilities;
  const Json own = user.uid == 0 ? all : Json::array();
  return {{"bounding", all},
          {"effective", own},
          {"permitted", own},
          {"inheritable", Json::array()},
          {"ambient", Json::array()}};
}

Json LimitsJson(const std::vector<ResourceLimit>& limits) {
  Json list = Json::array();
  for (const ResourceLimit& limit : limits) {
    list.push_back({{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  }
  return list;
}

Json ProcessJson(const BundleSpec& spec) {
  return {{"terminal", spec.terminal},
          {"user",
           {{"uid", spec.user.uid}, {"gid", spec.user.gid}, {"additionalGids", spec.user.groups}}},
          {"args", spec.arguments},
          {"env", spec.environment},
          {"cwd", spec.working_directory},
          {"capabilities", CapabilitiesJson(spec.user)},
          {"rlimits", LimitsJson(spec.limits)},
          {"noNewPrivileges", spec.no_new_privileges}};
}

Json LinuxJson(const BundleSpec& spec) {
  Json namespaces = Json::array();
  for (const char* type : {"mount", "pid", "ipc", "uts"}) namespaces.push_back({{"type", type}});
  if (spec.network == NetworkMode::kNone) namespaces.push_back({{"type", "network"}});
  if (spec.platform.cgroup_namespace) namespaces.push_back({{"type", "cgroup"}});
  Json linux_part = {{"namespaces", std::move(namespaces)},
                     {"maskedPaths", kMaskedPaths},
                     {"readonlyPaths", kReadOnlyPaths}};
  if (!spec.seccomp.is_null()) linux_part["seccomp"] = spec.seccomp;
  if (spec.platform.has_cgroups) {
    // The runtime itself allows the devices that every container has (config-linux.md, "Default
    // Devices"), and to make any node.
    linux_part["resources"] = {
        {"devices", Json::array({Json{{"allow", false}, {"access", "rwm"}}})}};
  }
  return linux_part;
}

}  // namespace

std::vector<std::string> DefaultCapabilities() {
  return {kCapabilities.begin(), kCapabilities.end()};
}

std::span<const char* const> DefaultMaskedPaths() { return kMaskedPaths; }
std::span<const char* const> DefaultReadOnlyPaths() { return kReadOnlyPaths; }

Result<std::vector<std::string>> MakeArguments(const ImageDefaults& image,
                                               const RunOptions& options) {
  std::vector<std::string> arguments = image.entrypoint;
  std::vector<std::string> command = options.command;
  if (options.entrypoint.has_value()) {
    // Another entrypoint knows nothing of the image's command.
    arguments.clear();
    if (!options.entrypoint->empty()) arguments.push_back(*options.entrypoint);
  } else if (command.empty()) {
    command = image.command;
  }
  arguments.insert(arguments.end(), command.begin(), command.end());
  if (arguments.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "the image names no command to run; give one behind the image");
  }
  return arguments;
}

std::vector<std::string> MakeEnvironment(const ImageDefaults& image, const RunOptions& options,
                                         const EnvironmentFacts& facts) {
  std::vector<std::string> environment = {kDefaultPath, "HOSTNAME=" + facts.hostname};
  if (options.terminal) environment.emplace_back("TERM=xterm");
  for (const std::string& word : image.environment) {
    // As docker does; runc refuses a word without a value.
    if (word.find('=') != std::string::npos) SetEnvironment(environment, word);
  }
  for (const std::string& word : options.environment) SetEnvironment(environment, word);
  const bool has_home = std::ranges::any_of(
      environment, [](const std::string& word) { return NameOf(word) == "HOME"; });
  if (!has_home) environment.push_back("HOME=" + facts.home);
  return environment;
}

BundleMount BindMount(std::string source, std::string destination, bool read_only,
                      const std::string& propagation) {
  return {std::move(destination),
          "bind",
          std::move(source),
          {"rbind", propagation, read_only ? "ro" : "rw"}};
}

BundleMount TmpfsMount(const TmpfsOption& tmpfs) {
  return {tmpfs.destination, "tmpfs", "tmpfs", tmpfs.options};
}

Json MakeRuntimeSpec(const BundleSpec& spec) {
  Json document = {{"ociVersion", kRuntimeSpecVersion},
                   {"process", ProcessJson(spec)},
                   {"root", {{"path", spec.root}, {"readonly", spec.root_read_only}}},
                   {"hostname", spec.hostname},
                   {"mounts", MountsJson(spec)},
                   {"linux", LinuxJson(spec)}};
  if (!spec.annotations.empty()) document["annotations"] = spec.annotations;
  return document;
}

}  // namespace layerfs
