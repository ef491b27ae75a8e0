// SPDX-License-Identifier: Apache-2.0
// Lock order: watch_lock_ and the Synchronized members are never held together.
#include "fs/startup_pack.h"

#include <algorithm>

namespace layerfs {
namespace {

// What a fetch of its own moves at least: a chunk as convert cuts it, or a segment of the table.
constexpr uint64_t kFetchBytes = uint64_t{128} << 10;
// A fetch of its own takes two dependent rounds (the chunk table, then the chunk) and slows the
// stream down, so that waiting is right up to about twice that.
constexpr int kRoundsToOvertake = 4;
// A rate from less time than this is a guess, and a wait shorter than that not worth a request.
constexpr std::chrono::milliseconds kLeastMeasured{20};
constexpr std::chrono::milliseconds kWorthOvertaking{100};
// A stream that is silent for less than this may be at a lost packet (the least retransmission
// timeout of Linux is 200 ms), or at a machine that is busy: a request of its own would wait too.
constexpr std::chrono::milliseconds kFallenSilent{1000};

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

StartupPack::StartupPack(PackHead head, std::vector<PackRun> runs,
                         std::shared_ptr<CachedObject> object, bool whole, Clock& clock)
    : head_(std::move(head)), runs_(std::move(runs)), object_(std::move(object)), clock_(clock) {
  uint64_t position = 0;
  places_.reserve(head_.run_count);
  for (uint32_t i = 0; i < head_.run_count; ++i) {
    places_.push_back({runs_[i], position});
    position += runs_[i].pages * kPackPageBytes;
  }
  std::ranges::sort(places_, {}, [](const Place& place) {
    return std::pair(ToUint(place.run.inode), place.run.first_page);
  });
  uint64_t pages_end = 0;
  uint64_t blob_end = head_.EncodedSize();
  for (const PackPart& part : head_.parts) {
    blob_end += part.stored_size;
    if (part.kind != PackPartKind::kPages) continue;
    pages_end += part.size;
    piece_ends_.push_back(pages_end);
    blob_ends_.push_back(blob_end);
  }
  if (whole) {
    available_ = total_bytes();
    ended_ = true;
  }
}

const StartupPack::Place* StartupPack::FindPlace(InodeNumber inode, uint64_t page) const {
  // The last run that begins at or before the page.
  auto after =
      std::ranges::upper_bound(places_, std::pair(ToUint(inode), page), {}, [](const Place& place) {
        return std::pair(ToUint(place.run.inode), uint64_t{place.run.first_page});
      });
  if (after == places_.begin()) return nullptr;
  const Place& place = *--after;
  const bool inside =
      place.run.inode == inode && page < uint64_t{place.run.first_page} + place.run.pages;
  return inside ? &place : nullptr;
}

bool StartupPack::Has(InodeNumber inode) const {
  const auto at = std::ranges::lower_bound(
      places_, ToUint(inode), {}, [](const Place& place) { return ToUint(place.run.inode); });
  return at != places_.end() && at->run.inode == inode;
}

std::vector<StartupPack::Part> StartupPack::Find(InodeNumber inode, uint64_t offset,
                                                 uint64_t size) const {
  if (!Has(inode)) return {{offset, size, std::nullopt}};
  std::vector<Part> parts;
  while (size > 0) {
    const Place* const place = FindPlace(inode, offset / kPackPageBytes);
    uint64_t end = 0;
    std::optional<uint64_t> position;
    if (place != nullptr) {
      const uint64_t begin = place->run.first_page * kPackPageBytes;
      end = begin + place->run.pages * kPackPageBytes;
      position = place->position + offset - begin;
    } else {
      end = (offset / kPackPageBytes + 1) * kPackPageBytes;
    }
    const uint64_t take = std::min(size, end - offset);
    const bool joins =
        !parts.empty() && !position.has_value() && !parts.back().position.has_value();
    if (joins) {
      parts.back().size += take;
    } else {
      parts.push_back({offset, take, position});
    }
    offset += take;
    size -= take;
  }
  return parts;
}

bool StartupPack::HasAll(InodeNumber inode, uint64_t offset, uint64_t size) const {
  for (uint64_t at = offset; at < offset + size;) {
    const Place* const place = FindPlace(inode, at / kPackPageBytes);
    if (place == nullptr) return false;
    at = (uint64_t{place->run.first_page} + place->run.pages) * kPackPageBytes;
  }
  return true;
}

bool StartupPack::IsLate(uint64_t end) const {
  const Download download = download_.With([](const Download& d) { return d; });
  // Before there is a rate nothing else would come sooner either.
  if (!download.begun) return false;
  const auto piece =
      static_cast<size_t>(std::ranges::lower_bound(piece_ends_, end) - piece_ends_.begin());
  const uint64_t blob_end = blob_ends_[piece];
  if (blob_end <= download.bytes) return false;  // It is being decoded.
  const Duration took = download.last - download.began;
  if (took < kLeastMeasured) return false;
  const double rate = static_cast<double>(download.bytes - download.began_at) / Seconds(took);
  if (rate <= 0) return false;
  const double arrives = static_cast<double>(blob_end - download.bytes) / rate;
  const double own = kRoundsToOvertake * Seconds(download.first_byte) +
                     2 * static_cast<double>(kFetchBytes) / rate;
  const double silent = Seconds(clock_.Now() - download.last);
  return arrives > std::max(own, Seconds(kWorthOvertaking)) ||
         silent > std::max(own, Seconds(kFallenSilent));
}

StartupPack::Wait StartupPack::WhenThere(uint64_t position, uint64_t size, Done done) {
  const Wait wait = Ask(position, size, std::move(done));
  asked_.With([&](Asked& asked) {
    asked.ready += wait == Wait::kReady ? 1 : 0;
    asked.waited += wait == Wait::kWaiting ? 1 : 0;
    asked.late += wait == Wait::kLate ? 1 : 0;
  });
  return wait;
}

StartupPack::Asked StartupPack::asked() const {
  return asked_.With([](const Asked& asked) { return asked; });
}

StartupPack::Wait StartupPack::Ask(uint64_t position, uint64_t size, Done done) {
  const uint64_t end = position + size;
  if (end <= available()) return Wait::kReady;
  if (ended() || IsLate(end)) return Wait::kLate;
  return waiting_.With([&](Waiting& waiting) {
    // Release looks under this lock for whom it has to call, after the point has moved.
    if (end <= available()) return Wait::kReady;
    if (ended()) return Wait::kLate;
    waiting.by_end.emplace(end, std::move(done));
    return Wait::kWaiting;
  });
}

Status StartupPack::Read(uint64_t position, MutableByteSpan out) const {
  const Recent recent = recent_.With([](const Recent& r) { return r; });
  if (recent.pages == nullptr || position < recent.position) {
    // What begins in the object may end in memory.
    const uint64_t in_object =
        recent.pages == nullptr ? out.size() : std::min(out.size(), recent.position - position);
    LAYERFS_CHECK_OK(object_->Read(position, out.first(in_object)));
    out = out.subspan(in_object);
    position += in_object;
  }
  if (out.empty()) return {};
  const uint64_t begin = position - recent.position;
  if (begin + out.size() > recent.pages->size()) return object_->Read(position, out);
  std::ranges::copy(ByteSpan(*recent.pages).subspan(begin, out.size()), out.begin());
  return {};
}

// With the last pages the object hashes all of itself, which nobody should wait for: each piece has
// been verified.
Status StartupPack::Append(Bytes pages) {
  const uint64_t at = available();
  const auto kept = std::make_shared<const Bytes>(std::move(pages));
  recent_.With([&](Recent& recent) { recent = {at, kept}; });
  available_ = at + kept->size();
  Release(at + kept->size());
  Tell();
  LAYERFS_CHECK_OK_IN(object_->Write(at, *kept), "startup pack");
  if (object_->TakeUnfinished()) LAYERFS_CHECK_OK_IN(object_->Finish(), "startup pack");
  return {};
}

void StartupPack::NoteDownload(uint64_t blob_bytes, Duration first_byte) {
  download_.With([&](Download& download) {
    if (!download.begun) {
      download.begun = true;
      download.began = clock_.Now();
      download.began_at = blob_bytes;
      download.first_byte = first_byte;
    }
    download.bytes = blob_bytes;
    download.last = clock_.Now();
  });
}

void StartupPack::End() {
  ended_ = true;
  if (object_ != nullptr && object_->whole()) recent_.With([](Recent& recent) { recent = {}; });
  Release(available());
  const auto left = waiting_.With([](Waiting& waiting) { return std::exchange(waiting, {}); });
  for (const auto& [end, done] : left.by_end) done(false);
  Tell();
}

void StartupPack::Finish(Status outcome) {
  End();
  outcome_.With([&](std::optional<Status>& slot) { slot = std::move(outcome); });
}

std::optional<Status> StartupPack::outcome() const {
  return outcome_.With([](const std::optional<Status>& slot) { return slot; });
}

void StartupPack::Release(uint64_t available) {
  std::vector<Done> ready;
  waiting_.With([&](Waiting& waiting) {
    const auto until = waiting.by_end.upper_bound(available);
    for (auto it = waiting.by_end.begin(); it != until; ++it)
      ready.push_back(std::move(it->second));
    waiting.by_end.erase(waiting.by_end.begin(), until);
  });
  for (const Done& done : ready) done(true);
}

void StartupPack::Watch(std::function<void()> changed) {
  {
    const std::lock_guard lock(watch_lock_);
    watcher_ = std::move(changed);
  }
  Tell();
}

void StartupPack::Unwatch() {
  const std::lock_guard lock(watch_lock_);
  watcher_ = nullptr;
}

void StartupPack::Tell() {
  const std::lock_guard lock(watch_lock_);
  if (watcher_) watcher_();
}

}  // namespace layerfs
