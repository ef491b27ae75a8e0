// SPDX-License-Identifier: Apache-2.0
#include "tools/services.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "index/base/environment.h"
#include "tools/run/user_namespace.h"
#include "tools/state_option.h"
#include "tools/text.h"

namespace layerfs {

void ServiceOptions::DeclareCache(CLI::App& app) {
  app.add_option("--cache", cache_directory,
                 "The cache directory; shared by all mounts and processes that name it")
      ->type_name("DIR")
      ->envname("LAYERFS_CACHE");
  app.add_option(
         "--cache-size", cache_size,
         "Evict the least recently used beyond this; up to a tenth more while all of it is in "
         "use; 0: no limit")
      ->type_name("SIZE");
  app.add_option("--verify-cache", verify_cache,
                 "Whose content is hashed again before this process first uses it: all, what a "
                 "crash of the machine may have torn, none")
      ->check(CLI::IsMember({"always", "unclean", "never"}))
      ->capture_default_str();
  app.add_flag("--cache-read-only", cache_read_only,
               "Use what the cache has and change nothing in it");
}

void ServiceOptions::DeclareOffline(CLI::App& app) {
  app.add_flag("--offline", offline,
               "Never ask a registry: a tag means what it last meant here, and what is not in the "
               "cache is an error");
}

void ServiceOptions::DeclareRegistry(CLI::App& app) {
  app.add_flag("--plain-http", plain_http,
               "Talk http to registries that are not on the loopback (there it is the default)");
  app.add_option("--ca", ca_file, "Certificates to trust besides the system's")->type_name("FILE");
  CLI::Option* const cert =
      app.add_option("--cert", client_cert, "Client certificate, PEM")->type_name("FILE");
  app.add_option("--key", client_key, "The client certificate's key, PEM")
      ->type_name("FILE")
      ->needs(cert);
  app.add_option("--authfile", auth_file, "Credentials, as skopeo and docker login write them")
      ->type_name("FILE");
  app.add_option("--hosts-dir", hosts_directories,
                 "Mirrors, as containerd's certs.d/HOST/hosts.toml describes them; "
                 "/etc/containerd/certs.d and /etc/docker/certs.d by default")
      ->type_name("DIR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("--registries-conf", registries_conf,
                 "Mirrors, as registries.conf(5) describes them, with FILE.d; Podman's own places "
                 "by default")
      ->type_name("FILE");
  app.add_option(
         "--fetch-timeout", fetch_timeout,
         "How long a read is retried before it fails with EIO; twice as long where its bytes "
         "are arriving and will be through by then")
      ->type_name("TIME")
      ->capture_default_str();
}

namespace {

// As it is, but for where it begins: ".." behind a symbolic link is not what it looks like.
Result<std::string> FromHere(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) return FailErrno(path, error.value());
  return absolute.string();
}

// Each of a list that colons divide, as SSL_CERT_DIR is.
Result<std::string> AllFromHere(std::string_view paths) {
  std::string list;
  while (true) {
    const size_t colon = paths.find(':');
    const std::string_view path = paths.substr(0, colon);
    if (!path.empty()) {
      LAYERFS_TRY(absolute, FromHere(std::string(path)));
      list += absolute;
    }
    if (colon == std::string_view::npos) return list;
    list += ':';
    paths.remove_prefix(colon + 1);
  }
}

}  // namespace

Status ServiceOptions::MakeAbsolute() {
  std::vector<std::string*> paths = {&cache_directory, &ca_file,   &client_cert,
                                     &client_key,      &auth_file, &registries_conf};
  for (std::string& directory : hosts_directories) paths.push_back(&directory);
  for (std::string* path : paths) {
    if (path->empty()) continue;
    LAYERFS_TRY(absolute, FromHere(*path));
    *path = absolute;
  }
  // What is read by the environment, and may be read again at any time.
  for (const char* variable : {"REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME",
                               "SSL_CERT_FILE", "CONTAINERS_REGISTRIES_CONF"}) {
    const char* path = ::getenv(variable);
    if (path == nullptr || *path == '\0') continue;
    LAYERFS_TRY(absolute, FromHere(path));
    ::setenv(variable, absolute.c_str(), 1);
  }
  if (const char* const directories = ::getenv("SSL_CERT_DIR")) {
    LAYERFS_TRY(absolute, AllFromHere(directories));
    ::setenv("SSL_CERT_DIR", absolute.c_str(), 1);
  }
  return {};
}

