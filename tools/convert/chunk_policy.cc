// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/chunk_policy.h"

#include "index/base/gzip_codec.h"
#include "index/base/zstd_codec.h"

namespace layerfs {
namespace {

// Changes whenever other bytes than before come out for the same tar and options.
constexpr int kConverterVersion = 1;

Status Within(std::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return Fail(ErrorCode::kInvalidArgument, std::string(name) + " " + std::to_string(value) +
                                               " is not between " + std::to_string(low) + " and " +
                                               std::to_string(high));
}

}  // namespace

Status ChunkPolicy::Validate() const {
  constexpr int kMaxZstdLevel = 19;
  LAYERFS_CHECK_OK(Within("compression level", level, 1,
                          compression == LayerCompression::kGzip ? kMaxGzipLevel : kMaxZstdLevel));
  LAYERFS_CHECK_OK(Within("chunk size", chunk_size, kMinPolicyBytes, kMaxPolicyBytes));
  if (chunk_size % kMinPolicyBytes != 0) {
    return Fail(ErrorCode::kInvalidArgument, "chunk size " + std::to_string(chunk_size) +
                                                 " is not a multiple of " +
                                                 std::to_string(kMinPolicyBytes));
  }
  LAYERFS_CHECK_OK(Within("size of files with chunks of their own", own_chunk_size, kMinPolicyBytes,
                          kMaxPolicyBytes));
  LAYERFS_CHECK_OK(Within("least size of a group", group_min, 0, group_target));
  LAYERFS_CHECK_OK(Within("target size of a group", group_target, group_min, group_max));
  LAYERFS_CHECK_OK(Within("largest size of a group", group_max, kMinPolicyBytes, kMaxPolicyBytes));
  return {};
}

std::string ChunkPolicy::Fingerprint() const {
  const std::string gzip =
      compression == LayerCompression::kGzip ? "; gzip, libdeflate " + DeflateVersion() : "";
  return "layerfs " + std::to_string(kConverterVersion) + gzip + "; zstd " + ZstdVersion() +
         Settings();
}

std::string ChunkPolicy::Settings() const {
  return " level " + std::to_string(level) + "; chunk " + std::to_string(chunk_size) + " own " +
         std::to_string(own_chunk_size) + " group " + std::to_string(group_min) + "/" +
         std::to_string(group_target) + "/" + std::to_string(group_max);
}

bool ChunkPolicy::Made(std::string_view fingerprint) const {
  return fingerprint.ends_with(Settings());
}

}  // namespace layerfs
