// SPDX-License-Identifier: Apache-2.0
#include "fetch/object_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "fetch/cache_eviction.h"
#include "fetch/cache_object.h"
#include "fetch/cache_state.h"

namespace layerfs {
namespace {

// What a claim's range can name (cache_claims.h).
constexpr uint64_t kMaxObjectBytes = uint64_t{1} << 40;

// One write may be refused for its size.
constexpr int kUnkeptInARow = 2;

// A document's name is a relative path of ordinary components.
Status CheckDocumentName(std::string_view name) {
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part.front() == '.' || part.find('\0') != std::string_view::npos) {
      return Fail(ErrorCode::kInvalidArgument, "document name \"" + std::string(name) + "\"");
    }
    begin = end + 1;
  }
  return {};
}

}  // namespace

ObjectCache::ObjectCache(std::shared_ptr<CacheState> state) : state_(std::move(state)) {}

// The kept objects share the state that holds them.
ObjectCache::~ObjectCache() { CloseKept(); }

Result<std::shared_ptr<ObjectCache>> ObjectCache::Open(Options options) {
  LAYERFS_TRY(directory, CacheDirectory::Open({options.directory, options.read_only}));
  auto state = std::make_shared<CacheState>(std::move(directory), std::move(options));
  if (state->options.limit_bytes != 0 && !state->directory->read_only() &&
      state->usage.Load() < 0) {
    LAYERFS_CHECK_OK(EvictTo(*state, state->options.limit_bytes));
  }
  return std::shared_ptr<ObjectCache>(new ObjectCache(std::move(state)));
}

Result<std::shared_ptr<CachedObject>> ObjectCache::OpenObject(const ObjectId& id) {
  if (id.size > kMaxObjectBytes) {
    return Fail(ErrorCode::kTooLarge,
                "cache object " + id.digest.ToString() + ": " + std::to_string(id.size) + " bytes");
  }
  std::shared_ptr<DiskObject> object = state_->objects.With([&](auto& objects) {
    std::weak_ptr<DiskObject>& entry = objects[id];
    std::shared_ptr<DiskObject> open = entry.lock();
    if (open == nullptr) entry = open = std::make_shared<DiskObject>(state_, id);
    return open;
  });
  if (object->fd() < 0) {
    LAYERFS_CHECK_OK_IN(object->OpenExisting(), "cache object " + id.digest.ToString());
    if (id.size == 0 && !object->whole()) LAYERFS_CHECK_OK(object->WriteWhole({}));
  }
  return object;
}

Result<std::shared_ptr<CachedObject>> ObjectCache::OpenKept(const ObjectId& id) {
  auto known = state_->kept.Find(id);
  if (known != nullptr) return known;
  LAYERFS_TRY(opened, OpenObject(id));
  state_->kept.Put(opened);
  return opened;
}

void ObjectCache::CloseKept() { state_->kept.Clear(); }

std::shared_ptr<CachedObject> ObjectCache::FindWhole(const ObjectId& id) {
  Result<std::shared_ptr<CachedObject>> object = OpenObject(id);
  if (!object.has_value() || !(*object)->whole()) return nullptr;
  return *object;
}

std::string ObjectCache::DocumentPath(std::string_view name) const {
  return state_->directory->path() + "/documents/" + std::string(name);
}

Status ObjectCache::WriteDocument(std::string_view name, ByteSpan data) {
  LAYERFS_CHECK_OK(CheckDocumentName(name));
  if (state_->directory->read_only()) {
    return Fail(ErrorCode::kPermission,
                "document " + std::string(name) + ": the cache is read-only");
  }
  state_->directory->MarkWritten();
  const std::string temporary = state_->directory->NewTemporaryName();
  LAYERFS_TRY(file, state_->directory->OpenAt(temporary, O_WRONLY | O_CREAT | O_EXCL));
  Status written = WriteFull(file.get(), data);
  if (written.has_value()) {
    written = state_->directory->Rename(temporary, "documents/" + std::string(name));
  }
  if (!written.has_value()) {
    ::unlinkat(state_->directory->fd(), temporary.c_str(), 0);
    return Fail(std::move(written).error().In("document " + std::string(name)));
  }
  return {};
}

Result<Bytes> ObjectCache::ReadDocument(std::string_view name, uint64_t limit) const {
  LAYERFS_CHECK_OK(CheckDocumentName(name));
  LAYERFS_TRY(mapped, MapDocument(name));
  if (mapped.bytes().size() > limit) {
    return Fail(ErrorCode::kTooLarge, "document " + std::string(name) + ": more than " +
                                          std::to_string(limit) + " bytes");
  }
  return Bytes(mapped.bytes().begin(), mapped.bytes().end());
}

Result<MappedFile> ObjectCache::MapDocument(std::string_view name) const {
  LAYERFS_CHECK_OK(CheckDocumentName(name));
  LAYERFS_TRY(file, state_->directory->OpenAt("documents/" + std::string(name), O_RDONLY));
  struct stat attributes;
  if (::fstat(file.get(), &attributes) != 0) return FailErrno(DocumentPath(name), errno);
  const int64_t modified_ns =
      int64_t{attributes.st_mtim.tv_sec} * 1'000'000'000 + attributes.st_mtim.tv_nsec;
  if (modified_ns <= state_->directory->suspect_before_ns()) {
    return Fail(ErrorCode::kNotFound, DocumentPath(name) + ": left by a crash of the machine");
  }
  return MappedFile::Map(file, DocumentPath(name));
}

