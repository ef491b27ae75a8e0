// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/recording.h"

#include <unistd.h>

#include "index/base/file.h"
#include "tools/run/mount_process.h"
#include "tools/run/private_mounts.h"
#include "tools/startup/ending_signals.h"
#include "tools/startup/scratch_directory.h"
#include "tools/startup/startup_task.h"
#include "tools/state_option.h"

namespace layerfs {
namespace {

// What ran on the mount may take a moment to be gone; only the mount's own end writes the trace.
constexpr std::chrono::milliseconds kUnmountPatience{10'000};

Status RunUntilReady(const RecordOptions& options, const Json& config, const std::string& root,
                     const std::string& scratch) {
  LAYERFS_TRY(spec, TaskSpec::Make(config, options.command, root));
  spec.scratch = scratch;
  LAYERFS_TRY(task, StartupTask::Start(spec));
  return task->WaitReady(options.ready, options.timeout);
}

}  // namespace

Status CheckRecording(const ReadyCondition& ready) {
  if (::geteuid() != 0) {
    return Fail(ErrorCode::kPermission, "recording runs the image's program and needs root");
  }
  return ready.CheckNotYet();
}

Result<Trace> RecordStartup(const RecordOptions& options, const ServiceOptions& services) {
  LAYERFS_CHECK_OK(CheckRecording(options.ready));
  const EndingSignals ending;
  LAYERFS_TRY(scratch, ScratchDirectory::Make("layerfs-record"));
  // Else every namespace that is made in the meantime would keep the mount, and we wait for it.
  LAYERFS_TRY(mounts, PrivateMounts::Enter());
  const std::string trace_path = scratch.path() + "/trace";
  MountProcess::Options mount_options;
  LAYERFS_TRY(program, OwnProgram());
  mount_options.program = program;
  mount_options.image = options.image;
  mount_options.mount_point = scratch.path() + "/image";
  mount_options.ends_with_starter = true;
  mount_options.is_cancelled = [] { return EndingSignals::Pending(); };
  mount_options.words = {"--record", trace_path, "--fill", "off"};
  if (!options.platform.empty()) {
    mount_options.words.insert(mount_options.words.end(), {"--platform", options.platform});
  }
  services.AppendWords(mount_options.words);
  LAYERFS_CHECK_OK(MakeDirectories(mount_options.mount_point));
  LAYERFS_TRY(mount, MountProcess::Start(mount_options));
  const Status ready = RunUntilReady(options, mount.image_config(), mount_options.mount_point,
                                     scratch.path() + "/task");
  const Status ended = mount.End(kUnmountPatience);
  LAYERFS_CHECK_OK_IN(ready, options.image);
  LAYERFS_CHECK_OK(ended);
  LAYERFS_TRY(text, ReadFile(trace_path, kMaxTraceBytes));
  return Trace::Parse(AsText(text));
}

}  // namespace layerfs
