// SPDX-License-Identifier: Apache-2.0
// A layer blob's bytes, in pieces → its tar's bytes, in pieces: tar, tar+gzip or tar+zstd, told
// apart by their first bytes (registries' media types are sometimes wrong).
// One thread at a time.
#pragma once

#include <functional>
#include <memory>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/zstd_codec.h"

namespace layerfs {

enum class LayerEncoding { kUnknown, kTar, kGzip, kZstd };

// A decompression bomb is refused when the tar is larger than
// max(floor_bytes, ratio × the blob's bytes so far).
// A zstd frame with a window of more than 2^zstd_window_log bytes is kUnsupported.
struct LayerDecoderLimits {
  uint64_t floor_bytes = uint64_t{16} << 30;
  uint64_t ratio = 200;
  int zstd_window_log = kZstdMaxWindowLog;
};

class LayerDecoder {
 public:
  // `on_tar_bytes` gets the tar's bytes in order; an error it returns ends the decoding.
  using OnTarBytes = std::function<Status(ByteSpan)>;
  explicit LayerDecoder(OnTarBytes on_tar_bytes, LayerDecoderLimits limits = {});
  ~LayerDecoder();

  // Errors name the blob offset: "blob offset 4096: gzip: …". Several gzip members or zstd frames
  // in a row are one stream; anything else after the last is refused (kCorrupt).
  Status Feed(ByteSpan blob_bytes);
  // The blob is over; a stream that is not is kCorrupt.
  Status Finish();

  LayerEncoding encoding() const;
  uint64_t tar_size() const;  // so far
  // Whether it has failed for LayerDecoderLimits::zstd_window_log.
  bool refused_window() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerfs
