// SPDX-License-Identifier: Apache-2.0
#include "fetch/scheduler_queue.h"

#include <algorithm>

namespace layerfs {
namespace {

// Gaps are at most this part of what is wanted of a range, however cheap the link makes them.
constexpr uint64_t kWantedPerGap = 2;

bool IsLow(const Flight& flight) { return flight.fetch_class != FetchClass::kDemand; }

}  // namespace

struct FlightQueue::Joining {
  const JoinLimits& limits;
  FetchClass head_class;
  std::vector<FlightPointer> taken;
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t wanted = 0;
  uint64_t low = 0;

  // Whether `flight`, with `gap` bytes between it and the range, may join.
  bool Fits(const Flight& flight, uint64_t gap) const {
    const uint64_t stored = flight.chunk.stored_size;
    const uint64_t gaps = (end - begin) - wanted + gap;
    return gap <= limits.gap_bytes && gaps <= (wanted + stored) / kWantedPerGap &&
           (end - begin) + gap + stored <= limits.total_bytes &&
           (!IsLow(flight) || low + stored <= limits.low_bytes);
  }
  void Take(const FlightPointer& flight) {
    taken.push_back(flight);
    begin = std::min(begin, flight->begin());
    end = std::max(end, flight->end());
    wanted += flight->chunk.stored_size;
    if (IsLow(*flight)) low += flight->chunk.stored_size;
  }
};

FlightQueue::Order FlightQueue::OrderOf(Flight& flight) {
  return {flight.fetch_class, flight.sequence, &flight};
}

void FlightQueue::Add(const FlightPointer& flight) {
  if (flight->queued) return;
  flight->queued = true;
  order_.insert(OrderOf(*flight));
  places_[flight->blob->digest].emplace(flight->begin(), flight);
}

void FlightQueue::Remove(Flight& flight) {
  if (!flight.queued) return;
  flight.queued = false;
  order_.erase(OrderOf(flight));
  const auto places = places_.find(flight.blob->digest);
  if (places == places_.end()) return;
  const auto [first, last] = places->second.equal_range(flight.begin());
  const auto place =
      std::find_if(first, last, [&](const auto& entry) { return entry.second.get() == &flight; });
  if (place != last) places->second.erase(place);
  if (places->second.empty()) places_.erase(places);
}

void FlightQueue::Reclass(const FlightPointer& flight, FetchClass fetch_class) {
  if (flight->queued) order_.erase(OrderOf(*flight));
  flight->fetch_class = fetch_class;
  if (flight->queued) order_.insert(OrderOf(*flight));
}

FlightPointer FlightQueue::Head() const {
  if (order_.empty()) return nullptr;
  Flight* head = std::get<Flight*>(*order_.begin());
  const auto [first, last] = places_.at(head->blob->digest).equal_range(head->begin());
  return std::find_if(first, last, [&](const auto& entry) { return entry.second.get() == head; })
      ->second;
}

void FlightQueue::JoinAfter(const ByOffset& places, Joining& joining) const {
  for (auto next = places.lower_bound(joining.end); next != places.end(); ++next) {
    if (next->first < joining.end) continue;  // Overlaps what has just been taken.
    if (!joining.Fits(*next->second, next->first - joining.end)) return;
    joining.Take(next->second);
  }
}

void FlightQueue::JoinBefore(const ByOffset& places, Joining& joining) const {
  auto place = places.lower_bound(joining.begin);
  while (place != places.begin()) {
    --place;
    const Flight& before = *place->second;
    if (before.end() > joining.begin) continue;
    if (before.fetch_class > joining.head_class ||
        !joining.Fits(before, joining.begin - before.end())) {
      return;
    }
    joining.Take(place->second);
  }
}

std::vector<FlightPointer> FlightQueue::TakeJoined(const JoinLimits& limits) {
  const FlightPointer head = Head();
  if (head == nullptr) return {};
  Joining joining{limits, head->fetch_class, {}, head->begin(), head->begin(), 0, 0};
  joining.Take(head);
  const ByOffset& places = places_.at(head->blob->digest);
  JoinBefore(places, joining);
  JoinAfter(places, joining);
  for (const FlightPointer& flight : joining.taken) Remove(*flight);
  std::sort(joining.taken.begin(), joining.taken.end(),
            [](const auto& a, const auto& b) { return a->begin() < b->begin(); });
  return std::move(joining.taken);
}

}  // namespace layerfs
