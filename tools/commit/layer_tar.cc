// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/layer_tar.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <future>
#include <memory>

#include "fs/interrupts.h"
#include "fs/layer_file.h"
#include "fs/lower_file.h"
#include "fs/overlay_marks.h"
#include "fs/partial_map.h"
#include "index/path.h"

namespace layerfs {
namespace {

// How much of a file is asked for at once: what is missing of it then comes in few rounds.
constexpr uint64_t kReadBytes = uint64_t{8} << 20;

// Fewer bytes of holes than this are written as zeros: they compress to nothing, and not every tool
// reads sparse files.
constexpr uint64_t kMinHoleBytes = uint64_t{1} << 20;
constexpr size_t kMaxRuns = 8192;

// Waits for an answer that comes on another thread.
template <typename Start>
Result<Bytes> ReadAndWait(Start start) {
  auto promise = std::make_shared<std::promise<Result<Bytes>>>();
  auto answer = promise->get_future();
  start([promise](Result<ByteSpan> bytes) {
    if (bytes.has_value()) {
      promise->set_value(Bytes(bytes->begin(), bytes->end()));
    } else {
      promise->set_value(Fail(std::move(bytes).error()));
    }
  });
  return answer.get();
}

// A path may be longer than a call takes: in the container, a step at a time led there.
Result<UniqueFd> OpenLongPath(int directory_fd, std::string_view path, int flags) {
  UniqueFd on_the_way;
  while (path.size() >= PATH_MAX) {
    const size_t slash = path.rfind('/', PATH_MAX - 1);
    if (slash == std::string_view::npos) return FailErrno(std::string(path), ENAMETOOLONG);
    LAYERFS_TRY(next, OpenFileAt(directory_fd, std::string(path.substr(0, slash)),
                                 O_PATH | O_DIRECTORY | O_NOFOLLOW));
    on_the_way = std::move(next);
    directory_fd = on_the_way.get();
    path.remove_prefix(slash + 1);
  }
  return OpenFileAt(directory_fd, std::string(path), flags);
}

// One file's bytes, wherever they are.
class Content {
 public:
  virtual ~Content() = default;
  virtual Result<Bytes> Read(uint64_t offset, uint64_t size) = 0;
  // lseek; nothing where there is no data behind `offset`.
  virtual Result<std::optional<uint64_t>> Seek(uint64_t offset, int whence) = 0;
};

class LowerContent final : public Content {
 public:
  explicit LowerContent(std::shared_ptr<LowerFile> file) : file_(std::move(file)) {}
  Result<Bytes> Read(uint64_t offset, uint64_t size) override {
    return ReadAndWait([&](LowerFile::Done done) {
      file_->Read(file_->NewReadId(), offset, size, std::move(done));
    });
  }
  Result<std::optional<uint64_t>> Seek(uint64_t offset, int whence) override {
    return file_->Seek(offset, whence);
  }

 private:
  std::shared_ptr<LowerFile> file_;
};

class UpperContent final : public Content {
 public:
  explicit UpperContent(std::shared_ptr<LayerFile> file) : file_(std::move(file)) {}
  Result<Bytes> Read(uint64_t offset, uint64_t size) override {
    return ReadAndWait(
        [&](LayerFile::ReadDone done) { file_->Read(0, offset, size, std::move(done)); });
  }
  Result<std::optional<uint64_t>> Seek(uint64_t offset, int whence) override {
    const auto found = file_->Seek(offset, whence);
    if (found.has_value()) return std::optional(*found);
    if (found.error().system_errno == ENXIO) return std::optional<uint64_t>();
    return Fail(found.error());
  }

 private:
  std::shared_ptr<LayerFile> file_;
};

class ContentOpener {
 public:
  ContentOpener(const ContainerLayer& layer, FileReader* reader) : layer_(layer), reader_(reader) {}

  Result<std::unique_ptr<Content>> Open(const LayerEntry& entry) {
    if (!entry.upper_path.empty()) return OpenUpper(entry);
    if (reader_ == nullptr || !entry.image_inode.has_value()) {
      return Fail(ErrorCode::kCorrupt, "the layer says nothing of its bytes");
    }
    return std::make_unique<LowerContent>(MakeImageLowerFile(*reader_, *entry.image_inode));
  }

 private:
  Result<std::unique_ptr<Content>> OpenUpper(const LayerEntry& entry) {
    const int directory = entry.in_index ? layer_.index() : layer_.upper();
    LayerFile::Parts parts;
    LAYERFS_TRY(fd, OpenLongPath(directory, entry.upper_path, O_RDWR | O_NOFOLLOW));
    parts.upper = std::move(fd);
    LAYERFS_CHECK_OK(FindMap(entry, parts));
    LAYERFS_TRY(file, LayerFile::Open(std::move(parts), interrupts_));
    return std::make_unique<UpperContent>(std::move(file));
  }

