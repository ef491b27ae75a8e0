// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/container_engines.h"

#include <array>
#include <filesystem>
#include <system_error>
#include <thread>

#include "index/base/file.h"
#include "tools/run/runtime.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kAnswerTimeout{10'000};

CommandWords Ctr(const std::string& home) { return {"ctr", "-a", home + "/socket"}; }

CommandWords Joined(CommandWords words, const CommandWords& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

struct Need {
  const char* way;
  const char* program;
  const char* package;
};
constexpr std::array kNeeds = {
    Need{"", "docker-registry", "docker-registry"},
    Need{"", "skopeo", "skopeo"},
    Need{"overlayfs", "containerd", "containerd"},
    Need{"overlayfs", "ctr", "containerd"},
    Need{"overlayfs", "runc", "runc"},
    Need{"podman", "podman", "podman"},
};

}  // namespace

EngineCommands ContainerdCommands(const EngineStart& start) {
  // The name is containerd's namespace as well: its control groups are called so.
  const CommandWords ctr = Joined(Ctr(start.home), {"-n", start.name});
  const CommandWords run = {"run",       "--rm",          "--net-host", "--snapshotter",
                            "overlayfs", start.reference, start.name};
  return {.tool = Joined(Ctr(start.home), {"version"}),
          .pull = Joined(ctr, {"images", "pull", "--plain-http", "--snapshotter", "overlayfs",
                               start.reference}),
          .run = Joined(Joined(ctr, run), start.command),
          .kill = Joined(ctr, {"tasks", "kill", "--all", "-s", "KILL", start.name})};
}

EngineCommands PodmanCommands(const EngineStart& start, const std::string& runtime) {
  // The run directory is not below the home: Podman refuses one of more than 50 characters.
  // What it leaves half-way, when it is ended, goes with the home too.
  const CommandWords podman = {"env",
                               "TMPDIR=" + start.home,
                               "podman",
                               "--root",
                               start.home + "/root",
                               "--runroot",
                               "/run/libpod/" + start.name,
                               "--storage-driver",
                               "overlay",
                               "--cgroup-manager",
                               "cgroupfs",
                               "--events-backend",
                               "none",
                               "--runtime",
                               runtime};
  // Podman asks for the highest limits that there are, which not every root may have.
  const CommandWords run = {
      "run",    "--rm",     "--cgroup-parent",  "/" + start.name, "--network",
      "host",   "--ulimit", "nofile=1000:1000", "--ulimit",       "nproc=1000:1000",
      "--name", start.name, start.reference};
  return {.tool = Joined(podman, {"version"}),
          .pull = Joined(podman, {"pull", "--quiet", "--tls-verify=false", start.reference}),
          .run = Joined(Joined(podman, run), start.command),
          .kill = Joined(podman, {"rm", "--force", "--ignore", "--time", "0", start.name})};
}

std::vector<std::string> EngineRunDirectories() {
  return {"/dev/shm",  "/run/containerd", "/run/libpod",
          "/run/runc", "/run/crun",       "/var/lib/containers"};
}

Result<ChildProgram> StartContainerd(const std::string& home) {
  std::error_code ignored;
  std::filesystem::remove_all(home, ignored);
  LAYERFS_CHECK_OK(MakeDirectories(home));
  const std::string config = "version = 2\nroot = \"" + home + "/root\"\nstate = \"" + home +
                             "/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
                             "[grpc]\naddress = \"" +
                             home + "/socket\"\n";
  LAYERFS_CHECK_OK(WriteFileAtomically(home + "/config.toml", AsBytes(config)));
  LAYERFS_TRY(server, ChildProgram::Start({"containerd", "--config", home + "/config.toml"},
                                          home + "/log"));
  const auto answers = [&] {
    return RunProgram(Joined(Ctr(home), {"version"}), home + "/ctr.log", kAnswerTimeout)
        .has_value();
  };
  LAYERFS_CHECK_OK_IN(WaitForServer(server, answers), "containerd does not start");
  return server;
}

Status CheckPrograms(const std::string& way) {
  for (const Need& need : kNeeds) {
    if (way != need.way || FindProgram(need.program).has_value()) continue;
    return Fail(ErrorCode::kNotFound,
                std::string(need.program) + ": is not on PATH; install it (apt-get install " +
                    need.package + ", or tools/setup.sh for all)" +
                    (way.empty() ? "" : " or leave --against " + way + " out"));
  }
  return {};
}

}  // namespace layerfs
