// SPDX-License-Identifier: Apache-2.0
// containerd's configuration of registry hosts:
// DIRECTORY/HOST[:PORT]/hosts.toml, or _default in place of a host
// (containerd's docs/hosts.md). Where a directory has no hosts.toml, Docker's
// certificate files in it count: *.crt, and *.cert with *.key.
// Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fetch/registry_endpoint.h"
#include "index/base/error.h"

namespace layerfs {

// The endpoints of the repository, mirrors first; nothing where the directories
// say nothing of the registry.
Result<std::optional<std::vector<RegistryEndpoint>>> FindHostsToml(
    const std::vector<std::string>& directories, const std::string& registry,
    const std::string& repository);

}  // namespace layerfs
