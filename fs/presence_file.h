// SPDX-License-Identifier: Apache-2.0
// PresenceFile: the file in which a PartialMap lies; the only place that knows its bytes
// (fs/CONTAINER_LAYER.md, "Presence maps").
// Reading (Word) is thread-safe; changes are one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fs/partial_map.h"
#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class PresenceFile {
 public:
  static constexpr uint64_t kWordPages = 64;
  // The largest file of ext4; its map has 512 MiB, sparse.
  static constexpr uint64_t kMaxLowerBytes = uint64_t{16} << 40;

  // Nothing is present. It is on the disk when this returns, with its name.
  static Result<std::unique_ptr<PresenceFile>> Create(int directory_fd, const std::string& id,
                                                      const LowerIdentity& lower,
                                                      uint64_t base_size);
  // kCorrupt where it is missing, damaged, or of another lower file.
  static Result<std::unique_ptr<PresenceFile>> Open(int directory_fd, const std::string& id,
                                                    const LowerIdentity& lower);
  ~PresenceFile();
  PresenceFile(const PresenceFile&) = delete;
  PresenceFile& operator=(const PresenceFile&) = delete;

  // As it was when it was opened.
  uint64_t base_size() const { return base_size_; }
  // The bits of pages [64 * index, 64 * index + 64), which begin inside the lower file.
  uint64_t Word(uint64_t index) const;
  Status SetPresent(uint64_t first_page, uint64_t end_page);
  Status SetBase(uint64_t base_size);
  Status Sync();

 private:
  PresenceFile(std::string name, UniqueFd file) : name_(std::move(name)), file_(std::move(file)) {}
  Status Map(uint64_t expected_size);

  const std::string name_;  // for errors
  const UniqueFd file_;
  // Shared and read-only: changes are made with pwrite, which can fail where a store would kill.
  ByteSpan mapped_;
  uint64_t base_size_ = 0;
};

}  // namespace layerfs
