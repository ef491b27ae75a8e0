// SPDX-License-Identifier: Apache-2.0
// RegistryMembers: the places that one repository can be read from, and which
// of them to ask next. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fetch/endpoint_health.h"
#include "fetch/registry_context.h"

namespace layerfs {

class RegistryMembers {
 public:
  enum class Purpose { kTag, kDigest };
  explicit RegistryMembers(std::vector<RegistryContext::Member> members)
      : members_(std::move(members)), own_health_(members_.size()) {}

  size_t size() const { return members_.size(); }
  RegistryHost& host(size_t member) const { return *members_[member].host; }
  bool takes_pushes(size_t member) const { return members_[member].endpoint.takes_pushes(); }
  bool is_mirror(size_t member) const { return !members_[member].endpoint.is_registry; }
  const std::string& repository(size_t member) const {
    return members_[member].endpoint.repository;
  }
  // The members that are worth asking, best first; the registry is always among
  // them, last. `avoid`: one to go behind the others (a member that is slow at
  // this moment).
  std::vector<size_t> Order(Purpose purpose, TimePoint now, size_t avoid = SIZE_MAX);

  void NoteSuccess(size_t member);
  // What the error says of the member: that it cannot be reached or is in
  // trouble, or only that it does not have this repository.
  void NoteFailure(size_t member, const Error& error, TimePoint now);
  void Distrust(size_t member, TimePoint now);

 private:
  const std::vector<RegistryContext::Member> members_;
  std::vector<EndpointHealth> own_health_;  // for this repository
};

}  // namespace layerfs
