// SPDX-License-Identifier: Apache-2.0
#include "tools/run/container_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <thread>

#include "fs/fuse_session.h"
#include "index/base/log.h"
#include "tools/run/run_options.h"
#include "tools/run/runtime.h"
#include "tools/run/user_namespace.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxRecordBytes = uint64_t{4} << 20;

// How long a killed container's own `layerfs run` may take to clean up.
constexpr auto kKillWait = std::chrono::seconds(20);
constexpr auto kKillPoll = std::chrono::milliseconds(20);

// Begins no container's name.
constexpr char kRemovedPrefix[] = ".removed-";

Result<UniqueFd> LockFile(const std::string& path, int operation) {
  LAYERFS_TRY(fd, OpenFile(path, O_RDWR | O_CREAT, 0600));
  while (::flock(fd.get(), operation) != 0) {
    if (errno == EINTR) continue;
    return FailErrno(path, errno);
  }
  return fd;
}

bool Exists(const std::string& path) {
  struct stat attributes;
  return ::lstat(path.c_str(), &attributes) == 0;
}

// The container's lock file where nobody has it; kBusy where somebody does.
Result<UniqueFd> TryLockContainer(const std::string& directory, const std::string& name) {
  LAYERFS_TRY(fd, OpenFile(directory + "/lock", O_RDWR | O_CREAT, 0600));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK) {
    return Fail(ErrorCode::kBusy, "container " + name + ": is running");
  }
  return FailErrno(directory + "/lock", errno);
}

Status RemoveAll(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return FailErrno(path, error.value());
  return {};
}

// A mount in the namespace of a user's killed `layerfs run` is out of reach; its server is not. The
// number may be somebody else's by now: who serves this mount has its path on the command line.
void EndMountProcess(int64_t pid, const std::string& mount_point) {
  constexpr uint64_t kMaxCommandLine = uint64_t{1} << 20;
  if (pid <= 0) return;
  const auto words = ReadFile("/proc/" + std::to_string(pid) + "/cmdline", kMaxCommandLine);
  const std::string last = std::string(1, '\0') + mount_point + '\0';
  if (words.has_value() && AsText(*words).ends_with(last)) {
    ::kill(static_cast<pid_t>(pid), SIGTERM);
  }
}

// TERM for the `layerfs run` or `layerfs start` of that number, if it is one still.
void AskRunToStop(int64_t pid) {
  constexpr uint64_t kMaxCommandLine = uint64_t{1} << 20;
  if (pid <= 0) return;
  const auto words = ReadFile("/proc/" + std::to_string(pid) + "/cmdline", kMaxCommandLine);
  if (!words.has_value()) return;
  const std::string_view text = AsText(*words);
  const size_t end = text.find('\0');
  if (end == std::string_view::npos) return;
  const std::string_view command = text.substr(end + 1);
  for (const std::string_view verb : {"run", "start"}) {
    if (command.starts_with(verb) && command.substr(verb.size()).starts_with('\0')) {
      ::kill(static_cast<pid_t>(pid), SIGTERM);
    }
  }
}

Result<std::vector<std::string>> JsonStrings(const Json& json, std::string_view key) {
  std::vector<std::string> strings;
  LAYERFS_TRY(array, JsonOptionalArray(json, key));
  if (array == nullptr) return strings;
  for (const Json& item : *array) {
    if (item.is_string()) strings.push_back(item.get<std::string>());
  }
  return strings;
}

Result<int64_t> JsonPid(const Json& json, std::string_view key) {
  if (!json.contains(key)) return 0;
  LAYERFS_TRY(pid, JsonUint(json, key));
  return static_cast<int64_t>(pid);
}

Result<ContainerRecord> ReadRecord(const std::string& directory) {
  const std::string path = directory + "/container.json";
  LAYERFS_TRY(bytes, ReadFile(path, kMaxRecordBytes));
  LAYERFS_TRY_IN(json, ParseJson(bytes, kMaxRecordBytes), path);
  LAYERFS_TRY_IN(record, ContainerRecord::FromJson(json), path);
  return record;
}

}  // namespace

