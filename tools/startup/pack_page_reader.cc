// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/pack_page_reader.h"

#include <algorithm>
#include <utility>

#include "index/base/synchronized.h"

namespace layerfs {
namespace {

// Of the pack's stream of pages some 100 to 200 KiB stored, which a slow link brings in a few
// hundredths of a second, and enough that a piece's digest and flush cost nothing.
constexpr uint64_t kPieceBytes = uint64_t{512} << 10;

// The pages of some runs, read all at once.
class PageReads {
 public:
  explicit PageReads(FileReader& reader) : reader_(reader) {}
  ~PageReads() { static_cast<void>(Wait()); }
  PageReads(const PageReads&) = delete;
  PageReads& operator=(const PageReads&) = delete;

  // `out` is as long as the run, whose pages behind the file's end it leaves as they are.
  void Start(const PackRun& run, MutableByteSpan out) {
    state_.With([](State& state) { ++state.missing; });
    reader_.Read(reader_.NewReadId(), run.inode, run.first_page * kPackPageBytes, out.size(),
                 [this, out](Result<ByteSpan> bytes) {
                   if (bytes.has_value()) std::ranges::copy(*bytes, out.begin());
                   state_.WithNotify([&](State& state) {
                     --state.missing;
                     if (!bytes.has_value() && state.status.has_value()) {
                       state.status = Fail(bytes.error());
                     }
                   });
                 });
  }
  Status Wait() {
    return state_.WaitThen([](State& state) { return state.missing == 0; },
                           [](State& state) { return state.status; });
  }

 private:
  struct State {
    size_t missing = 0;
    Status status;
  };
  FileReader& reader_;
  Synchronized<State> state_;
};

}  // namespace

struct PackPageReader::Piece {
  Piece(FileReader& reader, uint64_t size) : bytes(size), reads(reader) {}
  LargeBuffer bytes;
  PageReads reads;  // into `bytes`
};

PackPageReader::PackPageReader(FileReader& reader, const std::vector<PackRun>& runs, uint64_t total)
    : reader_(reader), runs_(runs), left_(total), coming_(StartNext()) {}
PackPageReader::~PackPageReader() = default;

Result<LargeBuffer> PackPageReader::Next() {
  const std::unique_ptr<Piece> piece = std::exchange(coming_, StartNext());
  position_ += piece->bytes.size();
  LAYERFS_CHECK_OK(piece->reads.Wait());
  return std::move(piece->bytes);
}

// Null behind the last one.
std::unique_ptr<PackPageReader::Piece> PackPageReader::StartNext() {
  if (left_ == 0) return nullptr;
  auto piece = std::make_unique<Piece>(reader_, std::min(kPieceBytes, left_));
  left_ -= piece->bytes.size();
  for (uint64_t filled = 0; filled < piece->bytes.size();) {
    const PackRun& from = runs_[run_];
    const auto pages = static_cast<uint32_t>(std::min<uint64_t>(
        from.pages - run_page_, (piece->bytes.size() - filled) / kPackPageBytes));
    const PackRun part{from.inode, from.first_page + run_page_, pages};
    piece->reads.Start(part, MutableByteSpan(piece->bytes).subspan(filled, pages * kPackPageBytes));
    filled += pages * kPackPageBytes;
    run_page_ += pages;
    if (run_page_ < from.pages) continue;
    ++run_;
    run_page_ = 0;
  }
  return piece;
}

}  // namespace layerfs
