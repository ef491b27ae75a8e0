// SPDX-License-Identifier: Apache-2.0
#include "fs/lower_file.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "fs/file_reader.h"
#include "fs/interrupts.h"

namespace layerfs {
namespace {

// One read fills at most this much memory; the kernel asks for 1 MiB.
constexpr size_t kMaxDirectoryReadBytes = size_t{8} << 20;

class ImageLowerFile final : public LowerFile {
 public:
  ImageLowerFile(FileReader& reader, InodeNumber inode)
      : reader_(reader), inode_(inode), size_(reader.image().tree().Get(inode).size) {}

  uint64_t size() const override { return size_; }
  ReadId NewReadId() override { return reader_.NewReadId(); }
  void Read(ReadId id, uint64_t offset, size_t size, Done done) override {
    reader_.Read(id, inode_, offset, size, std::move(done));
  }
  void Cancel(ReadId id) override { reader_.Cancel(id); }

  std::optional<uint64_t> Seek(uint64_t offset, int whence) const override {
    if (offset >= size_) return std::nullopt;
    const Index& tree = reader_.image().tree();
    uint64_t at = offset;
    for (const DataExtent& extent : tree.DataExtents(inode_, offset, size_ - offset)) {
      if (whence == SEEK_DATA) return extent.file_offset;
      if (extent.file_offset > at) break;  // A hole before this extent.
      at = extent.file_offset + extent.size;
    }
    if (whence == SEEK_DATA) return std::nullopt;
    return at;
  }

  WholeContent Whole() override {
    std::shared_ptr<CachedObject> object = reader_.WholeObject(inode_);
    if (object == nullptr) return {};
    const int fd = object->fd();
    return {fd, std::move(object)};
  }

 private:
  FileReader& reader_;
  const InodeNumber inode_;
  const uint64_t size_;
};

class DirectoryLowerFile final : public LowerFile {
 public:
  DirectoryLowerFile(UniqueFd file, uint64_t size)
      : file_(std::make_shared<UniqueFd>(std::move(file))), size_(size) {}

  uint64_t size() const override { return size_; }
  ReadId NewReadId() override { return next_read_.fetch_add(1); }
  void Read(ReadId /*id*/, uint64_t offset, size_t size, Done done) override {
    const uint64_t there = offset < size_ ? size_ - offset : 0;
    Bytes bytes(std::min({size, kMaxDirectoryReadBytes, static_cast<size_t>(there)}));
    const Status read = ReadFullAt(file_->get(), offset, bytes);
    if (!read.has_value()) return done(Fail(read.error()));
    done(ByteSpan(bytes));
  }
  void Cancel(ReadId /*id*/) override {}  // Answered inside Read.

  std::optional<uint64_t> Seek(uint64_t offset, int whence) const override {
    const off_t found = lseek(file_->get(), static_cast<off_t>(offset), whence);
    if (found < 0) return std::nullopt;
    return static_cast<uint64_t>(found);
  }
  WholeContent Whole() override { return {file_->get(), file_}; }

 private:
  const std::shared_ptr<UniqueFd> file_;
  const uint64_t size_;
  std::atomic<ReadId> next_read_{1};
};

}  // namespace

std::shared_ptr<LowerFile> MakeImageLowerFile(FileReader& reader, InodeNumber inode) {
  return std::make_shared<ImageLowerFile>(reader, inode);
}

Result<std::shared_ptr<LowerFile>> MakeDirectoryLowerFile(UniqueFd file) {
  LAYERFS_TRY(size, FileSize(file.get()));
  return std::make_shared<DirectoryLowerFile>(std::move(file), size);
}

void ReadLowerFile(const std::shared_ptr<LowerFile>& file, Interrupts& interrupts, uint64_t token,
                   uint64_t offset, size_t size, LowerFile::Done done) {
  const LowerFile::ReadId id = file->NewReadId();
  // A read that was interrupted before it began begins cancelled.
  if (!interrupts.Begin(token, [file, id] { file->Cancel(id); })) file->Cancel(id);
  file->Read(id, offset, size,
             [&interrupts, token, done = std::move(done)](Result<ByteSpan> bytes) {
               done(std::move(bytes));
               interrupts.End(token);
             });
}

}  // namespace layerfs
