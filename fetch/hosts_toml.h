// SPDX-License-Identifier: Apache-2.0
// containerd's configuration of registry hosts:
// DIRECTORY/HOST[:PORT]/hosts.toml, or _default in place of a host
// (containerd's docs/hosts.md). Where a directory has no hosts.toml, Docker's
// certificate files in it count: *.crt, and *.cert with *.key. One with neither is as if it were
// not there.
// Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "fetch/registry_endpoint.h"
#include "index/base/error.h"

namespace layerfs {

struct RegistryHosts {
  std::vector<RegistryEndpoint> endpoints;  // of the repository, mirrors first; a hosts.toml's
  EndpointTls certificates;                 // else, for wherever the registry is
};
// Nothing of either where the directories say nothing of the registry.
Result<RegistryHosts> FindRegistryHosts(const std::vector<std::string>& directories,
                                        const std::string& registry, const std::string& repository);

}  // namespace layerfs
