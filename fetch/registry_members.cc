// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_members.h"

#include <algorithm>

#include "index/base/log.h"

namespace layerfs {

std::vector<size_t> RegistryMembers::Order(Purpose purpose, TimePoint now, size_t avoid) {
  std::vector<size_t> order;
  for (size_t i = 0; i < members_.size(); ++i) {
    const RegistryEndpoint& endpoint = members_[i].endpoint;
    if (endpoint.is_registry) {
      order.push_back(i);
      continue;
    }
    const bool able = purpose == Purpose::kTag ? endpoint.resolves_tags : endpoint.serves_digests;
    if (able && own_health_[i].Usable(now) && members_[i].host->health().Usable(now)) {
      order.push_back(i);
    }
  }
  std::stable_partition(order.begin(), order.end(), [&](size_t i) { return i != avoid; });
  return order;
}

void RegistryMembers::NoteSuccess(size_t member) {
  if (members_[member].endpoint.is_registry) return;
  own_health_[member].Succeeded();
  members_[member].host->health().Succeeded();
}

void RegistryMembers::NoteFailure(size_t member, const Error& error, TimePoint now) {
  if (members_[member].endpoint.is_registry || error.code == ErrorCode::kCancelled) return;
  const bool answered = error.code == ErrorCode::kNotFound ||
                        error.code == ErrorCode::kUnauthorized ||
                        error.code == ErrorCode::kPermission;
  RegistryHost& mirror = *members_[member].host;
  const bool news = answered ? own_health_[member].Failed(now) : mirror.health().Failed(now);
  if (news) LogWarning("mirror " + mirror.registry() + " is left out for now: " + error.context);
}

void RegistryMembers::Distrust(size_t member, TimePoint now) {
  if (members_[member].endpoint.is_registry) return;
  RegistryHost& mirror = *members_[member].host;
  mirror.health().Distrust(now);
  LogWarning("mirror " + mirror.registry() +
             " gave bytes that are not what their digest says; it is left out "
             "for a while");
}

}  // namespace layerfs
