// SPDX-License-Identifier: Apache-2.0
#include "index/base/digest.h"

// Not EVP, which takes the same time (50 MiB in 32 ms) but fetches the algorithm from a provider
// first: 140 kB of each process that mounts something.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

namespace layerfs {
namespace {

constexpr std::string_view kPrefix = "sha256:";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Result<Digest> Digest::Parse(std::string_view text) {
  if (!text.starts_with(kPrefix)) {
    const bool registered = text.starts_with("sha512:") || text.starts_with("blake3:");
    return Fail(registered ? ErrorCode::kUnsupported : ErrorCode::kInvalidArgument,
                "digest \"" + std::string(text.substr(0, 160)) + "\": only sha256 is supported");
  }
  const std::string_view hex = text.substr(kPrefix.size());
  Digest digest;
  if (hex.size() != 2 * kSize) {
    return Fail(ErrorCode::kInvalidArgument,
                "digest \"" + std::string(text.substr(0, 160)) + "\": not 64 hexadecimal digits");
  }
  for (size_t i = 0; i < kSize; ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return Fail(ErrorCode::kInvalidArgument,
                  "digest \"" + std::string(text) + "\": not lowercase hexadecimal");
    }
    digest.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return digest;
}

Digest Digest::Of(ByteSpan data) {
  Sha256 hasher;
  hasher.Update(data);
  return hasher.Finish();
}

std::string Digest::Hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * kSize);
  for (const uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

std::string Digest::ToString() const { return std::string(kPrefix) + Hex(); }

struct Sha256::Context {
  SHA256_CTX sha;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) { SHA256_Init(&context_->sha); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(ByteSpan data) { SHA256_Update(&context_->sha, data.data(), data.size()); }

Digest Sha256::Finish() {
  Digest digest;
  SHA256_Final(digest.bytes.data(), &context_->sha);
  SHA256_Init(&context_->sha);
  return digest;
}

}  // namespace layerfs
