// SPDX-License-Identifier: Apache-2.0
#include "fetch/ca_bundle.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "index/base/environment.h"

namespace layerfs {
namespace {

// The system's bundles have some 250 KiB; more than this is not a bundle.
constexpr uint64_t kMaxBundleBytes = uint64_t{16} << 20;
constexpr size_t kHashDigits = 8;

// "5ed36f99.0": X509_LOOKUP_hash_dir(3). Certificates whose names have the same hash are numbered.
bool IsHashName(const std::string& name) {
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const auto is_hex = [](unsigned char c) { return std::isxdigit(c) != 0; };
  return name.size() > kHashDigits + 1 && name[kHashDigits] == '.' &&
         std::all_of(name.begin(), name.begin() + kHashDigits, is_hex) &&
         std::all_of(name.begin() + kHashDigits + 1, name.end(), is_digit);
}

size_t CountHashNames(const std::string& directory) {
  size_t count = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    count += IsHashName(entry->path().filename()) ? 1 : 0;
  }
  return count;
}

size_t CountCertificates(const Bytes& pem) {
  constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----";
  const std::string_view text = AsText(pem);
  size_t count = 0;
  for (size_t at = text.find(kBegin); at != std::string_view::npos;
       at = text.find(kBegin, at + kBegin.size())) {
    ++count;
  }
  return count;
}

// Whether the directory holds what the file does: one that somebody has added an authority to by
// hand, or put in the place of the distribution's, has another number of them.
bool AreAlike(const SystemCertificates& system) {
  if (system.directory.empty()) return false;
  const size_t hashed = CountHashNames(system.directory);
  if (hashed == 0) return false;
  const auto file = ReadFile(system.file, kMaxBundleBytes);
  if (!file.has_value()) return file.error().code == ErrorCode::kNotFound;
  return CountCertificates(*file) == hashed;
}

}  // namespace

Result<CaBundle> CaBundle::Open(const SystemCertificates& system,
                                const std::vector<std::string>& extra_files) {
  CaBundle bundle;
  std::string base = Environment("SSL_CERT_FILE").value_or(system.file);
  if (const auto directory = Environment("SSL_CERT_DIR")) {
    bundle.directory_ = *directory;
  } else if (base == system.file && AreAlike(system)) {
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
