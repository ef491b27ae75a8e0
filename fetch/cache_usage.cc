// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_usage.h"

#include <fcntl.h>

#include <algorithm>

namespace layerfs {
namespace {

constexpr char kUsageName[] = "usage";
constexpr int64_t kMostPlausible = int64_t{1} << 60;

int64_t ReadTotal(int fd) {
  uint8_t raw[sizeof(int64_t)];
  if (!ReadFullAt(fd, 0, raw).has_value()) return -1;
  const auto total = ByteReader(raw).Read<int64_t>();
  return total <= kMostPlausible ? total : -1;
}

// A failure leaves the old total, which the next scan puts right.
void WriteTotal(int fd, int64_t total) {
  ByteWriter raw;
  raw.Write(total);
  static_cast<void>(WriteFullAt(fd, 0, raw.bytes()));
}

}  // namespace

CacheUsage::~CacheUsage() { Flush(); }

int64_t CacheUsage::Add(int64_t bytes) {
  const int64_t pending = pending_.fetch_add(bytes) + bytes;
  if (pending >= kBatchBytes || pending <= -kBatchBytes) return Flush();
  return total_.load() + pending;
}

int64_t CacheUsage::Flush() {
  if (directory_.read_only()) return total_.load();
  const std::lock_guard lock(mutex_);
  const int64_t pending = pending_.exchange(0);
  Result<UniqueFd> file = directory_.OpenAt(kUsageName, O_RDWR | O_CREAT);
  if (!file.has_value()) return total_.load();
  const ScopedRangeLock among_processes(directory_.lock_fd(), cache_lock::kUsage);
  const int64_t before = ReadTotal(file->get());
  if (before < 0 && pending == 0) return total_.load();
  const int64_t total = std::max<int64_t>(0, std::max<int64_t>(0, before) + pending);
  if (pending != 0) WriteTotal(file->get(), total);
  total_.store(total);
  return total;
}

void CacheUsage::Set(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  pending_.store(0);
  total_.store(bytes);
  Result<UniqueFd> file = directory_.OpenAt(kUsageName, O_RDWR | O_CREAT);
  if (!file.has_value()) return;
  const ScopedRangeLock among_processes(directory_.lock_fd(), cache_lock::kUsage);
  WriteTotal(file->get(), bytes);
}

int64_t CacheUsage::Load() {
  Result<UniqueFd> file = directory_.OpenAt(kUsageName, O_RDONLY);
  const int64_t total = file.has_value() ? ReadTotal(file->get()) : -1;
  if (total >= 0) total_.store(total);
  return total;
}

}  // namespace layerfs
