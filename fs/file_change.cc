// SPDX-License-Identifier: Apache-2.0
#include "fs/file_change.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/fail_point.h"

namespace layerfs {

Written WriteParts(int fd, uint64_t offset, std::array<ByteSpan, 3> parts) {
  Written written;
  for (;;) {
    std::array<iovec, 3> vectors{};
    int count = 0;
    uint64_t skip = written.bytes;
    for (const ByteSpan part : parts) {
      const size_t skipped = std::min<uint64_t>(skip, part.size());
      skip -= skipped;
      if (skipped == part.size()) continue;
      vectors[count++] = {const_cast<uint8_t*>(part.data()) + skipped, part.size() - skipped};
    }
    if (count == 0) return written;
    const ssize_t n =
        pwritev(fd, vectors.data(), count, static_cast<off_t>(offset + written.bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      written.system_errno = n < 0 ? errno : EIO;
      return written;
    }
    written.bytes += static_cast<uint64_t>(n);
  }
}

FileChange::FileChange(StatePtr file, Token token, CountDone done, uint64_t first_page,
                       uint64_t end_page)
    : file_(std::move(file)), token_(token), done_(std::move(done)) {
  change_->first_page = first_page;
  change_->end_page = end_page;
}

void FileChange::Run() {
  if (file_->queue.TryBegin(change_)) return TakeTurn();
  Keep();
  if (!Park()) return Answer(FailInterrupted());
  change_->start = [self = shared_from_this()] { self->TakeTurn(); };
  if (file_->queue.Begin(change_)) {
    change_->start = nullptr;
    return TakeTurn();
  }
  // An interrupt that came before it was in the queue did not find it there.
  if (cancelled_) Cancel();
}

bool FileChange::Park() {
  if (parked_) return true;
  parked_ = true;
  return file_->interrupts.Begin(token_, [self = shared_from_this()] { self->Cancel(); });
}

void FileChange::Cancel() {
  cancelled_ = true;
  if (file_->queue.Withdraw(change_)) {
    change_->start = nullptr;
    return Answer(FailInterrupted());
  }
  const auto fetch = fetch_.With([](const auto& current) { return current; });
  if (fetch != nullptr) fetch->Cancel();
}

void FileChange::TakeTurn() {
  if (cancelled_) return Complete(FailInterrupted());
  const Result<ByteRange> covered = Prepare();
  if (!covered.has_value()) return Complete(Fail(covered.error()));
  const auto add_edge = [&](uint64_t page) {
    const uint64_t begin = page * kPartialPageBytes;
    for (const ByteRange lower : file_->LowerRanges(begin, begin + kPartialPageBytes)) {
      const bool touched = covered->begin < lower.end && lower.begin < covered->end;
      const bool all = covered->begin <= lower.begin && lower.end <= covered->end;
      if (touched && !all) edges_.push_back({lower, Bytes(lower.end - lower.begin)});
    }
  };
  if (covered->begin < covered->end) {
    const uint64_t first = PageOf(covered->begin);
    const uint64_t last = PageOf(covered->end - 1);
    add_edge(first);
    if (last != first) add_edge(last);
  }
  if (edges_.empty()) return Complete(Apply(edges_));
  FetchEdges();
}

void FileChange::FetchEdges() {
  Keep();
  if (!Park()) return Complete(FailInterrupted());
  std::vector<LowerFetch::Extent> extents;
  for (Edge& edge : edges_) extents.push_back({edge.range.begin, edge.bytes});
  const auto fetch = std::make_shared<LowerFetch>(file_->parts.lower, std::move(extents));
  fetch_.With([&](auto& current) { current = fetch; });
  // An interrupt that came before did not find it.
  if (cancelled_) fetch->Cancel();
  fetch->Start([self = shared_from_this()](Status fetched) {
    self->fetch_.With([](auto& current) { current = nullptr; });
    if (!fetched.has_value()) return self->Complete(Fail(std::move(fetched).error()));
    self->Complete(self->Apply(self->edges_));
  });
}

Status FileChange::PutEdge(const Edge& edge) {
  FailPoint("edge.before_data");
  const Written written = WriteParts(file_->fd(), edge.range.begin, {edge.bytes, {}, {}});
  if (written.system_errno != 0) return FailUpper(written.system_errno);
  file_->copied_lower = true;
  FailPoint("edge.after_data");
  return file_->parts.map->SetPresent(PageOf(edge.range.begin), EndPageOf(edge.range.end));
}

Status FileChange::MarkPresent(ByteRange covered, const std::vector<Edge>& edges,
                               uint64_t written_end) {
  PartialMap* const map = file_->parts.map.get();
  if (map == nullptr || covered.begin >= covered.end) return {};
  if (!edges.empty()) file_->copied_lower = true;
  uint64_t first = PageOf(covered.begin);
  const bool starts_inside = covered.begin % kPartialPageBytes != 0;
  const bool composed = !edges.empty() && PageOf(edges.front().range.begin) == first;
  // Where it starts behind the lower bytes of its first page, that page stays as it is.
  if (starts_inside && !composed) ++first;
  const uint64_t base_size = map->base_size();
  uint64_t end = PageOf(written_end);
  if (written_end >= base_size) end = EndPageOf(base_size);
  if (first >= end) return {};
  return map->SetPresent(first, end);
}

[[gnu::noinline]] void FileChange::Answer(Result<size_t> result) {
  const CountDone done = std::exchange(done_, nullptr);
  done(std::move(result));
}

[[gnu::noinline]] void FileChange::Complete(Result<size_t> result) {
  // First, so that who gets the answer finds a file whole that is.
  file_->queue.End(change_);
  file_->Settle();
  Answer(std::move(result));
}

}  // namespace layerfs