  Status FindMap(const LayerEntry& entry, LayerFile::Parts& parts) {
    if (layer_.partial() < 0) return {};
    if (maps_ == nullptr) {
      UniqueFd copy(::fcntl(layer_.partial(), F_DUPFD_CLOEXEC, 0));
      if (!copy.valid()) return FailErrno("partial", errno);
      LAYERFS_TRY(maps, PartialMaps::Open(std::move(copy), {layer_.form().Own("partial")}));
      maps_ = std::move(maps);
    }
    LAYERFS_TRY(id, maps_->IdOf(parts.upper.get()));
    if (id.empty()) return {};
    if (reader_ == nullptr || !entry.image_inode.has_value() ||
        !reader_->image().tree().Contains(*entry.image_inode)) {
      return Fail(ErrorCode::kCorrupt, "is partial, but of no file of the image");
    }
    const InodeNumber inode = *entry.image_inode;
    const LowerIdentity lower{ToUint(inode), reader_->image().tree().Get(inode).size};
    LAYERFS_TRY(map, maps_->Load(parts.upper.get(), lower));
    if (map == nullptr) return {};
    parts.map = std::move(map);
    parts.maps = maps_;
    parts.lower = MakeImageLowerFile(*reader_, inode);
    return {};
  }

  const ContainerLayer& layer_;
  FileReader* const reader_;
  Interrupts interrupts_;
  std::shared_ptr<PartialMaps> maps_;
};

// The file's data, or nothing where it is not worth being written as a sparse one.
Result<std::optional<DataRuns>> FindRuns(Content& content, uint64_t size) {
  DataRuns runs;
  uint64_t data_bytes = 0;
  uint64_t at = 0;
  while (at < size && runs.size() <= kMaxRuns) {
    LAYERFS_TRY(data, content.Seek(at, SEEK_DATA));
    if (!data.has_value() || *data >= size) break;
    LAYERFS_TRY(hole, content.Seek(*data, SEEK_HOLE));
    const uint64_t end = std::min(hole.value_or(size), size);
    if (end <= *data) return Fail(ErrorCode::kIo, "SEEK_HOLE goes backwards");
    runs.emplace_back(*data, end - *data);
    data_bytes += end - *data;
    at = end;
  }
  if (runs.size() > kMaxRuns || size - data_bytes < kMinHoleBytes) {
    return std::optional<DataRuns>();
  }
  // A hole at the end needs an empty run there, so that the size is known (GNU tar writes it too).
  if (runs.empty() || runs.back().first + runs.back().second < size) runs.emplace_back(size, 0);
  return std::optional(std::move(runs));
}

Status WriteRange(Content& content, uint64_t offset, uint64_t size, PaxWriter& writer) {
  while (size > 0) {
    LAYERFS_TRY(bytes, content.Read(offset, std::min(size, kReadBytes)));
    if (bytes.empty()) return Fail(ErrorCode::kCorrupt, "ends early");
    LAYERFS_CHECK_OK(writer.WriteData(bytes));
    offset += bytes.size();
    size -= bytes.size();
  }
  return {};
}

Status WriteFile(const LayerEntry& entry, ContentOpener& opener, PaxWriter& writer) {
  if (entry.size == 0) return writer.Begin(entry);
  LAYERFS_TRY(content, opener.Open(entry));
  LAYERFS_TRY(runs, FindRuns(*content, entry.size));
  if (!runs.has_value()) {
    LAYERFS_CHECK_OK(writer.Begin(entry));
    return WriteRange(*content, 0, entry.size, writer);
  }
  LAYERFS_CHECK_OK(writer.Begin(entry, &*runs));
  for (const auto& [offset, size] : *runs) {
    LAYERFS_CHECK_OK(WriteRange(*content, offset, size, writer));
  }
  return {};
}

// In a layer such a name deletes another one (image-spec layer.md).
Status RefuseWhiteoutName(const LayerEntry& entry) {
  if (entry.type == EntryType::kWhiteout || entry.type == EntryType::kOpaque) return {};
  const std::string_view name = std::string_view(entry.path).substr(entry.path.rfind('/') + 1);
  if (!name.starts_with(kWhiteoutPrefix)) return {};
  return Fail(ErrorCode::kUnsupported,
              "a layer cannot hold a name that begins with .wh.; rename or remove it first");
}

}  // namespace

Status WriteLayerTar(const LayerChanges& changes, const ContainerLayer& layer, FileReader* reader,
                     const PaxWriter::Sink& sink) {
  for (const LayerEntry& entry : changes.entries) {
    LAYERFS_CHECK_OK_IN(RefuseWhiteoutName(entry), Quoted("/" + entry.path));
  }
  ContentOpener opener(layer, reader);
  PaxWriter writer(sink);
  for (const LayerEntry& entry : changes.entries) {
    if (!entry.in_tar) continue;
    const std::string name = Quoted("/" + entry.path);
    if (entry.type == EntryType::kFile) {
      LAYERFS_CHECK_OK_IN(WriteFile(entry, opener, writer), name);
    } else {
      LAYERFS_CHECK_OK_IN(writer.Begin(entry), name);
    }
  }
  return writer.Finish();
}

}  // namespace layerfs
