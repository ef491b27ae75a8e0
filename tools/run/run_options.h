// SPDX-License-Identifier: Apache-2.0
// RunOptions: how a container is to differ from what its image says, in the words of docker run.
// Values and functions of values; thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

// -v
struct VolumeOption {
  // An absolute path: that directory or file. A name: the volume of that name. Empty: a volume of
  // this container's own.
  std::string source;
  std::string destination;  // absolute and clean
  bool read_only = false;
  bool no_copy = false;                  // do not fill a new volume with what the image has there
  std::string propagation = "rprivate";  // a mount option of the kernel's

  bool is_bind() const { return source.starts_with('/'); }
  bool operator==(const VolumeOption&) const = default;
};

// --tmpfs
struct TmpfsOption {
  std::string destination;  // absolute and clean
  std::vector<std::string> options;
  bool operator==(const TmpfsOption&) const = default;
};

// --ulimit: a limit of setrlimit(2), as the runtime's configuration names it.
struct ResourceLimit {
  std::string type;  // "RLIMIT_NOFILE"
  uint64_t soft = 0;
  uint64_t hard = 0;
  bool operator==(const ResourceLimit&) const = default;
};

enum class NetworkMode { kHost, kNone };

struct RunOptions {
  std::vector<std::string> command;       // empty: the image's
  std::optional<std::string> entrypoint;  // empty: none
  std::vector<std::string> environment;   // "NAME=VALUE", in order; the last of a name counts
  std::vector<VolumeOption> volumes;
  std::vector<TmpfsOption> tmpfs;
  std::string working_directory;
  std::string user;
  std::string hostname;
  std::string stop_signal;
  NetworkMode network = NetworkMode::kHost;
  bool read_only = false;
  bool interactive = false;
  bool terminal = false;
  std::map<std::string, std::string> labels;
  std::vector<ResourceLimit> limits;
  // The profile by which system calls are filtered: a file, "unconfined", or empty: the default.
  std::string seccomp;
  bool no_new_privileges = false;
};

// "/a//b/./c/.." → "/a/b". Not absolute, or empty: kInvalidArgument with the text.
Result<std::string> CleanAbsolutePath(std::string_view path);

// "SRC:DST[:OPTION[,OPTION…]]" or "DST".
Result<VolumeOption> ParseVolumeOption(std::string_view text);
// "DST[:OPTION[,OPTION…]]". Docker's own options come first: noexec, nosuid, nodev.
Result<TmpfsOption> ParseTmpfsOption(std::string_view text);
// "NAME=SOFT[:HARD]", -1 for no limit; the last of a name counts.
Status AddUlimit(std::string_view text, std::vector<ResourceLimit>& limits);
// --security-opt: "seccomp=FILE", "seccomp=unconfined", "no-new-privileges[=true|false]".
Status ApplySecurityOption(std::string_view text, RunOptions& options);
// "KEY" or "KEY=VALUE".
Result<std::pair<std::string, std::string>> ParseLabel(std::string_view text);

// The caller's environment: nothing where the name is not set.
using GetEnvironment = std::function<std::optional<std::string>(const std::string& name)>;
// "NAME=VALUE" as it is; "NAME" with the caller's value, or nothing where there is none.
Result<std::optional<std::string>> ParseEnvironmentWord(std::string_view text,
                                                        const GetEnvironment& get);
// An --env-file: such a word a line; empty lines and lines that begin with # are passed over.
// Errors name the line.
Result<std::vector<std::string>> ParseEnvironmentFile(std::string_view contents,
                                                      const GetEnvironment& get);

inline constexpr size_t kMaxContainerName = 128;
// Whether a container or a volume may be called this: [a-zA-Z0-9][a-zA-Z0-9_.-]*, no longer.
bool IsGoodName(std::string_view name);

}  // namespace layerfs
