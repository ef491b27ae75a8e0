// SPDX-License-Identifier: Apache-2.0
#include "tools/build_time.h"

#include <charconv>
#include <cstdlib>
#include <ctime>
#include <string_view>

namespace layerfs {

Result<int64_t> BuildTimeSeconds() {
  const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");
  if (epoch == nullptr) return static_cast<int64_t>(std::time(nullptr));
  const std::string_view text = epoch;
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < 0 ||
      seconds > kLastSecond) {
    return Fail(ErrorCode::kInvalidArgument,
                "SOURCE_DATE_EPOCH: is no number of seconds before the year 10000");
  }
  return seconds;
}

}  // namespace layerfs
