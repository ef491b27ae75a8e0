// SPDX-License-Identifier: Apache-2.0
// LayoutBlobSource: ranges of an OCI layout's blobs, read by a small pool of threads of its own, so
// that a slow disk never holds up who asks.
// Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "fetch/blob_source.h"
#include "fetch/oci_layout.h"
#include "index/base/synchronized.h"
#include "index/base/thread_pool.h"

namespace layerfs {

class LayoutBlobSource : public BlobSource {
 public:
  explicit LayoutBlobSource(OciLayout layout);
  // Running transfers end with kCancelled before it returns.
  ~LayoutBlobSource() override;

  TransferId Start(const BlobRange& range, FetchClass fetch_class, BlobSink sink) override;
  void Cancel(TransferId transfer) override;
  std::string name() const override { return "oci:" + layout_.directory(); }

 private:
  struct Transfer {
    BlobRange range;
    BlobSink sink;
    std::atomic<bool> cancelled{false};
  };
  struct State {
    TransferId next_id = 1;
    std::map<TransferId, std::shared_ptr<Transfer>> transfers;
  };
  void Run(TransferId id, Transfer& transfer);
  Status Deliver(Transfer& transfer, TransferResult& result) const;

  const OciLayout layout_;
  Synchronized<State> state_;
  ThreadPool pool_;
};

}  // namespace layerfs
