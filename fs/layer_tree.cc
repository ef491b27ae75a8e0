// SPDX-License-Identifier: Apache-2.0
// LayerTree: set-up, attributes and where things are.
#include "fs/layer_tree.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <mutex>

#include "fs/lower_file.h"
#include "index/base/descriptors.h"

namespace layerfs {
namespace {

// Open upper directories that are kept: an eighth of the descriptors, within these.
constexpr size_t kDirectoriesKept = 2048;
constexpr size_t kLeastDirectoriesKept = 8;
constexpr unsigned kDeviceShift = 48;
constexpr uint64_t kSectorBytes = 512;

SharedFd Duplicate(int fd) {
  return std::make_shared<const UniqueFd>(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

}  // namespace

LayerTree::LayerTree(std::optional<ContainerLayer> layer,
                     std::vector<std::unique_ptr<LowerSource>> sources, Options options)
    : layer_(std::move(layer)),
      sources_(std::move(sources)),
      options_(std::move(options)),
      directory_fds_(
          LruMap<NodeId, SharedFd>(DescriptorShare(8, kLeastDirectoriesKept, kDirectoriesKept))) {}

Result<std::unique_ptr<LayerTree>> LayerTree::Make(
    std::optional<ContainerLayer> layer, std::vector<std::unique_ptr<LowerSource>> sources,
    Options options) {
  auto tree = std::unique_ptr<LayerTree>(
      new LayerTree(std::move(layer), std::move(sources), std::move(options)));
  LAYERFS_CHECK_OK(tree->Start());
  return tree;
}

Status LayerTree::Start() {
  image_below_ =
      std::ranges::any_of(sources_, [](const auto& source) { return source->allows_partial(); });
  auto root = std::make_shared<LayerNode>();
  root->id = kRootNode;
  root->type = S_IFDIR;
  for (uint32_t i = 0; i < sources_.size(); ++i) {
    root->lowers.push_back({i, sources_[i]->Root()});
    LAYERFS_TRY(marks, sources_[i]->Marks(root->lowers.back().object));
    if (marks.opaque) break;
  }
  if (layer_.has_value()) {
    root->has_upper = true;
    upper_fd_ = Duplicate(layer_->upper());
    index_fd_ = Duplicate(layer_->index());
    struct stat attributes{};
    if (::fstat(layer_->upper(), &attributes) != 0) {
      return FailErrno(layer_->directory(), errno);
    }
    devices_.With([&](auto& devices) { devices.push_back(attributes.st_dev); });
    upper_device_ = attributes.st_dev;
    root->st_ino = UpperKey(attributes);
    index_used_ = true;  // until a lookup finds it empty
    if (layer_->partial() >= 0) {
      UniqueFd directory(::fcntl(layer_->partial(), F_DUPFD_CLOEXEC, 0));
      LAYERFS_TRY_IN(maps, PartialMaps::Open(std::move(directory), {layer_->form().Own("partial")}),
                     layer_->directory());
      maps_ = std::move(maps);
      // Files may be in index/ alone, so the whole of the layer's directory is looked through.
      LAYERFS_TRY_IN(whole, OpenFileAt(layer_->upper(), "..", O_RDONLY | O_DIRECTORY),
                     layer_->directory());
      LAYERFS_CHECK_OK_IN(maps_->RemoveOrphans(whole.get()), layer_->directory());
    }
  }
  if (!root->lowers.empty()) {
    LAYERFS_TRY(attributes, sources_[0]->Attributes(root->lowers[0].object));
    root->st_ino = image_below_ ? attributes.st_ino : KeyOf(attributes.st_dev, attributes.st_ino);
    // A new container layer's root is a copy of the image's.
    if (layer_.has_value() && image_below_) {
      LAYERFS_TRY(origin, ReadOrigin(PathOfDescriptor(layer_->upper())));
      if (!origin.has_value()) {
        LAYERFS_CHECK_OK_IN(CopyAttributes(*root, attributes, PathOfDescriptor(layer_->upper())),
                            layer_->directory());
      }
    }
  }
  nodes_ = std::make_unique<NodeTable>(std::move(root));
  return {};
}

uint64_t LayerTree::KeyOf(dev_t device, uint64_t inode) const {
  const size_t ordinal = devices_.With([&](std::vector<dev_t>& devices) {
    const auto it = std::ranges::find(devices, device);
    if (it != devices.end()) return static_cast<size_t>(it - devices.begin());
    devices.push_back(device);
    return devices.size() - 1;
  });
  return inode ^ (static_cast<uint64_t>(ordinal) << kDeviceShift);
}

uint64_t LayerTree::UpperKey(const struct stat& attributes) const {
  return image_below_ ? attributes.st_ino + kUpperInodeBase
                      : KeyOf(attributes.st_dev, attributes.st_ino);
}

uint64_t LayerTree::LowerKey(const LowerEntry& entry) const {
  return image_below_ ? entry.inode : KeyOf(entry.device, entry.inode);
}

Result<SharedFd> LayerTree::DirectoryFd(const LayerNode& directory) const {
  if (directory.pinned != nullptr) return directory.pinned;
  if (directory.parent == nullptr) return upper_fd_;
  // Up to the first that is open, then down again: paths may be longer than PATH_MAX.
  std::vector<const LayerNode*> closed;
  SharedFd fd;
  for (const LayerNode* at = &directory; fd == nullptr; at = at->parent.get()) {
    if (at->pinned != nullptr) {
      fd = at->pinned;
    } else if (at->parent == nullptr) {
      fd = upper_fd_;
    } else {
      fd = directory_fds_.With([&](auto& fds) {
        SharedFd* const found = fds.Find(at->id);
        return found != nullptr ? *found : nullptr;
      });
      if (fd == nullptr) closed.push_back(at);
    }
  }
  for (; !closed.empty(); closed.pop_back()) {
    const LayerNode& at = *closed.back();
    LAYERFS_TRY(opened, OpenFileAt(fd->get(), at.name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    fd = std::make_shared<const UniqueFd>(std::move(opened));
    directory_fds_.With([&](auto& fds) { fds.Put(at.id, fd); });
  }
  return fd;
}

Result<UpperPlace> LayerTree::Place(const LayerNode& node) const {
  if (node.indexed) return UpperPlace{index_fd_, std::to_string(node.st_ino)};
  if (node.pinned != nullptr) return UpperPlace{node.pinned, ""};
  if (node.parent == nullptr) return UpperPlace{upper_fd_, ""};
  LAYERFS_TRY(directory, DirectoryFd(*node.parent));
  return UpperPlace{std::move(directory), node.name};
}

Result<UniqueFd> LayerTree::OpenUpper(const LayerNode& node, int flags) const {
  LAYERFS_TRY(place, Place(node));
  if (!place.name.empty()) return OpenFileAt(place.directory(), place.name, flags | O_NOFOLLOW);
  return OpenFile(place.path().path, flags);
}

Result<struct stat> LayerTree::UpperAttributes(const UpperPlace& place,
                                               const struct stat* upper) const {
  struct stat attributes{};
  if (upper != nullptr) {
    attributes = *upper;
  } else if (::fstatat(place.directory(), place.name.c_str(), &attributes,
                       AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
    return FailErrno(place.name, errno);
  }
  if (layer_->form().override_stat) {
    LAYERFS_TRY(text, ReadXattr(place.path(), kOverrideStatXattr));
    if (text.has_value()) LAYERFS_CHECK_OK(ApplyOverrideStat(*text, attributes));
  }
  return attributes;
}

Result<struct stat> LayerTree::Attributes(const LayerNode& node, const struct stat* upper) const {
  struct stat attributes{};
  if (!node.has_upper) {
    if (node.lowers.empty()) return FailErrno("inode", ESTALE);
    LAYERFS_TRY(found, sources_[node.lowers[0].source]->Attributes(node.lowers[0].object));
    attributes = found;
    if (node.dead) attributes.st_nlink = 0;
  } else {
    LAYERFS_TRY(place, Place(node));
    LAYERFS_TRY(found, UpperAttributes(place, upper));
    attributes = found;
    if (node.indexed) {
      LAYERFS_TRY(links, CountLinks(place, attributes));
      attributes.st_nlink = links;
    }
    if (node.partial) {
      attributes.st_blocks = static_cast<blkcnt_t>(
          (static_cast<uint64_t>(attributes.st_size) + kSectorBytes - 1) / kSectorBytes);
    }
  }
  if (node.is_directory() && !node.dead) {
    const bool merged = node.lowers.size() + (node.has_upper ? 1 : 0) > 1;
    if (options_.static_nlink) {
      attributes.st_nlink = 1;
    } else if (merged) {
      LAYERFS_TRY(count, CountSubdirectories(node));
      attributes.st_nlink = 2 + count;
    }
  }
  attributes.st_ino = node.st_ino;
  attributes.st_uid = options_.uids.ToShown(attributes.st_uid);
  attributes.st_gid = options_.gids.ToShown(attributes.st_gid);
  if (options_.squash_uid.has_value()) attributes.st_uid = *options_.squash_uid;
  if (options_.squash_gid.has_value()) attributes.st_gid = *options_.squash_gid;
  return attributes;
}

Result<uint64_t> LayerTree::CountLinks(const UpperPlace& place, const struct stat& upper) const {
  LAYERFS_TRY(text, ReadXattr(place.path(), layer_->form().Own("nlink")));
  const auto count = DecodeLinkCount(text.value_or("U-1"));
  if (!count.has_value()) {
    return Fail(ErrorCode::kCorrupt, "index/" + place.name + ": a bad link count");
  }
  const int64_t own = count->relative ? static_cast<int64_t>(upper.st_nlink) : 0;
  return static_cast<uint64_t>(std::max<int64_t>(own + count->value, 0));
}

Result<uint64_t> LayerTree::CountSubdirectories(const LayerNode& node) const {
  const int64_t known = node.subdirectories.load();
  if (known >= 0) return static_cast<uint64_t>(known);
  uint64_t count = 0;
  LAYERFS_CHECK_OK(List(node, Listing::kNames, [&](const ListedEntry& entry) {
    count += S_ISDIR(entry.type);
    return true;
  }));
  const_cast<LayerNode&>(node).subdirectories = static_cast<int64_t>(count);
  return count;
}

Result<std::string> LayerTree::ReadLink(const LayerNode& node) const {
  if (!node.has_upper) {
    return sources_[node.lowers.at(0).source]->ReadLink(node.lowers[0].object);
  }
  LAYERFS_TRY(place, Place(node));
  std::string target(PATH_MAX, '\0');
  // With an empty name readlinkat reads the descriptor itself.
  const ssize_t size =
      ::readlinkat(place.directory(), place.name.c_str(), target.data(), target.size());
  if (size < 0) return FailErrno(node.name, errno);
  target.resize(static_cast<size_t>(size));
  return target;
}

Result<std::optional<std::string>> LayerTree::GetXattr(const LayerNode& node,
                                                       std::string_view name) const {
  if (!node.has_upper) return LowerXattr(node, name);
  const auto stored = StoredXattrName(name);
  if (!stored.has_value()) return std::nullopt;
  LAYERFS_TRY(place, Place(node));
  LAYERFS_TRY(value, ReadXattr(place.path(), *stored));
  return XattrHere(name, std::move(value));
}

Result<std::optional<std::string>> LayerTree::LowerXattr(const LayerNode& node,
                                                         std::string_view name) const {
  const LowerRef& lower = node.lowers.at(0);
  LAYERFS_TRY(value, sources_[lower.source]->GetXattr(lower.object, name));
  return XattrHere(name, std::move(value));
}

std::optional<std::string> LayerTree::XattrHere(std::string_view name,
                                                std::optional<std::string> value) const {
  if (!value.has_value() || !options_.ids.Concern(name)) return value;
  return options_.ids.AclHere(*value);
}

Result<std::vector<std::string>> LayerTree::ListXattrs(const LayerNode& node) const {
  if (!node.has_upper) {
    return sources_[node.lowers.at(0).source]->ListXattrs(node.lowers[0].object);
  }
  LAYERFS_TRY(place, Place(node));
  return ReadShownXattrNames(place.path());
}

Result<std::shared_ptr<LowerFile>> LayerTree::OpenLower(const LayerNode& node) const {
  if (node.lowers.empty()) return FailErrno(node.name, ESTALE);
  return sources_[node.lowers[0].source]->Open(node.lowers[0].object);
}

Result<struct statvfs> LayerTree::Statistics() const {
  struct statvfs statistics{};
  if (layer_.has_value()) {
    if (::fstatvfs(layer_->upper(), &statistics) != 0) {
      return FailErrno(layer_->directory(), errno);
    }
    return statistics;
  }
  statistics.f_namemax = NAME_MAX;
  statistics.f_bsize = statistics.f_frsize = 4096;
  statistics.f_flag = ST_RDONLY;
  return statistics;
}

}  // namespace layerfs
