// SPDX-License-Identifier: Apache-2.0
// HttpTls: what a connection trusts and what it shows of itself.
// Immutable after Make; thread-safe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fetch/ca_bundle.h"
#include "index/base/error.h"

namespace layerfs {

struct HttpTlsOptions {
  std::vector<std::string> ca_files;  // besides the system's
  std::string client_cert;
  std::string client_key;
  bool skip_verify = false;
};

struct HttpTls {
  CaBundle ca;
  std::string client_cert;
  std::string client_key;
  bool skip_verify = false;

  // `system` as for CaBundle.
  static Result<std::shared_ptr<const HttpTls>> Make(const SystemCertificates& system,
                                                     const HttpTlsOptions& options) {
    auto tls = std::make_shared<HttpTls>();
    LAYERFS_TRY(bundle, CaBundle::Open(system, options.ca_files));
    tls->ca = std::move(bundle);
    tls->client_cert = options.client_cert;
    tls->client_key = options.client_key;
    tls->skip_verify = options.skip_verify;
    return std::shared_ptr<const HttpTls>(std::move(tls));
  }
};

}  // namespace layerfs
