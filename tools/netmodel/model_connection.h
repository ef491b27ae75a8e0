// SPDX-License-Identifier: Apache-2.0
// ModelConnection: one connection through the network model: a client's socket, the server's, and
// what is on its way between them in each direction.
// One thread at a time.
//
// Invariants:
//   1. A lane's segments describe exactly the bytes in its store, in order.
//   2. What is due is delivered in order; a lane that has ended takes nothing more.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "index/base/file.h"
#include "tools/netmodel/byte_store.h"
#include "tools/netmodel/fault_plan.h"
#include "tools/netmodel/link_shaper.h"
#include "tools/netmodel/network_statistics.h"
#include "tools/netmodel/request_counter.h"

namespace layerfs {

class ModelConnection {
 public:
  enum Direction { kUp, kDown };   // to the server, to the client
  enum Side { kClient, kServer };  // which socket

  struct Options {
    Duration round_trip;
    size_t window_bytes;  // on its way in one direction, at most
    FaultPlan* faults = nullptr;
    NetworkStatistics* statistics = nullptr;
  };
  // The client's connection was accepted at `now`: what it sends is under way a round trip later,
  // when it would know that it is connected.
  static Result<std::unique_ptr<ModelConnection>> Create(UniqueFd client, UniqueFd server,
                                                         TimePoint now, Options options);

  int socket(Side side) const { return side == kClient ? client_.get() : server_.get(); }
  // What epoll says of one of the sockets.
  void OnEvents(Side side, uint32_t events);

  // Whether the lane has something to put on the link, now or (SendsAt) when.
  bool Sends(Direction direction, TimePoint now) const { return SendsAt(direction) <= now; }
  TimePoint SendsAt(Direction direction) const;
  // Puts at most a quantum of it there.
  void Send(Direction direction, LinkShaper& link, TimePoint now);
  // Hands on what has arrived.
  void Deliver(Direction direction, TimePoint now);
  // When there will be something to hand on.
  TimePoint DeliversAt(Direction direction) const;

  void Reset();
  bool over() const { return over_; }

 private:
  enum class Then { kNothing, kEnd, kReset };
  struct Segment {
    TimePoint arrives;
    size_t bytes;
    Then then;  // after its bytes
  };
  struct Lane {
    std::unique_ptr<ByteStore> store;
    std::deque<Segment> segments;
    bool readable = false;  // as far as is known
    bool writable = false;
    bool full = false;     // until something has left the store
    bool ended = false;    // nothing more comes
    bool over = false;     // and the end has been handed on
    bool discard = false;  // nobody is there to take it
    TimePoint not_before{};
  };
  ModelConnection(UniqueFd client, UniqueFd server, Options options);
  void BeginExchange();
  size_t SendLimit(Direction direction, const LinkShaper& link) const;
  void Account(Direction direction, size_t bytes);
  void CarryOutFault(LinkShaper& link, TimePoint now);
  void EndLane(Direction direction, Then then, LinkShaper& link, TimePoint now);
  // Whether it went out in whole.
  bool HandOn(Direction direction, Segment& segment, TimePoint now);
  void HandOnEnd(Direction direction, Then then);
  void LoseReceiver(Direction direction, TimePoint now);

  UniqueFd client_;
  UniqueFd server_;
  const Options options_;
  BufferStore* up_store_ = nullptr;  // of lanes_[kUp]
  Lane lanes_[2];
  RequestCounter requests_;
  bool server_spoke_ = true;  // since the client last sent
  std::optional<PlannedFault> fault_;
  bool over_ = false;
};

}  // namespace layerfs
