// SPDX-License-Identifier: Apache-2.0
#include "fetch/oci_layout.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace layerfs {
namespace {

constexpr char kRefName[] = "org.opencontainers.image.ref.name";
constexpr char kLayoutFile[] = "oci-layout";
constexpr char kLayoutVersion[] = "1.0.0";
constexpr uint64_t kCopyBytes = uint64_t{4} << 20;  // between two reports of progress

std::string TagOf(const Descriptor& descriptor) {
  const auto it = descriptor.annotations.find(kRefName);
  return it == descriptor.annotations.end() ? "" : it->second;
}

std::string ListTags(const ImageIndex& index) {
  std::string list;
  for (const Descriptor& descriptor : index.manifests) {
    if (!list.empty()) list += ", ";
    const std::string tag = TagOf(descriptor);
    list += tag.empty() ? "(untagged) " + descriptor.digest.ToString() : tag;
    if (list.size() > 400) return list + ", …";
  }
  return list.empty() ? "nothing" : list;
}

// A name that no other writer has, for a file that is to be renamed.
std::string TemporaryName(const std::string& directory) {
  static std::atomic<uint64_t> counter{0};
  return directory + "/.tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
}

// Whether TemporaryName or WriteFileAtomically made it up: ".tmp-PID-N", "index.json.tmp.PID.N",
// "DIGEST.tmp.PID.N".
bool IsTemporaryName(const std::string& name) {
  const size_t at = name.rfind(".tmp");
  if (at == std::string::npos || at + 4 == name.size()) return false;
  const std::string base = name.substr(0, at);
  const char separator = base.empty() ? '-' : '.';
  if (!base.empty() && base != "index.json" &&
      !(base.size() == 64 && base.find_first_not_of("0123456789abcdef") == std::string::npos)) {
    return false;
  }
  const std::string numbers = name.substr(at + 4);
  const size_t middle = numbers.find(separator, 1);
  return numbers.front() == separator && middle != std::string::npos && middle > 1 &&
         middle + 1 < numbers.size() &&
         numbers.find_first_not_of("0123456789", middle + 1) == std::string::npos &&
         numbers.find_first_not_of("0123456789", 1) == middle;
}

void RemoveTemporaryFiles(const std::string& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    if (IsTemporaryName(at->path().filename())) unlink(at->path().c_str());
  }
}

// Unlinks a file unless it has been renamed away.
class TemporaryFile {
 public:
  static Result<TemporaryFile> Create(const std::string& directory) {
    const std::string path = TemporaryName(directory);
    LAYERFS_TRY(fd, OpenFile(path, O_RDWR | O_CREAT | O_EXCL));
    return TemporaryFile(path, std::move(fd));
  }
  TemporaryFile(TemporaryFile&& other) noexcept
      : path_(std::exchange(other.path_, "")), fd_(std::move(other.fd_)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }

  int fd() const { return fd_.get(); }

  // Syncs the file, gives it its name, and syncs the directory.
  Status Publish(const std::string& directory, const std::string& path) {
    if (fsync(fd_.get()) != 0) return FailErrno("sync " + path_, errno);
    if (rename(path_.c_str(), path.c_str()) != 0) return FailErrno("rename to " + path, errno);
    path_.clear();
    LAYERFS_TRY(directory_fd, OpenFile(directory, O_RDONLY | O_DIRECTORY));
    if (fsync(directory_fd.get()) != 0) return FailErrno("sync " + directory, errno);
    return {};
  }

 private:
  TemporaryFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  UniqueFd fd_;
};

// Copies [0, size) of `from`, in the kernel where it can.
Status CopyBytes(int from, int to, uint64_t size,
                 const std::function<Status(uint64_t)>& on_progress) {
  Bytes buffer;
  for (uint64_t done = 0; done < size;) {
    const uint64_t want = std::min(size - done, kCopyBytes);
    off_t from_offset = static_cast<off_t>(done);
    off_t to_offset = static_cast<off_t>(done);
    const ssize_t copied = copy_file_range(from, &from_offset, to, &to_offset, want, 0);
    if (copied > 0) {
      done += static_cast<uint64_t>(copied);
    } else if (copied < 0 && errno == EINTR) {
      continue;
    } else {
      // Zero is the file's end or a file system that cannot tell; reading tells which.
      buffer.resize(want);
      LAYERFS_CHECK_OK_IN(ReadFullAt(from, done, buffer), "the blob's file");
      LAYERFS_CHECK_OK(WriteFullAt(to, done, buffer));
      done += want;
    }
    if (on_progress) LAYERFS_CHECK_OK(on_progress(done));
  }
  return {};
}

}  // namespace

std::string OciLayout::BlobPath(const Digest& digest) const {
  return directory_ + "/blobs/sha256/" + digest.Hex();
}

