// SPDX-License-Identifier: Apache-2.0
#include "tools/run/run_container.h"

#include <unistd.h>

#include <ctime>

#include "index/base/log.h"
#include "tools/run/container_store.h"
#include "tools/run/image_defaults.h"
#include "tools/run/mount_process.h"
#include "tools/run/prepared_container.h"
#include "tools/run/run_options_json.h"
#include "tools/run/runtime.h"

namespace layerfs {
namespace {

constexpr size_t kShortIdDigits = 12;

// What a container's mount is: everybody's in it, with devices and setuid as on any root.
constexpr char kMountOptions[] = "allow_other,default_permissions,suid,dev";

Status CheckTerminal(const RunOptions& options) {
  if (!options.terminal || !options.interactive || ::isatty(STDIN_FILENO) != 0) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "-t with -i: standard input is not a terminal; leave -t out");
}

// One run of a container that is ours by its lock.
class ContainerRun {
 public:
  ContainerRun(const ContainerStore& store, LockedContainer& container, std::string program)
      : store_(store), container_(container), program_(std::move(program)) {}

  Result<BundleEnd> Run(const RunOptions& options) {
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
    mount_options.image = record.image;
    mount_options.mount_point = container_.root();
    LAYERFS_TRY(mount, MountProcess::Start(mount_options));
    Result<BundleEnd> end = RunOn(mount, options);
    const Status unmounted = mount.End();
    if (!unmounted.has_value()) LogWarning(unmounted.error().context);
    return end;
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
    return prepared.Run(runtime, RunHooks{});
  }

  const ContainerStore& store_;
  LockedContainer& container_;
  const std::string program_;
};

// Runs it and ends the run, whatever came of it; a failure before the command ran leaves no new
// container behind.
Result<BundleEnd> RunAndEnd(const ContainerStore& store, LockedContainer& container,
                            const RunOptions& options, const std::string& program, bool is_new) {
  Result<BundleEnd> end = ContainerRun(store, container, program).Run(options);
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
  LAYERFS_CHECK_OK(CheckTerminal(request.options));
  LAYERFS_TRY(runtime, ChooseRuntime(request.runtime, FindRuntimes(), DetectCgroups()));
  LAYERFS_TRY(store, ContainerStore::Open(request.state_directory));
  store.CleanUp();
  ContainerRecord record;
  LAYERFS_TRY(id, NewContainerId());
  record.id = id;
  record.name = request.name.empty() ? id.substr(0, kShortIdDigits) : request.name;
  record.image = request.image;
  record.layer = request.layer_directory;
  record.runtime = runtime;
  record.created = std::time(nullptr);
  record.remove = request.remove;
  record.options = EncodeRunOptions(request.options);
  record.mount_words = request.mount_words;
  LAYERFS_TRY(container, store.Create(std::move(record)));
  return RunAndEnd(store, container, request.options, request.program, true);
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
