// SPDX-License-Identifier: Apache-2.0
// SimulatedLink: a BlobSource over a link that is modelled in real time: a round trip before the
// first byte of an answer, a bandwidth that all answers share equally, and connections that break.
// It stands for the network where the scheduler is measured by itself.
// Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "fetch/blob_source.h"
#include "fetch/clock.h"
#include "index/base/bytes.h"
#include "index/base/synchronized.h"

namespace layerfs {

struct LinkProfile {
  std::string name;
  Duration round_trip;
  double bytes_per_second = 0;
  double broken_share = 0;  // of the transfers, cut at some point
};

// The profiles of the project's network model.
const std::vector<LinkProfile>& LinkProfiles();

class SimulatedLink final : public BlobSource {
 public:
  SimulatedLink(LinkProfile profile, std::shared_ptr<const Bytes> blob);
  ~SimulatedLink() override;

  TransferId Start(const BlobRange& range, FetchClass fetch_class, BlobSink sink) override;
  void Cancel(TransferId transfer) override;
  std::string name() const override { return "simulated:" + profile_.name; }
  uint64_t sent_bytes() const { return sent_.load(); }

 private:
  struct Transfer {
    BlobRange range;
    BlobSink sink;
    TimePoint started;
    TimePoint first_byte_at;
    uint64_t sent = 0;
    uint64_t breaks_at = ~uint64_t{0};
    bool cancelled = false;
  };
  struct State {
    std::map<TransferId, std::shared_ptr<Transfer>> transfers;
    TransferId next = 1;
    std::mt19937_64 random{1};
  };
  void Run(const std::stop_token& stop);
  // Sends what the link carries in `elapsed`.
  void Step(Duration elapsed);
  bool Send(Transfer& transfer, uint64_t bytes);
  void End(TransferId id, Transfer& transfer, Status status);

  const LinkProfile profile_;
  const std::shared_ptr<const Bytes> blob_;
  std::atomic<uint64_t> sent_{0};
  double credit_ = 0;  // of the link's thread: bytes that it may send
  Synchronized<State> state_;
  std::jthread thread_;
};

}  // namespace layerfs
