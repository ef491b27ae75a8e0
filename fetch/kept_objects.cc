// SPDX-License-Identifier: Apache-2.0
#include "fetch/kept_objects.h"

#include <ctime>
#include <utility>
#include <vector>

#include "fetch/cache_directory.h"

namespace layerfs {
namespace {

// The clock that the kernel takes files' times from.
int64_t FileClockNs() {
  struct timespec now;
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

std::shared_ptr<CachedObject> KeptObjects::Find(const ObjectId& id) {
  const int64_t now_ns = FileClockNs();
  return kept_.With([&](Kept& kept) -> std::shared_ptr<CachedObject> {
    Entry* const found = kept.Find(id.digest);
    if (found == nullptr || found->object->id() != id) return nullptr;
    found->used_ns = now_ns;
    return found->object;
  });
}

void KeptObjects::Put(std::shared_ptr<CachedObject> object) {
  const Digest digest = object->id().digest;
  Entry entry{std::move(object), FileClockNs()};
  kept_.With([&](Kept& kept) { kept.Put(digest, std::move(entry)); });
}

void KeptObjects::LetGo(const Digest& object) {
  // Its file is closed without the lock.
  std::shared_ptr<CachedObject> last;
  kept_.With([&](Kept& kept) {
    Entry* const found = kept.Find(object);
    if (found == nullptr) return;
    last = std::move(found->object);
    kept.Erase(object);
  });
}

void KeptObjects::Clear() {
  std::vector<std::shared_ptr<CachedObject>> last;
  kept_.With([&](Kept& kept) {
    last.reserve(kept.size());
    kept.ForEach([&](const Digest&, const Entry& entry) { last.push_back(entry.object); });
    kept.Clear();
  });
}

std::unordered_map<Digest, KeptObjects::Use> KeptObjects::Uses() const {
  std::vector<std::pair<ObjectId, int64_t>> all;
  kept_.With([&](const Kept& kept) {
    all.reserve(kept.size());
    kept.ForEach([&](const Digest&, const Entry& entry) {
      all.emplace_back(entry.object->id(), entry.used_ns);
    });
  });
  std::unordered_map<Digest, Use> uses;
  for (const auto& [id, used_ns] : all) {
    uses[id.digest] = {id.digest, used_ns};
    uses[PartialObjectKey(id)] = {id.digest, used_ns};
  }
  return uses;
}

}  // namespace layerfs
