// SPDX-License-Identifier: Apache-2.0
// CaBundle: the certificate authorities to trust, as one PEM file: the system's (or those of
// $SSL_CERT_FILE) and the user's --ca. One file, because TLS libraries cache what they parsed from
// a file but not what came from memory, and parsing costs milliseconds a connection.
// Immutable after Open; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class CaBundle {
 public:
  // `system_file`: where the TLS library looks by default; may be empty. `extra_files`: --ca, or
  // what a mirror's configuration names. kInvalidArgument for one that is no PEM file.
  static Result<CaBundle> Open(const std::string& system_file,
                               const std::vector<std::string>& extra_files);

  // What to hand to the TLS library; empty: its own default.
  const std::string& path() const { return path_; }

 private:
  UniqueFd memory_;  // holds the two together, where there are two
  std::string path_;
};

}  // namespace layerfs
