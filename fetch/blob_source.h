// SPDX-License-Identifier: Apache-2.0
// BlobSource: ranges of an image's blobs, asynchronously, from wherever the image lives. One source
// knows one place (a registry's repository with its mirrors, an OCI layout).
// Implementations are thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"

namespace layerfs {

struct BlobRange {
  Digest blob;
  uint64_t blob_size = 0;  // as the manifest says
  uint64_t offset = 0;
  uint64_t size = 0;  // > 0, inside the blob
  // A transfer that runs brings the same, too slowly: where there is a choice, from elsewhere.
  bool hedge = false;
};

// How a transfer ended and what it taught about the link.
struct TransferResult {
  Status status;
  // What the server asked for with Retry-After, where it did.
  std::optional<std::chrono::milliseconds> retry_after;
  // From the request's start to its first body byte, and to its end.
  std::chrono::microseconds first_byte{0};
  std::chrono::microseconds total{0};
  uint64_t body_bytes = 0;      // that came over the link
  bool new_connection = false;  // whether connection set-up is part of first_byte
};

// Both are called from a thread of the source, never from inside Start or Cancel, and must not
// block. `on_data` gets the range's bytes in order, exactly the range (a server that answers 200
// with the whole blob is trimmed by the source); false stops the transfer early with kCancelled.
// `on_done` is called exactly once, last.
struct BlobSink {
  std::function<bool(ByteSpan)> on_data;
  std::function<void(const TransferResult&)> on_done;
};

// How urgent a transfer is; decides which connection carries it.
enum class FetchClass { kDemand, kReadahead, kPrefetch, kFill };

class BlobSource {
 public:
  using TransferId = uint64_t;

  virtual ~BlobSource() = default;
  // One attempt: no retry but the refreshing of a token or of a redirect that expired.
  virtual TransferId Start(const BlobRange& range, FetchClass fetch_class, BlobSink sink) = 0;
  // Makes the transfer end soon with kCancelled; no-op when it has ended.
  virtual void Cancel(TransferId transfer) = 0;
  // Bytes of the range were not what their digest says: where there is a choice, the next ones
  // should come from elsewhere.
  virtual void Distrust(const BlobRange& /*range*/) {}
  // Where it reads from, for messages: "registry.example.com/app", "oci:/images/app".
  virtual std::string name() const = 0;
};

}  // namespace layerfs
