// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/fault_plan.h"

namespace layerfs {

std::optional<PlannedFault> FaultPlan::NextExchange() {
  ++exchanges_;
  for (const FaultRule& rule : rules_) {
    if (rule.exchange != 0) {
      if (rule.exchange == exchanges_) return PlannedFault{rule.kind, rule.after_bytes, rule.pause};
      continue;
    }
    std::uniform_real_distribution<double> share(0, 1);
    if (share(random_) >= rule.share) continue;
    std::uniform_int_distribution<uint64_t> bytes(0, rule.after_bytes);
    return PlannedFault{rule.kind, bytes(random_), rule.pause};
  }
  return std::nullopt;
}

}  // namespace layerfs
