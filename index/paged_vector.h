// SPDX-License-Identifier: Apache-2.0
// PagedVector: an array that grows without moving what it holds, in pages large enough for the C
// library to map each by itself (tools/cmd_convert.cc): its memory goes back when it goes.
// One thread at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace layerfs {

template <typename T>
class PagedVector {
 public:
  size_t size() const { return size_; }
  T& operator[](size_t position) { return pages_[position / kPage][position % kPage]; }
  const T& operator[](size_t position) const { return pages_[position / kPage][position % kPage]; }
  void Add(const T& value) {
    if (size_ == pages_.size() * kPage) pages_.push_back(std::make_unique<T[]>(kPage));
    (*this)[size_++] = value;
  }
  void Clear() { *this = PagedVector(); }

 private:
  static constexpr size_t kPage = 4096;
  std::vector<std::unique_ptr<T[]>> pages_;
  size_t size_ = 0;
};

}  // namespace layerfs
