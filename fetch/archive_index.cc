// SPDX-License-Identifier: Apache-2.0
#include "fetch/archive_index.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

namespace layerfs {
namespace {

constexpr size_t kBlockBytes = 64 * 1024;
// docker save writes three or four members a layer.
constexpr size_t kMaxMembers = 100'000;
constexpr int kMaxLinks = 8;

struct ReaderCleanup {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
using Reader = std::unique_ptr<archive, ReaderCleanup>;

// Those that skopeo and Podman take for an archive of images.
void SupportCompressions(archive* reader) {
  archive_read_support_filter_gzip(reader);
  archive_read_support_filter_bzip2(reader);
  archive_read_support_filter_xz(reader);
  archive_read_support_filter_zstd(reader);
}

std::unexpected<Error> Refuse(archive* reader, const std::string& path) {
  const char* text = archive_error_string(reader);
  return Fail(ErrorCode::kCorrupt,
              path + ": " + (text != nullptr ? text : "not an archive that layerfs can read"));
}

// "a/./b/../c" as "a/c"; never above the top.
std::string Normalized(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    start = end + 1;
  }
  std::string joined;
  for (const std::string& part : parts) joined += (joined.empty() ? "" : "/") + part;
  return joined;
}

std::string Text(const char* text) { return text != nullptr ? text : ""; }

}  // namespace

Result<ArchiveIndex> ArchiveIndex::Open(const std::string& path) {
  ArchiveIndex index;
  // O_NONBLOCK: a FIFO without a writer would keep open(2) waiting.
  LAYERFS_TRY(fd, OpenFile(path, O_RDONLY | O_NONBLOCK));
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return FailErrno(path, errno);
  if (!S_ISREG(status.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument,
                path +
                    ": not a regular file, which an archive has to be, because it is read more "
                    "than once; save it to a file first");
  }
  index.fd_ = std::move(fd);
  LAYERFS_TRY(compressed, index.List(path));
  if (!compressed) return index;
  index.entries_.clear();
  LAYERFS_CHECK_OK(index.Decompress(path));
  LAYERFS_TRY(still_compressed, index.List(path));
  if (still_compressed) return Fail(ErrorCode::kUnsupported, path + ": compressed twice");
  return index;
}

// Whether the archive is compressed, in which case the list is of no use.
Result<bool> ArchiveIndex::List(const std::string& path) {
  const Reader reader(archive_read_new());
  SupportCompressions(reader.get());
  archive_read_support_format_tar(reader.get());
  if (lseek(fd_.get(), 0, SEEK_SET) < 0) return FailErrno(path, errno);
  if (archive_read_open_fd(reader.get(), fd_.get(), kBlockBytes) != ARCHIVE_OK) {
    return Refuse(reader.get(), path);
  }
  while (true) {
    archive_entry* entry = nullptr;
    const int code = archive_read_next_header(reader.get(), &entry);
    if (code == ARCHIVE_EOF) return false;
    if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return Refuse(reader.get(), path);
    if (archive_filter_count(reader.get()) > 1) return true;
    if (entries_.size() >= kMaxMembers) {
      return Fail(ErrorCode::kTooLarge,
                  path + ": more than " + std::to_string(kMaxMembers) + " members");
    }
    const std::string name = Normalized(Text(archive_entry_pathname(entry)));
    Entry& added = entries_[name];
    added = Entry();
    const std::string hard_link = Text(archive_entry_hardlink(entry));
    if (!hard_link.empty()) {
      added.link = Normalized(hard_link);
    } else if (archive_entry_filetype(entry) == AE_IFLNK) {
      added.link =
          Normalized(name.substr(0, name.rfind('/') + 1) + Text(archive_entry_symlink(entry)));
    } else if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_sparse_count(entry) > 0) {
      entries_.erase(name);  // Nothing that an image refers to.
    } else {
      // Right after the header has been read, what was consumed is what lies before the content.
      added.member.offset = static_cast<uint64_t>(archive_filter_bytes(reader.get(), 0));
      added.member.size = static_cast<uint64_t>(archive_entry_size(entry));
    }
  }
}

Status ArchiveIndex::Decompress(const std::string& path) {
  const Reader reader(archive_read_new());
  SupportCompressions(reader.get());
  archive_read_support_format_raw(reader.get());
  LAYERFS_TRY(target, OpenUnnamedFile(SpoolDirectory()));
  if (lseek(fd_.get(), 0, SEEK_SET) < 0) return FailErrno(path, errno);
  archive_entry* entry = nullptr;
  if (archive_read_open_fd(reader.get(), fd_.get(), kBlockBytes) != ARCHIVE_OK ||
      archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) {
    return Refuse(reader.get(), path);
  }
  Bytes piece(size_t{1} << 20);
  while (true) {
    const la_ssize_t got = archive_read_data(reader.get(), piece.data(), piece.size());
    if (got < 0) return Refuse(reader.get(), path);
    if (got == 0) break;
    LAYERFS_CHECK_OK_IN(WriteFull(target.get(), ByteSpan(piece).first(static_cast<size_t>(got))),
                        path + ": decompressing");
  }
  fd_ = std::move(target);
  return {};
}

Result<ArchiveMember> ArchiveIndex::Find(const std::string& name) const {
  std::string at = Normalized(name);
  for (int links = 0; links <= kMaxLinks; ++links) {
    const auto it = entries_.find(at);
    if (it == entries_.end()) return Fail(ErrorCode::kCorrupt, "no member \"" + name + "\"");
    if (it->second.link.empty()) return it->second.member;
    at = it->second.link;
  }
  return Fail(ErrorCode::kCorrupt, "member \"" + name + "\": too many links");
}

Result<Bytes> ArchiveIndex::Read(const std::string& name, uint64_t limit) const {
  LAYERFS_TRY(member, Find(name));
  if (member.size > limit) {
    return Fail(ErrorCode::kTooLarge, "member \"" + name + "\": " + std::to_string(member.size) +
                                          " bytes; the limit is " + std::to_string(limit));
  }
  Bytes bytes(member.size);
  LAYERFS_CHECK_OK_IN(ReadFullAt(fd_.get(), member.offset, bytes), "member \"" + name + "\"");
  return bytes;
}

}  // namespace layerfs
