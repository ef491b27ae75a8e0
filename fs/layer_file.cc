// SPDX-License-Identifier: Apache-2.0
#include "fs/layer_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/fail_point.h"
#include "fs/file_changes.h"
#include "fs/file_fill.h"
#include "fs/file_read.h"
#include "fs/layer_file_state.h"

namespace layerfs {
namespace {

// What one copy moves through memory; it may always copy less than was asked for.
constexpr size_t kMaxCopyBytes = size_t{1} << 20;

LayerFile::CountDone Counting(LayerFile::Done done) {
  return [done = std::move(done)](Result<size_t> result) {
    if (!result.has_value()) return done(Fail(std::move(result).error()));
    done(Status());
  };
}

// Straight to the upper file of a settled one.
Result<size_t> WriteUpper(int fd, uint64_t offset, ByteSpan data, bool append) {
  const iovec vector{const_cast<uint8_t*>(data.data()), data.size()};
  ssize_t count = 0;
  do {
    count = pwritev2(fd, &vector, 1, static_cast<off_t>(offset), append ? RWF_APPEND : 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return FailUpper(errno);
  return static_cast<size_t>(count);
}

Result<size_t> CopyUpper(int from, uint64_t from_offset, int to, uint64_t offset, size_t size) {
  auto in = static_cast<off_t>(from_offset);
  auto out = static_cast<off_t>(offset);
  const ssize_t count = copy_file_range(from, &in, to, &out, size, 0);
  if (count < 0) return FailUpper(errno);
  return static_cast<size_t>(count);
}

}  // namespace

std::unexpected<Error> FailUpper(int system_errno) { return FailErrno("upper file", system_errno); }
std::unexpected<Error> FailInterrupted() {
  return Fail(ErrorCode::kCancelled, "the caller was interrupted");
}

std::vector<ByteRange> LayerFile::State::LowerRanges(uint64_t begin, uint64_t end) const {
  std::vector<ByteRange> ranges;
  if (parts.map == nullptr) return ranges;
  end = std::min(end, parts.map->base_size());
  const uint64_t end_page = EndPageOf(end);
  for (uint64_t page = PageOf(begin); page < end_page;) {
    const PartialMap::Run run = parts.map->RunAt(page, end_page);
    const ByteRange range{std::max(begin, run.first_page * kPartialPageBytes),
                          std::min(end, run.end_page * kPartialPageBytes)};
    if (!run.present && range.begin < range.end) ranges.push_back(range);
    page = run.end_page;
  }
  return ranges;
}

LayerFile::State::Kind LayerFile::State::KindAt(uint64_t at, uint64_t end) const {
  const uint64_t base_size = parts.map == nullptr ? 0 : parts.map->base_size();
  if (at >= base_size) return {false, end};
  const uint64_t base_pages = EndPageOf(base_size);
  const PartialMap::Run run = parts.map->RunAt(PageOf(at), base_pages);
  if (!run.present) return {true, std::min({run.end_page * kPartialPageBytes, base_size, end})};
  return {false,
          run.end_page == base_pages ? end : std::min(run.end_page * kPartialPageBytes, end)};
}

Status LayerFile::State::ReadUpper(uint64_t offset, MutableByteSpan target) const {
  while (!target.empty()) {
    const ssize_t n = pread(fd(), target.data(), target.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailUpper(errno);
    if (n == 0) break;
    offset += static_cast<uint64_t>(n);
    target = target.subspan(static_cast<size_t>(n));
  }
  std::ranges::fill(target, uint8_t{0});
  return {};
}

void LayerFile::State::Settle() {
  if (settled || parts.map->absent_pages() > 0 || !queue.empty()) return;
  // Without a sync it is plain at once, and before calls go straight to the upper file: an empty
  // one may stand for a cut that is in no map. With one it is for Seal's caller.
  if (!copied_lower && !Detach().has_value()) return;
  settled = true;
}

Status LayerFile::State::Detach() {
  if (plain) return {};
  LAYERFS_CHECK_OK(parts.maps->Detach(fd(), *parts.map));
  plain = true;
  return {};
}

Status LayerFile::State::Seal() {
  if (!settled || plain) return {};
  if (copied_lower.exchange(false) && fdatasync(fd()) != 0) {
    const int sync_errno = errno;
    copied_lower = true;
    return FailUpper(sync_errno);
  }
  FailPoint("seal.synced");
  return Detach();
}

void LayerFile::State::Read(Token token, uint64_t offset, size_t size, ReadDone done) {
  std::make_shared<FileRead>(shared_from_this(), token, offset, std::move(done))->Run(size);
}

void LayerFile::State::Write(Token token, uint64_t offset, ByteSpan data, WriteOptions options,
                             CountDone done) {
  if (data.empty()) return done(size_t{0});
  if (settled) return done(WriteUpper(fd(), offset, data, options.append));
  std::make_shared<WriteChange>(shared_from_this(), token, offset, data, options, std::move(done))
      ->Run();
}

void LayerFile::State::MakeWhole(Token token, Done done) {
  if (settled) return done(Status());
  std::make_shared<FileFill>(shared_from_this(), token, std::move(done))->Run();
}

LayerFile::LayerFile(std::shared_ptr<State> state) : state_(std::move(state)) {}
LayerFile::~LayerFile() = default;

Result<std::shared_ptr<LayerFile>> LayerFile::Open(Parts parts, Interrupts& interrupts) {
  auto state = std::make_shared<State>(std::move(parts), interrupts);
  PartialMap* const map = state->parts.map.get();
  if (map != nullptr) {
    if (state->parts.lower == nullptr || state->parts.maps == nullptr)
      return Fail(ErrorCode::kInvalidArgument, "a partial file without its lower file");
    if (state->parts.lower->size() != map->identity().size)
      return Fail(ErrorCode::kCorrupt, "presence map " + map->id() + ": of another lower file");
    // A kill between cutting the upper file and saying so.
    LAYERFS_TRY(size, FileSize(state->fd()));
    LAYERFS_CHECK_OK(map->ShrinkBase(size));
    state->plain = false;
    state->settled = false;
    // Perhaps, before it was closed: where anything is present.
    state->copied_lower = map->absent_pages() < EndPageOf(map->base_size());
    state->Settle();
  }
  return std::shared_ptr<LayerFile>(new LayerFile(std::move(state)));
}

int LayerFile::fd() const { return state_->fd(); }
bool LayerFile::whole() const { return state_->settled; }
bool LayerFile::plain() const { return state_->plain; }

Result<uint64_t> LayerFile::Blocks() const {
  constexpr uint64_t kSectorsOfPage = kPartialPageBytes / 512;
  struct stat attributes{};
  if (fstat(fd(), &attributes) != 0) return FailUpper(errno);
  const uint64_t absent = whole() ? 0 : state_->parts.map->absent_pages();
  return static_cast<uint64_t>(attributes.st_blocks) + absent * kSectorsOfPage;
}

void LayerFile::Read(Token token, uint64_t offset, size_t size, ReadDone done) {
  state_->Read(token, offset, size, state_->Ending<ByteSpan>(token, std::move(done)));
}

void LayerFile::Write(Token token, uint64_t offset, ByteSpan data, WriteOptions options,
                      CountDone done) {
  state_->Write(token, offset, data, options, state_->Ending<size_t>(token, std::move(done)));
}

void LayerFile::Truncate(Token token, uint64_t size, Done done) {
  const CountDone answer = state_->Ending<size_t>(token, Counting(std::move(done)));
  if (!state_->settled) return std::make_shared<TruncateChange>(state_, token, size, answer)->Run();
  if (ftruncate(fd(), static_cast<off_t>(size)) != 0) return answer(FailUpper(errno));
  answer(size_t{0});
}

void LayerFile::Allocate(Token token, int mode, uint64_t offset, uint64_t size, Done done) {
  const CountDone answer = state_->Ending<size_t>(token, Counting(std::move(done)));
  if (size == 0 || !RangeFits(offset, size, INT64_MAX)) return answer(FailUpper(EINVAL));
  if (state_->settled) {
    if (fallocate(fd(), mode, static_cast<off_t>(offset), static_cast<off_t>(size)) != 0)
      return answer(FailUpper(errno));
    return answer(size_t{0});
  }
  if ((mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) == 0)
    return std::make_shared<AllocateChange>(state_, token, mode, offset, size, answer)->Run();
  state_->MakeWhole(token, [state = state_, token, mode, offset, size, answer](Status whole) {
    if (!whole.has_value()) return answer(Fail(std::move(whole).error()));
    std::make_shared<ShiftChange>(state, token, mode, offset, size, answer)->Run();
  });
}

void LayerFile::CopyFrom(Token token, const std::shared_ptr<LayerFile>& from, uint64_t from_offset,
                         uint64_t offset, size_t size, CountDone done) {
  const CountDone answer = state_->Ending<size_t>(token, std::move(done));
  if (whole() && from->whole())
    return answer(CopyUpper(from->fd(), from_offset, fd(), offset, size));
  from->state_->Read(token, from_offset, std::min(size, kMaxCopyBytes),
                     [state = state_, token, offset, answer](Result<ByteSpan> bytes) {
                       if (!bytes.has_value()) return answer(Fail(std::move(bytes).error()));
                       state->Write(token, offset, *bytes, {}, answer);
                     });
}

void LayerFile::CopyFrom(Token token, const std::shared_ptr<LowerFile>& from, uint64_t from_offset,
                         uint64_t offset, size_t size, CountDone done) {
  const CountDone answer = state_->Ending<size_t>(token, std::move(done));
  const WholeContent content = whole() ? from->Whole() : WholeContent{};
  if (content.fd >= 0) {
    const auto copied = CopyUpper(content.fd, from_offset, fd(), offset, size);
    // The lower file may lie on another file system, which not every kernel copies across.
    if (copied.has_value() || copied.error().system_errno != EXDEV) return answer(copied);
  }
  const LowerFile::ReadId id = from->NewReadId();
  if (!state_->interrupts.Begin(token, [from, id] { from->Cancel(id); })) from->Cancel(id);
  from->Read(id, from_offset, std::min(size, kMaxCopyBytes),
             [state = state_, token, offset, answer](Result<ByteSpan> bytes) {
               if (!bytes.has_value()) return answer(Fail(std::move(bytes).error()));
               state->Write(token, offset, *bytes, {}, answer);
             });
}

Result<uint64_t> LayerFile::Seek(uint64_t offset, int whence) const {
  LAYERFS_TRY(size, FileSize(fd()));
  if (offset >= size) return FailUpper(ENXIO);
  // In each run of one kind, the place is that of the file which holds it, if it lies in the run.
  for (uint64_t at = offset; at < size;) {
    const State::Kind kind = state_->KindAt(at, size);
    std::optional<uint64_t> found;
    if (kind.lower) {
      found = state_->parts.lower->Seek(at, whence);
    } else {
      const off_t place = lseek(fd(), static_cast<off_t>(at), whence);
      if (place < 0 && errno != ENXIO) return FailUpper(errno);
      if (place >= 0) found = static_cast<uint64_t>(place);
    }
    if (found.has_value() && *found < kind.end) return std::max(*found, at);
    at = kind.end;
  }
  if (whence == SEEK_HOLE) return size;
  return FailUpper(ENXIO);
}

Status LayerFile::Sync(bool data_only) {
  State& state = *state_;
  if (state.plain) {
    if ((data_only ? fdatasync(fd()) : fsync(fd())) != 0) return FailUpper(errno);
    return {};
  }
  // All of it: the xattr that names the map counts as data here.
  const bool copied = state.copied_lower.exchange(false);
  if (fsync(fd()) != 0) {
    const int sync_errno = errno;
    if (copied) state.copied_lower = true;
    return FailUpper(sync_errno);
  }
  FailPoint("sync.after_upper");
  LAYERFS_CHECK_OK(state.parts.map->Sync());
  FailPoint("sync.after_map");
  return state.Seal();
}

void LayerFile::MakeWhole(Token token, Done done) {
  state_->MakeWhole(token, state_->Ending<void>(token, std::move(done)));
}
Status LayerFile::Seal() { return state_->Seal(); }
Status LayerFile::Discard() {
  if (plain()) return {};
  return state_->parts.maps->Detach(fd(), *state_->parts.map);
}

}  // namespace layerfs
