// SPDX-License-Identifier: Apache-2.0
#include "tools/run/run_container.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "fs/container_layer.h"
#include "index/base/file.h"
#include "index/base/log.h"
#include "tools/run/container_store.h"
#include "tools/run/image_defaults.h"
#include "tools/run/mount_process.h"
#include "tools/run/prepared_container.h"
#include "tools/run/run_options_json.h"
#include "tools/run/runtime.h"

namespace layerfs {
namespace {

// What a container's mount is: everybody's in it, with devices and setuid as on any root.
constexpr char kMountOptions[] = "allow_other,default_permissions,suid,dev";

constexpr uint64_t kMaxLogBytes = uint64_t{1} << 20;  // of what a failure quotes

// This process's streams, and so its container's and its mount's, from here on.
Status SendOutputTo(const std::string& log) {
  LAYERFS_TRY(null, OpenFile("/dev/null", O_RDONLY));
  LAYERFS_TRY(file, OpenFile(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600));
  if (::dup2(null.get(), STDIN_FILENO) < 0 || ::dup2(file.get(), STDOUT_FILENO) < 0 ||
      ::dup2(file.get(), STDERR_FILENO) < 0) {
    return FailErrno(log, errno);
  }
  return {};
}

Status CheckTerminal(const RunOptions& options) {
  if (!options.terminal || !options.interactive || ::isatty(STDIN_FILENO) != 0) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "-t with -i: standard input is not a terminal; leave -t out");
}

// One run of a container that is ours by its lock.
class ContainerRun {
 public:
  ContainerRun(const ContainerStore& store, LockedContainer& container, std::string program,
               bool is_new, RunHooks hooks)
      : store_(store),
        container_(container),
        program_(std::move(program)),
        is_new_(is_new),
        hooks_(std::move(hooks)) {}

  Result<BundleEnd> Run(const RunOptions& options) {
    ContainerRecord starting = container_.record();
    starting.run_pid = ::getpid();
    LAYERFS_CHECK_OK(container_.Save(starting));
    Result<BundleEnd> end = MountAndRun(options);
    if (end.has_value()) {
      ContainerRecord record = container_.record();
      record.exit_status = end->status;
      const Status saved = container_.Save(record);
      if (!saved.has_value()) LogWarning(saved.error().context);
    }
    return end;
  }

 private:
  Result<BundleEnd> MountAndRun(const RunOptions& options) {
    LAYERFS_CHECK_OK(container_.MakeRunDirectories());
    const ContainerRecord& record = container_.record();
    MountProcess::Options mount_options;
    mount_options.program = program_;
    mount_options.words = record.mount_words;
    mount_options.words.insert(mount_options.words.end(), {"-o", kMountOptions});
    mount_options.words.insert(mount_options.words.end(), {"--container-layer", record.layer});
    LAYERFS_TRY(image, ImageToMount());
    mount_options.image = image;
    mount_options.mount_point = container_.root();
    LAYERFS_TRY(mount, MountProcess::Start(mount_options));
    Result<BundleEnd> end = RunOn(mount, options);
    const Status unmounted = mount.End();
    if (!unmounted.has_value()) LogWarning(unmounted.error().context);
    return end;
  }

  // That of its first run: the tag may be another's by now. Who names an image and a layer that is
  // there already means both.
  Result<std::string> ImageToMount() const {
    const ContainerRecord& record = container_.record();
    if (is_new_) return record.image;
    const auto bound = ContainerLayer::ReadBinding(record.layer);
    if (bound.has_value()) return PinnedReference(*bound);
    // It has never been mounted.
    if (bound.error().code == ErrorCode::kNotFound) return record.image;
    return Fail(bound.error());
  }

  Result<BundleEnd> RunOn(const MountProcess& mount, const RunOptions& options) {
    LAYERFS_TRY(image, ImageDefaults::FromConfig(mount.image_config()));
    const ContainerPlace place{container_.record().id, container_.root(), container_.bundle(),
                               container_.volumes(), store_.named_volumes()};
    LAYERFS_TRY(prepared, PreparedContainer::Prepare(image, options, place));
    ContainerRecord record = container_.record();
    record.command = prepared.arguments();
    record.mount_pid = mount.pid();
    LAYERFS_CHECK_OK(container_.Save(record));
    const Runtime runtime(record.runtime, store_.runtime_state());
    return prepared.Run(runtime, hooks_);
  }

  const ContainerStore& store_;
  LockedContainer& container_;
  const std::string program_;
  const bool is_new_;
  const RunHooks hooks_;
};

// Runs it and ends the run, whatever came of it; a failure before the command ran leaves no new
// container behind.
Result<BundleEnd> RunAndEnd(const ContainerStore& store, LockedContainer& container,
                            const RunOptions& options, const std::string& program, bool is_new,
                            const RunHooks& hooks = {}) {
  Result<BundleEnd> end = ContainerRun(store, container, program, is_new, hooks).Run(options);
  if (!end.has_value() && is_new) {
    ContainerRecord record = container.record();
    record.remove = true;
    (void)container.Save(record);
  }
  const Status ended = container.EndRun();
  if (!ended.has_value()) LogWarning(ended.error().context);
  return end;
}

}  // namespace

Result<BundleEnd> RunContainer(const RunRequest& request) {
  if (!request.detached) LAYERFS_CHECK_OK(CheckTerminal(request.options));
  LAYERFS_TRY(runtime, ChooseRuntime(request.runtime, FindRuntimes(), DetectCgroups()));
  LAYERFS_TRY(store, ContainerStore::Open(request.state_directory));
  store.CleanUp();
  ContainerRecord record;
  LAYERFS_TRY(id, NewContainerId());
  record.id = id;
  record.name = request.name.empty() ? ShortId(id) : request.name;
  record.image = request.image;
  record.layer = request.layer_directory;
  record.runtime = runtime;
  record.created = std::time(nullptr);
  record.remove = request.remove;
  record.options = EncodeRunOptions(request.options);
  record.mount_words = request.mount_words;
  LAYERFS_TRY(container, store.Create(std::move(record)));
  if (!request.detached) {
    return RunAndEnd(store, container, request.options, request.program, true);
  }
  LAYERFS_CHECK_OK(SendOutputTo(container.log()));
  const UniqueFd log(::open(container.log().c_str(), O_RDONLY | O_CLOEXEC));
  RunHooks hooks;
  hooks.on_started = [&](pid_t) {
    if (request.on_started) request.on_started(container.record().name);
  };
  Result<BundleEnd> end =
      RunAndEnd(store, container, request.options, request.program, true, hooks);
  if (end.has_value()) return end;
  // What the mount has said is not on the caller's terminal.
  Error error = std::move(end).error();
  const auto said = ReadFile("/proc/self/fd/" + std::to_string(log.get()), kMaxLogBytes);
  if (said.has_value() && !said->empty()) {
    std::string text(AsText(*said));
    while (text.ends_with('\n')) text.pop_back();
    std::ranges::replace(text, '\n', ';');
    error.context += ": " + text;
  }
  return Fail(std::move(error));
}

Result<BundleEnd> StartContainer(const std::string& state_directory, const std::string& name,
                                 const std::string& program) {
  LAYERFS_TRY(store, ContainerStore::Open(state_directory));
  store.CleanUp();
  LAYERFS_TRY(container, store.Lock(name));
  LAYERFS_TRY_IN(options, DecodeRunOptions(container.record().options), "container " + name);
  LAYERFS_CHECK_OK(CheckTerminal(options));
  return RunAndEnd(store, container, options, program, false);
}

}  // namespace layerfs
