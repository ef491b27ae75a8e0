// SPDX-License-Identifier: Apache-2.0
// LargeBuffer: zeroed memory for what may be megabytes, in huge pages where the kernel gives them
// on request (madvise(2), MADV_HUGEPAGE). Ordinary pages come by a fault each, and where a
// hypervisor shadows the page tables both the program's first touch and the kernel's cost one:
// filling 4 MiB and writing them to a file took 12 ms there, in huge pages 1.3 ms. A buffer takes
// whole huge pages: it is for what is filled and soon given back.
// One thread at a time.
#pragma once

#include <cstddef>

#include "index/base/bytes.h"

namespace layerfs {

class LargeBuffer {
 public:
  LargeBuffer() = default;
  // Throws std::bad_alloc, as a vector does. Below half a megabyte it is ordinary memory.
  explicit LargeBuffer(size_t size);
  ~LargeBuffer();
  LargeBuffer(LargeBuffer&& other) noexcept;
  LargeBuffer& operator=(LargeBuffer&& other) noexcept;

  uint8_t* data() { return memory_; }
  const uint8_t* data() const { return memory_; }
  size_t size() const { return size_; }
  // Both are what a vector's would be: views of all of it.
  operator ByteSpan() const { return {data(), size_}; }
  operator MutableByteSpan() { return {data(), size_}; }

 private:
  uint8_t* memory_ = nullptr;
  size_t size_ = 0;
};

}  // namespace layerfs
