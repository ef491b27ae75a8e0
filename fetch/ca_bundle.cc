// SPDX-License-Identifier: Apache-2.0
#include "fetch/ca_bundle.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>

namespace layerfs {
namespace {

// The system's bundles have some 250 KiB; more than this is not a bundle.
constexpr uint64_t kMaxBundleBytes = uint64_t{16} << 20;
constexpr size_t kHashDigits = 8;

std::optional<std::string> Environment(const char* name) {
  const char* value = getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

// "5ed36f99.0": X509_LOOKUP_hash_dir(3).
bool IsHashName(const std::string& name) {
  return name.size() == kHashDigits + 2 && name.ends_with(".0") &&
         std::all_of(name.begin(), name.begin() + kHashDigits,
                     [](unsigned char digit) { return std::isxdigit(digit) != 0; });
}

bool IsHashed(const std::string& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsHashName(entry->path().filename())) return true;
  }
  return false;
}

// Whether the directory holds what the file does.
bool IsCurrent(const SystemCertificates& system) {
  if (system.directory.empty() || !IsHashed(system.directory)) return false;
  if (system.file.empty()) return true;
  struct stat file;
  struct stat directory;
  if (::stat(system.file.c_str(), &file) != 0) return true;
  return ::stat(system.directory.c_str(), &directory) == 0 &&
         file.st_mtim.tv_sec <= directory.st_mtim.tv_sec;
}

}  // namespace

Result<CaBundle> CaBundle::Open(const SystemCertificates& system,
                                const std::vector<std::string>& extra_files) {
  CaBundle bundle;
  std::string base = Environment("SSL_CERT_FILE").value_or(system.file);
  if (const auto directory = Environment("SSL_CERT_DIR")) {
    bundle.directory_ = *directory;
  } else if (base == system.file && IsCurrent(system)) {
    base.clear();
    bundle.directory_ = system.directory;
  }
  bundle.file_ = base;
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
  bundle.file_ = "/proc/self/fd/" + std::to_string(bundle.memory_.get());
  return bundle;
}

}  // namespace layerfs
