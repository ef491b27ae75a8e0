// SPDX-License-Identifier: Apache-2.0
#include "tools/run/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "fs/namespace_ids.h"
#include "index/base/file.h"
#include "index/base/log.h"
#include "tools/run/child_process.h"
#include "tools/run/image_user.h"
#include "tools/run/runtime.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxMapBytes = uint64_t{1} << 20;

struct IdRange {
  uint64_t inside = 0;
  uint64_t outside = 0;
  uint64_t count = 0;
};

// The numbers of a line, whatever separates them.
std::vector<uint64_t> Numbers(std::string_view line) {
  std::vector<uint64_t> numbers;
  while (!line.empty()) {
    const size_t begin = line.find_first_of("0123456789");
    if (begin == std::string_view::npos) break;
    line.remove_prefix(begin);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error == std::errc()) numbers.push_back(value);
    line.remove_prefix(static_cast<size_t>(end - line.data()));
  }
  return numbers;
}

template <typename Use>
void ForEachLine(const std::string& path, Use use) {
  const auto bytes = ReadFile(path, kMaxMapBytes);
  if (!bytes.has_value()) return;
  std::string_view rest = AsText(*bytes);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    use(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

// NAME:FIRST:COUNT or UID:FIRST:COUNT (subuid(5)).
std::vector<IdRange> SubordinateIds(const std::string& path, const std::string& name, uid_t uid) {
  std::vector<IdRange> ranges;
  uint64_t inside = 1;
  ForEachLine(path, [&](std::string_view line) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view who = line.substr(0, colon);
    const auto numbers = Numbers(line.substr(colon + 1));
    if ((who != name && who != std::to_string(uid)) || numbers.size() != 2) return;
    ranges.push_back({inside, numbers[0], numbers[1]});
    inside += numbers[1];
  });
  return ranges;
}

std::string CallerName(uid_t uid) {
  std::string name;
  ForEachLine("/etc/passwd", [&](std::string_view line) {
    const size_t colon = line.find(':');
    const size_t second = line.find(':', colon == std::string_view::npos ? colon : colon + 1);
    if (!name.empty() || second == std::string_view::npos) return;
    const auto numbers = Numbers(line.substr(second, line.find(':', second + 1) - second));
    if (!numbers.empty() && numbers[0] == uid) name = line.substr(0, colon);
  });
  return name;
}

// newuidmap(1) for this process, by a child that was made before the namespace: only one outside of
// it may say which ids are in it.
class MapHelper {
 public:
  // Waits, as a shell that reads a line, until Run.
  static std::optional<MapHelper> Prepare(uid_t uid, gid_t gid) {
    const auto newuidmap = FindProgram("newuidmap");
    const auto newgidmap = FindProgram("newgidmap");
    const std::string name = CallerName(uid);
    const auto uids = SubordinateIds("/etc/subuid", name, uid);
    const auto gids = SubordinateIds("/etc/subgid", name, uid);
    if (!newuidmap.has_value() || !newgidmap.has_value() || uids.empty() || gids.empty()) {
      return std::nullopt;
    }
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
    UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    const std::string pid = std::to_string(::getpid());
    const std::string script = "read go && " + *newuidmap + " " + pid + Words(uid, uids) + " && " +
                               *newgidmap + " " + pid + Words(gid, gids);
    ChildProcess::Options options;
    options.arguments = {"/bin/sh", "-c", script};
    options.descriptors = {{read_end.get(), 0}};
    auto child = ChildProcess::Start(options);
    if (!child.has_value()) return std::nullopt;
    return MapHelper(std::move(*child), std::move(write_end));
  }

  bool Run() {
    const Status told = WriteFull(go_.get(), AsBytes("go\n"));
    const auto status = child_.Wait();
    return told.has_value() && status.has_value() && *status == 0;
  }

 private:
  MapHelper(ChildProcess child, UniqueFd go) : child_(std::move(child)), go_(std::move(go)) {}

  static std::string Words(uint64_t own, const std::vector<IdRange>& ranges) {
    std::string words = " 0 " + std::to_string(own) + " 1";
    for (const IdRange& range : ranges) {
      words += " " + std::to_string(range.inside) + " " + std::to_string(range.outside) + " " +
               std::to_string(range.count);
    }
    return words;
  }

  ChildProcess child_;
  UniqueFd go_;
};

Status WriteMap(const char* path, const std::string& text) {
  LAYERFS_TRY(file, OpenFile(path, O_WRONLY));
  LAYERFS_CHECK_OK_IN(WriteFull(file.get(), AsBytes(text)), path);
  return {};
}

// The caller alone: needs nobody's help, but there is no second user then.
Status MapCallerOnly(uid_t uid, gid_t gid) {
  LAYERFS_CHECK_OK(WriteMap("/proc/self/setgroups", "deny"));
  LAYERFS_CHECK_OK(WriteMap("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1\n"));
  return WriteMap("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1\n");
}

}  // namespace

Status BecomeNamespaceRoot() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (uid == 0) return {};
  std::optional<MapHelper> helper = MapHelper::Prepare(uid, gid);
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    return Fail(ErrorCode::kPermission,
                "this user may not make a user namespace (user.max_user_namespaces, "
                "kernel.unprivileged_userns_clone, AppArmor); run it as root");
  }
  if (!helper.has_value() || !helper->Run()) LAYERFS_CHECK_OK(MapCallerOnly(uid, gid));
  if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0) {
    return FailErrno("root of a user namespace", errno);
  }
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return FailErrno("mount namespace", errno);
  }
  return {};
}

bool InUserNamespace() { return !NamespaceIds::OfThisProcess().IsTheMachines(); }

bool IsMachineRoot() { return ::geteuid() == 0 && !InUserNamespace(); }

bool MaySetGroups() {
  const auto text = ReadFile("/proc/self/setgroups", kMaxMapBytes);
  return !text.has_value() || AsText(*text).find("deny") == std::string_view::npos;
}

}  // namespace layerfs
