// SPDX-License-Identifier: Apache-2.0
// FaultPlan: decides for each exchange whether and how it fails, by the rules of a profile and a
// seed.
// One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "tools/netmodel/network_profile.h"

namespace layerfs {

struct PlannedFault {
  FaultRule::Kind kind;
  uint64_t after_bytes;  // from the server, from the exchange's beginning
  Duration pause;
};

class FaultPlan {
 public:
  explicit FaultPlan(uint64_t seed) : random_(seed) {}
  // The count of exchanges goes on.
  void SetRules(std::vector<FaultRule> rules) { rules_ = std::move(rules); }
  std::optional<PlannedFault> NextExchange();

 private:
  std::vector<FaultRule> rules_;
  std::mt19937_64 random_;
  uint64_t exchanges_ = 0;
};

}  // namespace layerfs
