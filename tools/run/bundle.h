// SPDX-License-Identifier: Apache-2.0
// The OCI runtime bundle of a container (runtime-spec config.md, config-linux.md): what the image
// says and the caller wants → config.json, with the defaults that docker run has for everything
// else.
// Functions of values; thread-safe.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/json.h"
#include "tools/run/image_defaults.h"
#include "tools/run/image_user.h"
#include "tools/run/run_options.h"

namespace layerfs {

// What runs: kInvalidArgument where neither the image nor the caller names a command.
Result<std::vector<std::string>> MakeArguments(const ImageDefaults& image,
                                               const RunOptions& options);

struct EnvironmentFacts {
  std::string hostname;
  std::string home;
};
// Docker's PATH, HOSTNAME and (with a terminal) TERM, then the image's, then the caller's; a later
// value takes the place of an earlier one. HOME where nobody sets it.
std::vector<std::string> MakeEnvironment(const ImageDefaults& image, const RunOptions& options,
                                         const EnvironmentFacts& facts);

struct BundleMount {
  std::string destination;
  std::string type;
  std::string source;
  std::vector<std::string> options;
  bool operator==(const BundleMount&) const = default;
};
BundleMount BindMount(std::string source, std::string destination, bool read_only,
                      const std::string& propagation = "rprivate");
BundleMount TmpfsMount(const TmpfsOption& tmpfs);

// What tells about the host, or reaches out of the container: hidden, or not to be written.
std::span<const char* const> DefaultMaskedPaths();
std::span<const char* const> DefaultReadOnlyPaths();

// What the machine can do, as far as a bundle depends on it.
struct PlatformFacts {
  bool has_mqueue = true;
  bool has_cgroups = true;
  bool cgroup_namespace = false;  // a unified hierarchy: the container sees its own part of it
  // Root is that of a user's own name space: no control groups, and what of /sys is the host's.
  bool rootless = false;
  bool has_tty_group = true;  // whether there is a group 5 to give terminals to
};

struct BundleSpec {
  std::string root;  // absolute
  bool root_read_only = false;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::string working_directory = "/";
  ImageUser user;
  bool terminal = false;
  std::string hostname;
  NetworkMode network = NetworkMode::kHost;
  // Volumes, hosts and so on. One on the destination of a default mount takes its place.
  std::vector<BundleMount> mounts;
  std::map<std::string, std::string> annotations;
  std::vector<ResourceLimit> limits;
  bool no_new_privileges = false;
  Json seccomp;  // the runtime's linux.seccomp; null: system calls are not filtered
  PlatformFacts platform;
};
// What root in a container may do.
std::vector<std::string> DefaultCapabilities();
Json MakeRuntimeSpec(const BundleSpec& spec);

}  // namespace layerfs
