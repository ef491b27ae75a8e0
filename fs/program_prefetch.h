// SPDX-License-Identifier: Apache-2.0
// ProgramPrefetch: fetches a program ahead of its own reads. A program is mapped, so that its pages
// are asked for one here and one there, and it names what it needs next (program_needs.h) only
// when it runs: each step would cost a round trip or more, one after the other. Once a reader waits
// for the beginning of a program, all of it comes, and what it needs, and what those need; with the
// first what nearly every program reads: the C library's loader, name service, time zone, locale.
// Behind demand; where a startup pack says what is needed, only once that is through, and only of
// programs that it has nothing of.
// Thread-safe. Its thread and its reader begin with the first program: an idle mount has none.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "fs/file_reader.h"
#include "fs/image.h"

namespace layerfs {

class ProgramPrefetch {
 public:
  // `context` outlives it; `config` is the image's (JSON), or empty where it is not at hand: then
  // its command is not known before it is read. `timeout` is that of its own reads.
  ProgramPrefetch(std::shared_ptr<Image> image, const ImageContext& context, std::string config,
                  std::chrono::milliseconds timeout);
  ~ProgramPrefetch();
  ProgramPrefetch(const ProgramPrefetch&) = delete;
  ProgramPrefetch& operator=(const ProgramPrefetch&) = delete;

  // The image's command is about to be run: as if somebody waited for it. Never blocks.
  void Begin();
  // A read of the image's waits for data. Never blocks.
  void NoteWait(InodeNumber file, uint64_t offset);

 private:
  class Worker;
  Worker& StartedWorker();
  const std::shared_ptr<Image> image_;
  const ImageContext& context_;
  const std::string config_;
  const std::chrono::milliseconds timeout_;
  std::once_flag started_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace layerfs
