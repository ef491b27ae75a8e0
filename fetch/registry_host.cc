// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_host.h"

#include "fetch/registry_exchange.h"

namespace layerfs {

RegistryHost::RegistryHost(Options options, Authenticator::Context context)
    : options_(std::move(options)),
      http_(context.http),
      base_(Url::Parse(options_.api_root).value_or(Url{})),
      authenticator_(context, options_.registry, base_.scheme == "https") {}

RegistryHost::~RegistryHost() = default;

std::string RegistryHost::UrlOf(const std::string& repository, const std::string& path) const {
  const std::string url = options_.api_root + "/" + repository + "/" + path;
  return options_.name_space.empty() ? url : AppendQuery(url, "ns", options_.name_space);
}

RegistryHost::CallId RegistryHost::Start(RegistryCall call, RegistrySink sink) {
  const CallId id = next_id_++;
  const auto on_done = sink.on_done;
  auto exchange = std::make_shared<RegistryExchange>(*this, id, std::move(call), std::move(sink));
  const bool posted = http_->Post([this, id, exchange] {
    calls_.emplace(id, exchange);
    exchange->Begin();
  });
  if (!posted) {
    RegistryResult result;
    result.http.status = Fail(ErrorCode::kCancelled, options_.registry + ": shutting down");
    on_done(result);
  }
  return id;
}

void RegistryHost::Cancel(CallId call) {
  http_->Post([this, call] {
    const auto it = calls_.find(call);
    if (it == calls_.end()) return;
    const auto exchange = it->second;
    exchange->Cancel();
  });
}

void RegistryHost::Resume(CallId call) {
  http_->Post([this, call] {
    const auto it = calls_.find(call);
    if (it != calls_.end()) it->second->Resume();
  });
}

void RegistryHost::CancelAll() {
  http_->Post([this] {
    const auto calls = calls_;  // Cancelling may take a call off the map.
    for (const auto& [id, exchange] : calls) exchange->Cancel();
  });
}

}  // namespace layerfs
