// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_context.h"

namespace layerfs {
namespace {

// Docker Hub's registry is not where its name says (distribution/reference).
constexpr char kHub[] = "docker.io";
constexpr char kHubHost[] = "registry-1.docker.io";

}  // namespace

std::string PullScope(const std::string& repository) {
  return "repository:" + repository + ":pull";
}
std::string PushScope(const std::string& repository) {
  return "repository:" + repository + ":pull,push";
}

Result<std::shared_ptr<RegistryContext>> RegistryContext::Create(StoreOptions options,
                                                                 RegistryTuning tuning) {
  LAYERFS_TRY(http,
              HttpClient::Create({.tls = options.tls, .stall_timeout = tuning.stall_timeout}));
  return std::shared_ptr<RegistryContext>(
      new RegistryContext(std::move(options), tuning, std::move(http)));
}

RegistryContext::RegistryContext(StoreOptions options, RegistryTuning tuning,
                                 std::unique_ptr<HttpClient> http)
    : options_(std::move(options)),
      tuning_(tuning),
      http_(std::move(http)),
      credentials_({.auth_file = options_.auth_file}),
      blocking_("lf-login", 1) {}

RegistryContext::~RegistryContext() { Shutdown(); }

void RegistryContext::Shutdown() {
  hosts_.With([](auto& hosts) {
    for (auto& [name, host] : hosts) host->CancelAll();
  });
  http_->Shutdown();
}

std::string RegistryContext::BaseUrl(const std::string& registry) const {
  ImageReference reference;
  reference.registry = registry;
  // A loopback registry is plain unless the user has said something about its TLS.
  const TlsOptions& tls = options_.tls;
  const bool about_tls =
      !tls.ca_file.empty() || !tls.client_cert.empty() || tls.insecure_skip_verify;
  const bool plain = options_.plain_http || (reference.is_loopback() && !about_tls);
  return (plain ? "http://" : "https://") + (registry == kHub ? kHubHost : registry);
}

RegistryHost& RegistryContext::HostFor(const std::string& registry) {
  const Authenticator::Context context{.http = http_.get(),
                                       .credentials = &credentials_,
                                       .blocking = &blocking_,
                                       .clock = tuning_.clock};
  return hosts_.With([&](auto& hosts) -> RegistryHost& {
    auto& host = hosts[registry];
    if (host == nullptr) {
      host = std::make_unique<RegistryHost>(
          RegistryHost::Options{.registry = registry, .base_url = BaseUrl(registry)}, context);
    }
    return *host;
  });
}

}  // namespace layerfs
