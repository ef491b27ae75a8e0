// SPDX-License-Identifier: Apache-2.0
#include "tools/run/runtime.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "index/base/file.h"
#include "index/base/json.h"
#include "index/base/log.h"
#include "tools/run/child_process.h"
#include "tools/run/private_mounts.h"

namespace layerfs {
namespace {

constexpr char kUnifiedCgroups[] = "/sys/fs/cgroup/unified";

// crun refuses machines that have version 2 control groups beside version 1: it gets to see none.
Result<PrivateMounts> EnterLegacyCgroupView() {
  auto mounts = PrivateMounts::Enter();
  if (mounts.has_value() && ::umount2(kUnifiedCgroups, MNT_DETACH) == 0) return mounts;
  return Fail(ErrorCode::kUnsupported,
              std::string("crun refuses machines that have ") + kUnifiedCgroups +
                  ", and it cannot be hidden from it here; install runc, or boot with "
                  "systemd.unified_cgroup_hierarchy=1");
}

constexpr uint64_t kMaxLogBytes = uint64_t{1} << 20;

std::optional<long> FileSystemType(const char* path) {
  struct statfs statistics;
  if (::statfs(path, &statistics) != 0) return std::nullopt;
  return static_cast<long>(statistics.f_type);
}

// What the runtime's log says last, as an error.
std::string LastMessage(const std::string& log_file) {
  const auto log = ReadFile(log_file, kMaxLogBytes);
  std::string message;
  if (!log.has_value()) return message;
  std::string_view rest = AsText(*log);
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const auto line = ParseJson(AsBytes(rest.substr(0, end)), kMaxLogBytes);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.has_value()) continue;
    const auto level = JsonOptionalString(*line, "level");
    const auto text = JsonOptionalString(*line, "msg");
    if (level.has_value() && text.has_value() && *level == "error") message = *text;
  }
  return message;
}

Result<pid_t> ReadPid(const std::string& path) {
  LAYERFS_TRY(bytes, ReadFile(path, 64));
  const std::string_view text = AsText(bytes);
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || pid <= 0) {
    return Fail(ErrorCode::kCorrupt, path + ": is not a process id");
  }
  return pid;
}

}  // namespace

CgroupMode DetectCgroups() {
  const auto root = FileSystemType("/sys/fs/cgroup");
  if (root == CGROUP2_SUPER_MAGIC) return CgroupMode::kUnified;
  if (root != TMPFS_MAGIC) return CgroupMode::kNone;
  if (FileSystemType(kUnifiedCgroups) == CGROUP2_SUPER_MAGIC) return CgroupMode::kHybrid;
  return CgroupMode::kLegacy;
}

std::optional<std::string> FindProgram(const std::string& name) {
  const char* const variable = std::getenv("PATH");
  std::string path = variable != nullptr ? variable : "";
  // Runtimes are where only root's PATH leads.
  path += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    std::string candidate = path.substr(at, end - at) + "/" + name;
    at = end + 1;
    struct stat attributes;
    if (candidate.front() == '/' && candidate[1] != '/' &&
        ::stat(candidate.c_str(), &attributes) == 0 && S_ISREG(attributes.st_mode) &&
        ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
  }
  return std::nullopt;
}

FoundRuntimes FindRuntimes() { return {FindProgram("crun"), FindProgram("runc")}; }

Result<std::string> ChooseRuntime(const std::string& wanted, const FoundRuntimes& found,
                                  CgroupMode cgroups) {
  if (wanted.find('/') != std::string::npos) return wanted;
  if (!wanted.empty() && wanted != "crun" && wanted != "runc") {
    if (auto path = FindProgram(wanted)) return *path;
    return Fail(ErrorCode::kNotFound, "--runtime " + wanted + ": is not on PATH");
  }
  const bool prefers_runc = cgroups == CgroupMode::kHybrid && found.runc.has_value();
  if (found.crun.has_value() && wanted != "runc" && (wanted == "crun" || !prefers_runc)) {
    return *found.crun;
  }
  if (found.runc.has_value() && wanted != "crun") return *found.runc;
  return Fail(ErrorCode::kNotFound, (wanted.empty() ? "neither crun nor runc" : "no " + wanted) +
                                        " is on PATH; install one: apt-get install runc");
}

Result<int> Runtime::Call(const std::vector<std::string>& arguments, const Stdio& stdio) const {
  ChildProcess::Options options;
  options.arguments = {program_, "--root", state_};
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  options.descriptors = {{stdio.in, 0}, {stdio.out, 1}, {stdio.err, 2}};
  const bool is_crun = program_.substr(program_.rfind('/') + 1) == "crun";
  std::optional<PrivateMounts> view;
  if (is_crun && DetectCgroups() == CgroupMode::kHybrid) {
    LAYERFS_TRY(entered, EnterLegacyCgroupView());
    view.emplace(std::move(entered));
  }
  LAYERFS_TRY(child, ChildProcess::Start(options));
  return child.Wait();
}

Result<pid_t> Runtime::Create(const CreateOptions& options) const {
  std::vector<std::string> arguments = {"--log",        options.log_file, "--log-format",
                                        "json",         "create",         "--bundle",
                                        options.bundle, "--pid-file",     options.pid_file};
  if (!options.console_socket.empty()) {
    arguments.insert(arguments.end(), {"--console-socket", options.console_socket});
  }
  arguments.push_back(options.id);
  LAYERFS_TRY(status, Call(arguments, options.stdio));
  if (status != 0) {
    const std::string message = LastMessage(options.log_file);
    return Fail(ErrorCode::kIo, message.empty()
                                    ? program_ + " create: exit status " + std::to_string(status)
                                    : message);
  }
  return ReadPid(options.pid_file);
}

Status Runtime::Start(const std::string& id, const std::string& log_file) const {
  LAYERFS_TRY(null, OpenFile("/dev/null", O_RDWR));
  LAYERFS_TRY(status, Call({"--log", log_file, "--log-format", "json", "start", id},
                           {null.get(), null.get(), null.get()}));
  if (status == 0) return {};
  const std::string message = LastMessage(log_file);
  return Fail(ErrorCode::kIo, message.empty()
                                  ? program_ + " start: exit status " + std::to_string(status)
                                  : message);
}

Status Runtime::Delete(const std::string& id) const {
  struct stat attributes;
  if (::stat((state_ + "/" + id).c_str(), &attributes) != 0) return {};
  LAYERFS_TRY(null, OpenFile("/dev/null", O_RDWR));
  LAYERFS_TRY(status, Call({"delete", "--force", id}, {null.get(), null.get(), null.get()}));
  if (status == 0 || ::stat((state_ + "/" + id).c_str(), &attributes) != 0) return {};
  return Fail(ErrorCode::kIo,
              program_ + " delete --force " + id + ": exit status " + std::to_string(status));
}

int StartFailureStatus(const std::string& message) {
  constexpr int kNotStarted = 125;
  constexpr int kCannotRun = 126;
  constexpr int kNoCommand = 127;
  std::string text = message;
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto has = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  // runc: exec: "CMD": …; crun: executable file `CMD` not found, open executable: …
  if (!has("exec: ") && !has("executable")) return kNotStarted;
  if (has("not found") || has("no such file or directory")) return kNoCommand;
  for (const char* const words :
       {"permission denied", "operation not permitted", "is a directory", "exec format error"}) {
    if (has(words)) return kCannotRun;
  }
  return kNotStarted;
}

}  // namespace layerfs
