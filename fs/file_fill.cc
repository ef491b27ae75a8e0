// SPDX-License-Identifier: Apache-2.0
#include "fs/file_fill.h"

#include <algorithm>
#include <utility>

#include "fs/file_changes.h"

namespace layerfs {
namespace {

// In memory at once; large enough that a round trip does not count much.
constexpr uint64_t kPieceBytes = uint64_t{4} << 20;
static_assert(kPieceBytes % kPartialPageBytes == 0);

}  // namespace

FileFill::FileFill(std::shared_ptr<LayerFile::State> file, LayerFile::Token token,
                   LayerFile::Done done)
    : file_(std::move(file)), token_(token), done_(std::move(done)) {}

void FileFill::Run() {
  if (!file_->interrupts.Begin(token_, [self = shared_from_this()] { self->Cancel(); }))
    return Answer(FailInterrupted());
  Continue();
}

// Starting a piece and its end meet in other_side_is_through_: whoever comes second goes on. So
// pieces that end at once are a loop, and do not pile up on the stack.
void FileFill::Continue() {
  do {
    other_side_is_through_ = false;
    if (!status_.has_value()) return Answer(std::move(status_));
    if (!StartPiece()) {
      file_->Settle();
      return Answer(Status());
    }
  } while (other_side_is_through_.exchange(true));
}

void FileFill::PieceIsDone(Status piece) {
  status_ = std::move(piece);
  if (other_side_is_through_.exchange(true)) Continue();
}

bool FileFill::StartPiece() {
  const uint64_t base_size = file_->parts.map->base_size();
  const PartialMap::Run run = file_->parts.map->RunAt(PageOf(at_), EndPageOf(base_size));
  if (run.present) at_ = run.end_page * kPartialPageBytes;
  if (at_ >= base_size) return false;
  const uint64_t begin = at_;
  const uint64_t end = std::min(begin + kPieceBytes, base_size);
  // Only what is absent is read; the rest of the piece stays as it is.
  auto bytes = std::make_shared<Bytes>(end - begin);
  std::vector<LowerFetch::Extent> extents;
  for (const ByteRange range : file_->LowerRanges(begin, end)) {
    extents.push_back({range.begin, MutableByteSpan(*bytes).subspan(range.begin - begin,
                                                                    range.end - range.begin)});
  }
  const auto fetch = std::make_shared<LowerFetch>(file_->parts.lower, std::move(extents));
  fetch_.With([&](auto& current) { current = fetch; });
  if (cancelled_) fetch->Cancel();
  at_ = end;
  // The fetch comes before its turn: nobody who writes waits for it.
  fetch->Start([self = shared_from_this(), begin, bytes](Status fetched) {
    self->fetch_.With([](auto& current) { current = nullptr; });
    if (!fetched.has_value()) return self->PieceIsDone(std::move(fetched));
    std::make_shared<FillChange>(self->file_, begin, bytes, [self](Result<size_t> filled) {
      self->PieceIsDone(filled.has_value() ? Status() : Fail(std::move(filled).error()));
    })->Run();
  });
  return true;
}

void FileFill::Cancel() {
  cancelled_ = true;
  const auto fetch = fetch_.With([](const auto& current) { return current; });
  if (fetch != nullptr) fetch->Cancel();
}

[[gnu::noinline]] void FileFill::Answer(Status status) {
  const LayerFile::Done done = std::exchange(done_, nullptr);
  done(std::move(status));
}

}  // namespace layerfs
