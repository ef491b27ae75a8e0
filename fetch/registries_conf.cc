// SPDX-License-Identifier: Apache-2.0
#include "fetch/registries_conf.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "fetch/http_message.h"
#include "fetch/reference.h"
#include "fetch/toml.h"

namespace layerfs {
namespace {

// What the key has; nothing, where it is missing.
Result<std::string> ReadText(const Json& table, const char* key) {
  const auto it = table.find(key);
  if (it == table.end()) return std::string();
  if (it->is_string()) return it->get<std::string>();
  return Fail(ErrorCode::kInvalidArgument, std::string(key) + ": is not a string");
}
Result<bool> ReadTruth(const Json& table, const char* key) {
  const auto it = table.find(key);
  if (it == table.end()) return false;
  if (it->is_boolean()) return it->get<bool>();
  return Fail(ErrorCode::kInvalidArgument, std::string(key) + ": is neither true nor false");
}
Result<Json> ReadTables(const Json& table, const char* key) {
  const auto it = table.find(key);
  if (it == table.end()) return Json(Json::array());
  const auto is_table = [](const Json& entry) { return entry.is_object(); };
  if (it->is_array() && std::ranges::all_of(*it, is_table)) return Json(*it);
  return Fail(ErrorCode::kInvalidArgument,
              std::string(key) + ": is not written as tables, [[" + key + "]]");
}
// "HOST[:PORT][/PATH]". A slash at its end is easily written and means nothing.
Result<std::string> ReadPlace(const Json& table, const char* key) {
  LAYERFS_TRY(place, ReadText(table, key));
  if (place.find("://") != std::string::npos) {
    return Fail(ErrorCode::kInvalidArgument,
                std::string(key) + " " + UrlForMessages(place) +
                    ": write it without a scheme; \"insecure = true\" allows http");
  }
  while (place.ends_with('/')) place.pop_back();
  return place;
}

// The length of `name` that the prefix takes; 0 where it is no prefix of it.
size_t MatchLength(const std::string& prefix, const std::string& name) {
  if (prefix.starts_with("*.")) {
    const std::string host = name.substr(0, name.find_first_of(":/"));
    return host.size() > prefix.size() - 1 && host.ends_with(prefix.substr(1)) ? host.size() : 0;
  }
  if (!name.starts_with(prefix)) return 0;
  if (name.size() == prefix.size()) return prefix.size();
  const char next = name[prefix.size()];
  return next == '/' || next == ':' || next == '@' ? prefix.size() : 0;
}

// "HOST[:PORT][/PATH]" with the repository behind it.
RegistryEndpoint At(const std::string& location, const std::string& rest, bool insecure) {
  RegistryEndpoint endpoint;
  const size_t slash = location.find('/');
  endpoint.host = location.substr(0, slash);
  std::string repository = slash == std::string::npos ? "" : location.substr(slash + 1);
  if (!rest.empty()) repository += (repository.empty() ? "" : "/") + rest;
  endpoint.repository = std::move(repository);
  endpoint.tls.skip_verify = insecure;
  return endpoint;
}

// Insecure: https with any certificate, and where that is not spoken, http.
void Push(RegistryEndpoint endpoint, bool insecure, std::vector<RegistryEndpoint>& endpoints) {
  const auto url = Url::Parse("http://" + endpoint.host);
  const bool loopback = url.has_value() && url->is_loopback();
  const bool registry = endpoint.is_registry && !insecure;
  if (!registry) {
    endpoint.plain_unless_tls = loopback && !insecure;
    endpoint.api_root =
        (loopback ? "http://" : "https://") + ServerOfRegistry(endpoint.host) + "/v2";
  }
  RegistryEndpoint plain = endpoint;
  endpoints.push_back(std::move(endpoint));
  if (!insecure || loopback) return;
  plain.api_root = "http://" + ServerOfRegistry(plain.host) + "/v2";
  endpoints.push_back(std::move(plain));
}

}  // namespace

Result<RegistriesConf> RegistriesConf::Load(const std::vector<std::string>& paths) {
  RegistriesConf conf;
  for (const std::string& path : paths) {
    std::error_code failed;
    if (!std::filesystem::is_directory(path, failed)) {
      if (::access(path.c_str(), F_OK) == 0) LAYERFS_CHECK_OK(conf.Add(path));
      continue;
    }
    std::vector<std::string> drop_ins;
    for (std::filesystem::directory_iterator entry(path, failed), end; !failed && entry != end;
         entry.increment(failed)) {
      if (entry->path().extension() == ".conf") drop_ins.push_back(entry->path().string());
    }
    std::sort(drop_ins.begin(), drop_ins.end());
    for (const std::string& file : drop_ins) LAYERFS_CHECK_OK(conf.Add(file));
  }
  return conf;
}

Status RegistriesConf::Add(const std::string& path) {
  LAYERFS_TRY(document, ReadTomlFile(path));
  LAYERFS_TRY_IN(tables, ReadTables(document, "registry"), path);
  for (const Json& table : tables) LAYERFS_CHECK_OK_IN(AddTable(table), path + ": registry");
  return {};
}

Result<RegistriesConf::Mirror> RegistriesConf::ReadMirror(const Json& json) {
  Mirror mirror;
  LAYERFS_TRY(location, ReadPlace(json, "location"));
  if (location.empty()) return Fail(ErrorCode::kInvalidArgument, "has no location");
  mirror.location = std::move(location);
  LAYERFS_TRY(insecure, ReadTruth(json, "insecure"));
  mirror.insecure = insecure;
  LAYERFS_TRY(from, ReadText(json, "pull-from-mirror"));
  if (!from.empty() && from != "all" && from != "digest-only" && from != "tag-only") {
    return Fail(ErrorCode::kInvalidArgument, "pull-from-mirror: unknown word " + from);
  }
  mirror.tags = from != "digest-only";
  mirror.digests = from != "tag-only";
  return mirror;
}

Status RegistriesConf::AddTable(const Json& json) {
  Table table;
  LAYERFS_TRY(location, ReadPlace(json, "location"));
  LAYERFS_TRY(prefix, ReadPlace(json, "prefix"));
  table.prefix = prefix.empty() ? location : std::move(prefix);
  table.location = std::move(location);
  if (table.prefix.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "has neither prefix nor location");
  }
  LAYERFS_TRY_IN(insecure, ReadTruth(json, "insecure"), table.prefix);
  LAYERFS_TRY_IN(blocked, ReadTruth(json, "blocked"), table.prefix);
  LAYERFS_TRY_IN(digests_only, ReadTruth(json, "mirror-by-digest-only"), table.prefix);
  LAYERFS_TRY_IN(mirrors, ReadTables(json, "mirror"), table.prefix);
  table.insecure = insecure;
  table.blocked = blocked;
  for (const Json& entry : mirrors) {
    LAYERFS_TRY_IN(mirror, ReadMirror(entry), table.prefix + ": mirror");
    mirror.tags = mirror.tags && !digests_only;
    table.mirrors.push_back(std::move(mirror));
  }
  // A later file's table for a prefix takes the place of an earlier one's.
  std::erase_if(tables_, [&](const Table& known) { return known.prefix == table.prefix; });
  tables_.push_back(std::move(table));
  return {};
}

