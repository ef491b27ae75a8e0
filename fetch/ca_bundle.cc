// SPDX-License-Identifier: Apache-2.0
#include "fetch/ca_bundle.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace layerfs {
namespace {

// The system's bundles have some 250 KiB; more than this is not a bundle.
constexpr uint64_t kMaxBundleBytes = uint64_t{16} << 20;

}  // namespace

Result<CaBundle> CaBundle::Open(const std::string& system_file,
                                const std::vector<std::string>& extra_files) {
  CaBundle bundle;
  const char* override_file = getenv("SSL_CERT_FILE");
  const std::string base =
      override_file != nullptr && *override_file != '\0' ? override_file : system_file;
  bundle.path_ = base;
  if (extra_files.empty()) return bundle;

  Bytes extra;
  for (const std::string& file : extra_files) {
    LAYERFS_TRY_IN(read, ReadFile(file, kMaxBundleBytes), "--ca");
    if (AsText(read).find("-----BEGIN ") == std::string_view::npos) {
      return Fail(ErrorCode::kInvalidArgument, "--ca " + file + ": not a PEM file");
    }
    extra.insert(extra.end(), read.begin(), read.end());
    extra.push_back('\n');
  }
  bundle.memory_ = UniqueFd(memfd_create("layerfs-ca", MFD_CLOEXEC));
  if (!bundle.memory_.valid()) return FailErrno("memfd_create", errno);
  if (!base.empty()) {
    // A machine without any system certificates still trusts what --ca says.
    auto system = ReadFile(base, kMaxBundleBytes);
    if (system) {
      LAYERFS_CHECK_OK(WriteFull(bundle.memory_.get(), *system));
      LAYERFS_CHECK_OK(WriteFull(bundle.memory_.get(), AsBytes("\n")));
    }
  }
  LAYERFS_CHECK_OK(WriteFull(bundle.memory_.get(), extra));
  bundle.path_ = "/proc/self/fd/" + std::to_string(bundle.memory_.get());
  return bundle;
}

}  // namespace layerfs
