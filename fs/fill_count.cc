// SPDX-License-Identifier: Apache-2.0
#include "fs/fill_count.h"

#include <memory>
#include <unordered_set>

namespace layerfs {
namespace {

class CachedBytes {
 public:
  explicit CachedBytes(ObjectCache& cache)
      : cache_(cache), whole_(cache.WholeObjects().value_or(std::unordered_set<Digest>())) {}

  void AddTable(const ChunkRef& chunk) {
    if (whole_.contains(chunk.digest)) bytes_ += chunk.stored_size;
  }
  void Add(const ReadPiece& piece) {
    // A chunk of many small files counts once.
    if (piece.object.scope.is_zero() && !counted_.insert(piece.object.digest).second) return;
    if (IsThere(piece)) bytes_ += piece.chunk.stored_size;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  bool IsThere(const ReadPiece& piece) {
    if (whole_.contains(piece.object.digest)) return true;
    // The chunks of one file come one after the other.
    if (object_ == nullptr || object_->id() != piece.object) {
      object_ = cache_.OpenObject(piece.object).value_or(nullptr);
    }
    return object_ != nullptr && object_->Contains(piece.object_offset, piece.chunk.size);
  }

  ObjectCache& cache_;
  const std::unordered_set<Digest> whole_;
  std::unordered_set<Digest> counted_;
  std::shared_ptr<CachedObject> object_;
  uint64_t bytes_ = 0;
};

}  // namespace

uint64_t CountCachedBytes(ImageChunks& chunks, ObjectCache& cache,
                          const std::function<bool()>& stop) {
  CachedBytes cached(cache);
  for (const ChunkRequest& table : chunks.TableChunks()) cached.AddTable(table.chunk);
  for (const InodeNumber file : chunks.FilesInBlobOrder()) {
    if (stop()) break;
    // A file whose chunks cannot be told adds none.
    static_cast<void>(chunks.ForEachChunk(file, [&](const ReadPiece& piece) {
      cached.Add(piece);
      return Status();
    }));
  }
  return cached.bytes();
}

Result<SharedBytes> ReadCachedTable(ObjectCache& cache, const ChunkRef& chunk) {
  const auto object = cache.FindWhole({chunk.digest, chunk.size, {}});
  if (object == nullptr) return Fail(ErrorCode::kNotFound, "chunk table: not in the cache");
  auto content = std::make_shared<Bytes>(chunk.size);
  LAYERFS_CHECK_OK(object->Read(0, *content));
  return content;
}

}  // namespace layerfs
