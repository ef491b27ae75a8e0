// SPDX-License-Identifier: Apache-2.0
#include "tools/run/prepared_container.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <set>

#include "fetch/manifest.h"
#include "fs/namespace_ids.h"
#include "index/base/file.h"
#include "index/base/log.h"
#include "tools/run/bundle.h"
#include "tools/run/container_store.h"
#include "tools/run/copy_tree.h"
#include "tools/run/seccomp.h"
#include "tools/run/signals.h"
#include "tools/run/user_namespace.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxHostFileBytes = uint64_t{1} << 20;

constexpr char kLocalHosts[] =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n";

// What every container has a file system of its own for.
constexpr std::array kRuntimeMounts = {"/dev", "/proc", "/sys"};

std::string HostName() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

// A file of the host's, or nothing.
std::string HostFile(const std::string& path) {
  const auto bytes = ReadFile(path, kMaxHostFileBytes);
  return bytes.has_value() ? std::string(AsText(*bytes)) : std::string();
}

constexpr uint64_t kMaxProfileBytes = uint64_t{16} << 20;

// Debian's, and that of the runtimes' own default configuration.
constexpr uint32_t kTtyGroup = 5;

bool HasFileSystem(std::string_view name) {
  const auto bytes = ReadFile("/proc/filesystems", kMaxHostFileBytes);
  return bytes.has_value() &&
         AsText(*bytes).find("\t" + std::string(name) + "\n") != std::string_view::npos;
}

// What the kernel and Docker give a tmpfs of which nothing else is said.
constexpr mode_t kTmpfsMode = 01777;

// The last `mode=` counts; one that is no number is refused by whoever mounts.
mode_t ModeOf(const TmpfsOption& tmpfs) {
  constexpr std::string_view kWord = "mode=";
  mode_t mode = kTmpfsMode;
  for (const std::string& option : tmpfs.options) {
    if (!option.starts_with(kWord)) continue;
    std::from_chars(option.data() + kWord.size(), option.data() + option.size(), mode, 8);
  }
  return mode & 07777;
}

PlatformFacts DetectPlatform() {
  PlatformFacts facts;
  const CgroupMode cgroups = DetectCgroups();
  facts.has_mqueue = HasFileSystem("mqueue");
  facts.rootless = InUserNamespace();
  facts.has_cgroups = cgroups != CgroupMode::kNone && !facts.rootless;
  facts.cgroup_namespace = cgroups == CgroupMode::kUnified && !facts.rootless;
  facts.has_tty_group = NamespaceIds::OfThisProcess().HasGroup(kTtyGroup);
  return facts;
}

// An empty word, which crun takes for the directories that a command is looked for in.
BundleEnd NoCommand() {
  std::string why = "exec: \"\": executable file not found";
  const int status = StartFailureStatus(why);
  return {status, std::move(why)};
}

}  // namespace

class ContainerPreparation {
 public:
  ContainerPreparation(const ImageDefaults& image, const RunOptions& options,
                       const ContainerPlace& place, RootDirectory& root)
      : image_(image), options_(options), place_(place), root_(root) {}

  Result<PreparedContainer> Prepare(RootDirectory& root) {
    LAYERFS_TRY(arguments, MakeArguments(image_, options_));
    spec_.arguments = std::move(arguments);
    LAYERFS_CHECK_OK(SetUser());
    LAYERFS_CHECK_OK(SetWorkingDirectory());
    SetHostname();
    spec_.root = place_.root;
    spec_.root_read_only = options_.read_only;
    spec_.environment = MakeEnvironment(image_, options_, {spec_.hostname, spec_.user.home});
    spec_.terminal = options_.terminal;
    spec_.network = options_.network;
    spec_.annotations = image_.labels;
    for (const auto& [name, value] : options_.labels) spec_.annotations[name] = value;
    spec_.limits = options_.limits;
    spec_.no_new_privileges = options_.no_new_privileges;
    spec_.platform = DetectPlatform();
    LAYERFS_CHECK_OK(SetSeccomp());
    LAYERFS_CHECK_OK(AddMounts());
    LAYERFS_CHECK_OK(MakeDefaultMountPoints());
    LAYERFS_CHECK_OK(WriteSpec());

    BundleRun run{place_.directory, place_.id, options_.terminal, options_.interactive};
    const std::string& stop =
        options_.stop_signal.empty() ? image_.stop_signal : options_.stop_signal;
    if (!stop.empty()) {
      LAYERFS_TRY_IN(signal, ParseSignal(stop), "stop signal");
      run.stop_signal = signal;
    }
    PreparedContainer prepared(std::move(root), std::move(run));
    prepared.arguments_ = spec_.arguments;
    prepared.user_ = spec_.user;
    return prepared;
  }

