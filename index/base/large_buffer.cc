// SPDX-License-Identifier: Apache-2.0
#include "index/base/large_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace layerfs {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kLeastMapped = size_t{512} << 10;

bool IsMapped(size_t size) { return size >= kLeastMapped; }
size_t MappedBytes(size_t size) {
  if (size > SIZE_MAX - 2 * kHugePageBytes) throw std::bad_alloc();
  return AlignUp(size, kHugePageBytes);
}

// `size` bytes that begin at a multiple of the huge page, both of which the kernel wants.
uint8_t* MapAligned(size_t size) {
  const size_t room = size + kHugePageBytes;
  void* const mapped =
      ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* const begin = static_cast<uint8_t*>(mapped);
  const size_t before = AlignUp(reinterpret_cast<uintptr_t>(begin), kHugePageBytes) -
                        reinterpret_cast<uintptr_t>(begin);
  if (before > 0) ::munmap(begin, before);
  ::munmap(begin + before + size, kHugePageBytes - before);
  ::madvise(begin + before, size, MADV_HUGEPAGE);
  return begin + before;
}

}  // namespace

LargeBuffer::LargeBuffer(size_t size) : size_(size) {
  if (IsMapped(size)) {
    memory_ = MapAligned(MappedBytes(size));
    return;
  }
  memory_ = static_cast<uint8_t*>(std::calloc(size, 1));
  if (memory_ == nullptr && size > 0) throw std::bad_alloc();
}

LargeBuffer::~LargeBuffer() {
  if (IsMapped(size_)) {
    ::munmap(memory_, MappedBytes(size_));
  } else {
    std::free(memory_);
  }
}

LargeBuffer::LargeBuffer(LargeBuffer&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), size_(std::exchange(other.size_, 0)) {}

LargeBuffer& LargeBuffer::operator=(LargeBuffer&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace layerfs