Result<const RegistriesConf::Table*> RegistriesConf::Find(const std::string& name) const {
  const Table* best = nullptr;
  for (const Table& table : tables_) {
    if (MatchLength(table.prefix, name) == 0) continue;
    if (best == nullptr || table.prefix.size() > best->prefix.size()) best = &table;
  }
  if (best != nullptr && best->blocked) {
    return Fail(ErrorCode::kPermission,
                name + ": registries.conf blocks " + best->prefix + "; take the block out there");
  }
  return best;
}

Result<std::vector<RegistryEndpoint>> RegistriesConf::EndpointsFor(
    const std::string& registry, const std::string& repository) const {
  const std::string name = registry + "/" + repository;
  LAYERFS_TRY(table, Find(name));
  std::vector<RegistryEndpoint> endpoints;
  if (table == nullptr) return endpoints;
  std::string rest = name.substr(MatchLength(table->prefix, name));
  while (rest.starts_with('/')) rest.erase(0, 1);
  for (const Mirror& mirror : table->mirrors) {
    RegistryEndpoint endpoint = At(mirror.location, rest, mirror.insecure);
    endpoint.resolves_tags = mirror.tags;
    endpoint.serves_digests = mirror.digests;
    Push(std::move(endpoint), mirror.insecure, endpoints);
  }
  RegistryEndpoint server = table->location.empty() ? At(registry, repository, table->insecure)
                                                    : At(table->location, rest, table->insecure);
  server.is_registry = true;
  Push(std::move(server), table->insecure, endpoints);
  return endpoints;
}

Result<std::vector<RegistryEndpoint>> RegistriesConf::PushEndpointsFor(
    const std::string& registry, const std::string& repository) const {
  LAYERFS_TRY(table, Find(registry + "/" + repository));
  std::vector<RegistryEndpoint> endpoints;
  if (table == nullptr) return endpoints;
  RegistryEndpoint server = At(registry, repository, table->insecure);
  server.is_registry = true;
  Push(std::move(server), table->insecure, endpoints);
  return endpoints;
}

}  // namespace layerfs
