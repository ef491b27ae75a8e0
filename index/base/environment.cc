// SPDX-License-Identifier: Apache-2.0
#include "index/base/environment.h"

#include <cstdlib>

namespace layerfs {

std::optional<std::string> Environment(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

}  // namespace layerfs
