// SPDX-License-Identifier: Apache-2.0
// TransferLog: a BlobSink that keeps what it gets, and waits for the end.
// Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "fetch/blob_source.h"
#include "index/base/synchronized.h"

namespace layerfs {

class TransferLog {
 public:
  // Stops the transfer once so many bytes have come; 0: never.
  explicit TransferLog(uint64_t stop_after = 0) : stop_after_(stop_after) {}

  BlobSink Sink() {
    return {.on_data =
                [this](ByteSpan data) {
                  return state_.With([&](State& state) {
                    state.bytes += AsText(data);
                    return stop_after_ == 0 || state.bytes.size() < stop_after_;
                  });
                },
            .on_done =
                [this](const TransferResult& result) {
                  state_.WithNotify([&](State& state) {
                    state.result = result;
                    ++state.done;
                  });
                }};
  }
  const TransferResult& Wait() {
    return state_.WaitThen([](State& state) { return state.done > 0; },
                           [](State& state) -> const TransferResult& { return state.result; });
  }
  std::string bytes() const {
    return state_.With([](const State& state) { return state.bytes; });
  }
  int done_calls() const {
    return state_.With([](const State& state) { return state.done; });
  }

 private:
  struct State {
    std::string bytes;
    TransferResult result;
    int done = 0;
  };
  const uint64_t stop_after_;
  Synchronized<State> state_;
};

// One range, waited for.
inline TransferResult FetchRange(BlobSource& source, const BlobRange& range, std::string* bytes) {
  TransferLog log;
  source.Start(range, FetchClass::kDemand, log.Sink());
  const TransferResult result = log.Wait();
  *bytes = log.bytes();
  return result;
}

}  // namespace layerfs
