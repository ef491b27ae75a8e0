// SPDX-License-Identifier: Apache-2.0
// Paths as archives spell them: cleaning, checking and quoting. Names are bytes, of no encoding.
// Thread-safe: functions only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

inline constexpr size_t kMaxNameBytes = 255;  // NAME_MAX (linux/limits.h)
// In an entry's name it stands before the name of what a layer deletes (image-spec layer.md).
inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
// What symlink(2) and link(2) take at most: PATH_MAX with the NUL that ends it.
inline constexpr size_t kMaxLinkTargetBytes = 4095;

// "/./a//b/" → {a, b}; empty for the root. The views are into `path`. kCorrupt for "..", a NUL or a
// component longer than kMaxNameBytes, which a whiteout's last one is without its prefix: an
// entry's place must be plain to see.
Result<std::vector<std::string_view>> SplitEntryPath(std::string_view path);

// A hard link's target, which cannot do harm: ".." is resolved by the letters and ends at the root,
// as containerd's and umoci's cleaning does. kCorrupt for a NUL or a component that is too long.
Result<std::vector<std::string_view>> SplitLinkTarget(std::string_view target);

std::string JoinPath(const std::vector<std::string_view>& components);

// In single quotes, with \xNN for what could upset a terminal or a log.
std::string Quoted(std::string_view bytes);

}  // namespace layerfs
