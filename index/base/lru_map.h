// SPDX-License-Identifier: Apache-2.0
// LruMap: a map of bounded size that forgets what was used longest ago.
// One thread at a time: keep it under a Synchronized.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <utility>

namespace layerfs {

template <typename Key, typename Value, typename Hash = std::hash<Key>>
class LruMap {
 public:
  explicit LruMap(size_t capacity) : capacity_(capacity) {}

  // Null where it is not there; the pointer holds until the next call.
  Value* Find(const Key& key) {
    const auto it = places_.find(key);
    if (it == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return &it->second->second;
  }

  // Adds or replaces.
  Value& Put(const Key& key, Value value) {
    if (Value* known = Find(key)) {
      *known = std::move(value);
      return *known;
    }
    entries_.emplace_front(key, std::move(value));
    places_[key] = entries_.begin();
    if (entries_.size() > capacity_) {
      places_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return entries_.front().second;
  }

  void Erase(const Key& key) {
    const auto it = places_.find(key);
    if (it == places_.end()) return;
    entries_.erase(it->second);
    places_.erase(it);
  }

  void Clear() {
    places_.clear();
    entries_.clear();
  }

  // Calls visit(key, value) for each, the most recently used first; no use of any.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (const auto& [key, value] : entries_) visit(key, value);
  }

  size_t size() const { return entries_.size(); }

 private:
  using Entries = std::list<std::pair<Key, Value>>;
  const size_t capacity_;
  Entries entries_;  // the front is the most recently used
  std::unordered_map<Key, typename Entries::iterator, Hash> places_;
};

}  // namespace layerfs