std::vector<std::string> ObjectCache::ListDocuments(std::string_view directory) const {
  std::vector<std::string> names;
  std::error_code failed;
  using Entries = std::filesystem::directory_iterator;
  for (Entries entry(DocumentPath(directory), failed), end; !failed && entry != end;
       entry.increment(failed)) {
    names.push_back(std::string(directory) + "/" + entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status ObjectCache::RemoveDocument(std::string_view name) {
  LAYERFS_CHECK_OK(CheckDocumentName(name));
  if (::unlink(DocumentPath(name).c_str()) != 0) return FailErrno(DocumentPath(name), errno);
  return {};
}

Result<std::unordered_set<Digest>> ObjectCache::WholeObjects() const {
  LAYERFS_TRY(objects, ScanObjects(*state_->directory));
  std::unordered_set<Digest> whole;
  for (const ScannedObject& object : objects) {
    if (object.whole) whole.insert(object.key);
  }
  return whole;
}

bool ObjectCache::HasRoomFor(uint64_t bytes) const {
  const uint64_t limit = state_->options.limit_bytes;
  if (DiskRoom(*state_->directory) < bytes) return false;
  if (limit == 0) return true;
  const auto fits = [&] {
    const int64_t used = state_->usage.Add(0);
    return used < 0 || static_cast<uint64_t>(used) + bytes <= limit;
  };
  if (fits()) return true;
  // The count is approximate, and may be damaged: before it is believed that nothing fits, all is
  // counted anew.
  const std::lock_guard one_thread(state_->evicting);
  return EvictTo(*state_, UINT64_MAX).has_value() && fits();
}

bool ObjectCache::MakeRoomFor(uint64_t bytes, int64_t unused_since_ns) {
  if (HasRoomFor(bytes)) return true;
  if (state_->directory->read_only()) return false;
  {
    const std::lock_guard one_thread(state_->evicting);
    const uint64_t limit = state_->options.limit_bytes;
    uint64_t target = limit == 0 ? UINT64_MAX : RoomTarget(limit, bytes);
    if (DiskRoom(*state_->directory) < bytes) {
      // The count is approximate.
      if (!EvictTo(*state_, UINT64_MAX).has_value()) return false;
      const auto used = static_cast<uint64_t>(state_->usage.Add(0));
      target = std::min(target, DiskTarget(*state_->directory, used, bytes));
    }
    if (!EvictTo(*state_, target, unused_since_ns).has_value()) return false;
  }
  return HasRoomFor(bytes);
}

int64_t ObjectCache::UseTimeNs() const {
  const int lock = state_->directory->lock_fd();
  const struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  struct stat attributes;
  if (lock < 0 || ::futimens(lock, times) != 0 || ::fstat(lock, &attributes) != 0) return 0;
  return int64_t{attributes.st_atim.tv_sec} * 1'000'000'000 + attributes.st_atim.tv_nsec;
}

void ObjectCache::NoteUse(std::span<const ObjectId> objects) {
  if (state_->directory->read_only()) return;
  const int directory = state_->directory->fd();
  const struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  for (const ObjectId& id : objects) {
    const std::string whole = WholeObjectName(id.digest);
    if (::utimensat(directory, whole.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0) continue;
    ::utimensat(directory, PartialObjectName(id).c_str(), times, AT_SYMLINK_NOFOLLOW);
  }
}

uint64_t ObjectCache::limit_bytes() const { return state_->options.limit_bytes; }

Result<uint64_t> ObjectCache::MostBytes() const {
  LAYERFS_TRY(objects, ScanObjects(*state_->directory));
  uint64_t most = DiskRoom(*state_->directory);
  for (const ScannedObject& object : objects) most += std::min(object.bytes, UINT64_MAX - most);
  const uint64_t limit = state_->options.limit_bytes;
  return limit == 0 ? most : std::min(limit, most);
}

bool ObjectCache::read_only() const { return state_->directory->read_only(); }

bool ObjectCache::keeps() const {
  if (read_only()) return false;
  if (state_->unkept_writes.load() < kUnkeptInARow) return true;
  const uint64_t refused = state_->over_limit_bytes.load();
  const auto used = static_cast<uint64_t>(state_->usage.Add(0));
  return refused != 0 && used + refused <= state_->options.limit_bytes;
}

Result<CacheStatistics> ObjectCache::Statistics() const {
  CacheStatistics statistics;
  statistics.limit_bytes = state_->options.limit_bytes;
  LAYERFS_TRY(objects, ScanObjects(*state_->directory));
  LAYERFS_TRY(pinned, state_->pins.Keys());
  for (const ScannedObject& object : objects) {
    (object.whole ? statistics.whole_objects : statistics.partial_objects) += 1;
    statistics.bytes += object.bytes;
    statistics.pinned_objects += pinned.keys.contains(object.key) ? 1 : 0;
  }
  std::error_code ignored;
  using Walk = std::filesystem::recursive_directory_iterator;
  for (Walk walk(DocumentPath(""), ignored), end; !ignored && walk != end;
       walk.increment(ignored)) {
    if (walk->is_regular_file(ignored)) ++statistics.documents;
  }
  return statistics;
}

Status ObjectCache::Pin(std::string_view name, std::span<const ObjectId> objects) {
  return state_->pins.Put(name, objects);
}

Status ObjectCache::Unpin(std::string_view name) { return state_->pins.Remove(name); }

Result<std::vector<std::string>> ObjectCache::Pins() const { return state_->pins.Names(); }

Result<uint64_t> ObjectCache::Prune(uint64_t target_bytes) {
  if (state_->directory->read_only()) {
    return Fail(ErrorCode::kPermission,
                "cache directory " + state_->directory->path() + ": it is read-only");
  }
  const std::lock_guard one_thread(state_->evicting);
  return EvictTo(*state_, target_bytes);
}

}  // namespace layerfs
