// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/layer_changes.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "index/base/file.h"
#include "index/path.h"
#include "tools/commit/upper_object.h"
#include "tools/run/sorted_names.h"

namespace layerfs {
namespace {

std::string Join(const std::string& directory, std::string_view name) {
  return directory.empty() ? std::string(name) : (directory + "/").append(name);
}

// A path's key sorts it behind its directory, and an opaque mark before all that is in it.
std::string KeyOf(const LayerEntry& entry) {
  return entry.type == EntryType::kOpaque ? entry.path + "/" : entry.path;
}

// What names the same file: an inode of the upper file system or of the image.
struct Identity {
  bool upper = false;
  uint64_t number = 0;
  auto operator<=>(const Identity&) const = default;
};

// A directory on the way down. Without `full`, `lower` is what the image has at this very path, and
// only what differs is told; with it, nothing of the image shows here by itself, and all is told.
struct Place {
  std::string path;
  UniqueFd upper;                    // invalid: the layer has nothing here
  std::string upper_path;            // relative to upper/
  std::optional<InodeNumber> lower;  // what shows through
  std::optional<InodeNumber> base;   // what the image has at this path, for telling C from A
  bool full = false;
  bool may_hold_whiteouts = false;
};

class LayerWalk {
 public:
  LayerWalk(const ContainerLayer& layer, const Index* tree) : layer_(layer), tree_(tree) {}

