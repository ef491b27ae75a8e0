// SPDX-License-Identifier: Apache-2.0
#include "fs/layer_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace layerfs {

struct LayerFile::State {
  Parts parts;
  Interrupts& interrupts;

  // Not inlined: g++ 12 takes the moved Error for uninitialized otherwise.
  template <typename T>
  [[gnu::noinline]] void Answer(Token token, const std::function<void(Result<T>)>& done,
                                Result<T> result) const {
    done(std::move(result));
    interrupts.End(token);
  }
};

namespace {

std::unexpected<Error> FailLast(std::string_view what) { return FailErrno(what, errno); }

Result<uint64_t> SizeOf(int fd) { return FileSize(fd); }

}  // namespace

LayerFile::LayerFile(std::shared_ptr<State> state) : state_(std::move(state)) {}
LayerFile::~LayerFile() = default;

Result<std::shared_ptr<LayerFile>> LayerFile::Open(Parts parts, Interrupts& interrupts) {
  if (parts.map != nullptr) return Fail(ErrorCode::kUnsupported, "partial files");
  return std::shared_ptr<LayerFile>(
      new LayerFile(std::make_shared<State>(State{std::move(parts), interrupts})));
}

int LayerFile::fd() const { return state_->parts.upper.get(); }
bool LayerFile::whole() const { return true; }
bool LayerFile::plain() const { return true; }

Result<uint64_t> LayerFile::Blocks() const {
  struct stat attributes{};
  if (fstat(fd(), &attributes) != 0) return FailLast("upper file");
  return static_cast<uint64_t>(attributes.st_blocks);
}

void LayerFile::Read(Token token, uint64_t offset, size_t size, ReadDone done) {
  const auto read = [&]() -> Result<Bytes> {
    LAYERFS_TRY(file_size, SizeOf(fd()));
    Bytes bytes(offset < file_size ? std::min<uint64_t>(size, file_size - offset) : 0);
    LAYERFS_CHECK_OK(ReadFullAt(fd(), offset, bytes));
    return bytes;
  };
  const Result<Bytes> bytes = read();
  if (!bytes.has_value()) return state_->Answer(token, done, Result<ByteSpan>(Fail(bytes.error())));
  state_->Answer(token, done, Result<ByteSpan>(ByteSpan(*bytes)));
}

void LayerFile::Write(Token token, uint64_t offset, ByteSpan data, WriteOptions options,
                      CountDone done) {
  const auto write = [&]() -> Result<size_t> {
    if (options.append) {
      LAYERFS_TRY(end, SizeOf(fd()));
      offset = end;
    }
    const ssize_t count = pwrite(fd(), data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0) return FailLast("upper file");
    return static_cast<size_t>(count);
  };
  state_->Answer(token, done, write());
}

void LayerFile::Truncate(Token token, uint64_t size, Done done) {
  Status status;
  if (ftruncate(fd(), static_cast<off_t>(size)) != 0) status = FailLast("upper file");
  state_->Answer(token, done, std::move(status));
}

void LayerFile::Allocate(Token token, int mode, uint64_t offset, uint64_t size, Done done) {
  Status status;
  if (fallocate(fd(), mode, static_cast<off_t>(offset), static_cast<off_t>(size)) != 0)
    status = FailLast("upper file");
  state_->Answer(token, done, std::move(status));
}

void LayerFile::CopyFrom(Token token, const std::shared_ptr<LayerFile>& from, uint64_t from_offset,
                         uint64_t offset, size_t size, CountDone done) {
  auto in = static_cast<off_t>(from_offset);
  auto out = static_cast<off_t>(offset);
  const ssize_t count = copy_file_range(from->fd(), &in, fd(), &out, size, 0);
  if (count < 0) return state_->Answer(token, done, Result<size_t>(FailLast("upper file")));
  state_->Answer(token, done, Result<size_t>(static_cast<size_t>(count)));
}

void LayerFile::CopyFrom(Token token, const std::shared_ptr<LowerFile>& /*from*/,
                         uint64_t /*from_offset*/, uint64_t /*offset*/, size_t /*size*/,
                         CountDone done) {
  state_->Answer(token, done,
                 Result<size_t>(Fail(ErrorCode::kUnsupported, "copying from a lower file")));
}

Result<uint64_t> LayerFile::Seek(uint64_t offset, int whence) const {
  const off_t found = lseek(fd(), static_cast<off_t>(offset), whence);
  if (found < 0) return FailLast("upper file");
  return static_cast<uint64_t>(found);
}

Status LayerFile::Sync(bool data_only) {
  if ((data_only ? fdatasync(fd()) : fsync(fd())) != 0) return FailLast("upper file");
  return {};
}

void LayerFile::MakeWhole(Token token, Done done) { state_->Answer(token, done, Status()); }
Status LayerFile::Seal() { return {}; }

}  // namespace layerfs
