// SPDX-License-Identifier: Apache-2.0
#include "fetch/hosts_toml.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "fetch/http_message.h"
#include "fetch/toml.h"

namespace layerfs {
namespace {

// A string or a list of them.
std::vector<std::string> Texts(const Json& table, const char* key) {
  std::vector<std::string> texts;
  const auto it = table.find(key);
  if (it == table.end()) return texts;
  if (it->is_string()) texts.push_back(it->get<std::string>());
  for (const Json& element : it->is_array() ? *it : Json::array()) {
    if (element.is_string()) texts.push_back(element.get<std::string>());
  }
  return texts;
}

std::string Under(const std::string& directory, const std::string& path) {
  return path.empty() || path.front() == '/' ? path : directory + "/" + path;
}

// Longer than anybody waits for a connection; and far below where numbers end.
constexpr double kMaxDialSeconds = 24 * 3600;

std::optional<std::chrono::milliseconds> FromSeconds(double seconds) {
  if (!(seconds >= 0 && seconds <= kMaxDialSeconds)) return std::nullopt;
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

// As Go's time.ParseDuration takes it: "1m30s", "1.5h", "300ms"; or a number of seconds.
std::optional<std::chrono::milliseconds> ParseGoDuration(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
  if (const auto seconds = ParseDecimal(text)) return FromSeconds(static_cast<double>(*seconds));
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    // from_chars takes "nan" and a sign as well.
    const size_t digits = text.find_first_not_of("0123456789.");
    if (digits == std::string_view::npos) return std::nullopt;
    const std::string_view decimal = text.substr(0, digits);
    double number = 0;
    const auto [end, error] =
        std::from_chars(decimal.begin(), decimal.end(), number, std::chars_format::fixed);
    if (error != std::errc() || end != decimal.end()) return std::nullopt;
    text.remove_prefix(digits);
    const auto unit = std::ranges::find_if(
        kUnits, [&](const auto& known) { return text.starts_with(known.first); });
    if (unit == std::end(kUnits)) return std::nullopt;
    text.remove_prefix(unit->first.size());
    total += number * unit->second;
  }
  return FromSeconds(total);
}

// Nothing where it is no time that can be meant.
std::optional<std::chrono::milliseconds> DialTimeout(const Json& table) {
  const auto it = table.find("dial_timeout");
  if (it == table.end()) return std::chrono::milliseconds(0);
  if (it->is_number()) return FromSeconds(it->get<double>());
  if (!it->is_string()) return std::nullopt;
  return ParseGoDuration(it->get<std::string>());
}

// client = "both.pem" | ["a.pem", …] | [["cert", "key"], …]; the first pair
// counts.
void ReadClient(const Json& table, const std::string& directory, EndpointTls& tls) {
  const auto it = table.find("client");
  if (it == table.end()) return;
  const Json& first = it->is_array() && !it->empty() ? it->front() : *it;
  if (first.is_string()) {
    tls.client_cert = Under(directory, first.get<std::string>());
  } else if (first.is_array() && first.size() == 2 && first[0].is_string() &&
             first[1].is_string()) {
    tls.client_cert = Under(directory, first[0].get<std::string>());
    tls.client_key = Under(directory, first[1].get<std::string>());
    if (first[1].get<std::string>().empty()) tls.client_key.clear();
  }
}

bool MayPush(const Json& table) {
  const auto words = Texts(table, "capabilities");
  return !table.contains("capabilities") || std::ranges::find(words, "push") != words.end();
}

// The parts of a table that hosts and the server have in common.
Status ReadHost(const Json& table, const std::string& directory, RegistryEndpoint& endpoint) {
  if (table.contains("capabilities")) {
    const auto words = Texts(table, "capabilities");
    const auto has = [&](const char* word) {
      return std::find(words.begin(), words.end(), word) != words.end();
    };
    endpoint.resolves_tags = has("resolve");
    endpoint.serves_digests = has("pull");
  }
  for (const std::string& file : Texts(table, "ca")) {
    endpoint.tls.ca_files.push_back(Under(directory, file));
  }
  ReadClient(table, directory, endpoint.tls);
  endpoint.tls.skip_verify = TomlTruth(table, "skip_verify");
  if (const auto header = table.find("header"); header != table.end() && header->is_object()) {
    for (const auto& [name, value] : header->items()) {
      for (const std::string& text : Texts(*header, name.c_str())) {
        endpoint.headers.emplace_back(name, text);
      }
    }
  }
  const auto timeout = DialTimeout(table);
  if (!timeout.has_value()) return Fail(ErrorCode::kInvalidArgument, "dial_timeout: not a time");
  endpoint.dial_timeout = *timeout;
  return {};
}

bool IsLoopbackName(const std::string& host) {
  const auto url = Url::Parse("http://" + host);
  return url.has_value() && url->is_loopback();
}

// Where a host's name leads: "https://h", "h:5000", "https://h/path",
// "unix:///run/socket".
Status SetAddress(std::string text, bool override_path, RegistryEndpoint& endpoint) {
  constexpr std::string_view kUnix = "unix:";
  if (text.starts_with(kUnix)) {
    text.erase(0, kUnix.size());
    if (text.starts_with("//")) text.erase(0, 2);
    endpoint.unix_socket = text;
    endpoint.host = "localhost";
    endpoint.api_root = "http://localhost/v2";
    return {};
  }
  if (text.find("://") == std::string::npos) {
    endpoint.plain_unless_tls =
        IsLoopbackName(text.substr(0, text.find('/'))) && !endpoint.tls.skip_verify;
    text.insert(0, endpoint.plain_unless_tls ? "http://" : "https://");
  }
  while (text.ends_with('/')) text.pop_back();
  LAYERFS_TRY(url, Url::Parse(text));
  endpoint.host = text.substr(text.find("://") + 3);
  endpoint.host = endpoint.host.substr(0, endpoint.host.find('/'));
  endpoint.api_root = text;
  if (!override_path && !text.ends_with("/v2")) endpoint.api_root += "/v2";
  return {};
}

Result<std::vector<RegistryEndpoint>> ReadHostsToml(const std::string& directory,
                                                    const std::string& registry,
                                                    const std::string& repository) {
  const std::string path = directory + "/hosts.toml";
  LAYERFS_TRY(document, ReadTomlFile(path));
  std::vector<RegistryEndpoint> endpoints;
  const auto hosts = document.find("host");
  if (hosts != document.end() && hosts->is_object()) {
    for (const auto& [name, table] : hosts->items()) {
      if (!table.is_object()) continue;
      RegistryEndpoint endpoint;
      endpoint.repository = repository;
      LAYERFS_CHECK_OK_IN(ReadHost(table, directory, endpoint), path + ": host " + name);
      LAYERFS_CHECK_OK_IN(SetAddress(name, TomlTruth(table, "override_path"), endpoint), path);
      if (endpoint.host != registry || !endpoint.unix_socket.empty()) {
        endpoint.name_space = registry;
      } else {
        endpoint.is_own_host = MayPush(table);
      }
      endpoints.push_back(std::move(endpoint));
    }
  }
  RegistryEndpoint server;
  server.repository = repository;
  server.host = registry;
  server.is_registry = true;
  LAYERFS_CHECK_OK_IN(ReadHost(document, directory, server), path);
  server.resolves_tags = server.serves_digests = true;
  const std::string address = TomlText(document, "server");
  if (!address.empty()) {
    LAYERFS_CHECK_OK_IN(SetAddress(address, TomlTruth(document, "override_path"), server), path);
    // Its credentials are the registry's, wherever it is served from
    // (docker.io).
    server.host = registry;
  }
  endpoints.push_back(std::move(server));
  return endpoints;
}

// Docker's certificate files beside each other.
Result<EndpointTls> ReadCertificates(const std::string& directory) {
  EndpointTls tls;
  std::vector<std::string> files;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(directory, failed)) {
    files.push_back(entry.path().string());
  }
  if (failed) return FailErrno(directory, failed.value());
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) {
    if (file.ends_with(".crt")) tls.ca_files.push_back(file);
    if (!file.ends_with(".cert") || !tls.client_cert.empty()) continue;
    tls.client_cert = file;
    tls.client_key = file.substr(0, file.size() - 5) + ".key";
  }
  return tls;
}

