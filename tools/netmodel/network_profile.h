// SPDX-License-Identifier: Apache-2.0
// NetworkProfile: what a modelled network is like, and how it is written down: "wan",
// "30ms,100Mbit", "bad,break:2%". FaultRule: what goes wrong in it.
// Values only: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fetch/clock.h"
#include "index/base/error.h"

namespace layerfs {

// An exchange begins when the client sends after the server has sent, or first: with HTTP/1.1, one
// request and its answer. It is what a fault hits, whatever is inside (TLS too).
struct FaultRule {
  enum class Kind {
    kBreak,     // reset, both ways
    kTruncate,  // an orderly end of the connection, too early
    kStall,     // says nothing for `pause`, then goes on
  };
  Kind kind = Kind::kBreak;
  double share = 0;       // of the exchanges, or
  uint64_t exchange = 0;  // this one of all the model's, counted from 1
  // After so many bytes from the server; a share's fault comes at some point before that. What is
  // not reached in one exchange is reached in the next of the same connection.
  uint64_t after_bytes = 256 * 1024;
  Duration pause = std::chrono::seconds(5);
};

struct NetworkProfile {
  std::string name;
  Duration round_trip{0};
  double bytes_per_second = 0;  // each direction, shared by all connections; 0: not shaped
  std::vector<FaultRule> faults;
};

// lan, cloud, wan, bad: the links that layerfs is measured on.
const std::vector<NetworkProfile>& NetworkProfiles();

// PROFILE or RTT,RATE; then faults, each behind a comma:
//   30ms,100Mbit          (rates: kbit, Mbit, Gbit; 0 or "unshaped": not shaped)
//   bad,break:2%          2 % of the exchanges break
//   wan,stall:1%:5s       1 % say nothing for 5 s
//   wan,break@7           the 7th exchange breaks as the answer begins
//   wan,truncate@7+4096   and this one ends orderly after 4096 bytes
Result<NetworkProfile> ParseNetworkProfile(std::string_view text);

}  // namespace layerfs