void ServiceOptions::AppendWords(std::vector<std::string>& words) const {
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {option, value});
  };
  add("--cache", cache_directory);
  add("--cache-size", cache_size);
  add("--fetch-timeout", fetch_timeout);
  add("--ca", ca_file);
  add("--cert", client_cert);
  add("--key", client_key);
  add("--authfile", auth_file);
  for (const std::string& directory : hosts_directories) add("--hosts-dir", directory);
  add("--registries-conf", registries_conf);
  add("--verify-cache", verify_cache);
  if (plain_http) words.emplace_back("--plain-http");
  if (offline) words.emplace_back("--offline");
  if (cache_read_only) words.emplace_back("--cache-read-only");
}

std::string DefaultCacheDirectory() {
  if (IsMachineRoot()) return "/var/cache/layerfs";
  const char* cache_home = std::getenv("XDG_CACHE_HOME");
  if (cache_home != nullptr && cache_home[0] == '/') return std::string(cache_home) + "/layerfs";
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "/tmp") + "/.cache/layerfs";
}

Result<std::vector<std::string>> RegistriesConfFiles(const std::string& file) {
  const std::string named =
      file.empty() ? Environment("CONTAINERS_REGISTRIES_CONF").value_or("") : file;
  if (!named.empty()) {
    if (::access(named.c_str(), F_OK) == 0) return std::vector{named, named + ".d"};
    return FailErrno((file.empty() ? "CONTAINERS_REGISTRIES_CONF " : "--registries-conf ") + named,
                     errno);
  }
  const std::string system = "/etc/containers/registries.conf";
  const auto home = Environment("HOME");
  if (!home.has_value()) return std::vector{system, system + ".d"};
  // The user's file takes the place of the system's, his drop-ins come on top of the system's.
  const std::string own = *home + "/.config/containers/registries.conf";
  const bool has_own = ::access(own.c_str(), R_OK) == 0;
  return std::vector{has_own ? own : system, system + ".d", own + ".d"};
}

Result<std::shared_ptr<ObjectCache>> Services::Cache() {
  if (cache_ == nullptr) {
    LAYERFS_TRY_IN(limit, ParseBytes(options_.cache_size), "--cache-size");
    ObjectCache::Options cache_options;
    cache_options.directory =
        options_.cache_directory.empty() ? DefaultCacheDirectory() : options_.cache_directory;
    cache_options.limit_bytes = limit;
    cache_options.read_only = options_.cache_read_only;
    if (options_.verify_cache == "always") cache_options.verify = VerifyCache::kAlways;
    if (options_.verify_cache == "never") cache_options.verify = VerifyCache::kNever;
    LAYERFS_TRY(cache, ObjectCache::Open(cache_options));
    cache_ = std::move(cache);
  }
  return cache_;
}

Result<ImageStores*> Services::Stores() {
  if (stores_ == nullptr) {
    StoreOptions store_options;
    store_options.plain_http = options_.plain_http;
    store_options.offline = options_.offline;
    store_options.tls.ca_file = options_.ca_file;
    store_options.tls.client_cert = options_.client_cert;
    store_options.tls.client_key = options_.client_key;
    store_options.auth_file = options_.auth_file;
    store_options.hosts_directories = options_.hosts_directories;
    if (store_options.hosts_directories.empty()) {
      store_options.hosts_directories = {"/etc/containerd/certs.d", "/etc/docker/certs.d"};
    }
    LAYERFS_TRY(registries_conf, RegistriesConfFiles(options_.registries_conf));
    store_options.registries_conf = std::move(registries_conf);
    LAYERFS_TRY(timeout, FetchTimeout());
    store_options.timeout = timeout;
    stores_ = std::make_unique<ImageStores>(store_options);
  }
  return stores_.get();
}

Result<Scheduler*> Services::Fetcher() {
  if (scheduler_ == nullptr) scheduler_ = std::make_unique<Scheduler>(Scheduler::Options{});
  return scheduler_.get();
}

Result<std::chrono::milliseconds> Services::FetchTimeout() const {
  LAYERFS_TRY_IN(timeout, ParseDuration(options_.fetch_timeout), "--fetch-timeout");
  return timeout;
}

}  // namespace layerfs
