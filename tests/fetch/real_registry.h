// SPDX-License-Identifier: Apache-2.0
// RealRegistry: docker-registry on a free loopback port, with its storage in a directory of the
// test's own. One thread at a time.
#pragma once

#include <sys/types.h>

#include <string>

#include "tests/fetch/temp_dir.h"
#include "tests/fetch/test_tls.h"

namespace layerfs {

class RealRegistry {
 public:
  // Whether the program is there at all.
  static bool Available();
  // Waits until it answers; running() is false where it does not.
  explicit RealRegistry(const TestTls* tls = nullptr);
  ~RealRegistry();
  RealRegistry(const RealRegistry&) = delete;
  RealRegistry& operator=(const RealRegistry&) = delete;

  bool running() const { return pid_ > 0; }
  std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  TempDir directory_;
  int port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace layerfs
