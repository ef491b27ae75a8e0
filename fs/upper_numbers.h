// SPDX-License-Identifier: Apache-2.0
// UpperNumbers: the inode numbers that upper objects show in this mount where nothing on the disk
// says so for certain: a user cannot mark a symbolic link, and who may not ask for an object by its
// file handle sees what it was copied up from only as long as it has the name it has below. A name
// may change, the number may not: the kernel knows the object by it.
// Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "index/base/synchronized.h"

namespace layerfs {

class UpperNumbers {
 public:
  // `key` stands for the upper object, for one at a time.
  void Put(uint64_t key, uint64_t number) {
    numbers_.With([&](auto& numbers) { numbers[key] = number; });
  }
  // Its last name is about to go: its key may be another's afterwards.
  void Erase(uint64_t key) {
    numbers_.With([&](auto& numbers) { numbers.erase(key); });
  }
  std::optional<uint64_t> Find(uint64_t key) const {
    return numbers_.With([&](const auto& numbers) -> std::optional<uint64_t> {
      const auto found = numbers.find(key);
      return found == numbers.end() ? std::nullopt : std::optional(found->second);
    });
  }

 private:
  Synchronized<std::unordered_map<uint64_t, uint64_t>> numbers_;
};

}  // namespace layerfs