Json ContainerRecord::ToJson() const {
  Json json = {{"name", name},       {"id", id},
               {"image", image},     {"command", command},
               {"layer", layer},     {"runtime", runtime},
               {"created", created}, {"remove", remove},
               {"options", options}, {"mountWords", mount_words},
               {"runPid", run_pid},  {"mountPid", mount_pid}};
  if (exit_status.has_value()) json["exitStatus"] = *exit_status;
  return json;
}

std::string ShortId(const std::string& id) { return id.substr(0, 12); }

Result<ContainerRecord> ContainerRecord::FromJson(const Json& json) {
  ContainerRecord record;
  LAYERFS_TRY(name, JsonString(json, "name"));
  LAYERFS_TRY(id, JsonString(json, "id"));
  LAYERFS_TRY(image, JsonString(json, "image"));
  LAYERFS_TRY(layer, JsonString(json, "layer"));
  LAYERFS_TRY(runtime, JsonOptionalString(json, "runtime"));
  LAYERFS_TRY(created, JsonUint(json, "created"));
  LAYERFS_TRY(command, JsonStrings(json, "command"));
  LAYERFS_TRY(options, JsonOptionalObject(json, "options"));
  LAYERFS_TRY(mount_words, JsonStrings(json, "mountWords"));
  record.name = std::move(name);
  record.id = std::move(id);
  record.image = std::move(image);
  record.layer = std::move(layer);
  record.runtime = std::move(runtime);
  record.created = static_cast<int64_t>(created);
  record.command = std::move(command);
  if (options != nullptr) record.options = *options;
  record.mount_words = std::move(mount_words);
  LAYERFS_TRY(run_pid, JsonPid(json, "runPid"));
  record.run_pid = run_pid;
  LAYERFS_TRY(mount_pid, JsonPid(json, "mountPid"));
  record.mount_pid = mount_pid;
  const auto remove = json.find("remove");
  record.remove = remove != json.end() && remove->is_boolean() && remove->get<bool>();
  if (json.contains("exitStatus")) {
    LAYERFS_TRY(status, JsonUint(json, "exitStatus"));
    record.exit_status = static_cast<int>(status & 0xff);
  }
  return record;
}

Result<std::string> NewContainerId() {
  std::array<uint8_t, 32> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return FailErrno("getrandom", errno);
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  for (const uint8_t byte : random) {
    id.push_back(kDigits[byte >> 4]);
    id.push_back(kDigits[byte & 15]);
  }
  return id;
}

std::string DefaultStateDirectory() {
  if (IsMachineRoot()) return "/var/lib/layerfs";
  const char* const data_home = std::getenv("XDG_DATA_HOME");
  if (data_home != nullptr && data_home[0] == '/') return std::string(data_home) + "/layerfs";
  const char* const home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "/tmp") + "/.local/share/layerfs";
}

Status LockedContainer::Save(const ContainerRecord& record) {
  const std::string text = record.ToJson().dump(1, ' ', false, Json::error_handler_t::replace);
  LAYERFS_CHECK_OK(
      WriteFileAtomically(directory_ + "/container.json", AsBytes(text), {0600, true}));
  record_ = record;
  return {};
}

Status LockedContainer::MakeRunDirectories() const {
  LAYERFS_CHECK_OK(MakeDirectories(root(), 0700));
  return MakeDirectories(bundle(), 0700);
}

Status LockedContainer::EndRun() {
  if (!record_.runtime.empty() && !record_.id.empty()) {
    LAYERFS_CHECK_OK(Runtime(record_.runtime, state_ + "/runtime").Delete(record_.id));
  }
  // Lazily, for what has been killed may not have let go yet. A mount that is not there is fine.
  const Status unmounted = Unmount(root(), false);
  if (!unmounted.has_value() && unmounted.error().code != ErrorCode::kNotFound) {
    const Status detached = Unmount(root(), true);
    if (!detached.has_value() && detached.error().code != ErrorCode::kNotFound && Exists(root())) {
      return detached;
    }
  }
  EndMountProcess(record_.mount_pid, root());
  if (record_.remove) return Remove();
  return RemoveAll(directory_ + "/run");
}

