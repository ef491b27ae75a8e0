// SPDX-License-Identifier: Apache-2.0
// NetworkStatistics: what passed through the network model.
// Values only: thread-safe.
#pragma once

#include <cstdint>

#include "fetch/clock.h"

namespace layerfs {

struct NetworkStatistics {
  uint64_t connections = 0;
  uint64_t open = 0;        // of them, now
  uint64_t requests = 0;    // seen in plain HTTP/1.1
  uint64_t exchanges = 0;   // times that a client sent after the server had
  uint64_t up_bytes = 0;    // that arrived at the servers, and
  uint64_t down_bytes = 0;  // at the clients
  uint64_t broken = 0;      // connections that were broken, ended early or
  uint64_t stalled = 0;     // held up by a fault
  TimePoint first_byte{};   // when the first and the last byte arrived at a client
  TimePoint last_byte{};
};

}  // namespace layerfs
