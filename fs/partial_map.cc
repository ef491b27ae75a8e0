// SPDX-License-Identifier: Apache-2.0
#include "fs/partial_map.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <random>
#include <utility>

#include "fs/fail_point.h"
#include "fs/presence_file.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

constexpr size_t kIdDigits = 16;
constexpr std::string_view kXattrPrefix = "1:";  // the version of the xattr's value
// Instead of a map's name: nothing is present, and nothing was cut.
constexpr std::string_view kPristine = "0000000000000000";
static_assert(kPristine.size() == kIdDigits);

constexpr uint64_t PagesOf(uint64_t bytes) {
  return bytes / kPartialPageBytes + (bytes % kPartialPageBytes != 0 ? 1 : 0);
}

std::string NewId() {
  std::random_device random;
  char text[kIdDigits + 1];
  do {
    std::snprintf(text, sizeof text, "%08x%08x", random(), random());
  } while (text == kPristine);
  return text;
}

bool IsId(std::string_view text) {
  return text.size() == kIdDigits && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Status SetXattr(int upper_fd, const std::string& name, std::string_view id) {
  const std::string value = std::string(kXattrPrefix) + std::string(id);
  if (fsetxattr(upper_fd, name.c_str(), value.data(), value.size(), 0) != 0)
    return FailErrno("xattr " + name, errno);
  return {};
}

}  // namespace

struct PartialMap::State {
  // What only one at a time changes.
  struct Changes {
    std::unique_ptr<PresenceFile> file;
    bool detached = false;
  };

  std::string id;  // of the file, once there is one
  LowerIdentity identity;
  int upper_fd = -1;
  std::shared_ptr<const UniqueFd> directory;
  std::string xattr_name;
  std::atomic<uint64_t> base_size{0};
  std::atomic<uint64_t> absent{0};
  std::atomic<bool> base_synced{true};
  std::atomic<const PresenceFile*> bits{nullptr};  // changes' file; null: nothing is present
  Synchronized<Changes> changes;

  uint64_t Word(uint64_t index) const {
    const PresenceFile* const file = bits.load(std::memory_order_acquire);
    return file == nullptr ? 0 : file->Word(index);
  }

  // The first page of [page, end) that is `present` or not; `end` where there is none.
  uint64_t Find(bool present, uint64_t page, uint64_t end) const {
    constexpr uint64_t kBits = PresenceFile::kWordPages;
    while (page < end) {
      const uint64_t word = present ? Word(page / kBits) : ~Word(page / kBits);
      const uint64_t rest = word >> (page % kBits);
      if (rest != 0) return std::min(page + static_cast<uint64_t>(std::countr_zero(rest)), end);
      page = (page / kBits + 1) * kBits;
    }
    return end;
  }

  uint64_t CountAbsent(uint64_t page, uint64_t end) const {
    constexpr uint64_t kBits = PresenceFile::kWordPages;
    uint64_t count = 0;
    while (page < end) {
      const uint64_t until = std::min((page / kBits + 1) * kBits, end);
      uint64_t word = ~Word(page / kBits) >> (page % kBits);
      if (until - page < kBits) word &= (uint64_t{1} << (until - page)) - 1;
      count += static_cast<uint64_t>(std::popcount(word));
      page = until;
    }
    return count;
  }

  // The first change makes the file: what changes mode, owner or name, or appends, needs none.
  Status MakeFile(Changes& now) {
    if (now.file != nullptr || now.detached) return {};
    LAYERFS_TRY(file, PresenceFile::Create(directory->get(), id, identity, base_size));
    if (Status named = SetXattr(upper_fd, xattr_name, id); !named.has_value()) {
      unlinkat(directory->get(), id.c_str(), 0);
      return named;
    }
    FailPoint("map.named");
    now.file = std::move(file);
    bits.store(now.file.get(), std::memory_order_release);
    return {};
  }
};

PartialMap::PartialMap(std::unique_ptr<State> state) : state_(std::move(state)) {}
PartialMap::~PartialMap() = default;

const std::string& PartialMap::id() const { return state_->id; }
const LowerIdentity& PartialMap::identity() const { return state_->identity; }
uint64_t PartialMap::base_size() const { return state_->base_size; }
uint64_t PartialMap::absent_pages() const { return state_->absent; }
bool PartialMap::IsPresent(uint64_t page) const { return RunAt(page, page + 1).present; }

PartialMap::Run PartialMap::RunAt(uint64_t page, uint64_t end_page) const {
  const uint64_t base_pages = std::min(PagesOf(base_size()), end_page);
  if (page >= base_pages) return {page, end_page, true};
  const uint64_t absent = state_->Find(false, page, base_pages);
  if (absent == base_pages) return {page, end_page, true};
  if (absent > page) return {page, absent, true};
  return {page, state_->Find(true, page, base_pages), false};
}

// A change is a store of a few bytes into the page cache, but for the first one.
Status PartialMap::SetPresent(uint64_t first_page, uint64_t end_page) {
  return state_->changes.With([&](State::Changes& now) -> Status {
    end_page = std::min(end_page, PagesOf(base_size()));
    if (first_page >= end_page) return {};
    const uint64_t absent = state_->CountAbsent(first_page, end_page);
    if (absent == 0 || now.detached) return {};
    LAYERFS_CHECK_OK(state_->MakeFile(now));
    LAYERFS_CHECK_OK(now.file->SetPresent(first_page, end_page));
    state_->absent -= absent;
    return {};
  });
}

