// SPDX-License-Identifier: Apache-2.0
// NetworkModel: a TCP proxy on loopback that behaves like a network: a round trip's time, a
// bandwidth that all connections share in each direction, connections that cost a round trip to
// set up and that break or stall. What TLS costs comes by itself. It is how layerfs measures itself
// on links that are not there, and how its tests have accidents.
// Not modelled: TCP's slow start and the loss of single packets.
// Thread-safe. One thread of its own ("lf-netmodel").
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "index/base/error.h"
#include "tools/netmodel/network_profile.h"
#include "tools/netmodel/network_statistics.h"

namespace layerfs {

class NetworkModel {
 public:
  static Result<std::unique_ptr<NetworkModel>> Start(NetworkProfile profile, uint64_t seed = 1);
  ~NetworkModel();
  NetworkModel(const NetworkModel&) = delete;
  NetworkModel& operator=(const NetworkModel&) = delete;

  // A server behind the network: "HOST:PORT" or "unix:PATH". Returns the port on 127.0.0.1 at which
  // it is reached from now on (`port`, or a free one).
  Result<int> AddUpstream(const std::string& target, int port = 0);

  // From now on; connections that are open go on with their set-up.
  void SetProfile(NetworkProfile profile);
  enum class Reach {
    kUp,
    kRefused,  // connections are refused, those that were open are broken
    kSilent,   // nothing moves any more
  };
  void SetReach(Reach reach);
  void BreakConnections();

  NetworkStatistics Statistics() const;
  void ResetStatistics();

 private:
  class Loop;
  explicit NetworkModel(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace layerfs
