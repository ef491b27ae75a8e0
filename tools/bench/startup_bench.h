// SPDX-License-Identifier: Apache-2.0
// StartupBench: cold starts of images over modelled links, by layerfs and by the ways that a user
// would pick instead, through one registry on loopback.
// One thread at a time. Needs root and what tools/setup.sh installs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "tools/bench/child.h"
#include "tools/bench/startup_samples.h"
#include "tools/netmodel/network_model.h"
#include "tools/services.h"
#include "tools/startup/ready_condition.h"
#include "tools/startup/startup_task.h"

namespace layerfs {

struct StartupBenchOptions {
  std::vector<std::string> images;    // converted or not
  std::vector<std::string> profiles;  // ParseNetworkProfile
  std::vector<std::string> against;   // "overlayfs", "podman", "local", "nopack"
  std::vector<std::string> command;
  std::vector<std::string> traces;  // files; none: recorded here
  ReadyCondition ready;
  int runs = 3;
  std::string directory;  // scratch space is made below it
  std::chrono::milliseconds timeout{600'000};
};

class StartupBench {
 public:
  // `talk` gets what is being done, for a person to see.
  static Result<std::unique_ptr<StartupBench>> Start(const StartupBenchOptions& options,
                                                     std::FILE* talk);
  ~StartupBench();

  Result<std::vector<ImageResult>> Run();

 private:
  struct Prepared {
    std::string repository;  // below the registry
    TaskSpec local;          // over the unpacked copy
    ImageResult result;      // what is known before the first run
  };
  StartupBench(const StartupBenchOptions& options, std::FILE* talk, std::string scratch);

  Status StartRegistry();
  Status StartContainerd();
  bool Against(const std::string& way) const;
  Result<Prepared> Prepare(size_t number);
  Status Unpack(const std::string& image, Prepared& prepared);
  Result<StartSample> RunWay(const std::string& way, const Prepared& prepared);
  Result<StartSample> RunLayerfs(const std::string& image, const Prepared& prepared);
  Result<StartSample> RunLocal(const Prepared& prepared);
  Result<StartSample> RunContainerd(const Prepared& prepared);
  Result<StartSample> RunPodman(const Prepared& prepared);
  Status WaitFor(StartupTask& task, double began, StartSample& sample);
  std::string Direct(const std::string& repository, const std::string& tag) const;
  std::string Shaped(const std::string& repository, const std::string& tag) const;
  void Say(const std::string& text) const;

  const StartupBenchOptions options_;
  std::FILE* const talk_;
  const std::string scratch_;
  int registry_port_ = 0;
  int shaped_port_ = 0;
  std::optional<Child> registry_;
  std::optional<Child> containerd_;
  std::unique_ptr<NetworkModel> model_;
};

}  // namespace layerfs
