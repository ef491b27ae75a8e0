// SPDX-License-Identifier: Apache-2.0
// Podman's configuration of registries: registries.conf, version 2, and the
// drop-ins beside it (containers-registries.conf(5)). Immutable after Load;
// thread-safe.
#pragma once

#include <string>
#include <vector>

#include "fetch/registry_endpoint.h"
#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

class RegistriesConf {
 public:
  // Files, and directories whose *.conf count in the order of their names. What a later one says
  // of a prefix takes the place of what an earlier one does; missing ones are as if empty. What
  // cannot be meant as it is written is kInvalidArgument, which names file and key.
  static Result<RegistriesConf> Load(const std::vector<std::string>& paths);

  // The endpoints of the repository, mirrors first; empty where no table speaks
  // of it. kPermission where it is blocked.
  Result<std::vector<RegistryEndpoint>> EndpointsFor(const std::string& registry,
                                                     const std::string& repository) const;
  // Where it is pushed to, which is the registry that is named: mirrors and other locations are
  // for reading only (containers-registries.conf(5)). Empty and kPermission as above.
  Result<std::vector<RegistryEndpoint>> PushEndpointsFor(const std::string& registry,
                                                         const std::string& repository) const;

 private:
  struct Mirror {
    std::string location;
    bool insecure = false;
    bool tags = true;
    bool digests = true;
  };
  struct Table {
    std::string prefix;
    std::string location;
    bool insecure = false;
    bool blocked = false;
    std::vector<Mirror> mirrors;
  };
  Status Add(const std::string& path);
  Status AddTable(const Json& json);
  static Result<Mirror> ReadMirror(const Json& json);
  // Null: no table speaks of it.
  Result<const Table*> Find(const std::string& name) const;

  std::vector<Table> tables_;
};

}  // namespace layerfs