 private:
  Status SetUser() {
    LAYERFS_TRY(user, root_.FindUser(options_.user.empty() ? image_.user : options_.user));
    const NamespaceIds ids = NamespaceIds::OfThisProcess();
    if (!ids.HasUser(user.uid) || !ids.HasGroup(user.gid)) {
      return Fail(ErrorCode::kUnsupported,
                  "user " + std::to_string(user.uid) + ":" + std::to_string(user.gid) +
                      ": this user's containers have no such ids; install uidmap and give "
                      "subordinate ids in /etc/subuid and /etc/subgid, or run it as root");
    }
    // As rootless Podman does: groups that cannot be had are left out.
    if (!MaySetGroups()) user.groups.clear();
    std::erase_if(user.groups, [&](uint32_t group) { return !ids.HasGroup(group); });
    spec_.user = std::move(user);
    return {};
  }

  Status SetSeccomp() {
    if (options_.seccomp == "unconfined") return {};
    std::string path = options_.seccomp;
    if (path.empty()) {
      const auto found = FindSeccompProfile();
      if (!found.has_value()) {
        LogWarning(found.error().context);
        return {};
      }
      path = *found;
    }
    LAYERFS_TRY_IN(bytes, ReadFile(path, kMaxProfileBytes), "seccomp profile");
    LAYERFS_TRY_IN(profile, ParseJson(bytes, kMaxProfileBytes), "seccomp profile " + path);
    LAYERFS_TRY_IN(seccomp,
                   MakeSeccomp(profile, {Platform::Host().architecture, DefaultCapabilities()}),
                   "seccomp profile " + path);
    spec_.seccomp = std::move(seccomp);
    return {};
  }

  Status SetWorkingDirectory() {
    const std::string& word =
        options_.working_directory.empty() ? image_.working_directory : options_.working_directory;
    if (word.empty()) return {};
    LAYERFS_TRY_IN(path, CleanAbsolutePath(word), "working directory");
    spec_.working_directory = path;
    return root_.MakeDirectories(path);
  }

  void SetHostname() {
    if (!options_.hostname.empty()) {
      spec_.hostname = options_.hostname;
    } else if (options_.network == NetworkMode::kHost) {
      spec_.hostname = HostName();
    } else {
      spec_.hostname = ShortId(place_.id);
    }
  }

  Status AddMounts() {
    for (const VolumeOption& volume : options_.volumes) LAYERFS_CHECK_OK(AddVolume(volume));
    // Runtimes give a tmpfs the mode of the directory below: one that is made for it has its own.
    for (const TmpfsOption& tmpfs : options_.tmpfs) {
      LAYERFS_CHECK_OK(Add(TmpfsMount(tmpfs), {.mode = ModeOf(tmpfs)}));
    }
    for (const std::string& word : image_.volumes) {
      LAYERFS_TRY_IN(destination, CleanAbsolutePath(word), "volume of the image");
      if (destination == "/" || taken_.contains(destination)) continue;
      VolumeOption volume;
      volume.destination = destination;
      LAYERFS_CHECK_OK(AddVolume(volume));
    }
    const bool host = options_.network == NetworkMode::kHost;
    LAYERFS_CHECK_OK(AddHostFile("hosts", host ? HostFile("/etc/hosts") : kLocalHosts));
    LAYERFS_CHECK_OK(AddHostFile("resolv.conf", HostFile("/etc/resolv.conf")));
    return AddHostFile("hostname", spec_.hostname + "\n");
  }

  // On /etc/NAME, where the caller has put nothing.
  Status AddHostFile(const std::string& name, const std::string& contents) {
    const std::string destination = "/etc/" + name;
    if (taken_.contains(destination) || taken_.contains("/etc")) return {};
    const std::string file = place_.directory + "/" + name;
    LAYERFS_CHECK_OK(WriteFileAtomically(file, AsBytes(contents)));
    const Status added = Add(BindMount(file, destination, false), {.directory = false});
    // An image without the file, mounted without a layer, has to do without it.
    if (!added.has_value() && added.error().system_errno == EROFS) return {};
    return added;
  }

