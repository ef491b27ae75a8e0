// SPDX-License-Identifier: Apache-2.0
// StartupBench: cold starts of images over modelled links, by layerfs and by the ways that a user
// would pick instead, through one registry on loopback.
// One thread at a time. Needs root and what tools/setup.sh installs; belongs into an enclosure
// (enclosure.h), which ends whatever a failure leaves.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "tools/bench/child_program.h"
#include "tools/bench/container_engines.h"
#include "tools/bench/resident_files.h"
#include "tools/bench/startup_samples.h"
#include "tools/netmodel/network_model.h"
#include "tools/run/mount_process.h"
#include "tools/services.h"
#include "tools/startup/ready_condition.h"
#include "tools/startup/startup_task.h"

namespace layerfs {

struct StartupBenchOptions {
  std::vector<std::string> images;    // converted or not
  std::vector<std::string> profiles;  // ParseNetworkProfile
  std::vector<std::string> against;   // "nopack", "run", "overlayfs", "podman", "local"
  std::vector<std::string> command;
  std::vector<std::string> traces;  // files; none: recorded here
  ReadyCondition ready;
  int runs = 3;
  std::string scratch;                         // a directory of its own
  std::chrono::milliseconds timeout{600'000};  // for each step: a pull, a start
};

class StartupBench {
 public:
  // `talk` gets what is being done, for a person to see.
  static Result<std::unique_ptr<StartupBench>> Start(const StartupBenchOptions& options,
                                                     std::FILE* talk);
  ~StartupBench();

  // What fails is part of the results, and the rest goes on. `on_result` sees them after each image
  // and link.
  using OnResult = std::function<void(const std::vector<ImageResult>&)>;
  std::vector<ImageResult> Run(const OnResult& on_result);

 private:
  struct Prepared {
    std::string repository;  // below the registry
    TaskSpec local;          // over the unpacked copy
    ImageResult result;      // what is known before the first run
    ResidentFiles registry;  // what the registry has of it
  };
  StartupBench(const StartupBenchOptions& options, std::FILE* talk);

  Status StartRegistry();
  Result<Prepared> Prepare(size_t number);
  Status CountImageBytes(Services& services, Prepared& prepared);
  Status Convert(const std::string& image, Services& services, Prepared& prepared);
  Status AddPack(const std::string& image, Services& services, Prepared& prepared);
  Status Unpack(Prepared& prepared);
  Status HoldRegistryFiles(Prepared& prepared) const;
  Result<TaskSpec> CopyTree(const MountProcess& mount, const std::string& mount_point,
                            const std::string& tree);
  Status MeasureLocal(Prepared& prepared);
  ImageResult MeasureOver(const std::string& profile_word, const Prepared& prepared);
  void RunOnce(int run, const Prepared& prepared, ImageResult& result, WaySamples& way);
  Result<StartSample> RunWay(const std::string& way, const Prepared& prepared);
  Result<StartSample> RunMount(const std::string& tag, const Prepared& prepared);
  Result<StartSample> RunLocal(const Prepared& prepared);
  Result<StartSample> RunContainerd(const Prepared& prepared);
  Result<StartSample> RunPodman(const Prepared& prepared);
  Result<StartSample> RunCommand(const Prepared& prepared);
  Result<StartSample> RunEngine(const EngineCommands& engine, const std::string& home);
  Status WaitFor(StartupTask& task, double began, StartSample& sample);
  Result<MountProcess> Mount(const std::string& image, const std::string& mount_point,
                             const std::vector<std::string>& words);
  std::string Direct(const std::string& repository, const std::string& tag) const;
  std::string Shaped(const std::string& repository, const std::string& tag) const;
  std::string NextName();
  std::string NextEmptyPlace();
  void Say(const std::string& text) const;

  const StartupBenchOptions options_;
  std::FILE* const talk_;
  const std::string scratch_;
  std::string program_;  // this executable
  ResidentFiles tools_;
  int registry_port_ = 0;
  int shaped_port_ = 0;
  int containers_ = 0;
  int places_ = 0;
  std::optional<ChildProgram> registry_;
  std::unique_ptr<NetworkModel> model_;
};

}  // namespace layerfs
