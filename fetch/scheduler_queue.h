// SPDX-License-Identifier: Apache-2.0
// FlightQueue: the flights that wait to be sent over one link, by urgency and age, and by place in
// their blob so that neighbours find each other.
// One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "fetch/scheduler_flight.h"

namespace layerfs {

// What a joined request may grow to.
struct JoinLimits {
  uint64_t total_bytes = 0;  // of the range; the first flight is taken whatever its size
  uint64_t gap_bytes = 0;    // a gap that is cheaper to fetch than to step over
  uint64_t low_bytes = 0;    // of flights below demand
};

class FlightQueue {
 public:
  void Add(const FlightPointer& flight);
  void Remove(Flight& flight);
  // Changes the class of a queued flight.
  void Reclass(const FlightPointer& flight, FetchClass fetch_class);
  bool empty() const { return order_.empty(); }
  size_t size() const { return order_.size(); }
  // The most urgent, oldest.
  FlightPointer Head() const;
  // Takes the head out, and with it those neighbours in its blob that fit the limits: after it of
  // any class (they arrive behind it and keep it from nothing), before it of its own or a more
  // urgent class. In the order of the blob.
  std::vector<FlightPointer> TakeJoined(const JoinLimits& limits);

 private:
  using Order = std::tuple<FetchClass, uint64_t, Flight*>;
  using ByOffset = std::multimap<uint64_t, FlightPointer>;
  struct Joining;
  static Order OrderOf(Flight& flight);
  void JoinAfter(const ByOffset& places, Joining& joining) const;
  void JoinBefore(const ByOffset& places, Joining& joining) const;

  std::set<Order> order_;
  std::unordered_map<Digest, ByOffset> places_;
};

}  // namespace layerfs
