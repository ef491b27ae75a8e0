// SPDX-License-Identifier: Apache-2.0
// Profiles that say which system calls containers may make: the form that Podman's and Docker's
// files have (containers-common seccomp.json; moby profiles/seccomp), with conditions on
// capabilities and architectures → what a runtime's configuration takes (runtime-spec
// config-linux.md, "Seccomp").
// Functions of values; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

struct SeccompFacts {
  std::string architecture;               // Go's word: "amd64"
  std::vector<std::string> capabilities;  // "CAP_CHOWN"; of the bounding set
};
// kCorrupt names the member that is wrong. A profile that has the runtime's form already comes back
// as it is.
Result<Json> MakeSeccomp(const Json& profile, const SeccompFacts& facts);

// Where a distribution puts the default profile, the administrator's first; the first that is
// there.
Result<std::string> FindSeccompProfile();

}  // namespace layerfs
