// SPDX-License-Identifier: Apache-2.0
// Digest (SHA-256) and the hasher that makes it. OCI writes it "sha256:" + 64 lowercase hex digits
// (image-spec, descriptor.md, "Digests"). The only door to OpenSSL's hashes.
// Digest is a value; Sha256 is one thread at a time.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

struct Digest {
  static constexpr size_t kSize = 32;
  std::array<uint8_t, kSize> bytes{};

  // "sha256:ab…"; anything else is kInvalidArgument, another registered algorithm kUnsupported.
  static Result<Digest> Parse(std::string_view text);
  static Digest Of(ByteSpan data);

  std::string ToString() const;  // "sha256:" + hex
  std::string Hex() const;       // 64 digits
  bool is_zero() const { return *this == Digest{}; }
  auto operator<=>(const Digest&) const = default;
};

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(ByteSpan data);
  // The digest of everything since construction or the last Finish; starts anew.
  Digest Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace layerfs

template <>
struct std::hash<layerfs::Digest> {
  size_t operator()(const layerfs::Digest& digest) const noexcept {
    size_t value;  // The digest is uniform already.
    std::memcpy(&value, digest.bytes.data(), sizeof value);
    return value;
  }
};
