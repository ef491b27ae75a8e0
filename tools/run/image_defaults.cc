// SPDX-License-Identifier: Apache-2.0
#include "tools/run/image_defaults.h"

#include <algorithm>

namespace layerfs {
namespace {

Result<std::vector<std::string>> Strings(const Json& object, std::string_view key) {
  std::vector<std::string> strings;
  LAYERFS_TRY(array, JsonOptionalArray(object, key));
  if (array == nullptr) return strings;
  for (const Json& item : *array) {
    if (!item.is_string()) {
      return Fail(ErrorCode::kCorrupt,
                  "JSON member \"" + std::string(key) + "\": holds something that is no string");
    }
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

// The keys of an object that serves as a set, sorted.
Result<std::vector<std::string>> Keys(const Json& object, std::string_view key) {
  std::vector<std::string> keys;
  LAYERFS_TRY(set, JsonOptionalObject(object, key));
  if (set == nullptr) return keys;
  for (const auto& item : set->items()) keys.push_back(item.key());
  std::ranges::sort(keys);
  return keys;
}

}  // namespace

Result<ImageDefaults> ImageDefaults::FromConfig(const Json& document) {
  ImageDefaults defaults;
  LAYERFS_TRY(config, JsonOptionalObject(document, "config"));
  if (config == nullptr) return defaults;
  LAYERFS_TRY(entrypoint, Strings(*config, "Entrypoint"));
  LAYERFS_TRY(command, Strings(*config, "Cmd"));
  LAYERFS_TRY(environment, Strings(*config, "Env"));
  LAYERFS_TRY(user, JsonOptionalString(*config, "User"));
  LAYERFS_TRY(working_directory, JsonOptionalString(*config, "WorkingDir"));
  LAYERFS_TRY(stop_signal, JsonOptionalString(*config, "StopSignal"));
  LAYERFS_TRY(volumes, Keys(*config, "Volumes"));
  LAYERFS_TRY(ports, Keys(*config, "ExposedPorts"));
  LAYERFS_TRY(labels, JsonOptionalObject(*config, "Labels"));
  if (labels != nullptr) {
    for (const auto& label : labels->items()) {
      LAYERFS_TRY(value, JsonOptionalString(*labels, label.key()));
      defaults.labels[label.key()] = value;
    }
  }
  defaults.entrypoint = std::move(entrypoint);
  defaults.command = std::move(command);
  defaults.environment = std::move(environment);
  defaults.user = std::move(user);
  defaults.working_directory = std::move(working_directory);
  defaults.stop_signal = std::move(stop_signal);
  defaults.volumes = std::move(volumes);
  defaults.exposed_ports = std::move(ports);
  return defaults;
}

}  // namespace layerfs