  Status AddVolume(const VolumeOption& volume) {
    if (taken_.contains(volume.destination)) {
      return Fail(ErrorCode::kInvalidArgument,
                  "-v: two things are to be mounted on " + volume.destination);
    }
    std::string source = volume.source;
    bool directory = true;
    if (volume.is_bind()) {
      struct stat attributes;
      if (::stat(source.c_str(), &attributes) != 0) {
        if (errno != ENOENT) return FailErrno("-v " + source, errno);
        LAYERFS_CHECK_OK_IN(MakeDirectories(source), "-v");  // As docker does.
      } else {
        directory = S_ISDIR(attributes.st_mode);
      }
    } else {
      LAYERFS_TRY(made, MakeVolume(volume));
      source = made;
    }
    return Add(BindMount(source, volume.destination, volume.read_only, volume.propagation),
               {.directory = directory});
  }

  // A new one begins with what the image has at its place.
  Result<std::string> MakeVolume(const VolumeOption& volume) {
    const std::string parent = volume.source.empty() ? place_.volumes : place_.named_volumes;
    const std::string name = volume.source.empty() ? std::to_string(++own_volumes_) : volume.source;
    LAYERFS_CHECK_OK(MakeDirectories(parent, 0711));
    std::string path = parent + "/" + name;
    if (::mkdir(path.c_str(), 0755) != 0) {
      if (errno == EEXIST) return path;
      return FailErrno(path, errno);
    }
    const auto from = root_.OpenAt(volume.destination, O_RDONLY | O_DIRECTORY);
    if (volume.no_copy || !from.has_value()) return path;
    LAYERFS_TRY(to, OpenFile(path, O_RDONLY | O_DIRECTORY));
    LAYERFS_CHECK_OK_IN(CopyTree(from->get(), to.get()), "volume " + volume.destination);
    return path;
  }

  Status Add(BundleMount mount, RootDirectory::MountPoint point) {
    // What lies in a file system of the container's own is made by the runtime.
    const auto above = [&](const std::string& path) {
      return mount.destination.starts_with(path + "/");
    };
    const bool inside =
        std::ranges::any_of(taken_, above) || std::ranges::any_of(kRuntimeMounts, above);
    if (!inside) LAYERFS_CHECK_OK(root_.MakeMountPoint(mount.destination, point));
    taken_.insert(mount.destination);
    spec_.mounts.push_back(std::move(mount));
    return {};
  }

  Status MakeDefaultMountPoints() {
    for (const char* path : kRuntimeMounts) {
      LAYERFS_CHECK_OK(root_.MakeMountPoint(path, {}));
    }
    return {};
  }

  Status WriteSpec() {
    std::string text;
    try {
      text = MakeRuntimeSpec(spec_).dump(1, ' ');
    } catch (const Json::exception&) {
      return Fail(ErrorCode::kUnsupported,
                  "the command, the environment or a path is not UTF-8; a runtime's "
                  "configuration cannot say it");
    }
    return WriteFileAtomically(place_.directory + "/config.json", AsBytes(text), {0600, false});
  }

  const ImageDefaults& image_;
  const RunOptions& options_;
  const ContainerPlace& place_;
  RootDirectory& root_;
  BundleSpec spec_;
  std::set<std::string> taken_;  // destinations of mounts
  int own_volumes_ = 0;
};

Result<PreparedContainer> PreparedContainer::Prepare(const ImageDefaults& image,
                                                     const RunOptions& options,
                                                     const ContainerPlace& place) {
  LAYERFS_TRY(root, RootDirectory::Open(place.root));
  auto prepared = ContainerPreparation(image, options, place, root).Prepare(root);
  if (!prepared.has_value()) root.RemoveMountPoints();
  return prepared;
}

Result<BundleEnd> PreparedContainer::Run(const Runtime& runtime, const RunHooks& hooks,
                                         bool forward_signals) {
  run_.forward_signals = forward_signals;
  Result<BundleEnd> end =
      arguments_.front().empty() ? NoCommand() : RunBundle(runtime, run_, hooks);
  root_.RemoveMountPoints();
  return end;
}

}  // namespace layerfs
