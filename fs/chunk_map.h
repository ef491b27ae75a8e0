// SPDX-License-Identifier: Apache-2.0
// ChunkMap: which chunks, of which cached objects, hold a run of an image's file. Keeps the decoded
// segments of the lazy chunk table that are in use.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fetch/object_cache.h"
#include "fetch/scheduler.h"
#include "fs/image.h"
#include "index/base/lru_map.h"
#include "index/base/synchronized.h"
#include "index/chunk_table.h"
#include "index/index.h"

namespace layerfs {

// One chunk's part of a read.
struct ReadPiece {
  LayerNumber layer{0};
  ChunkRef chunk;
  ObjectId object;
  uint64_t object_offset = 0;  // of the chunk in the object
  uint64_t chunk_offset = 0;   // of the wanted bytes in the chunk
  uint64_t buffer_offset = 0;  // of the wanted bytes in the read's buffer
  uint64_t size = 0;           // how many are wanted
};

class ChunkMap {
 public:
  using SegmentPtr = std::shared_ptr<const ChunkTableSegment>;
  // What one read holds, by number, so that nobody else's reads make it forget.
  using SegmentSet = std::map<uint32_t, SegmentPtr>;

  explicit ChunkMap(std::shared_ptr<Image> image) : image_(std::move(image)) {}

  // Puts the segments that it takes to map [offset, offset + size) of `inode` into `held` where
  // they are known, and returns the numbers of the others. kCorrupt where it takes more of them
  // than a sound writer's chunk table could make it.
  Result<std::vector<uint32_t>> FindSegments(InodeNumber inode, uint64_t offset, uint64_t size,
                                             SegmentSet& held);
  // Adds the segments between two of `missing` where they are few bytes: they lie together in the
  // blob, and one request for all is sooner there than two that take a connection each.
  void JoinMissing(std::vector<uint32_t>& missing, SegmentSet& held) const;
  // How to get a segment; its decompressed bytes go to AddSegment.
  ChunkRequest SegmentRequest(uint32_t number) const;
  Result<SegmentPtr> AddSegment(uint32_t number, ByteSpan bytes);

  // The pieces of [offset, offset + size), in order; holes have none. `held` has every segment that
  // it takes.
  Result<std::vector<ReadPiece>> Map(InodeNumber inode, uint64_t offset, uint64_t size,
                                     const SegmentSet& held) const;
  // The same for [begin, end) of a layer's tar that begins behind a file, whatever files lie there:
  // its chunks in whole. What holds nothing but tar headers is left out.
  Result<std::vector<uint32_t>> FindSegmentsOfTar(LayerNumber layer, uint64_t begin, uint64_t end,
                                                  SegmentSet& held);
  std::vector<ReadPiece> ChunksOfTar(LayerNumber layer, uint64_t begin, uint64_t end,
                                     const SegmentSet& held) const;
  // The object that holds the whole file and nothing else; nothing where there is none or its
  // segment is not known.
  std::optional<ObjectId> OwnObject(InodeNumber inode);

 private:
  SegmentPtr FindSegment(uint32_t number);
  // Puts it into `held`, or its number into `missing`.
  void Need(uint32_t segment, SegmentSet& held, std::vector<uint32_t>& missing);
  Result<uint32_t> SegmentOf(LayerNumber layer, uint64_t tar_offset) const;
  // The number of the segment in which a file begins that may have an object of its own.
  std::optional<uint32_t> FirstSegment(InodeNumber number, const Inode& inode) const;
  // `first` is that segment, or null.
  static std::optional<Content> FindContent(const Inode& inode, const ChunkTableSegment* first);

  // Where the chunk is part of the content: the piece belongs to the content's object.
  bool PlaceInContent(const std::optional<Content>& content, const Chunk& chunk,
                      ReadPiece& piece) const;

  // A segment of a thousand chunks takes some 70 KiB decoded.
  static constexpr size_t kSegmentsKept = 64;
  // A segment has a thousand chunks, and a read is 8 MiB at most: with chunks of 4 KiB, the
  // smallest that convert takes, that is four.
  static constexpr size_t kMaxSegmentsPerRead = 32;

  // Less than what a link of 100 Mbit/s carries in a round trip of 30 ms; the first and the last
  // segment of a file of 1 GiB are so far apart.
  static constexpr uint64_t kMaxJoinedBytes = 384 << 10;

  std::shared_ptr<Image> image_;
  Synchronized<LruMap<uint32_t, SegmentPtr>> segments_{LruMap<uint32_t, SegmentPtr>(kSegmentsKept)};
};

}  // namespace layerfs
