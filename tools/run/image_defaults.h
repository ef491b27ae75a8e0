// SPDX-License-Identifier: Apache-2.0
// ImageDefaults: what an image's config says about the containers that are made from it
// (image-spec config.md, "config"; the members that only Docker writes are passed over).
// A value.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

struct ImageDefaults {
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::vector<std::string> environment;  // "NAME=VALUE"
  std::string user;                      // as Dockerfile's USER has it; empty: root
  std::string working_directory;         // empty: "/"
  std::string stop_signal;               // empty: SIGTERM
  std::vector<std::string> volumes;      // sorted
  std::vector<std::string> exposed_ports;
  std::map<std::string, std::string> labels;

  // `document` is the whole config. kCorrupt naming the member that has the wrong type. Members
  // that are missing or null are as if empty.
  static Result<ImageDefaults> FromConfig(const Json& document);
};

}  // namespace layerfs
