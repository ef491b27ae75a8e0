// SPDX-License-Identifier: Apache-2.0
// Byte spans, overflow-checked arithmetic, and the bounds-checked reader and writer through which
// every stored integer passes. Stored integers are little-endian.
// ByteReader and ByteWriter: one thread at a time.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace layerfs {

static_assert(std::endian::native == std::endian::little, "the index is used as it lies");

using ByteSpan = std::span<const uint8_t>;
using MutableByteSpan = std::span<uint8_t>;
using Bytes = std::vector<uint8_t>;
// One buffer handed to several readers.
using SharedBytes = std::shared_ptr<const Bytes>;

inline ByteSpan AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view AsText(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// a + b or a * b, or nothing where it would overflow.
template <typename T>
[[nodiscard]] std::optional<T> CheckedAdd(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
template <typename T>
[[nodiscard]] std::optional<T> CheckedMul(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// Whether [offset, offset + size) lies in [0, limit).
[[nodiscard]] inline bool RangeFits(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

constexpr uint64_t AlignUp(uint64_t value, uint64_t power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

// Reads little-endian integers from a span. A read past the end yields zero and makes ok() false
// for good, so that a record can be read as a whole and checked once.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan data) : data_(data) {}

  template <typename T>
    requires std::is_integral_v<T>
  T Read() {
    T value{};
    if (!ok_ || data_.size() - position_ < sizeof(T)) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, data_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  ByteSpan ReadSpan(size_t size) {
    if (!ok_ || data_.size() - position_ < size) {
      ok_ = false;
      return {};
    }
    ByteSpan result = data_.subspan(position_, size);
    position_ += size;
    return result;
  }

  void Skip(size_t size) { ReadSpan(size); }
  bool ok() const { return ok_; }
  size_t position() const { return position_; }
  size_t remaining() const { return data_.size() - position_; }

 private:
  ByteSpan data_;
  size_t position_ = 0;
  bool ok_ = true;
};

// Appends little-endian integers to a buffer that it owns.
class ByteWriter {
 public:
  template <typename T>
    requires std::is_integral_v<T>
  void Write(T value) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
  }
  void WriteSpan(ByteSpan span) { bytes_.insert(bytes_.end(), span.begin(), span.end()); }
  void PadTo(uint64_t alignment) { bytes_.resize(AlignUp(bytes_.size(), alignment)); }

  size_t size() const { return bytes_.size(); }
  const Bytes& bytes() const { return bytes_; }
  Bytes Take() && { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

}  // namespace layerfs
