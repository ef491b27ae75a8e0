// SPDX-License-Identifier: Apache-2.0
// CredentialStore: what the user's files and helpers hold for a registry: containers-auth.json(5)
// and docker's config.json.
// Thread-safe. Find blocks: it reads files and may run a helper.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "fetch/secret.h"
#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

struct Credential {
  std::string username;
  Secret password;
  Secret identity_token;  // an OAuth2 refresh token, in place of the two above

  bool empty() const { return username.empty() && password.empty() && identity_token.empty(); }
  // "Basic …".
  Secret BasicAuthorization() const;
  bool operator==(const Credential&) const = default;
};

struct FoundCredential {
  Credential credential;  // empty: none is known
  // What went wrong on the way, for the message when the registry wants a login after all: a
  // helper that is missing must not keep anybody from a public image.
  std::string problem;
};

class CredentialStore {
 public:
  // A helper may ask its user; who waits for the credentials may have less time than that.
  static constexpr std::chrono::milliseconds kHelperTimeout{30'000};
  struct Options {
    std::string auth_file;  // only this one; empty: the usual places
    std::chrono::milliseconds helper_timeout = kHelperTimeout;
  };
  explicit CredentialStore(Options options) : options_(std::move(options)) {}

  // The entry with the longest key that covers "registry/repository". An unreadable file is
  // kInvalidArgument, naming it.
  Result<FoundCredential> Find(const std::string& registry, const std::string& repository) const;

  // Where Find looks, in order: $REGISTRY_AUTH_FILE, ${XDG_RUNTIME_DIR}/containers/auth.json,
  // ${XDG_CONFIG_HOME:-~/.config}/containers/auth.json, ${DOCKER_CONFIG:-~/.docker}/config.json.
  std::vector<std::string> Files() const;
  // "log in with: skopeo login HOST …", for errors.
  std::string LoginHint(const std::string& registry) const;

 private:
  Result<FoundCredential> FindInFile(const std::string& file, const std::string& registry,
                                     const std::string& repository) const;
  FoundCredential AskHelper(const std::string& helper, const std::string& registry) const;

  const Options options_;
};

}  // namespace layerfs
