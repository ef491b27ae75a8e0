// SPDX-License-Identifier: Apache-2.0
// "Did you mean …?": the known word nearest to a mistyped one.
// Thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace layerfs {

// The number of insertions, deletions, replacements and swaps of neighbours between two words
// (optimal string alignment).
size_t EditDistance(std::string_view a, std::string_view b);

// The nearest of `known` when it is near enough to be meant: at most a third of the word's length
// away, and at least one letter.
std::optional<std::string> Suggest(std::string_view word, std::span<const std::string> known);

}  // namespace layerfs
