// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_claims.h"

#include <algorithm>
#include <cstring>

namespace layerfs {
namespace {

// 2^28 pages of 4 KiB each: the 1 TiB that an object may have; 2^34 objects fill the upper half of
// what a signed file offset can name.
constexpr int kPageBits = 28;
constexpr int kObjectBits = 34;

uint64_t FirstByteOf(const Digest& object) {
  uint64_t bits;
  std::memcpy(&bits, object.bytes.data(), sizeof bits);
  return cache_lock::kClaims + ((bits >> (64 - kObjectBits)) << kPageBits);
}

LockRange RangeOf(const Digest& object, uint64_t offset, uint64_t size) {
  const uint64_t first = offset / kCachePageBytes;
  const uint64_t end = AlignUp(offset + size, kCachePageBytes) / kCachePageBytes;
  return {FirstByteOf(object) + first, std::max<uint64_t>(1, end - first)};
}

bool Overlap(const LockRange& a, const LockRange& b) {
  return a.start < b.start + b.size && b.start < a.start + a.size;
}

}  // namespace

bool CacheClaims::TryClaim(const Digest& object, uint64_t offset, uint64_t size) {
  if (directory_.lock_fd() < 0) return true;
  const LockRange range = RangeOf(object, offset, size);
  return held_.With([&](auto& held) {
    std::vector<LockRange>& ranges = held[FirstByteOf(object)];
    const bool taken = std::any_of(ranges.begin(), ranges.end(),
                                   [&](const LockRange& other) { return Overlap(range, other); });
    if (taken) return false;
    const Result<bool> locked = TryLockRange(directory_.lock_fd(), range, LockKind::kExclusive);
    if (!locked.value_or(true)) {
      if (ranges.empty()) held.erase(FirstByteOf(object));
      return false;
    }
    ranges.push_back(range);
    return true;
  });
}

void CacheClaims::Unclaim(const Digest& object, uint64_t offset, uint64_t size) {
  if (directory_.lock_fd() < 0) return;
  const LockRange range = RangeOf(object, offset, size);
  held_.With([&](auto& held) {
    const auto entry = held.find(FirstByteOf(object));
    if (entry == held.end()) return;
    std::vector<LockRange>& ranges = entry->second;
    const auto found = std::find_if(ranges.begin(), ranges.end(), [&](const LockRange& other) {
      return other.start == range.start && other.size == range.size;
    });
    if (found == ranges.end()) return;
    ranges.erase(found);
    if (ranges.empty()) held.erase(entry);
    UnlockRange(directory_.lock_fd(), range);
  });
}

}  // namespace layerfs
