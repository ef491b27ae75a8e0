// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_context.h"

#include <algorithm>

#include "fetch/hosts_toml.h"

namespace layerfs {
namespace {

// Docker Hub's registry is not where its name says (distribution/reference).
constexpr char kHub[] = "docker.io";
constexpr char kHubHost[] = "registry-1.docker.io";
constexpr std::chrono::milliseconds kLeastStall{1'000};

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

std::string RegistryContext::DefaultApiRoot(const std::string& registry) const {
  ImageReference reference;
  reference.registry = registry;
  // A loopback registry is plain unless the user has said something about its TLS.
  const TlsOptions& tls = options_.tls;
  const bool about_tls =
      !tls.ca_file.empty() || !tls.client_cert.empty() || tls.insecure_skip_verify;
  const bool plain = options_.plain_http || (reference.is_loopback() && !about_tls);
  return (plain ? "http://" : "https://") + (registry == kHub ? kHubHost : registry) + "/v2";
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
                                                                   const std::string& repository) {
  std::call_once(registries_conf_once_, [&] {
    if (!options_.registries_conf.empty()) {
      registries_conf_ = RegistriesConf::Load(options_.registries_conf);
    }
  });
  if (!registries_conf_.has_value()) return Fail(registries_conf_.error());
  // First, as what is blocked there is blocked, wherever else it is described.
  LAYERFS_TRY(endpoints, registries_conf_->EndpointsFor(registry, repository));
  LAYERFS_TRY(described, FindRegistryHosts(options_.hosts_directories, registry, repository));
  if (!described.endpoints.empty()) return std::move(described.endpoints);
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
  options.api_root = endpoint.api_root;
  if (options.api_root.empty()) {
    // What is said of its certificates means that it has some.
    const std::string root = DefaultApiRoot(endpoint.host);
    const bool secure = endpoint.tls != EndpointTls() && !options_.plain_http;
    options.api_root = secure ? "https://" + root.substr(root.find("://") + 3) : root;
  }
  options.unix_socket = endpoint.unix_socket;
  options.name_space = endpoint.name_space;
  options.headers = endpoint.headers;
  options.connect_timeout = endpoint.dial_timeout;
  if (endpoint.tls != EndpointTls()) {
    HttpTlsOptions tls;
    tls.ca_files = endpoint.tls.ca_files;
    if (!options_.tls.ca_file.empty()) tls.ca_files.push_back(options_.tls.ca_file);
    tls.client_cert = endpoint.tls.client_cert;
    tls.client_key = endpoint.tls.client_key;
    tls.skip_verify = endpoint.tls.skip_verify;
    LAYERFS_TRY_IN(made, HttpClient::MakeTls(tls), "mirror " + endpoint.host);
    options.tls = std::move(made);
  }
  // One host for all repositories of one configuration; that of a registry's directory is one file.
  const std::string key = options.api_root + " " + endpoint.unix_socket + " " +
                          endpoint.name_space + " " + endpoint.host;
  return &MakeHost(key, std::move(options));
}

Result<std::vector<RegistryContext::Member>> RegistryContext::MembersOf(
    const std::string& registry, const std::string& repository) {
  LAYERFS_TRY(endpoints, EndpointsOf(registry, repository));
  std::vector<Member> members;
  for (RegistryEndpoint& endpoint : endpoints) {
    LAYERFS_TRY(host, HostAt(endpoint));
    members.push_back({host, std::move(endpoint)});
  }
  return members;
}

}  // namespace layerfs
