// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_context.h"

#include <algorithm>

#include "fetch/hosts_toml.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kLeastStall{1'000};

std::vector<RegistryEndpoint> OnlyTheRegistry(std::vector<RegistryEndpoint> endpoints) {
  std::erase_if(endpoints,
                [](const RegistryEndpoint& endpoint) { return !endpoint.takes_pushes(); });
  return endpoints;
}

}  // namespace

std::string PullScope(const std::string& repository) {
  return "repository:" + repository + ":pull";
}
std::string PushScope(const std::string& repository) {
  return "repository:" + repository + ":pull,push";
}

Result<std::shared_ptr<RegistryContext>> RegistryContext::Create(StoreOptions options,
                                                                 RegistryTuning tuning) {
  const auto half = std::max(options.timeout / 2, kLeastStall);
  const auto usual = std::min(half, HttpClientOptions().stall_timeout);
  LAYERFS_TRY(http, HttpClient::Create({.tls = options.tls,
                                        .stall_timeout = tuning.stall_timeout.value_or(usual)}));
  return std::shared_ptr<RegistryContext>(
      new RegistryContext(std::move(options), tuning, std::move(http)));
}

RegistryContext::RegistryContext(StoreOptions options, RegistryTuning tuning,
                                 std::unique_ptr<HttpClient> http)
    : options_(std::move(options)),
      tuning_(tuning),
      http_(std::move(http)),
      credentials_({.auth_file = options_.auth_file,
                    .helper_timeout = std::min(CredentialStore::kHelperTimeout, options_.timeout)}),
      blocking_("lf-login", 1) {}

RegistryContext::~RegistryContext() { Shutdown(); }

bool RegistryContext::Post(std::function<void()> task) { return http_->Post(std::move(task)); }

void RegistryContext::Shutdown() {
  hosts_.With([](auto& hosts) {
    for (auto& [name, host] : hosts) host->CancelAll();
  });
  http_->Shutdown();
}

// A loopback registry is plain unless the user has said something about its TLS.
bool RegistryContext::OptionsSpeakOfTls() const {
  const TlsOptions& tls = options_.tls;
  return !tls.ca_file.empty() || !tls.client_cert.empty() || tls.insecure_skip_verify;
}

std::string RegistryContext::ApiRootOf(const RegistryEndpoint& endpoint) const {
  const bool own_tls = endpoint.tls != EndpointTls();
  const auto secured = [](const std::string& root) {
    return "https://" + root.substr(root.find("://") + 3);
  };
  if (endpoint.api_root.empty()) {
    // What is said of its certificates means that it has some.
    const std::string root = DefaultApiRoot(endpoint.host);
    return own_tls && !options_.plain_http ? secured(root) : root;
  }
  const bool tls = own_tls || OptionsSpeakOfTls();
  return endpoint.plain_unless_tls && tls ? secured(endpoint.api_root) : endpoint.api_root;
}

// What the options say holds where the configuration says nothing else.
Result<std::shared_ptr<const HttpTls>> RegistryContext::TlsOf(
    const RegistryEndpoint& endpoint) const {
  if (endpoint.tls == EndpointTls()) return std::shared_ptr<const HttpTls>();
  EndpointTls tls = endpoint.tls;
  EndpointTls given{.ca_files = {},
                    .client_cert = options_.tls.client_cert,
                    .client_key = options_.tls.client_key};
  if (!options_.tls.ca_file.empty()) given.ca_files = {options_.tls.ca_file};
  tls.AddCertificates(given);
  LAYERFS_TRY_IN(
      made,
      HttpClient::MakeTls({.ca_files = tls.ca_files,
                           .client_cert = tls.client_cert,
                           .client_key = tls.client_key,
                           .skip_verify = tls.skip_verify || options_.tls.insecure_skip_verify}),
      "registry " + endpoint.host);
  return made;
}

std::string RegistryContext::DefaultApiRoot(const std::string& registry) const {
  ImageReference reference;
  reference.registry = registry;
  const bool plain = options_.plain_http || (reference.is_loopback() && !OptionsSpeakOfTls());
  return (plain ? "http://" : "https://") + ServerOfRegistry(registry) + "/v2";
}

