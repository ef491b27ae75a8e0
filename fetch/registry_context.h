// SPDX-License-Identifier: Apache-2.0
// RegistryContext: what all registries of the process share: the HTTP client, the credentials, and
// one RegistryHost for each server.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fetch/credentials.h"
#include "fetch/http_client.h"
#include "fetch/image_store.h"
#include "fetch/registries_conf.h"
#include "fetch/registry_endpoint.h"
#include "fetch/registry_host.h"
#include "index/base/synchronized.h"
#include "index/base/thread_pool.h"

namespace layerfs {

std::string PullScope(const std::string& repository);
std::string PushScope(const std::string& repository);  // pull as well

// What tests turn: nobody else has a reason to.
struct RegistryTuning {
  // By default the HTTP client's, but half of StoreOptions::timeout at the most: there shall be
  // time for another try, and another member.
  std::optional<std::chrono::milliseconds> stall_timeout;
  // How long a mirror may say nothing at all: behind it is the registry.
  std::chrono::milliseconds silence_timeout{4'000};
  Clock* clock = &SteadyClock();
};

class RegistryContext {
 public:
  static Result<std::shared_ptr<RegistryContext>> Create(StoreOptions options,
                                                         RegistryTuning tuning = {});
  ~RegistryContext();
  RegistryContext(const RegistryContext&) = delete;
  RegistryContext& operator=(const RegistryContext&) = delete;

  // Where a repository is read from, mirrors first, the registry last, or written to: the registry
  // alone; never empty. A registry that may be spoken to in the clear is in it twice, over TLS
  // first, and so may be one that a hosts.toml has among its hosts. Hosts live as long as the
  // context.
  struct Member {
    RegistryHost* host;
    RegistryEndpoint endpoint;
  };
  enum class Use { kRead, kPush };
  Result<std::vector<Member>> MembersOf(const std::string& registry, const std::string& repository,
                                        Use use);
  const StoreOptions& options() const { return options_; }
  Clock& clock() const { return *tuning_.clock; }
  std::chrono::milliseconds silence_timeout() const { return tuning_.silence_timeout; }
  // Runs `task` on the thread that all calls' callbacks run on; false after Shutdown.
  bool Post(std::function<void()> task);
  // Ends every call with kCancelled; later ones fail with it at once.
  void Shutdown();

 private:
  RegistryContext(StoreOptions options, RegistryTuning tuning, std::unique_ptr<HttpClient> http);
  bool OptionsSpeakOfTls() const;
  std::string ApiRootOf(const RegistryEndpoint& endpoint) const;
  // Null: the HTTP client's.
  Result<std::shared_ptr<const HttpTls>> TlsOf(const RegistryEndpoint& endpoint) const;
  std::string DefaultApiRoot(const std::string& registry) const;
  Result<std::vector<RegistryEndpoint>> EndpointsOf(const std::string& registry,
                                                    const std::string& repository, Use use);
  RegistryHost& HostFor(const std::string& registry);
  Result<RegistryHost*> HostAt(const RegistryEndpoint& endpoint);
  RegistryHost& MakeHost(const std::string& key, RegistryHost::Options options);

  const StoreOptions options_;
  const RegistryTuning tuning_;
  const std::unique_ptr<HttpClient> http_;
  const CredentialStore credentials_;
  Synchronized<std::map<std::string, std::unique_ptr<RegistryHost>>> hosts_;
  std::once_flag registries_conf_once_;
  Result<RegistriesConf> registries_conf_;
  ThreadPool blocking_;  // last: its tasks use the others
};

}  // namespace layerfs
