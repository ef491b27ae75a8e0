// SPDX-License-Identifier: Apache-2.0
// The kinds of FileChange: write, truncate, allocate, and the fill with lower bytes.
// As FileChange: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "fs/file_change.h"

namespace layerfs {

class WriteChange final : public FileChange {
 public:
  WriteChange(const StatePtr& file, Token token, uint64_t offset, ByteSpan data,
              LayerFile::WriteOptions options, CountDone done);

 private:
  Result<ByteRange> Prepare() override;
  Result<size_t> Apply(const std::vector<Edge>& edges) override;
  void Keep() override;
  // One write of `data`, which is for `range`, with what the edges add around it.
  Result<size_t> Put(ByteRange range, ByteSpan data, const std::vector<Edge>& edges);
  // What counts as written when the disk took bytes up to `written_end` only.
  Result<size_t> PutShort(ByteRange range, const std::vector<Edge>& edges, uint64_t written_end,
                          int system_errno);
  static bool Grows(const LayerFile::State& file, uint64_t offset, ByteSpan data,
                    LayerFile::WriteOptions options);

  ByteRange range_;
  ByteSpan data_;
  Bytes kept_;
  const bool append_;
  const bool owns_end_;
  uint64_t size_before_ = 0;
};

class TruncateChange final : public FileChange {
 public:
  TruncateChange(StatePtr file, Token token, uint64_t size, CountDone done);

 private:
  Result<ByteRange> Prepare() override { return ByteRange{}; }
  Result<size_t> Apply(const std::vector<Edge>& edges) override;
  const uint64_t size_;
};

// Every mode of fallocate(2) that leaves bytes where they are.
class AllocateChange final : public FileChange {
 public:
  AllocateChange(StatePtr file, Token token, int mode, uint64_t offset, uint64_t size,
                 CountDone done);

 private:
  Result<ByteRange> Prepare() override;
  Result<size_t> Apply(const std::vector<Edge>& edges) override;
  Status Allocate(ByteRange range);

  const int mode_;
  const ByteRange range_;
};

// COLLAPSE_RANGE and INSERT_RANGE, on a file of which nothing is absent.
class ShiftChange final : public FileChange {
 public:
  ShiftChange(StatePtr file, Token token, int mode, uint64_t offset, uint64_t size, CountDone done);

 private:
  Result<ByteRange> Prepare() override { return ByteRange{}; }
  Result<size_t> Apply(const std::vector<Edge>& edges) override;
  const int mode_;
  const ByteRange range_;
};

// Puts lower bytes that have been fetched into the pages that are still absent.
class FillChange final : public FileChange {
 public:
  FillChange(StatePtr file, uint64_t offset, std::shared_ptr<const Bytes> bytes, CountDone done);

 private:
  Result<ByteRange> Prepare() override { return ByteRange{}; }
  Result<size_t> Apply(const std::vector<Edge>& edges) override;
  const uint64_t offset_;
  const std::shared_ptr<const Bytes> bytes_;
};

}  // namespace layerfs
