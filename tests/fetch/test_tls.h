// SPDX-License-Identifier: Apache-2.0
// TestTls: a certificate authority of the test's own and a certificate for 127.0.0.1, ::1 and
// localhost, made at run time; the server's side of TLS connections.
// Thread-safe after construction.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "tests/fetch/temp_dir.h"

namespace layerfs {

class TestTls {
 public:
  TestTls();
  ~TestTls();
  TestTls(const TestTls&) = delete;
  TestTls& operator=(const TestTls&) = delete;

  std::string ca_file() const { return directory_ / "ca.pem"; }
  std::string server_cert() const { return directory_ / "server.pem"; }
  std::string server_key() const { return directory_ / "server.key"; }
  std::string client_cert() const { return directory_ / "client.pem"; }
  std::string client_key() const { return directory_ / "client.key"; }
  // From now on, only clients with a certificate of the authority are let in.
  void RequireClientCertificate();
  // From now on, HTTP/2 is agreed upon by ALPN.
  void SpeakHttp2();

  // Does the handshake on an accepted socket; null where it fails.
  SSL* Accept(int fd);

 private:
  TempDir directory_;
  SSL_CTX* context_;
};

}  // namespace layerfs
