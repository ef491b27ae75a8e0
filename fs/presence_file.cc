// SPDX-License-Identifier: Apache-2.0
#include "fs/presence_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "fs/fail_point.h"
#include "index/base/xxh3.h"

namespace layerfs {
namespace {

constexpr std::string_view kMapMagic = "LFSPMAP\n";
constexpr uint32_t kVersion = 1;
constexpr size_t kIdentityBytes = 32;  // what the checksum covers
constexpr uint64_t kBaseSizeOffset = 40;
constexpr uint64_t kHeaderFields = 48;
constexpr uint64_t kBitmapOffset = 4096;

constexpr uint64_t FileBytes(uint64_t lower_size) {
  const uint64_t pages = AlignUp(lower_size, kPartialPageBytes) / kPartialPageBytes;
  return kBitmapOffset + AlignUp(pages, PresenceFile::kWordPages) / 8;
}

Bytes EncodeHeader(const LowerIdentity& lower, uint64_t base_size) {
  ByteWriter writer;
  writer.WriteSpan(AsBytes(kMapMagic));
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
  const ByteSpan magic = reader.ReadSpan(kMapMagic.size());
  const auto version = reader.Read<uint32_t>();
  const auto page_bytes = reader.Read<uint32_t>();
  Header header;
  header.lower.inode = reader.Read<uint64_t>();
  header.lower.size = reader.Read<uint64_t>();
  const auto checksum = reader.Read<uint64_t>();
  header.base_size = reader.Read<uint64_t>();
  if (!reader.ok() || AsText(magic) != kMapMagic)
    return Fail(ErrorCode::kCorrupt, "not a presence map");
  if (version != kVersion)
    return Fail(ErrorCode::kUnsupported, "version " + std::to_string(version));
  if (checksum != Xxh3(bytes.first(kIdentityBytes)))
    return Fail(ErrorCode::kCorrupt, "the header's checksum does not match");
  if (page_bytes != kPartialPageBytes || header.lower.size > PresenceFile::kMaxLowerBytes ||
      header.base_size > header.lower.size)
    return Fail(ErrorCode::kCorrupt, "impossible sizes in the header");
  return header;
}

std::string Describe(const LowerIdentity& lower) {
  return "inode " + std::to_string(lower.inode) + " of " + std::to_string(lower.size) + " bytes";
}

}  // namespace

PresenceFile::~PresenceFile() {
  if (!mapped_.empty()) munmap(const_cast<uint8_t*>(mapped_.data()), mapped_.size());
}

Result<std::unique_ptr<PresenceFile>> PresenceFile::Create(int directory_fd, const std::string& id,
                                                           const LowerIdentity& lower,
                                                           uint64_t base_size) {
  const std::string name = "presence map " + id;
  LAYERFS_TRY_IN(made, OpenFileAt(directory_fd, id, O_RDWR | O_CREAT | O_EXCL, 0600), name);
  FailPoint("map.made");
  std::unique_ptr<PresenceFile> file(new PresenceFile(name, std::move(made)));
  file->base_size_ = base_size;
  const auto fill = [&]() -> Status {
    const int fd = file->file_.get();
    LAYERFS_CHECK_OK_IN(WriteFullAt(fd, 0, EncodeHeader(lower, base_size)), name);
    if (ftruncate(fd, static_cast<off_t>(FileBytes(lower.size))) != 0)
      return FailErrno(name, errno);
    // Before the upper file's xattr names it, or a power cut between would leave a name without a
    // map, and a file without content.
    LAYERFS_CHECK_OK(file->Sync());
    if (fsync(directory_fd) != 0) return FailErrno(name, errno);
    return file->Map(FileBytes(lower.size));
  };
  if (Status filled = fill(); !filled.has_value()) {
    unlinkat(directory_fd, id.c_str(), 0);
    return Fail(std::move(filled).error());
  }
  FailPoint("map.filled");
  return file;
}

Result<std::unique_ptr<PresenceFile>> PresenceFile::Open(int directory_fd, const std::string& id,
                                                         const LowerIdentity& lower) {
  const std::string name = "presence map " + id;
  auto opened = OpenFileAt(directory_fd, id, O_RDWR | O_NOFOLLOW);
  if (!opened.has_value() && opened.error().code == ErrorCode::kNotFound)
    return Fail(ErrorCode::kCorrupt, name + ": missing");
  if (!opened.has_value()) return Fail(std::move(opened).error().In(name));
  std::unique_ptr<PresenceFile> file(new PresenceFile(name, std::move(*opened)));
  Bytes bytes(kHeaderFields);
  LAYERFS_CHECK_OK_IN(ReadFullAt(file->file_.get(), 0, bytes), name);
  LAYERFS_TRY_IN(header, DecodeHeader(bytes), name);
  if (header.lower != lower)
    return Fail(ErrorCode::kCorrupt,
                name + ": of " + Describe(header.lower) + " instead of " + Describe(lower));
  LAYERFS_CHECK_OK(file->Map(FileBytes(lower.size)));
  file->base_size_ = header.base_size;
  return file;
}

Status PresenceFile::Map(uint64_t expected_size) {
  LAYERFS_TRY_IN(size, FileSize(file_.get()), name_);
  if (size != expected_size)
    return Fail(ErrorCode::kCorrupt, name_ + ": " + std::to_string(size) + " bytes instead of " +
                                         std::to_string(expected_size));
  void* const address = mmap(nullptr, size, PROT_READ, MAP_SHARED, file_.get(), 0);
  if (address == MAP_FAILED) return FailErrno(name_ + ": mmap", errno);
  mapped_ = ByteSpan(static_cast<const uint8_t*>(address), size);
  return {};
}

uint64_t PresenceFile::Word(uint64_t index) const {
  const uint8_t* const at = mapped_.data() + kBitmapOffset + index * sizeof(uint64_t);
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(at), __ATOMIC_ACQUIRE);
}

Status PresenceFile::SetPresent(uint64_t first_page, uint64_t end_page) {
  const uint64_t first_byte = first_page / 8;
  const uint64_t end_byte = (end_page + 7) / 8;
  Bytes bits(end_byte - first_byte, 0xff);
  // The bytes at both ends keep what they have.
  const auto keep = [&](uint64_t byte, uint8_t mask) {
    uint8_t& at = bits[byte - first_byte];
    at = static_cast<uint8_t>((at & mask) | mapped_[kBitmapOffset + byte]);
  };
  keep(first_byte, static_cast<uint8_t>(0xff << (first_page % 8)));
  if (end_page % 8 != 0) keep(end_byte - 1, static_cast<uint8_t>((1 << (end_page % 8)) - 1));
  LAYERFS_CHECK_OK_IN(WriteFullAt(file_.get(), kBitmapOffset + first_byte, bits), name_);
  return {};
}

Status PresenceFile::SetBase(uint64_t base_size) {
  ByteWriter writer;
  writer.Write(base_size);
  LAYERFS_CHECK_OK_IN(WriteFullAt(file_.get(), kBaseSizeOffset, writer.bytes()), name_);
  return {};
}

Status PresenceFile::Sync() {
  if (fdatasync(file_.get()) != 0) return FailErrno(name_, errno);
  return {};
}

}  // namespace layerfs
