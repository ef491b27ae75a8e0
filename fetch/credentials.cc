// SPDX-License-Identifier: Apache-2.0
#include "fetch/credentials.h"

#include <unistd.h>

#include <optional>

#include "fetch/base64.h"
#include "fetch/credential_helper.h"
#include "index/base/environment.h"
#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{4} << 20;
constexpr char kHubServer[] = "https://index.docker.io/v1/";  // Docker Hub's name in docker's files

std::string PathIn(const std::string& home, const char* name) {
  return home.empty() ? "" : home + name;
}

// A key of "auths" as "HOST[:PORT][/PATH]". Keys with a scheme are docker's old form and count for
// the whole registry.
std::string NormalizedKey(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) {
      key.remove_prefix(scheme.size());
      key = key.substr(0, key.find('/'));
    }
  }
  while (key.ends_with('/')) key.remove_suffix(1);
  const size_t slash = std::min(key.find('/'), key.size());
  const std::string_view host = key.substr(0, slash);
  const bool hub = host == "index.docker.io" || host == "registry-1.docker.io";
  return (hub ? "docker.io" : std::string(host)) + std::string(key.substr(slash));
}

// Whether a key covers the repository, at path boundaries only.
bool Covers(const std::string& key, const std::string& name) {
  return name == key || (name.starts_with(key) && name[key.size()] == '/');
}

Result<Credential> ParseEntry(const Json& entry) {
  Credential credential;
  LAYERFS_TRY(auth, JsonOptionalString(entry, "auth"));
  LAYERFS_TRY(username, JsonOptionalString(entry, "username"));
  LAYERFS_TRY(password, JsonOptionalString(entry, "password"));
  LAYERFS_TRY(token, JsonOptionalString(entry, "identitytoken"));
  credential.username = username;
  credential.password = Secret(std::move(password));
  credential.identity_token = Secret(std::move(token));
  if (auth.empty()) return credential;
  auto decoded = Base64Decode(auth);
  if (!decoded) return Fail(ErrorCode::kCorrupt, "JSON member \"auth\": not base64");
  const std::string_view text = AsText(*decoded);
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return Fail(ErrorCode::kCorrupt, "JSON member \"auth\": not a name and a password");
  }
  credential.username = text.substr(0, colon);
  std::string_view secret = text.substr(colon + 1);
  while (secret.ends_with('\0')) secret.remove_suffix(1);  // as docker does
  credential.password = Secret(std::string(secret));
  return credential;
}

// The entry of "auths" with the longest key that covers `name`.
Result<Credential> FindInAuths(const Json& auths, const std::string& name) {
  const Json* best = nullptr;
  size_t best_size = 0;
  for (const auto& [key, entry] : auths.items()) {
    const std::string normalized = NormalizedKey(key);
    if (!Covers(normalized, name) || !entry.is_object()) continue;
    if (best != nullptr && normalized.size() <= best_size) continue;
    best = &entry;
    best_size = normalized.size();
  }
  if (best == nullptr) return Credential();
  return ParseEntry(*best);
}

std::string HelperFor(const Json& config, const std::string& registry) {
  const auto helpers = config.find("credHelpers");
  if (helpers == config.end() || !helpers->is_object()) return "";
  for (const auto& [key, helper] : helpers->items()) {
    if (NormalizedKey(key) == registry && helper.is_string()) return helper.get<std::string>();
  }
  return "";
}

Error InFile(Error error, const std::string& file) {
  if (error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kTooLarge) {
    error.code = ErrorCode::kInvalidArgument;
  }
  return std::move(error).In("credentials in " + file);
}

}  // namespace

Secret Credential::BasicAuthorization() const {
  return Secret("Basic " + Base64Encode(AsBytes(username + ":" + password.Reveal())));
}

std::vector<std::string> CredentialStore::Files() const {
  if (!options_.auth_file.empty()) return {options_.auth_file};
  std::vector<std::string> files;
  if (const auto named = Environment("REGISTRY_AUTH_FILE")) files.push_back(*named);
  const auto runtime = Environment("XDG_RUNTIME_DIR");
  files.push_back(
      (runtime ? *runtime + "/containers" : "/run/containers/" + std::to_string(getuid())) +
      "/auth.json");
  const std::string home = Environment("HOME").value_or("");
  const std::string config = Environment("XDG_CONFIG_HOME").value_or(PathIn(home, "/.config"));
  if (!config.empty()) files.push_back(config + "/containers/auth.json");
  const std::string docker = Environment("DOCKER_CONFIG").value_or(PathIn(home, "/.docker"));
  if (!docker.empty()) files.push_back(docker + "/config.json");
  return files;
}

std::string CredentialStore::LoginHint(const std::string& registry) const {
  std::string files;
  for (const std::string& file : Files()) files += (files.empty() ? "" : ", ") + file;
  return "log in with: skopeo login " + registry + " (credentials are looked for in " + files + ")";
}

Result<FoundCredential> CredentialStore::Find(const std::string& registry,
                                              const std::string& repository) const {
  FoundCredential last;
  for (const std::string& file : Files()) {
    LAYERFS_TRY(found, FindInFile(file, registry, repository));
    if (!found.credential.empty()) return found;
    if (!found.problem.empty()) last.problem = found.problem;
  }
  return last;
}

Result<FoundCredential> CredentialStore::FindInFile(const std::string& file,
                                                    const std::string& registry,
                                                    const std::string& repository) const {
  auto text = ReadFile(file, kMaxFileBytes);
  if (!text) {
    const bool missing = text.error().code == ErrorCode::kNotFound;
    if (missing && options_.auth_file.empty()) return FoundCredential();
    return Fail(InFile(std::move(text).error(), file));
  }
  if (text->empty()) return FoundCredential();
  auto config = ParseJson(*text, kMaxFileBytes);
  if (!config) return Fail(InFile(std::move(config).error(), file));
  if (!config->is_object()) {
    return Fail(ErrorCode::kInvalidArgument, "credentials in " + file + ": not a JSON object");
  }
  if (const std::string helper = HelperFor(*config, registry); !helper.empty()) {
    return AskHelper(helper, registry);
  }
  const auto auths = config->find("auths");
  if (auths != config->end() && auths->is_object()) {
    auto credential = FindInAuths(*auths, registry + "/" + repository);
    if (!credential) return Fail(InFile(std::move(credential).error(), file));
    if (!credential->empty()) return FoundCredential{*std::move(credential), ""};
  }
  const auto store = config->find("credsStore");
  if (store != config->end() && store->is_string() && *store != "") {
    return AskHelper(store->get<std::string>(), registry);
  }
  return FoundCredential();
}

FoundCredential CredentialStore::AskHelper(const std::string& helper,
                                           const std::string& registry) const {
  const std::string server = registry == "docker.io" ? kHubServer : registry;
  auto answer = RunCredentialHelper(helper, server, options_.helper_timeout);
  FoundCredential found;
  if (!answer) {
    if (answer.error().code != ErrorCode::kNotFound || answer.error().system_errno != 0) {
      found.problem = answer.error().context;
    }
    return found;
  }
  if (answer->username == "<token>") {
    found.credential.identity_token = std::move(answer->secret);
  } else {
    found.credential.username = std::move(answer->username);
    found.credential.password = std::move(answer->secret);
  }
  return found;
}

}  // namespace layerfs
