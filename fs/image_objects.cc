// SPDX-License-Identifier: Apache-2.0
#include "fs/image_objects.h"

#include "fetch/image_record.h"

namespace layerfs {

Result<std::vector<ObjectId>> GatherObjects(ImageChunks& chunks) {
  ImageObjects objects;
  for (const ChunkRequest& table : chunks.TableChunks()) objects.AddChunk(table.chunk);
  for (const InodeNumber file : chunks.FilesInBlobOrder()) {
    objects.BeginFile();
    LAYERFS_CHECK_OK_IN(chunks.ForEachChunk(file,
                                            [&](const ReadPiece& piece) {
                                              objects.AddPiece(piece);
                                              return Status();
                                            }),
                        chunks.image().reference().ToString());
    objects.EndFile();
  }
  return std::move(objects).Take();
}

Result<std::vector<ObjectId>> ListImageObjects(const std::shared_ptr<Image>& image,
                                               const ImageContext& context,
                                               std::chrono::milliseconds timeout) {
  auto record = ReadImageRecord(*context.cache, image->manifest_digest());
  if (record.has_value() && !record->objects.empty()) return std::move(record->objects);
  ImageChunks chunks(image, [&](ChunkRequest request) -> Result<SharedBytes> {
    request.timeout = timeout;
    auto object = context.cache->OpenObject({request.chunk.digest, request.chunk.size, {}});
    if (object.has_value()) request.object = std::move(*object);
    return context.scheduler.FetchAndWait(std::move(request));
  });
  return GatherObjects(chunks);
}

}  // namespace layerfs