RegistryHost& RegistryContext::MakeHost(const std::string& key, RegistryHost::Options options) {
  const Authenticator::Context context{.http = http_.get(),
                                       .credentials = &credentials_,
                                       .blocking = &blocking_,
                                       .clock = tuning_.clock};
  return hosts_.With([&](auto& hosts) -> RegistryHost& {
    auto& host = hosts[key];
    if (host == nullptr) host = std::make_unique<RegistryHost>(std::move(options), context);
    return *host;
  });
}

RegistryHost& RegistryContext::HostFor(const std::string& registry) {
  return MakeHost(registry, {.registry = registry, .api_root = DefaultApiRoot(registry)});
}

Result<std::vector<RegistryEndpoint>> RegistryContext::EndpointsOf(const std::string& registry,
                                                                   const std::string& repository,
                                                                   Use use) {
  std::call_once(registries_conf_once_,
                 [&] { registries_conf_ = RegistriesConf::Load(options_.registries_conf); });
  if (!registries_conf_.has_value()) return Fail(registries_conf_.error());
  // First, as what is blocked there is blocked, wherever else it is described.
  LAYERFS_TRY(endpoints, use == Use::kPush
                             ? registries_conf_->PushEndpointsFor(registry, repository)
                             : registries_conf_->EndpointsFor(registry, repository));
  LAYERFS_TRY(described, FindRegistryHosts(options_.hosts_directories, registry, repository));
  if (!described.endpoints.empty()) {
    return use == Use::kPush ? OnlyTheRegistry(std::move(described.endpoints))
                             : std::move(described.endpoints);
  }
  if (endpoints.empty()) {
    endpoints.emplace_back();
    endpoints.back().host = registry;
    endpoints.back().repository = repository;
    endpoints.back().is_registry = true;
  }
  for (RegistryEndpoint& endpoint : endpoints) {
    LAYERFS_TRY(hosts, FindRegistryHosts(options_.hosts_directories, endpoint.host, repository));
    endpoint.tls.AddCertificates(hosts.certificates);
  }
  return endpoints;
}

Result<RegistryHost*> RegistryContext::HostAt(const RegistryEndpoint& endpoint) {
  const bool special = endpoint.tls != EndpointTls() || !endpoint.headers.empty() ||
                       !endpoint.api_root.empty() || endpoint.dial_timeout.count() > 0;
  if (!special) return &HostFor(endpoint.host);
  RegistryHost::Options options;
  options.registry = endpoint.host;
  options.api_root = ApiRootOf(endpoint);
  options.unix_socket = endpoint.unix_socket;
  options.name_space = endpoint.name_space;
  options.headers = endpoint.headers;
  options.connect_timeout = endpoint.dial_timeout;
  LAYERFS_TRY(tls, TlsOf(endpoint));
  options.tls = std::move(tls);
  // One host for all repositories of one configuration: who may be trusted with any certificate
  // for one of them may not for another.
  std::string key = options.api_root + " " + endpoint.unix_socket + " " + endpoint.name_space +
                    " " + endpoint.host + " " + endpoint.tls.client_cert + " " +
                    endpoint.tls.client_key + (endpoint.tls.skip_verify ? " unverified" : "");
  for (const std::string& file : endpoint.tls.ca_files) key += " " + file;
  for (const auto& [name, value] : endpoint.headers) key += " " + name + ":" + value;
  return &MakeHost(key, std::move(options));
}

Result<std::vector<RegistryContext::Member>> RegistryContext::MembersOf(
    const std::string& registry, const std::string& repository, Use use) {
  LAYERFS_TRY(endpoints, EndpointsOf(registry, repository, use));
  std::vector<Member> members;
  for (RegistryEndpoint& endpoint : endpoints) {
    LAYERFS_TRY(host, HostAt(endpoint));
    members.push_back({host, std::move(endpoint)});
  }
  return members;
}

}  // namespace layerfs
