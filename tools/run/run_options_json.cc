// SPDX-License-Identifier: Apache-2.0
#include "tools/run/run_options_json.h"

namespace layerfs {
namespace {

Status ReadStrings(const Json& json, const char* key, std::vector<std::string>& strings) {
  LAYERFS_TRY(array, JsonOptionalArray(json, key));
  if (array == nullptr) return {};
  for (const Json& item : *array) {
    if (!item.is_string()) {
      return Fail(ErrorCode::kCorrupt, std::string(key) + ": holds something that is no string");
    }
    strings.push_back(item.get<std::string>());
  }
  return {};
}

Status ReadString(const Json& json, const char* key, std::string& string) {
  LAYERFS_TRY(value, JsonOptionalString(json, key));
  string = std::move(value);
  return {};
}

bool ReadFlag(const Json& json, const char* key) {
  const auto flag = json.find(key);
  return flag != json.end() && flag->is_boolean() && flag->get<bool>();
}

Status ReadVolumes(const Json& json, RunOptions& options) {
  LAYERFS_TRY(volumes, JsonOptionalArray(json, "volumes"));
  if (volumes == nullptr) return {};
  for (const Json& item : *volumes) {
    VolumeOption volume;
    LAYERFS_CHECK_OK(ReadString(item, "source", volume.source));
    LAYERFS_CHECK_OK(ReadString(item, "destination", volume.destination));
    LAYERFS_CHECK_OK(ReadString(item, "propagation", volume.propagation));
    volume.read_only = ReadFlag(item, "readOnly");
    volume.no_copy = ReadFlag(item, "noCopy");
    options.volumes.push_back(std::move(volume));
  }
  return {};
}

Status ReadTmpfs(const Json& json, RunOptions& options) {
  LAYERFS_TRY(list, JsonOptionalArray(json, "tmpfs"));
  if (list == nullptr) return {};
  for (const Json& item : *list) {
    TmpfsOption tmpfs;
    LAYERFS_CHECK_OK(ReadString(item, "destination", tmpfs.destination));
    LAYERFS_CHECK_OK(ReadStrings(item, "options", tmpfs.options));
    options.tmpfs.push_back(std::move(tmpfs));
  }
  return {};
}

Status ReadLimits(const Json& json, RunOptions& options) {
  LAYERFS_TRY(list, JsonOptionalArray(json, "limits"));
  if (list == nullptr) return {};
  for (const Json& item : *list) {
    ResourceLimit limit;
    LAYERFS_CHECK_OK(ReadString(item, "type", limit.type));
    LAYERFS_TRY(soft, JsonUint(item, "soft"));
    LAYERFS_TRY(hard, JsonUint(item, "hard"));
    limit.soft = soft;
    limit.hard = hard;
    options.limits.push_back(std::move(limit));
  }
  return {};
}

}  // namespace

Json EncodeRunOptions(const RunOptions& options) {
  Json json = {{"command", options.command},
               {"environment", options.environment},
               {"workingDirectory", options.working_directory},
               {"user", options.user},
               {"hostname", options.hostname},
               {"stopSignal", options.stop_signal},
               {"network", options.network == NetworkMode::kNone ? "none" : "host"},
               {"readOnly", options.read_only},
               {"interactive", options.interactive},
               {"terminal", options.terminal},
               {"seccomp", options.seccomp},
               {"noNewPrivileges", options.no_new_privileges},
               {"labels", options.labels}};
  if (options.entrypoint.has_value()) json["entrypoint"] = *options.entrypoint;
  json["volumes"] = Json::array();
  for (const VolumeOption& volume : options.volumes) {
    json["volumes"].push_back({{"source", volume.source},
                               {"destination", volume.destination},
                               {"readOnly", volume.read_only},
                               {"noCopy", volume.no_copy},
                               {"propagation", volume.propagation}});
  }
  json["tmpfs"] = Json::array();
  for (const TmpfsOption& tmpfs : options.tmpfs) {
    json["tmpfs"].push_back({{"destination", tmpfs.destination}, {"options", tmpfs.options}});
  }
  json["limits"] = Json::array();
  for (const ResourceLimit& limit : options.limits) {
    json["limits"].push_back({{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  }
  return json;
}

Result<RunOptions> DecodeRunOptions(const Json& json) {
  RunOptions options;
  LAYERFS_CHECK_OK(ReadStrings(json, "command", options.command));
  LAYERFS_CHECK_OK(ReadStrings(json, "environment", options.environment));
  LAYERFS_CHECK_OK(ReadString(json, "workingDirectory", options.working_directory));
  LAYERFS_CHECK_OK(ReadString(json, "user", options.user));
  LAYERFS_CHECK_OK(ReadString(json, "hostname", options.hostname));
  LAYERFS_CHECK_OK(ReadString(json, "stopSignal", options.stop_signal));
  LAYERFS_TRY(network, JsonString(json, "network"));
  constexpr std::string_view kNone = "none";
  options.network = kNone == std::string_view(network) ? NetworkMode::kNone : NetworkMode::kHost;
  options.read_only = ReadFlag(json, "readOnly");
  options.interactive = ReadFlag(json, "interactive");
  options.terminal = ReadFlag(json, "terminal");
  LAYERFS_CHECK_OK(ReadString(json, "seccomp", options.seccomp));
  options.no_new_privileges = ReadFlag(json, "noNewPrivileges");
  LAYERFS_CHECK_OK(ReadLimits(json, options));
  if (json.contains("entrypoint")) {
    LAYERFS_TRY(entrypoint, JsonString(json, "entrypoint"));
    options.entrypoint = entrypoint;
  }
  LAYERFS_TRY(labels, JsonOptionalObject(json, "labels"));
  if (labels != nullptr) {
    for (const auto& label : labels->items()) {
      LAYERFS_CHECK_OK(ReadString(*labels, label.key().c_str(), options.labels[label.key()]));
    }
  }
  LAYERFS_CHECK_OK(ReadVolumes(json, options));
  LAYERFS_CHECK_OK(ReadTmpfs(json, options));
  return options;
}

}  // namespace layerfs
