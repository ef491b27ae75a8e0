// SPDX-License-Identifier: Apache-2.0
// IdMap: which owner shows for one on disk, and back: fuse-overlayfs's uidmapping and gidmapping.
// Immutable; thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace layerfs {

class IdMap {
 public:
  struct Range {
    uint32_t on_disk = 0;
    uint32_t shown = 0;
    uint32_t count = 0;
  };
  static constexpr uint32_t kOverflowId = 65534;  // for what is not mapped, as the kernel does

  IdMap() = default;  // Everybody is himself.
  explicit IdMap(std::vector<Range> ranges) : ranges_(std::move(ranges)) {}

  uint32_t ToShown(uint32_t on_disk) const {
    if (ranges_.empty()) return on_disk;
    for (const Range& range : ranges_) {
      if (on_disk - range.on_disk < range.count && on_disk >= range.on_disk) {
        return range.shown + (on_disk - range.on_disk);
      }
    }
    return kOverflowId;
  }
  uint32_t ToDisk(uint32_t shown) const {
    if (ranges_.empty()) return shown;
    for (const Range& range : ranges_) {
      if (shown - range.shown < range.count && shown >= range.shown) {
        return range.on_disk + (shown - range.shown);
      }
    }
    return kOverflowId;
  }

 private:
  std::vector<Range> ranges_;
};

}  // namespace layerfs