Status PartialMap::ShrinkBase(uint64_t base_size) {
  return state_->changes.With([&](State::Changes& now) -> Status {
    const uint64_t before = state_->base_size;
    if (base_size >= before) return {};
    // Cut to nothing it needs no map: an empty upper file says the same, until it is detached or
    // grows (SettleBase).
    if (base_size > 0) LAYERFS_CHECK_OK(state_->MakeFile(now));
    if (now.file != nullptr) LAYERFS_CHECK_OK(now.file->SetBase(base_size));
    state_->absent -= state_->CountAbsent(PagesOf(base_size), PagesOf(before));
    state_->base_size = base_size;
    state_->base_synced = false;
    return {};
  });
}

Status PartialMap::SettleBase() {
  if (state_->base_synced) return {};
  return state_->changes.With([&](State::Changes& now) -> Status {
    LAYERFS_CHECK_OK(state_->MakeFile(now));
    if (now.file != nullptr) LAYERFS_CHECK_OK(now.file->Sync());
    state_->base_synced = true;
    return {};
  });
}

Status PartialMap::Sync() {
  return state_->changes.With([&](State::Changes& now) -> Status {
    if (now.file == nullptr) return {};
    LAYERFS_CHECK_OK(now.file->Sync());
    state_->base_synced = true;
    return {};
  });
}

PartialMaps::PartialMaps(UniqueFd directory, Options options)
    : directory_(std::make_shared<const UniqueFd>(std::move(directory))),
      options_(std::move(options)) {}

Result<std::shared_ptr<PartialMaps>> PartialMaps::Open(UniqueFd directory, Options options) {
  return std::shared_ptr<PartialMaps>(new PartialMaps(std::move(directory), std::move(options)));
}

Status PartialMaps::Attach(int upper_fd, const LowerIdentity& lower) {
  if (lower.size > PresenceFile::kMaxLowerBytes)
    return Fail(ErrorCode::kTooLarge, "a lower file of " + std::to_string(lower.size) + " bytes");
  return SetXattr(upper_fd, options_.xattr_name, kPristine);
}

Result<std::string> PartialMaps::IdOf(int upper_fd) const {
  char value[kXattrPrefix.size() + kIdDigits + 1];
  const ssize_t size = fgetxattr(upper_fd, options_.xattr_name.c_str(), value, sizeof value);
  if (size < 0 && (errno == ENODATA || errno == EOPNOTSUPP)) return std::string();
  if (size < 0 && errno != ERANGE) return FailErrno("xattr " + options_.xattr_name, errno);
  const std::string_view text(value, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  if (size < 0 || !text.starts_with(kXattrPrefix) || !IsId(text.substr(kXattrPrefix.size())))
    return Fail(ErrorCode::kCorrupt, "xattr " + options_.xattr_name + " names no presence map");
  return std::string(text.substr(kXattrPrefix.size()));
}

Result<std::shared_ptr<PartialMap>> PartialMaps::Load(int upper_fd, const LowerIdentity& lower) {
  LAYERFS_TRY(id, IdOf(upper_fd));
  if (id.empty()) return nullptr;
  if (lower.size > PresenceFile::kMaxLowerBytes)
    return Fail(ErrorCode::kTooLarge, "a lower file of " + std::to_string(lower.size) + " bytes");
  auto state = std::make_unique<PartialMap::State>();
  state->identity = lower;
  state->upper_fd = upper_fd;
  state->directory = directory_;
  state->xattr_name = options_.xattr_name;
  if (id == kPristine) {
    state->id = NewId();
    state->base_size = lower.size;
  } else {
    state->id = id;
    auto opened = PresenceFile::Open(directory_->get(), id, lower);
    if (!opened.has_value()) {
      // Whoever had the file open before may just have made it a plain one.
      LAYERFS_TRY(now, IdOf(upper_fd));
      if (now.empty()) return nullptr;
      return Fail(std::move(opened).error());
    }
    std::unique_ptr<PresenceFile> file = std::move(*opened);
    state->base_size = file->base_size();
    state->bits = file.get();
    state->changes.With([&](auto& changes) { changes.file = std::move(file); });
  }
  state->absent = state->CountAbsent(0, PagesOf(state->base_size));
  return std::shared_ptr<PartialMap>(new PartialMap(std::move(state)));
}

Status PartialMaps::Detach(int upper_fd, const PartialMap& map) {
  return map.state_->changes.With([&](PartialMap::State::Changes& now) -> Status {
    FailPoint("detach.begin");
    if (fremovexattr(upper_fd, options_.xattr_name.c_str()) != 0 && errno != ENODATA)
      return FailErrno("xattr " + options_.xattr_name, errno);
    now.detached = true;
    FailPoint("detach.unnamed");
    return now.file == nullptr ? Status() : Remove(map.id());
  });
}

Status PartialMaps::Remove(const std::string& id) {
  if (!IsId(id)) return Fail(ErrorCode::kInvalidArgument, "presence map \"" + id + "\"");
  if (unlinkat(directory_->get(), id.c_str(), 0) != 0 && errno != ENOENT)
    return FailErrno("presence map " + id, errno);
  return {};
}

}  // namespace layerfs
