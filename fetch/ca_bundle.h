// SPDX-License-Identifier: Apache-2.0
// CaBundle: the certificate authorities to trust: the system's (or those of $SSL_CERT_FILE and
// $SSL_CERT_DIR) and the user's --ca. The system's by their directory where it has one with a name
// for each certificate's hash (openssl-rehash(1)), of which a connection parses the one that it
// needs: all 140 in one file were measured to take 46 ms of a start and 3 MB. What is a file is one
// file, because TLS libraries cache what they parsed from a file but not what came from memory.
// Immutable after Open; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

// Where the TLS library looks by default; either may be empty.
struct SystemCertificates {
  std::string file;
  std::string directory;
};

class CaBundle {
 public:
  // `extra_files`: --ca, or what a mirror's configuration names. kInvalidArgument for one that is
  // no PEM file. The system's directory is taken where it has as many certificates as the file, or
  // where there is no file: the file is what people change by hand.
  static Result<CaBundle> Open(const SystemCertificates& system,
                               const std::vector<std::string>& extra_files);

  // What to hand to the TLS library; one may be empty.
  const std::string& file() const { return file_; }
  const std::string& directory() const { return directory_; }
  // Neither: it looks where it does by default.
  bool is_default() const { return file_.empty() && directory_.empty(); }

 private:
  UniqueFd memory_;  // holds several files together, where there are several
  std::string file_;
  std::string directory_;
};

}  // namespace layerfs
