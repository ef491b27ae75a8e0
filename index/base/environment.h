// SPDX-License-Identifier: Apache-2.0
// Variables of this process's environment. Thread-safe as long as nobody sets one.
#pragma once

#include <optional>
#include <string>

namespace layerfs {

// Nothing where it is not set, or empty.
std::optional<std::string> Environment(const char* name);

}  // namespace layerfs
