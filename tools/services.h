// SPDX-License-Identifier: Apache-2.0
// What every command that touches images shares: the options for registries and the cache, and the
// objects made from them, each at first use. tools/ wires; the objects know nothing of options.
// One thread at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/object_cache.h"
#include "fetch/scheduler.h"
#include "index/base/error.h"

namespace layerfs {

// The options as typed. Declare the groups that a command needs.
struct ServiceOptions {
  std::string cache_directory;  // empty: DefaultCacheDirectory()
  std::string cache_size = "0";
  std::string fetch_timeout = "60s";
  bool plain_http = false;
  bool offline = false;
  std::string verify_cache = "unclean";
  bool cache_read_only = false;
  std::string ca_file;
  std::string client_cert;
  std::string client_key;
  std::string auth_file;
  std::vector<std::string> hosts_directories;  // empty: containerd's and Docker's own
  std::string registries_conf;                 // empty: Podman's own

  void DeclareCache(CLI::App& app);
  void DeclareRegistry(CLI::App& app);
  // For commands that read images: --offline.
  void DeclareOffline(CLI::App& app);
  // From the working directory, the environment's paths as well: for a process that may be in
  // another. Before there are threads.
  Status MakeAbsolute();
  // The same as words of a command line, for a layerfs of its own process.
  void AppendWords(std::vector<std::string>& words) const;
};

// /var/cache/layerfs for the machine's root, else $XDG_CACHE_HOME/layerfs or ~/.cache/layerfs.
std::string DefaultCacheDirectory();

// Of registries.conf, as RegistriesConf::Load takes it: FILE, or what CONTAINERS_REGISTRIES_CONF
// names, with its FILE.d; or Podman's own places. An error where a file that is named is not there.
Result<std::vector<std::string>> RegistriesConfFiles(const std::string& file);

class Services {
 public:
  explicit Services(const ServiceOptions& options) : options_(options) {}

  Result<std::shared_ptr<ObjectCache>> Cache();
  Result<ImageStores*> Stores();
  Result<Scheduler*> Fetcher();
  Result<std::chrono::milliseconds> FetchTimeout() const;
  const ServiceOptions& options() const { return options_; }

 private:
  const ServiceOptions& options_;
  std::shared_ptr<ObjectCache> cache_;
  std::unique_ptr<ImageStores> stores_;
  std::unique_ptr<Scheduler> scheduler_;  // After what it reads from, so that it ends first.
};

}  // namespace layerfs