Status LockedContainer::Remove() {
  // The mount point's removal fails where something is mounted on it still: nothing of an image or
  // a volume is ever removed through it.
  if (Exists(root()) && ::rmdir(root().c_str()) != 0) return FailErrno(root(), errno);
  // Under another name first: who looks whether it still runs makes a lock file in it.
  const std::string& unique = record_.id.empty() ? std::to_string(::getpid()) : record_.id;
  const std::string removed = state_ + "/containers/" + kRemovedPrefix + unique;
  if (::rename(directory_.c_str(), removed.c_str()) != 0) return FailErrno(directory_, errno);
  return RemoveAll(removed);
}

Result<ContainerStore> ContainerStore::Open(const std::string& directory) {
  std::string absolute = directory;
  if (!absolute.starts_with('/')) {
    std::error_code error;
    absolute = std::filesystem::absolute(directory, error).string();
    if (error) return FailErrno(directory, error.value());
  }
  LAYERFS_CHECK_OK(MakeDirectories(absolute + "/containers", 0700));
  LAYERFS_CHECK_OK(MakeDirectories(absolute + "/runtime", 0700));
  return ContainerStore(absolute);
}

std::string ContainerStore::ContainerDirectory(const std::string& name) const {
  return directory_ + "/containers/" + name;
}

Result<LockedContainer> ContainerStore::Create(ContainerRecord record) const {
  if (!IsGoodName(record.name)) {
    return Fail(ErrorCode::kInvalidArgument,
                "container name \"" + record.name +
                    "\": only letters, digits, \"_\", \".\" and \"-\", not at the beginning but "
                    "for the first two, and no more than " +
                    std::to_string(kMaxContainerName) + " of them");
  }
  LAYERFS_TRY(store_lock, LockFile(directory_ + "/lock", LOCK_EX));
  const std::string directory = ContainerDirectory(record.name);
  if (::mkdir(directory.c_str(), 0700) != 0) {
    if (errno != EEXIST) return FailErrno(directory, errno);
    return Fail(ErrorCode::kExists, "container " + record.name +
                                        ": the name is in use; choose another, or remove it: "
                                        "layerfs rm " +
                                        record.name);
  }
  LAYERFS_TRY(lock, TryLockContainer(directory, record.name));
  if (record.layer.empty()) record.layer = directory + "/layer";
  LockedContainer container(directory_, directory, std::move(lock));
  LAYERFS_CHECK_OK(container.Save(record));
  return container;
}

Result<LockedContainer> ContainerStore::LockUnder(const UniqueFd& /*store_lock*/,
                                                  const std::string& name) const {
  const std::string directory = ContainerDirectory(name);
  if (!IsGoodName(name) || !Exists(directory)) {
    return Fail(ErrorCode::kNotFound,
                "container " + name + ": there is none; layerfs ps -a lists them");
  }
  LAYERFS_TRY(lock, TryLockContainer(directory, name));
  LockedContainer container(directory_, directory, std::move(lock));
  auto record = ReadRecord(directory);
  if (record.has_value()) {
    container.record_ = std::move(*record);
  } else {
    // Killed between its directory and its record: nothing has happened in it.
    container.record_.name = name;
    container.record_.remove = record.error().code == ErrorCode::kNotFound;
  }
  return container;
}

Result<LockedContainer> ContainerStore::Lock(const std::string& name) const {
  LAYERFS_TRY(store_lock, LockFile(directory_ + "/lock", LOCK_EX));
  return LockUnder(store_lock, name);
}

