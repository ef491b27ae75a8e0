// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/recording.h"

#include <unistd.h>

#include "index/base/file.h"
#include "tools/startup/mount_child.h"
#include "tools/startup/startup_task.h"

namespace layerfs {

Result<Trace> RecordStartup(const RecordOptions& options, const ServiceOptions& services) {
  if (::geteuid() != 0) {
    return Fail(ErrorCode::kPermission, "recording runs the image's program and needs root");
  }
  LAYERFS_TRY(scratch, ScratchDirectory::Make("layerfs-record"));
  const std::string mount_point = scratch.path() + "/image";
  const std::string trace_path = scratch.path() + "/trace";
  LAYERFS_CHECK_OK(MakeDirectories(mount_point));
  std::vector<std::string> words = {"--record", trace_path, "--fill", "off"};
  if (!options.platform.empty()) {
    words.emplace_back("--platform");
    words.push_back(options.platform);
  }
  services.AppendWords(words);
  LAYERFS_TRY(mount, MountChild::Start(options.image, mount_point, words));
  LAYERFS_TRY(spec, TaskSpec::Make(mount->config(), options.command));
  spec.root = mount_point;
  LAYERFS_TRY(task, StartupTask::Start(spec));
  const Status ready = task->WaitReady(options.ready, options.timeout);
  task->Stop();
  const Status stopped = mount->Stop();
  LAYERFS_CHECK_OK_IN(ready, options.image);
  LAYERFS_CHECK_OK(stopped);
  LAYERFS_TRY(text, ReadFile(trace_path, kMaxTraceBytes));
  return Trace::Parse(AsText(text));
}

}  // namespace layerfs
