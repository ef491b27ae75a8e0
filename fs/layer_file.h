// SPDX-License-Identifier: Apache-2.0
// LayerFile: the content of one regular file of the container layer: of its upper file and, while
// it is partial, of the lower file below. One for each inode that is open, shared by its handles.
// Thread-safe. No call waits for the network: what has to, is answered later.
//
// Changes of overlapping pages are made in the order in which they were asked for; a read sees what
// was changed before it was asked for.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "fs/interrupts.h"
#include "fs/lower_file.h"
#include "fs/partial_map.h"
#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class LayerFile : public std::enable_shared_from_this<LayerFile> {
 public:
  // Each `done` is called exactly once, from inside the call or from another thread. `token` is of
  // Interrupts::Announce, or 0; the call ends it. An interrupted call gets kCancelled and has
  // changed nothing.
  using Token = Interrupts::Token;
  using Done = std::function<void(Status)>;
  using CountDone = std::function<void(Result<size_t>)>;
  using ReadDone = std::function<void(Result<ByteSpan>)>;

  struct Parts {
    UniqueFd upper;                     // open for reading and writing, without O_APPEND
    std::shared_ptr<PartialMap> map;    // null: whole
    std::shared_ptr<LowerFile> lower;   // null: whole
    std::shared_ptr<PartialMaps> maps;  // as `map`
  };
  // `interrupts` outlives it. Takes what a kill left behind into the map (base_size).
  static Result<std::shared_ptr<LayerFile>> Open(Parts parts, Interrupts& interrupts);
  ~LayerFile();
  LayerFile(const LayerFile&) = delete;
  LayerFile& operator=(const LayerFile&) = delete;

  // The upper file. Its st_size, times, owner and mode are the file's; its st_blocks are not while
  // it is partial, see Blocks.
  int fd() const;
  // Nothing of the lower file shows any more, for good: reads and writes of fd() are the file's.
  bool whole() const;
  // Whole, and no map any more: fd() may be handed out for passthrough.
  bool plain() const;
  // st_blocks (of 512 bytes), absent pages counted as if they were there.
  Result<uint64_t> Blocks() const;

  // The bytes of [offset, offset + size) that the file has, valid during the call.
  void Read(Token token, uint64_t offset, size_t size, ReadDone done);
  // Fewer than all only where the disk is full. Of the lower file, only the pages at the edges that
  // are written in part are fetched. `append`: at the end, whatever `offset` says.
  struct WriteOptions {
    bool append = false;
  };
  void Write(Token token, uint64_t offset, ByteSpan data, WriteOptions options, CountDone done);
  void Truncate(Token token, uint64_t size, Done done);
  // fallocate(2)'s modes. COLLAPSE_RANGE and INSERT_RANGE make it whole first.
  void Allocate(Token token, int mode, uint64_t offset, uint64_t size, Done done);
  // copy_file_range(2): may copy less than `size`, 0 at the source's end. The ranges do not overlap
  // where `from` is this file.
  void CopyFrom(Token token, const std::shared_ptr<LayerFile>& from, uint64_t from_offset,
                uint64_t offset, size_t size, CountDone done);
  void CopyFrom(Token token, const std::shared_ptr<LowerFile>& from, uint64_t from_offset,
                uint64_t offset, size_t size, CountDone done);
  // SEEK_DATA and SEEK_HOLE; ENXIO is kIo with that errno.
  Result<uint64_t> Seek(uint64_t offset, int whence) const;
  // What has been answered survives a power cut; the names that lead here are the caller's affair.
  Status Sync(bool data_only);

  // Fetches all that is absent; mtime stays, ctime cannot. Seal afterwards.
  void MakeWhole(Token token, Done done);
  // Where it is whole: makes it a plain file (syncs where bytes of the lower file were copied).
  // Waits for the local disk; for the last close, and after MakeWhole. No-op where it is not whole.
  Status Seal();
  // The file has lost its last name, and nobody will open it again: its map goes.
  Status Discard();

  // layer_file_state.h; of its own files only.
  struct State;

 private:
  explicit LayerFile(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace layerfs
