// SPDX-License-Identifier: Apache-2.0
// LowerFile: the content of one regular file of a lower source (an image, a directory). It does
// not change while it is below a container layer.
// Implementations are thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/file.h"
#include "index/index.h"

namespace layerfs {

class FileReader;
class Interrupts;

// A descriptor that has all bytes, and what keeps it open.
struct WholeContent {
  int fd = -1;  // -1: there is none (now)
  std::shared_ptr<const void> owner;
};

class LowerFile {
 public:
  using ReadId = uint64_t;
  using Done = std::function<void(Result<ByteSpan>)>;

  virtual ~LowerFile() = default;
  virtual uint64_t size() const = 0;
  // Announces a read, so that it can be cancelled before it begins: a Read with this id has to
  // follow.
  virtual ReadId NewReadId() = 0;
  // The bytes of [offset, offset + size) that the file has: fewer than `size` only at its end.
  // `done` is called exactly once, from inside Read or from another thread; the bytes are valid
  // during the call. Never waits for the network.
  virtual void Read(ReadId id, uint64_t offset, size_t size, Done done) = 0;
  // `done` gets kCancelled soon. No-op for a read that has been answered.
  virtual void Cancel(ReadId id) = 0;
  // lseek's SEEK_DATA and SEEK_HOLE; nothing is ENXIO. Never waits.
  virtual std::optional<uint64_t> Seek(uint64_t offset, int whence) const = 0;
  // For passthrough and copy_file_range. Never waits.
  virtual WholeContent Whole() = 0;
};

// A regular file of the image that `reader` reads; `reader` outlives it.
std::shared_ptr<LowerFile> MakeImageLowerFile(FileReader& reader, InodeNumber inode);
// A file of a lower directory, open for reading.
Result<std::shared_ptr<LowerFile>> MakeDirectoryLowerFile(UniqueFd file);

// As file->Read, found by `token` (of Interrupts::Announce) when its reader is interrupted.
void ReadLowerFile(const std::shared_ptr<LowerFile>& file, Interrupts& interrupts, uint64_t token,
                   uint64_t offset, size_t size, LowerFile::Done done);

}  // namespace layerfs