// How containerd names a registry's directory: with the colon, or on file
// systems that have none to spare, with underscores; and one for all others. A host's directory is
// not its ports'.
std::vector<std::string> DirectoryNames(const std::string& registry) {
  std::vector<std::string> names{registry};
  const size_t colon = registry.rfind(':');
  if (colon != std::string::npos && registry.find(']', colon) == std::string::npos) {
    names.insert(names.begin(), registry.substr(0, colon) + "_" + registry.substr(colon + 1) + "_");
  }
  names.emplace_back("_default");
  return names;
}

}  // namespace

Result<RegistryHosts> FindRegistryHosts(const std::vector<std::string>& directories,
                                        const std::string& registry,
                                        const std::string& repository) {
  RegistryHosts hosts;
  for (const std::string& directory : directories) {
    for (const std::string& name : DirectoryNames(registry)) {
      const std::string candidate = directory + "/" + name;
      if (::access(candidate.c_str(), X_OK) != 0) continue;
      if (::access((candidate + "/hosts.toml").c_str(), F_OK) == 0) {
        LAYERFS_TRY(endpoints, ReadHostsToml(candidate, registry, repository));
        hosts.endpoints = std::move(endpoints);
        return hosts;
      }
      LAYERFS_TRY(certificates, ReadCertificates(candidate));
      if (certificates == EndpointTls()) continue;
      hosts.certificates = std::move(certificates);
      return hosts;
    }
  }
  return hosts;
}

}  // namespace layerfs
