// SPDX-License-Identifier: Apache-2.0
// PartialMap: which pages of a partial file of the container layer its upper file has, and how much
// of the lower file still shows. PartialMaps: the directory of these maps, and the xattr that ties
// an upper file to its map. fs/CONTAINER_LAYER.md describes the bytes.
// Thread-safe.
//
// Invariants:
//   1. A page that is present is read from the upper file. Of a page that is absent, bytes below
//      base_size are the lower file's, bytes from there on the upper file's.
//   2. base_size never grows; pages never become absent.
//   3. Bytes reach the upper file before their page becomes present.
//   4. The upper file does not grow past base_size before a smaller base_size is in the map.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

inline constexpr uint64_t kPartialPageBytes = 4096;

// The lower file that a partial file shows; checked when the map is opened.
struct LowerIdentity {
  uint64_t inode = 0;  // in the image's tree
  uint64_t size = 0;
  bool operator==(const LowerIdentity&) const = default;
};

class PartialMap {
 public:
  struct Run {
    uint64_t first_page = 0;
    uint64_t end_page = 0;  // past the last
    bool present = false;
  };

  ~PartialMap();
  PartialMap(const PartialMap&) = delete;
  PartialMap& operator=(const PartialMap&) = delete;

  const std::string& id() const;
  const LowerIdentity& identity() const;
  // Bytes of the lower file that still show, at most its size.
  uint64_t base_size() const;
  bool IsPresent(uint64_t page) const;
  // The longest run from `page` on of one kind, at most up to `end_page`. Pages that hold nothing
  // of the base are present.
  Run RunAt(uint64_t page, uint64_t end_page) const;
  // Pages below base_size that are absent.
  uint64_t absent_pages() const;

  // After the bytes are in the upper file.
  Status SetPresent(uint64_t first_page, uint64_t end_page);
  // After the upper file was cut to it. A larger one than now changes nothing.
  Status ShrinkBase(uint64_t base_size);
  // Before the upper file grows past base_size: where base_size shrank, that survives a power cut.
  Status SettleBase();
  // What was set so far survives a power cut. After the upper file was synced.
  Status Sync();

 private:
  friend class PartialMaps;
  struct State;
  explicit PartialMap(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class PartialMaps {
 public:
  struct Options {
    // The upper file's xattr that names its map: "trusted.layerfs.partial", "user.layerfs.partial".
    std::string xattr_name;
  };
  // `directory`: DIR/partial, open.
  static Result<std::shared_ptr<PartialMaps>> Open(UniqueFd directory, Options options);

  // Says in `upper_fd`'s xattr that nothing of it is present. The upper file has its size, or less
  // (then LayerFile::Open takes base_size back to that), and no data. Makes no file.
  Status Attach(int upper_fd, const LowerIdentity& lower);
  // The map of an upper file; null where it has none: it is whole. kCorrupt where the map is
  // missing, damaged, or of another lower file. `upper_fd` stays open as long as the map.
  Result<std::shared_ptr<PartialMap>> Load(int upper_fd, const LowerIdentity& lower);
  // The upper file is whole and durable: drops xattr, then map.
  Status Detach(int upper_fd, const PartialMap& map);

  // The id of `upper_fd`'s map, empty where the file is whole; to be removed after the last name of
  // the upper file is gone and nobody has it open. There may be no such map (yet).
  Result<std::string> IdOf(int upper_fd) const;
  Status Remove(const std::string& id);
  // After a crash: removes the maps that no file below `upper_directory_fd` names. Walks all of it.
  Status RemoveOrphans(int upper_directory_fd);

  const std::string& xattr_name() const { return options_.xattr_name; }

 private:
  PartialMaps(UniqueFd directory, Options options);
  std::shared_ptr<const UniqueFd> directory_;
  Options options_;
};

}  // namespace layerfs
