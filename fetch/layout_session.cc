// SPDX-License-Identifier: Apache-2.0
#include "fetch/layout_session.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "index/base/log.h"

namespace layerfs {
namespace {

// An index in an index in a layout's index.json; more is nobody's.
constexpr int kMaxDepth = 8;

// What a layout's documents name.
class References {
 public:
  explicit References(const OciLayout& layout) : layout_(layout) {}

  // False where something cannot be read: nobody knows what it names.
  bool Collect() {
    const Result<ImageIndex> index = layout_.ReadIndex();
    return index.has_value() && AddIndex(*index, 0);
  }
  bool contains(const Digest& digest) const { return named_.contains(digest); }
  bool empty() const { return named_.empty(); }

 private:
  bool AddIndex(const ImageIndex& index, int depth) {
    if (depth > kMaxDepth) return false;
    return std::ranges::all_of(index.manifests, [&](const Descriptor& descriptor) {
      return AddDocument(descriptor, depth);
    });
  }
  bool AddDocument(const Descriptor& descriptor, int depth) {
    if (!named_.insert(descriptor.digest).second) return true;
    // Where another tool has left a part of an image out, there is nothing below it.
    const auto raw = ReadFile(layout_.BlobPath(descriptor.digest), kMaxManifestBytes);
    if (!raw.has_value()) return raw.error().code == ErrorCode::kNotFound;
    if (media_type::IsIndex(descriptor.media_type)) {
      const Result<ImageIndex> index = ImageIndex::Parse(*raw);
      return index.has_value() && AddIndex(*index, depth + 1);
    }
    const Result<Manifest> manifest = Manifest::Parse(*raw);
    if (!manifest.has_value()) return false;
    named_.insert(manifest->config.digest);
    for (const Descriptor& layer : manifest->layers) named_.insert(layer.digest);
    return true;
  }

  const OciLayout& layout_;
  std::set<Digest> named_;
};

bool IsSameFile(int fd, const std::string& path) {
  struct stat opened;
  struct stat named;
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

bool Flock(int fd, int operation) {
  while (::flock(fd, operation) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

}  // namespace

LayoutSession::~LayoutSession() {
  const State state = state_.With([](State& all) { return std::move(all); });
  if (state.lock.valid()) TakeBack(state);
}

Status LayoutSession::Begin() {
  if (begun()) return {};
  std::vector<std::string> made;
  if (!IsLayout()) made = MissingDirectories();
  LAYERFS_TRY(lock, Lock());
  state_.With([&](State& state) {
    // Of two threads that come at once, the one that was first knows more.
    if (made.size() > state.made.size()) state.made = std::move(made);
    if (!state.lock.valid()) state.lock = std::move(lock);
  });
  return {};
}

Result<bool> LayoutSession::BeginExisting() {
  if (begun()) return true;
  if (!IsLayout()) return false;
  LAYERFS_CHECK_OK(Begin());
  return true;
}

bool LayoutSession::begun() const {
  return state_.With([](const State& state) { return state.lock.valid(); });
}

void LayoutSession::Added(const Digest& blob) {
  state_.With([&](State& state) { state.added.push_back(blob); });
}

void LayoutSession::Keep() {
  state_.With([](State& state) {
    state.added.clear();
    state.made.clear();
  });
}

bool LayoutSession::IsLayout() const {
  return ::access((layout_.directory() + "/oci-layout").c_str(), F_OK) == 0;
}

std::vector<std::string> LayoutSession::MissingDirectories() const {
  const std::string& root = layout_.directory();
  std::vector<std::string> missing;
  for (const std::string& path : {root + "/blobs/sha256", root + "/blobs", root}) {
    if (::access(path.c_str(), F_OK) != 0) missing.push_back(path);
  }
  return missing;
}

// Another session may take the whole layout away between making it and locking it.
Result<UniqueFd> LayoutSession::Lock() const {
  const std::string blobs = layout_.directory() + "/blobs/sha256";
  while (true) {
    LAYERFS_CHECK_OK(layout_.Create());
    Result<UniqueFd> directory = OpenFile(blobs, O_RDONLY | O_DIRECTORY);
    if (!directory.has_value()) {
      if (directory.error().code == ErrorCode::kNotFound) continue;
      return Fail(std::move(directory).error());
    }
    // Only where no session lives can it be told whose temporary files are nobody's.
    if (Flock(directory->get(), LOCK_EX | LOCK_NB) && IsSameFile(directory->get(), blobs)) {
      layout_.RemoveLeftovers();
    }
    // On a file system without locks there is one writer at a time, or garbage.
    Flock(directory->get(), LOCK_SH);
    if (IsSameFile(directory->get(), blobs)) return std::move(*directory);
  }
}

void LayoutSession::TakeBack(const State& state) const {
  if (state.added.empty() && state.made.empty()) return;
  if (!Flock(state.lock.get(), LOCK_EX | LOCK_NB)) {
    LogDebug(layout_.directory() + ": what was written stays: others write there too");
    return;
  }
  References named(layout_);
  if (!named.Collect()) {
    LogDebug(layout_.directory() + ": what was written stays: not all documents can be read");
    return;
  }
  for (const Digest& blob : state.added) {
    if (!named.contains(blob)) ::unlink(layout_.BlobPath(blob).c_str());
  }
  if (named.empty()) RemoveEmptyLayout(state);
}

// What is not empty stays, by the kernel's word.
void LayoutSession::RemoveEmptyLayout(const State& state) const {
  if (state.made.empty() || ::rmdir(state.made.front().c_str()) != 0) return;
  ::unlink((layout_.directory() + "/index.json").c_str());
  ::unlink((layout_.directory() + "/oci-layout").c_str());
  for (const std::string& path : state.made) ::rmdir(path.c_str());
}

}  // namespace layerfs
