// SPDX-License-Identifier: Apache-2.0
// Runs docker-credential-NAME, as docker's credential helpers are run: the word "get", the server's
// name on stdin, JSON on stdout. No shell is involved.
// Thread-safe; blocks up to the timeout.
#pragma once

#include <chrono>
#include <string>

#include "fetch/secret.h"
#include "index/base/error.h"

namespace layerfs {

struct HelperAnswer {
  std::string username;  // "<token>": the secret is an identity token
  Secret secret;
};

// kNotFound when the helper has nothing for the server. Errors never hold what it printed.
Result<HelperAnswer> RunCredentialHelper(const std::string& name, const std::string& server,
                                         std::chrono::milliseconds timeout);

}  // namespace layerfs
