// SPDX-License-Identifier: Apache-2.0
#include "fetch/base64.h"

#include <array>

namespace layerfs {
namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> MakeValues() {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  for (int i = 0; i < 64; ++i) values[static_cast<uint8_t>(kAlphabet[i])] = static_cast<int8_t>(i);
  return values;
}
constexpr std::array<int8_t, 256> kValues = MakeValues();

}  // namespace

std::string Base64Encode(ByteSpan data) {
  std::string text;
  text.reserve((data.size() + 2) / 3 * 4);
  for (size_t i = 0; i < data.size(); i += 3) {
    const size_t have = std::min<size_t>(3, data.size() - i);
    uint32_t group = uint32_t{data[i]} << 16;
    if (have > 1) group |= uint32_t{data[i + 1]} << 8;
    if (have > 2) group |= data[i + 2];
    text.push_back(kAlphabet[group >> 18]);
    text.push_back(kAlphabet[group >> 12 & 63]);
    text.push_back(have > 1 ? kAlphabet[group >> 6 & 63] : '=');
    text.push_back(have > 2 ? kAlphabet[group & 63] : '=');
  }
  return text;
}

Result<Bytes> Base64Decode(std::string_view text) {
  if (text.size() % 4 != 0) return Fail(ErrorCode::kCorrupt, "base64: not a multiple of 4 letters");
  size_t padding = 0;
  if (text.ends_with("==")) {
    padding = 2;
  } else if (text.ends_with("=")) {
    padding = 1;
  }
  Bytes data;
  data.reserve(text.size() / 4 * 3);
  const size_t letters = text.size() - padding;
  uint32_t group = 0;
  for (size_t i = 0; i < letters; ++i) {
    const int8_t value = kValues[static_cast<uint8_t>(text[i])];
    if (value < 0) {
      return Fail(ErrorCode::kCorrupt, "base64: letter " + std::to_string(i) + " is none");
    }
    group = group << 6 | static_cast<uint8_t>(value);
    // Each letter after a group's first completes one byte.
    static constexpr int kShift[] = {0, 4, 2, 0};
    if (i % 4 != 0) data.push_back(static_cast<uint8_t>(group >> kShift[i % 4]));
  }
  return data;
}

}  // namespace layerfs
