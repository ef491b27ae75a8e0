// SPDX-License-Identifier: Apache-2.0
#include "fetch/unkept_chunks.h"

#include <algorithm>
#include <utility>

namespace layerfs {

SharedBytes UnkeptChunks::Find(const Digest& chunk) {
  return chunks_.With([&](Chunks& chunks) -> SharedBytes {
    const auto found = std::ranges::find(chunks.list, chunk, &Chunk::digest);
    if (found == chunks.list.end()) return nullptr;
    chunks.list.splice(chunks.list.begin(), chunks.list, found);
    return found->content;
  });
}

void UnkeptChunks::Put(const Digest& chunk, SharedBytes content) {
  if (content->size() > kMostBytes || Find(chunk) != nullptr) return;
  std::list<Chunk> forgotten;
  chunks_.With([&](Chunks& chunks) {
    chunks.bytes += content->size();
    chunks.list.push_front({chunk, std::move(content)});
    while (chunks.bytes > kMostBytes || chunks.list.size() > kMostChunks) {
      chunks.bytes -= chunks.list.back().content->size();
      forgotten.splice(forgotten.begin(), chunks.list, std::prev(chunks.list.end()));
    }
  });
}

void UnkeptChunks::Clear() {
  std::list<Chunk> forgotten;
  chunks_.With([&](Chunks& chunks) {
    forgotten.swap(chunks.list);
    chunks.bytes = 0;
  });
}

}  // namespace layerfs
