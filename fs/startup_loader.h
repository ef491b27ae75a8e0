// SPDX-License-Identifier: Apache-2.0
// StartupLoader: gets an image's startup pack with one request and hands its parts on as they come:
// the tree and the runs to whoever opens the image, the pages to a StartupPack, the rest to the
// cache. Nothing is used before it has been verified.
// Thread-safe. It has a thread of its own, which ends with the blob's last byte or the loader.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "fetch/blob_source.h"
#include "fetch/object_cache.h"
#include "fs/startup_artifact.h"
#include "fs/startup_feed.h"
#include "fs/startup_pack.h"
#include "index/base/large_buffer.h"
#include "index/base/synchronized.h"
#include "index/base/zstd_codec.h"
#include "index/index.h"

namespace layerfs {

// What an image is opened with.
struct OpenedStartup {
  std::optional<Index> tree;
  std::shared_ptr<StartupPack> pack;
};

struct StartupParts {
  StartupReference reference;
  std::shared_ptr<BlobSource> source;
  std::shared_ptr<ObjectCache> cache;
  std::string image;  // for messages
  // Whether a tree may be this image's: its layers are the manifest's.
  std::function<Status(const Index&)> check_tree;
  Digest config;                      // as the image manifest has it
  std::string config_document;        // where the config is kept in the cache
  std::chrono::milliseconds timeout;  // without progress
  std::function<void(std::string_view event, uint64_t bytes)> on_event;  // ImageOptions::on_event
};

class StartupLoader {
 public:
  // What an earlier mount has left in the cache, if that is all that it takes.
  static std::optional<OpenedStartup> FindCached(const StartupParts& parts);

  explicit StartupLoader(StartupParts parts);
  // Ends the download.
  ~StartupLoader();
  StartupLoader(const StartupLoader&) = delete;
  StartupLoader& operator=(const StartupLoader&) = delete;

  // Waits for the tree and the runs; once. kTimeout where nothing comes for a few seconds: what the
  // pack is to save may cost no more than it, and the layers are another way.
  Result<OpenedStartup> WaitOpened();

 private:
  void Run();
  Status Stream();
  Result<PackHead> TakeHead();
  Result<Bytes> TakePart(const PackPart& part);
  Status OpenTree(const PackPart& part, ByteSpan stored);
  Status OpenRuns(const PackHead& head, const PackPart& part, ByteSpan stored);
  Status TakePiece(const PackPart& part, ZstdStreamDecoder& decoder);
  void KeepConfig(const PackPart& part, ByteSpan stored);
  Status KeepSegments(const PackPart& part, ByteSpan stored);
  void Remember();
  void Deliver(Result<OpenedStartup> opened);

  const StartupParts parts_;
  const std::shared_ptr<StartupFeed> feed_;
  // The thread's own.
  Bytes head_bytes_;
  LargeBuffer runs_bytes_;
  std::optional<Index> tree_;
  std::shared_ptr<StartupPack> pack_;
  bool delivered_ = false;
  Synchronized<std::optional<Result<OpenedStartup>>> opened_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace layerfs
