// SPDX-License-Identifier: Apache-2.0
#include "fs/partial_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "fs/fail_point.h"
#include "index/base/synchronized.h"
#include "index/base/xxh3.h"

namespace layerfs {
namespace {

// fs/CONTAINER_LAYER.md, "Presence maps": the header, then a bit for each page.
constexpr std::string_view kMagic = "LFSPMAP\n";
constexpr uint32_t kVersion = 1;
constexpr size_t kIdentityBytes = 32;  // what the checksum covers
constexpr uint64_t kBaseSizeOffset = 40;
constexpr uint64_t kHeaderFields = 48;
constexpr uint64_t kBitmapOffset = 4096;
// The largest file of ext4; its map has 512 MiB, sparse.
constexpr uint64_t kMaxLowerBytes = uint64_t{16} << 40;
constexpr uint64_t kWordBits = 64;
constexpr size_t kIdDigits = 16;
constexpr std::string_view kXattrPrefix = "1:";  // the version of the xattr's value

constexpr uint64_t PagesOf(uint64_t bytes) {
  return bytes / kPartialPageBytes + (bytes % kPartialPageBytes != 0 ? 1 : 0);
}
constexpr uint64_t BitmapBytes(uint64_t lower_size) {
  return AlignUp(PagesOf(lower_size), kWordBits) / 8;
}

Bytes EncodeHeader(const LowerIdentity& lower, uint64_t base_size) {
  ByteWriter writer;
  writer.WriteSpan(AsBytes(kMagic));
  writer.Write(kVersion);
  writer.Write(static_cast<uint32_t>(kPartialPageBytes));
  writer.Write(lower.inode);
  writer.Write(lower.size);
  writer.Write(Xxh3(writer.bytes()));
  writer.Write(base_size);
  return std::move(writer).Take();
}

struct Header {
  LowerIdentity lower;
  uint64_t base_size = 0;
};

Result<Header> DecodeHeader(ByteSpan bytes) {
  ByteReader reader(bytes);
  const ByteSpan magic = reader.ReadSpan(kMagic.size());
  const auto version = reader.Read<uint32_t>();
  const auto page_bytes = reader.Read<uint32_t>();
  Header header;
  header.lower.inode = reader.Read<uint64_t>();
  header.lower.size = reader.Read<uint64_t>();
  const auto checksum = reader.Read<uint64_t>();
  header.base_size = reader.Read<uint64_t>();
  if (!reader.ok() || AsText(magic) != kMagic)
    return Fail(ErrorCode::kCorrupt, "not a presence map");
  if (version != kVersion)
    return Fail(ErrorCode::kUnsupported, "version " + std::to_string(version));
  if (checksum != Xxh3(bytes.first(kIdentityBytes)))
    return Fail(ErrorCode::kCorrupt, "the header's checksum does not match");
  if (page_bytes != kPartialPageBytes || header.lower.size > kMaxLowerBytes ||
      header.base_size > header.lower.size)
    return Fail(ErrorCode::kCorrupt, "impossible sizes in the header");
  return header;
}

std::string NewId() {
  std::random_device random;
  char text[kIdDigits + 1];
  std::snprintf(text, sizeof text, "%08x%08x", random(), random());
  return text;
}

bool IsId(std::string_view text) {
  return text.size() == kIdDigits && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

struct PartialMap::State {
  struct Counts {
    uint64_t base_size = 0;
    uint64_t absent = 0;
  };

  std::string id;
  LowerIdentity identity;
  UniqueFd file;
  std::shared_ptr<const UniqueFd> directory;
  ByteSpan mapped;  // the file; shared, read-only: changes are made with pwrite, which can fail
  Synchronized<Counts> counts;
  std::atomic<bool> entry_synced{false};
  std::atomic<bool> base_synced{true};

  ~State() {
    if (!mapped.empty()) munmap(const_cast<uint8_t*>(mapped.data()), mapped.size());
  }

  // Pages [64 * index, 64 * index + 64).
  uint64_t Word(uint64_t index) const {
    const uint8_t* const at = mapped.data() + kBitmapOffset + index * sizeof(uint64_t);
    return __atomic_load_n(reinterpret_cast<const uint64_t*>(at), __ATOMIC_ACQUIRE);
  }

  // The first page of [page, end) that is `present` or not; `end` where there is none.
  uint64_t Find(bool present, uint64_t page, uint64_t end) const {
    while (page < end) {
      const uint64_t word = present ? Word(page / kWordBits) : ~Word(page / kWordBits);
      const uint64_t rest = word >> (page % kWordBits);
      if (rest != 0) return std::min(page + static_cast<uint64_t>(std::countr_zero(rest)), end);
      page = (page / kWordBits + 1) * kWordBits;
    }
    return end;
  }

  uint64_t CountAbsent(uint64_t page, uint64_t end) const {
    uint64_t absent = 0;
    while (page < end) {
      const uint64_t until = std::min((page / kWordBits + 1) * kWordBits, end);
      uint64_t word = ~Word(page / kWordBits) >> (page % kWordBits);
      if (until - page < kWordBits) word &= (uint64_t{1} << (until - page)) - 1;
      absent += static_cast<uint64_t>(std::popcount(word));
      page = until;
    }
    return absent;
  }

  std::string Name() const { return "presence map " + id; }

  // The file is validated against its header before it is used.
  Status Map(uint64_t expected_size) {
    LAYERFS_TRY_IN(size, FileSize(file.get()), Name());
    if (size != expected_size)
      return Fail(ErrorCode::kCorrupt, Name() + ": " + std::to_string(size) + " bytes instead of " +
                                           std::to_string(expected_size));
    void* const address = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (address == MAP_FAILED) return FailErrno(Name() + ": mmap", errno);
    mapped = ByteSpan(static_cast<const uint8_t*>(address), size);
    return {};
  }
};

PartialMap::PartialMap(std::unique_ptr<State> state) : state_(std::move(state)) {}
PartialMap::~PartialMap() = default;

const std::string& PartialMap::id() const { return state_->id; }
const LowerIdentity& PartialMap::identity() const { return state_->identity; }
uint64_t PartialMap::base_size() const {
  return state_->counts.With([](const auto& counts) { return counts.base_size; });
}
uint64_t PartialMap::absent_pages() const {
  return state_->counts.With([](const auto& counts) { return counts.absent; });
}

bool PartialMap::IsPresent(uint64_t page) const { return RunAt(page, page + 1).present; }

PartialMap::Run PartialMap::RunAt(uint64_t page, uint64_t end_page) const {
  const uint64_t base_pages = std::min(PagesOf(base_size()), end_page);
  if (page >= base_pages) return {page, end_page, true};
  const uint64_t absent = state_->Find(false, page, base_pages);
  if (absent == base_pages) return {page, end_page, true};
  if (absent > page) return {page, absent, true};
  return {page, state_->Find(true, page, base_pages), false};
}

Status PartialMap::SetPresent(uint64_t first_page, uint64_t end_page) {
  // The bytes at both ends are read, changed and written: one at a time. It is a store into the
  // page cache of a few bytes.
  return state_->counts.With([&](State::Counts& counts) -> Status {
    end_page = std::min(end_page, PagesOf(counts.base_size));
    if (first_page >= end_page) return {};
    const uint64_t absent = state_->CountAbsent(first_page, end_page);
    if (absent == 0) return {};
    const uint64_t first_byte = first_page / 8;
    const uint64_t end_byte = (end_page + 7) / 8;
    Bytes bits(end_byte - first_byte, 0xff);
    const auto keep = [&](uint64_t byte, uint8_t mask) {
      uint8_t& bit = bits[byte - first_byte];
      bit = static_cast<uint8_t>((bit & mask) | state_->mapped[kBitmapOffset + byte]);
    };
    keep(first_byte, static_cast<uint8_t>(0xff << (first_page % 8)));
    if (end_page % 8 != 0) keep(end_byte - 1, static_cast<uint8_t>((1 << (end_page % 8)) - 1));
    LAYERFS_CHECK_OK_IN(WriteFullAt(state_->file.get(), kBitmapOffset + first_byte, bits),
                        state_->Name());
    counts.absent -= absent;
    return {};
  });
}

Status PartialMap::ShrinkBase(uint64_t base_size) {
  return state_->counts.With([&](State::Counts& counts) -> Status {
    if (base_size >= counts.base_size) return {};
    ByteWriter writer;
    writer.Write(base_size);
    LAYERFS_CHECK_OK_IN(WriteFullAt(state_->file.get(), kBaseSizeOffset, writer.bytes()),
                        state_->Name());
    counts.absent -= state_->CountAbsent(PagesOf(base_size), PagesOf(counts.base_size));
    counts.base_size = base_size;
    state_->base_synced = false;
    return {};
  });
}

Status PartialMap::SettleBase() {
  if (state_->base_synced) return {};
  return Sync();
}

Status PartialMap::Sync() {
  if (fdatasync(state_->file.get()) != 0) return FailErrno(state_->Name(), errno);
  state_->base_synced = true;
  if (state_->entry_synced) return {};
  if (fsync(state_->directory->get()) != 0) return FailErrno(state_->Name(), errno);
  state_->entry_synced = true;
  return {};
}

PartialMaps::PartialMaps(UniqueFd directory, Options options)
    : directory_(std::make_shared<const UniqueFd>(std::move(directory))),
      options_(std::move(options)) {}

Result<std::shared_ptr<PartialMaps>> PartialMaps::Open(UniqueFd directory, Options options) {
  return std::shared_ptr<PartialMaps>(new PartialMaps(std::move(directory), std::move(options)));
}

Result<std::shared_ptr<PartialMap>> PartialMaps::Attach(int upper_fd, const LowerIdentity& lower) {
  if (lower.size > kMaxLowerBytes)
    return Fail(ErrorCode::kTooLarge, "a lower file of " + std::to_string(lower.size) + " bytes");
  LAYERFS_TRY(upper_size, FileSize(upper_fd));
  auto state = std::make_unique<PartialMap::State>();
  state->id = NewId();
  state->identity = lower;
  state->directory = directory_;
  const uint64_t base_size = std::min(upper_size, lower.size);
  LAYERFS_TRY_IN(file, OpenFileAt(directory_->get(), state->id, O_RDWR | O_CREAT | O_EXCL, 0600),
                 state->Name());
  state->file = std::move(file);
  FailPoint("attach.map_made");
  const auto fill = [&]() -> Status {
    const uint64_t size = kBitmapOffset + BitmapBytes(lower.size);
    LAYERFS_CHECK_OK(WriteFullAt(state->file.get(), 0, EncodeHeader(lower, base_size)));
    if (ftruncate(state->file.get(), static_cast<off_t>(size)) != 0)
      return FailErrno(state->Name(), errno);
    LAYERFS_CHECK_OK(state->Map(size));
    FailPoint("attach.map_filled");
    const std::string value = std::string(kXattrPrefix) + state->id;
    if (fsetxattr(upper_fd, options_.xattr_name.c_str(), value.data(), value.size(), 0) != 0)
      return FailErrno("xattr " + options_.xattr_name, errno);
    return {};
  };
  if (Status filled = fill(); !filled.has_value()) {
    unlinkat(directory_->get(), state->id.c_str(), 0);
    return Fail(std::move(filled).error());
  }
  FailPoint("attach.named");
  state->counts.With(
      [&](PartialMap::State::Counts& counts) { counts = {base_size, PagesOf(base_size)}; });
  return std::shared_ptr<PartialMap>(new PartialMap(std::move(state)));
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
  auto state = std::make_unique<PartialMap::State>();
  state->id = id;
  state->identity = lower;
  state->directory = directory_;
  auto opened = OpenFileAt(directory_->get(), id, O_RDWR | O_NOFOLLOW);
  if (!opened.has_value() && opened.error().code == ErrorCode::kNotFound)
    return Fail(ErrorCode::kCorrupt, state->Name() + ": missing");
  if (!opened.has_value()) return Fail(std::move(opened).error());
  state->file = std::move(*opened);
  Bytes bytes(kHeaderFields);
  LAYERFS_CHECK_OK_IN(ReadFullAt(state->file.get(), 0, bytes), state->Name());
  LAYERFS_TRY_IN(header, DecodeHeader(bytes), state->Name());
  if (header.lower != lower)
    return Fail(ErrorCode::kCorrupt,
                state->Name() + ": of inode " + std::to_string(header.lower.inode) + ", " +
                    std::to_string(header.lower.size) + " bytes, instead of inode " +
                    std::to_string(lower.inode) + ", " + std::to_string(lower.size) + " bytes");
  LAYERFS_CHECK_OK(state->Map(kBitmapOffset + BitmapBytes(lower.size)));
  const uint64_t absent = state->CountAbsent(0, PagesOf(header.base_size));
  state->counts.With(
      [&](PartialMap::State::Counts& counts) { counts = {header.base_size, absent}; });
  return std::shared_ptr<PartialMap>(new PartialMap(std::move(state)));
}

Status PartialMaps::Detach(int upper_fd, const PartialMap& map) {
  FailPoint("detach.begin");
  if (fremovexattr(upper_fd, options_.xattr_name.c_str()) != 0 && errno != ENODATA)
    return FailErrno("xattr " + options_.xattr_name, errno);
  FailPoint("detach.unnamed");
  return Remove(map.id());
}

Status PartialMaps::Remove(const std::string& id) {
  if (!IsId(id)) return Fail(ErrorCode::kInvalidArgument, "presence map \"" + id + "\"");
  if (unlinkat(directory_->get(), id.c_str(), 0) != 0 && errno != ENOENT)
    return FailErrno("presence map " + id, errno);
  return {};
}

}  // namespace layerfs