  Result<LayerChanges> Run() {
    LAYERFS_CHECK_OK(ReadIndexNames());
    LAYERFS_TRY(root, ReadUpperRoot(layer_.upper()));
    Place place;
    place.upper = UniqueFd(::openat(layer_.upper(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!place.upper.valid()) return FailErrno("upper", errno);
    place.may_hold_whiteouts = root.opaque != OpaqueMark::kNone;
    if (tree_ != nullptr && root.opaque != OpaqueMark::kOpaque) place.lower = kRootInode;
    if (tree_ != nullptr) place.base = kRootInode;
    place.full = tree_ != nullptr && root.opaque == OpaqueMark::kOpaque;
    AddRoot(root, place.full);
    LAYERFS_CHECK_OK(WalkDirectory(place));
    LAYERFS_CHECK_OK(AddOtherNames());
    LinkNames();
    LayerChanges changes;
    changes.notes = std::move(notes_);
    changes.entries.reserve(entries_.size());
    for (auto& [key, entry] : entries_) changes.entries.push_back(std::move(entry));
    return changes;
  }

 private:
  // What a visited directory of the image became.
  struct Visited {
    std::string path;
    bool full = false;
    std::set<std::string, std::less<>> upper_names;
  };

  // DIR/index: inodes of the image whose names are all one file of the layer by now.
  Status ReadIndexNames() {
    LAYERFS_TRY(names, SortedNames(layer_.index()));
    for (const std::string& name : names) {
      uint32_t number = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
      if (error != std::errc() || end != name.data() + name.size() || tree_ == nullptr ||
          !tree_->Contains(InodeNumber{number})) {
        return Fail(ErrorCode::kCorrupt, "index/" + Quoted(name) + ": names no inode of the image");
      }
      LAYERFS_TRY_IN(object, ReadUpperObject(layer_.index(), name, false), "index");
      indexed_.emplace(number, std::move(object));
    }
    return {};
  }

  void AddRoot(const UpperObject& root, bool opaque) {
    LayerEntry entry = FromUpper("", root);
    entry.in_diff = false;
    if (tree_ != nullptr) {
      entry.change = ChangeKind::kChanged;
      entry.in_tar = !SameMetadata(entry, kRootInode);
    }
    entries_.emplace("", std::move(entry));
    if (opaque) AddOpaque("");
  }

  static LayerEntry FromUpper(const std::string& path, const UpperObject& object) {
    const struct stat& from = object.attributes;
    LayerEntry entry;
    entry.path = path;
    entry.mode = from.st_mode;
    entry.uid = from.st_uid;
    entry.gid = from.st_gid;
    entry.mtime = {from.st_mtim.tv_sec, static_cast<uint32_t>(from.st_mtim.tv_nsec)};
    entry.xattrs = object.xattrs;
    entry.target = object.target;
    SetType(entry, from.st_rdev, static_cast<uint64_t>(from.st_size));
    if (object.origin.has_value()) {
      entry.image_inode = InodeNumber{static_cast<uint32_t>(*object.origin)};
    }
    return entry;
  }

  LayerEntry FromImage(const std::string& path, InodeNumber number) const {
    const Inode from = tree_->Get(number);
    LayerEntry entry;
    entry.path = path;
    entry.mode = from.mode;
    entry.uid = from.uid;
    entry.gid = from.gid;
    entry.mtime = from.mtime;
    if (from.is_symlink()) entry.target = tree_->Target(number);
    for (const Xattr& xattr : tree_->Xattrs(number)) entry.xattrs.emplace(xattr.name, xattr.value);
    SetType(entry, from.rdev, from.size);
    entry.image_inode = number;
    return entry;
  }

  static void SetType(LayerEntry& entry, dev_t device, uint64_t size) {
    switch (entry.mode & S_IFMT) {
      case S_IFDIR:
        entry.type = EntryType::kDirectory;
        break;
      case S_IFLNK:
        entry.type = EntryType::kSymlink;
        break;
      case S_IFREG:
        entry.type = EntryType::kFile;
        entry.size = size;
        break;
      default:
        entry.type = EntryType::kNode;
        if ((entry.mode & S_IFMT) != S_IFIFO) entry.device = device;
    }
  }

  bool SameMetadata(const LayerEntry& entry, InodeNumber number) const {
    const LayerEntry image = FromImage(entry.path, number);
    return entry.mode == image.mode && entry.uid == image.uid && entry.gid == image.gid &&
           entry.mtime == image.mtime && entry.xattrs == image.xattrs;
  }

  std::optional<InodeNumber> Find(std::optional<InodeNumber> directory,
                                  std::string_view name) const {
    if (!directory.has_value()) return std::nullopt;
    const auto entry = tree_->Lookup(*directory, name);
    return entry.has_value() ? std::optional(entry->inode) : std::nullopt;
  }

  std::optional<InodeNumber> AsDirectory(std::optional<InodeNumber> inode) const {
    return inode.has_value() && tree_->Get(*inode).is_directory() ? inode : std::nullopt;
  }

  Status WalkDirectory(Place& place) {
    std::set<std::string, std::less<>> shown;  // what the container sees here and is told
    std::set<std::string, std::less<>> upper_names;
    if (place.upper.valid()) {
      LAYERFS_TRY_IN(names, SortedNames(place.upper.get()), Quoted("/" + place.path));
      for (const std::string& name : names) {
        upper_names.insert(name);
        LAYERFS_TRY_IN(object, ReadUpperObject(place.upper.get(), name, place.may_hold_whiteouts),
                       Quoted("/" + place.path));
        if (object.whiteout) continue;
        shown.insert(name);
        LAYERFS_CHECK_OK(WalkUpper(place, name, object));
      }
    }
    if (place.full && place.lower.has_value()) {
      LAYERFS_CHECK_OK(WalkLower(place, upper_names, shown));
    }
    AddDeletions(place, upper_names, shown);
    if (place.lower.has_value()) {
      visited_[ToUint(*place.lower)] = {place.path, place.full, std::move(upper_names)};
    }
    return {};
  }

  Status WalkUpper(const Place& place, const std::string& name, const UpperObject& object) {
    const std::string path = Join(place.path, name);
    LayerEntry entry = FromUpper(path, object);
    entry.upper_path = Join(place.upper_path, name);
    const auto base = Find(place.base, name);
    entry.change = base.has_value() ? ChangeKind::kChanged : ChangeKind::kAdded;
    if (object.is_directory()) return WalkUpperDirectory(place, name, object, std::move(entry));
    if (S_ISSOCK(entry.mode)) {
      notes_.push_back(Quoted("/" + path) + " is a socket, which a layer cannot hold");
      // Nor may what it took the place of come back.
      entry.type = EntryType::kWhiteout;
      entry.in_tar = base.has_value() && !place.full;
      entries_[path] = std::move(entry);
      return {};
    }
    identities_[path] = {true, object.inode};
    entries_[path] = std::move(entry);
    return {};
  }

  Result<std::optional<InodeNumber>> LowerOf(const Place& place, const std::string& name,
                                             const UpperObject& object) const {
    if (tree_ == nullptr || object.opaque == OpaqueMark::kOpaque) return std::nullopt;
    if (object.redirect.empty()) return AsDirectory(Find(place.lower, name));
    if (!object.redirect.starts_with('/')) return AsDirectory(Find(place.lower, object.redirect));
    LAYERFS_TRY_IN(inode, ResolvePath(*tree_, object.redirect, false),
                   "redirect of " + Quoted("/" + Join(place.path, name)));
    return AsDirectory(inode);
  }

  Status WalkUpperDirectory(const Place& place, const std::string& name, const UpperObject& object,
                            LayerEntry entry) {
    Place child;
    child.path = entry.path;
    child.upper_path = entry.upper_path;
    LAYERFS_TRY(upper, OpenFileAt(place.upper.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    child.upper = std::move(upper);
    LAYERFS_TRY(lower, LowerOf(place, name, object));
    child.lower = lower;
    const auto base = Find(place.base, name);
    child.base = AsDirectory(base);
    // Without anything of the image at the path, all that is told is all that there is.
    child.full = place.full || (child.base.has_value() && child.lower != child.base) ||
                 (!child.base.has_value() && child.lower.has_value());
    child.may_hold_whiteouts = object.opaque != OpaqueMark::kNone;
    const bool hides = !place.full && child.full && child.base.has_value();
    const bool same = base.has_value() && !hides && !place.full && SameMetadata(entry, *base);
    const std::string path = entry.path;
    entries_[path] = std::move(entry);
    if (hides) AddOpaque(path);
    const size_t before = entries_.size();
    LAYERFS_CHECK_OK(WalkDirectory(child));
    if (same && entries_.size() == before) entries_.erase(path);
    return {};
  }

  // What shows through from the image where it has moved to another path.
  Status WalkLower(const Place& place, const std::set<std::string, std::less<>>& upper_names,
                   std::set<std::string, std::less<>>& shown) {
    const uint32_t count = tree_->Get(*place.lower).entry_count;
    for (uint32_t i = 0; i < count; ++i) {
      const Dirent dirent = tree_->EntryAt(*place.lower, i);
      if (upper_names.contains(dirent.name)) continue;
      shown.emplace(dirent.name);
      const std::string path = Join(place.path, dirent.name);
      LAYERFS_CHECK_OK(AddImageName(path, dirent.inode, Find(place.base, dirent.name)));
      if (!tree_->Get(dirent.inode).is_directory()) continue;
      Place child;
      child.path = path;
      child.lower = dirent.inode;
      child.base = AsDirectory(Find(place.base, dirent.name));
      child.full = true;
      LAYERFS_CHECK_OK(WalkDirectory(child));
    }
    return {};
  }

  // A name of an inode of the image, which may be a file of the layer by now.
  Status AddImageName(const std::string& path, InodeNumber inode, std::optional<InodeNumber> base) {
    const auto indexed = indexed_.find(ToUint(inode));
    LayerEntry entry =
        indexed == indexed_.end() ? FromImage(path, inode) : FromUpper(path, indexed->second);
    entry.change = base.has_value() ? ChangeKind::kChanged : ChangeKind::kAdded;
    if (S_ISSOCK(entry.mode)) return {};
    if (indexed != indexed_.end()) {
      entry.upper_path = std::to_string(ToUint(inode));
      entry.in_index = true;
      identities_[path] = {true, indexed->second.inode};
    } else if (entry.type != EntryType::kDirectory) {
      identities_[path] = {false, ToUint(inode)};
      if (tree_->Get(inode).nlink > 1) moved_links_.insert(ToUint(inode));
    }
    entries_[path] = std::move(entry);
    return {};
  }

  void AddOpaque(const std::string& path) {
    LayerEntry entry;
    entry.path = path;
    entry.type = EntryType::kOpaque;
    entry.in_diff = false;
    entries_.emplace(KeyOf(entry), std::move(entry));
  }

  // What the image has at this path and the container does not see.
  void AddDeletions(const Place& place, const std::set<std::string, std::less<>>& upper_names,
                    const std::set<std::string, std::less<>>& shown) {
    if (!place.base.has_value()) return;
    const auto add = [&](std::string_view name, bool in_tar) {
      LayerEntry entry;
      entry.path = Join(place.path, name);
      entry.type = EntryType::kWhiteout;
      entry.change = ChangeKind::kDeleted;
      entry.in_tar = in_tar;
      entries_[entry.path] = std::move(entry);
    };
    if (!place.full) {
      for (const std::string& name : upper_names) {
        if (!shown.contains(name) && Find(place.base, name).has_value()) add(name, true);
      }
      return;
    }
    const uint32_t count = tree_->Get(*place.base).entry_count;
    for (uint32_t i = 0; i < count; ++i) {
      const Dirent dirent = tree_->EntryAt(*place.base, i);
      if (!shown.contains(dirent.name)) add(dirent.name, false);
    }
  }

  // Where a directory of the image is seen at its own path; nothing where it is not.
  std::optional<std::string> PathInPlace(InodeNumber directory) const {
    const auto visited = visited_.find(ToUint(directory));
    if (visited != visited_.end()) {
      return visited->second.full ? std::nullopt : std::optional(visited->second.path);
    }
    if (directory == kRootInode) return std::nullopt;
    const InodeNumber parent = tree_->Get(directory).parent;
    const auto parent_path = PathInPlace(parent);
    if (!parent_path.has_value()) return std::nullopt;
    const std::string name = NameIn(parent, directory);
    const auto above = visited_.find(ToUint(parent));
    if (above != visited_.end() && above->second.upper_names.contains(name)) return std::nullopt;
    return Join(*parent_path, name);
  }

  std::string NameIn(InodeNumber parent, InodeNumber child) const {
    const uint32_t count = tree_->Get(parent).entry_count;
    for (uint32_t i = 0; i < count; ++i) {
      const Dirent dirent = tree_->EntryAt(parent, i);
      if (dirent.inode == child) return std::string(dirent.name);
    }
    return {};
  }

  // Names that the image gives to what this layer has rewritten: they would keep the old file.
  Status AddOtherNames() {
    std::set<uint32_t> wanted = moved_links_;
    for (const auto& [inode, object] : indexed_) wanted.insert(inode);
    if (wanted.empty()) return {};
    for (uint32_t number = 1; number <= tree_->inode_count(); ++number) {
      const InodeNumber directory{number};
      const Inode inode = tree_->Get(directory);
      for (uint32_t i = 0; inode.is_directory() && i < inode.entry_count; ++i) {
        const Dirent dirent = tree_->EntryAt(directory, i);
        if (wanted.contains(ToUint(dirent.inode))) {
          LAYERFS_CHECK_OK(AddInPlace(directory, dirent));
        }
      }
    }
    return {};
  }

  Status AddInPlace(InodeNumber directory, const Dirent& dirent) {
    const auto directory_path = PathInPlace(directory);
    if (!directory_path.has_value()) return {};
    const auto above = visited_.find(ToUint(directory));
    if (above != visited_.end() && above->second.upper_names.contains(dirent.name)) return {};
    LAYERFS_CHECK_OK(AddImageName(Join(*directory_path, dirent.name), dirent.inode, dirent.inode));
    for (InodeNumber parent = directory; parent != kRootInode; parent = tree_->Get(parent).parent) {
      const auto path = PathInPlace(parent);
      if (!path.has_value() || entries_.contains(*path)) break;
      LayerEntry entry = FromImage(*path, parent);
      entry.change = ChangeKind::kChanged;
      entries_[*path] = std::move(entry);
    }
    return {};
  }

  // The first name of a file has its bytes, the others lead to it.
  void LinkNames() {
    std::map<Identity, std::string> first;
    for (auto& [key, entry] : entries_) {
      const auto identity = identities_.find(entry.path);
      if (identity == identities_.end() || entry.type == EntryType::kOpaque) continue;
      const auto [known, is_new] = first.emplace(identity->second, entry.path);
      if (is_new) continue;
      entry.type = EntryType::kHardLink;
      entry.target = known->second;
    }
  }

  const ContainerLayer& layer_;
  const Index* const tree_;
  std::map<std::string, LayerEntry> entries_;  // by KeyOf
  std::unordered_map<std::string, Identity> identities_;
  std::unordered_map<uint32_t, UpperObject> indexed_;  // by the image's inode
  std::unordered_map<uint32_t, Visited> visited_;      // likewise: directories
  std::set<uint32_t> moved_links_;
  std::vector<std::string> notes_;
};

}  // namespace

Result<LayerChanges> ReadLayerChanges(const ContainerLayer& layer, const Index* tree) {
  return LayerWalk(layer, tree).Run();
}

}  // namespace layerfs
