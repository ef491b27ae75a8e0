// SPDX-License-Identifier: Apache-2.0
// Fill: brings the rest of an image into the cache, behind everything that somebody waits for, so
// that the image ends up needing no registry. First come the files that are being read and their
// neighbours in the directory, then the rest in the order of the blobs. What is there already is
// left alone, which is how it goes on after a restart.
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "fs/image.h"
#include "fs/inode_paths.h"
#include "index/base/error.h"

namespace layerfs {

enum class FillMode {
  kFull,  // at the speed of the link
  kIdle,  // only while nobody waits for data
};

enum class FillState {
  kWaiting,  // for Start
  kRunning,
  kComplete,    // all of it is in the cache
  kIncomplete,  // it has ended, and something is missing: see FillProgress::error
};

struct FillProgress {
  FillState state = FillState::kWaiting;
  uint64_t total_bytes = 0;  // of the image's blobs, about
  // Stored bytes of the chunks that are in the cache; counted anew when it ends incomplete, since
  // others may have evicted some.
  uint64_t done_bytes = 0;
  uint64_t fetched_bytes = 0;  // what the fill itself brought
  uint64_t failed_chunks = 0;
  std::optional<Error> error;  // the first
};

class Fill {
 public:
  struct Options {
    FillMode mode = FillMode::kFull;
    uint64_t bytes_per_second = 0;  // 0: no limit but the link's
    // How long one chunk is tried for. The registry may stay away for days.
    std::chrono::milliseconds timeout = std::chrono::hours(24 * 365);
    // Whether the first chunk that cannot be had ends it.
    bool stop_at_error = false;
  };
  // `paths` outlives it; null: the order of the blobs is all.
  Fill(std::shared_ptr<Image> image, const ImageContext& context, InodePaths* paths,
       Options options);
  // Stops it; what is under way goes on for the cache.
  ~Fill();
  Fill(const Fill&) = delete;
  Fill& operator=(const Fill&) = delete;

  void Start();
  // A file is being read; `waited`: for data that were not there. Never blocks.
  void NoteRead(InodeNumber file, bool waited);
  FillProgress progress() const;
  // Once it has been started: until it has ended or Stop.
  FillProgress Wait();
  void Stop();

 private:
  struct Worker;
  std::shared_ptr<Worker> worker_;
};

// Whether it will do nothing more.
inline bool HasEnded(FillState state) {
  return state == FillState::kComplete || state == FillState::kIncomplete;
}

// The states' names as reports have them.
const char* FillStateName(FillState state);

}  // namespace layerfs