Result<ImageIndex> OciLayout::ReadIndex() const {
  const std::string layout_path = directory_ + "/" + kLayoutFile;
  auto layout = ReadFile(layout_path, kMaxManifestBytes);
  if (!layout) {
    if (layout.error().code != ErrorCode::kNotFound) return Fail(std::move(layout).error());
    return Fail(ErrorCode::kNotFound, directory_ + ": not an OCI layout (no file " +
                                          std::string(kLayoutFile) + " in it)");
  }
  LAYERFS_TRY_IN(json, ParseJson(*layout, kMaxManifestBytes), layout_path);
  LAYERFS_TRY_IN(version, JsonString(json, "imageLayoutVersion"), layout_path);
  if (!version.starts_with("1.")) {
    return Fail(ErrorCode::kUnsupported,
                layout_path + ": version " + version + " of the OCI layout");
  }
  const std::string index_path = directory_ + "/index.json";
  LAYERFS_TRY(raw, ReadFile(index_path, kMaxManifestBytes));
  LAYERFS_TRY_IN(index, ImageIndex::Parse(raw), index_path);
  return index;
}

Result<Descriptor> OciLayout::FindTag(const std::string& tag) const {
  LAYERFS_TRY(index, ReadIndex());
  std::vector<const Descriptor*> found;
  for (const Descriptor& descriptor : index.manifests) {
    if (tag.empty() || TagOf(descriptor) == tag) found.push_back(&descriptor);
  }
  if (found.size() == 1) return *found[0];
  const std::string what = tag.empty() ? "no tag is named" : "no single image \"" + tag + "\"";
  return Fail(found.empty() ? ErrorCode::kNotFound : ErrorCode::kInvalidArgument,
              directory_ + ": " + what + "; there is: " + ListTags(index));
}

Result<UniqueFd> OciLayout::OpenBlob(const Digest& digest, uint64_t size) const {
  const std::string path = BlobPath(digest);
  LAYERFS_TRY(fd, OpenFile(path, O_RDONLY | O_NONBLOCK));
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return FailErrno(path, errno);
  if (!S_ISREG(status.st_mode)) return Fail(ErrorCode::kCorrupt, path + ": not a regular file");
  if (static_cast<uint64_t>(status.st_size) != size) {
    return Fail(ErrorCode::kCorrupt, path + ": " + std::to_string(status.st_size) +
                                         " bytes, its descriptor says " + std::to_string(size));
  }
  return fd;
}

bool OciLayout::HasBlob(const Digest& digest, uint64_t size) const {
  return OpenBlob(digest, size).has_value();
}

Status OciLayout::Create() const {
  LAYERFS_CHECK_OK(MakeDirectories(directory_ + "/blobs/sha256"));
  // Made once and never replaced: it is what the lock is on.
  const std::string path = directory_ + "/" + kLayoutFile;
  const std::string text = Json({{"imageLayoutVersion", kLayoutVersion}}).dump();
  auto fd = OpenFile(path, O_RDWR | O_CREAT);
  if (!fd) return Fail(std::move(fd).error());
  LAYERFS_TRY(size, FileSize(fd->get()));
  if (size == 0) LAYERFS_CHECK_OK_IN(WriteFullAt(fd->get(), 0, AsBytes(text)), path);
  LAYERFS_TRY(lock, Lock());
  const std::string index_path = directory_ + "/index.json";
  if (access(index_path.c_str(), F_OK) == 0) return {};
  ImageIndex empty;
  empty.media_type = media_type::kOciIndex;
  return WriteFileAtomically(index_path, empty.Encode(), {.durable = true});
}

Result<UniqueFd> OciLayout::Lock() const {
  const std::string path = directory_ + "/" + kLayoutFile;
  LAYERFS_TRY(fd, OpenFile(path, O_RDONLY));
  while (flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return FailErrno("lock " + path, errno);
  }
  return fd;
}

void OciLayout::RemoveLeftovers() const {
  RemoveTemporaryFiles(directory_ + "/blobs/sha256");
  // Other writers replace index.json under this lock.
  const Result<UniqueFd> lock = Lock();
  if (lock.has_value()) RemoveTemporaryFiles(directory_);
}

Status OciLayout::WriteBlob(const Digest& digest, uint64_t size, int fd,
                            const std::function<Status(uint64_t)>& on_progress) const {
  LAYERFS_CHECK_OK(Create());
  if (HasBlob(digest, size)) return {};
  const std::string blobs = directory_ + "/blobs/sha256";
  LAYERFS_TRY(file, TemporaryFile::Create(blobs));
  LAYERFS_CHECK_OK_IN(CopyBytes(fd, file.fd(), size, on_progress), BlobPath(digest));
  return file.Publish(blobs, BlobPath(digest));
}

Status OciLayout::WriteBlobBytes(const Digest& digest, ByteSpan bytes) const {
  LAYERFS_CHECK_OK(Create());
  if (HasBlob(digest, bytes.size())) return {};
  return WriteFileAtomically(BlobPath(digest), bytes, {.durable = true});
}

Status OciLayout::SetTag(const std::string& tag, Descriptor descriptor) const {
  LAYERFS_CHECK_OK(Create());
  LAYERFS_TRY(lock, Lock());
  LAYERFS_TRY(index, ReadIndex());
  std::erase_if(index.manifests, [&](const Descriptor& old) {
    return TagOf(old) == tag && (!tag.empty() || old.digest == descriptor.digest);
  });
  if (!tag.empty()) descriptor.annotations[kRefName] = tag;
  index.manifests.push_back(std::move(descriptor));
  return WriteFileAtomically(directory_ + "/index.json", index.Encode(), {.durable = true});
}

}  // namespace layerfs
