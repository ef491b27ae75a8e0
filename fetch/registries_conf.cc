// SPDX-License-Identifier: Apache-2.0
#include "fetch/registries_conf.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "fetch/http_message.h"
#include "fetch/toml.h"

namespace layerfs {
namespace {

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
    endpoint.api_root = (loopback ? "http://" : "https://") + endpoint.host + "/v2";
  }
  RegistryEndpoint plain = endpoint;
  endpoints.push_back(std::move(endpoint));
  if (!insecure || loopback) return;
  plain.api_root = "http://" + plain.host + "/v2";
  endpoints.push_back(std::move(plain));
}

}  // namespace

Result<RegistriesConf> RegistriesConf::Load(const std::string& path) {
  RegistriesConf conf;
  if (::access(path.c_str(), F_OK) == 0) LAYERFS_CHECK_OK(conf.Add(path));
  std::vector<std::string> drop_ins;
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(path + ".d", failed), end; !failed && entry != end;
       entry.increment(failed)) {
    if (entry->path().extension() == ".conf") drop_ins.push_back(entry->path().string());
  }
  std::sort(drop_ins.begin(), drop_ins.end());
  for (const std::string& file : drop_ins) LAYERFS_CHECK_OK(conf.Add(file));
  return conf;
}

Status RegistriesConf::Add(const std::string& path) {
  LAYERFS_TRY(document, ReadTomlFile(path));
  const auto tables = document.find("registry");
  if (tables == document.end() || !tables->is_array()) return {};
  for (const Json& table : *tables) {
    if (table.is_object()) LAYERFS_CHECK_OK_IN(AddTable(table), path);
  }
  return {};
}

Status RegistriesConf::AddTable(const Json& json) {
  Table table;
  table.location = TomlText(json, "location");
  table.prefix = TomlText(json, "prefix");
  if (table.prefix.empty()) table.prefix = table.location;
  if (table.prefix.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "a registry has neither prefix nor location");
  }
  table.insecure = TomlTruth(json, "insecure");
  table.blocked = TomlTruth(json, "blocked");
  const bool digests_only = TomlTruth(json, "mirror-by-digest-only");
  const auto mirrors = json.find("mirror");
  for (const Json& entry :
       mirrors != json.end() && mirrors->is_array() ? *mirrors : Json::array()) {
    Mirror mirror;
    mirror.location = TomlText(entry, "location");
    if (mirror.location.empty()) {
      return Fail(ErrorCode::kInvalidArgument, "a mirror of " + table.prefix + " has no location");
    }
    mirror.insecure = TomlTruth(entry, "insecure");
    const std::string from = TomlText(entry, "pull-from-mirror");
    if (!from.empty() && from != "all" && from != "digest-only" && from != "tag-only") {
      return Fail(ErrorCode::kInvalidArgument, "pull-from-mirror: unknown word " + from);
    }
    mirror.tags = !digests_only && from != "digest-only";
    mirror.digests = from != "tag-only";
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