Status ContainerStore::Stop(const std::string& name, std::chrono::milliseconds patience) const {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (bool asked = false; std::chrono::steady_clock::now() < deadline; asked = true) {
    const auto locked = Lock(name);
    if (locked.has_value()) return {};
    // With --rm it goes when it has stopped.
    if (asked && locked.error().code == ErrorCode::kNotFound) return {};
    if (locked.error().code != ErrorCode::kBusy) return Fail(locked.error());
    if (!asked) {
      LAYERFS_TRY(record, ReadRecord(ContainerDirectory(name)));
      AskRunToStop(record.run_pid);
    }
    std::this_thread::sleep_for(kKillPoll);
  }
  return Kill(name);
}

Result<std::string> ContainerStore::LogOf(const std::string& name) const {
  std::string log = ContainerDirectory(name) + "/log";
  if (!IsGoodName(name) || !Exists(ContainerDirectory(name))) {
    return Fail(ErrorCode::kNotFound,
                "container " + name + ": there is none; layerfs ps -a lists them");
  }
  if (!Exists(log)) {
    return Fail(ErrorCode::kNotFound, "container " + name +
                                          ": has no log: it was not run in the background "
                                          "(layerfs run --detach)");
  }
  return log;
}

Status ContainerStore::Kill(const std::string& name) const {
  const auto deadline = std::chrono::steady_clock::now() + kKillWait;
  while (true) {
    const auto locked = Lock(name);
    if (locked.has_value() || locked.error().code == ErrorCode::kNotFound) return {};
    if (locked.error().code != ErrorCode::kBusy) return Fail(locked.error());
    LAYERFS_TRY(record, ReadRecord(ContainerDirectory(name)));
    if (!record.runtime.empty()) {
      LAYERFS_CHECK_OK(Runtime(record.runtime, runtime_state()).Delete(record.id));
    }
    if (std::chrono::steady_clock::now() > deadline) return Fail(locked.error());
    std::this_thread::sleep_for(kKillPoll);
  }
}

Result<std::vector<std::string>> ContainerStore::Names() const {
  std::vector<std::string> names;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(directory_ + "/containers", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::string name = it->path().filename().string();
    if (!name.starts_with(kRemovedPrefix)) names.push_back(std::move(name));
  }
  if (error) return FailErrno(directory_ + "/containers", error.value());
  std::ranges::sort(names);
  return names;
}

Result<std::vector<ContainerStore::Listed>> ContainerStore::List() const {
  LAYERFS_TRY(store_lock, LockFile(directory_ + "/lock", LOCK_EX));
  LAYERFS_TRY(names, Names());
  std::vector<Listed> list;
  for (const std::string& name : names) {
    const auto lock = TryLockContainer(ContainerDirectory(name), name);
    auto record = ReadRecord(ContainerDirectory(name));
    if (!record.has_value()) {
      LogWarning(record.error().context);
      continue;
    }
    list.push_back({std::move(*record), !lock.has_value()});
  }
  return list;
}

// What somebody was killed while removing.
void ContainerStore::FinishRemovals() const {
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(directory_ + "/containers", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::error_code ignored;  // Who removes it may be at work still.
    if (it->path().filename().string().starts_with(kRemovedPrefix)) {
      std::filesystem::remove_all(it->path(), ignored);
    }
  }
}

void ContainerStore::CleanUp() const {
  const auto store_lock = LockFile(directory_ + "/lock", LOCK_EX);
  FinishRemovals();
  const auto names = Names();
  if (!store_lock.has_value() || !names.has_value()) return;
  for (const std::string& name : *names) {
    auto container = LockUnder(*store_lock, name);
    if (!container.has_value()) continue;
    const bool is_left = Exists(container->directory() + "/run") || container->record().remove;
    if (!is_left) continue;
    const Status ended = container->EndRun();
    if (!ended.has_value()) LogWarning("container " + name + ": " + ended.error().context);
  }
}

}  // namespace layerfs
