// SPDX-License-Identifier: Apache-2.0
#include "index/layer_index_builder.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "index/mutable_tree.h"
#include "index/path.h"
#include "index/posix_acl.h"
#include "index/tree_serializer.h"
#include "index/tree_walk.h"

namespace layerfs {
namespace {

// AUFS's own files; of these only the opaque marker means anything to OCI.
constexpr std::string_view kAufsPrefix = ".wh..wh.";
constexpr std::string_view kOpaqueMarker = ".wh..wh..opq";

uint32_t FileType(TarEntryType type) {
  switch (type) {
    case TarEntryType::kRegular:
      return 0100000;
    case TarEntryType::kHardLink:
      return 0;
    case TarEntryType::kSymlink:
      return 0120000;
    case TarEntryType::kCharDevice:
      return 0020000;
    case TarEntryType::kBlockDevice:
      return 0060000;
    case TarEntryType::kDirectory:
      return 0040000;
    case TarEntryType::kFifo:
      return 0010000;
  }
  return 0;
}

// A tar that leaves directories out may imply a few for each of its entries; beyond, it is made to
// fill our memory.
constexpr uint64_t kFreeImplicitDirectories = 65536;
constexpr uint64_t kImplicitDirectoriesPerEntry = 8;

// Linux keeps user.* only on regular files and directories (xattr(7)), and no ACL on a symlink;
// containerd drops others. What overlayfs keeps for itself would hide things where the mount is a
// layer below one.
bool TakesXattr(const TarEntry& entry, std::string_view name) {
  if (name.starts_with("trusted.overlay.")) return false;
  if (entry.type == TarEntryType::kRegular || entry.type == TarEntryType::kDirectory) return true;
  if (name.starts_with("user.")) return false;
  return entry.type != TarEntryType::kSymlink || !name.starts_with("system.posix_acl_");
}

// As Linux does before it keeps one (security/commoncap.c, validheader).
Status CheckCapability(std::string_view value) {
  const uint32_t revision = ByteReader(AsBytes(value)).Read<uint32_t>() & 0xff000000;
  if ((revision == 0x02000000 && value.size() == 20) ||
      (revision == 0x03000000 && value.size() == 24)) {
    return {};
  }
  return Fail(ErrorCode::kCorrupt, "a security.capability that Linux does not take");
}

Status CheckTargetSize(std::string_view target) {
  if (target.size() <= kMaxLinkTargetBytes) return {};
  return Fail(ErrorCode::kCorrupt,
              "the link's target has more than " + std::to_string(kMaxLinkTargetBytes) + " bytes");
}

Status CheckSymlinkTarget(std::string_view target) {
  if (target.empty()) return Fail(ErrorCode::kCorrupt, "a symlink without a target");
  if (target.contains('\0')) return Fail(ErrorCode::kCorrupt, "NUL in the symlink's target");
  return CheckTargetSize(target);
}

}  // namespace

class LayerIndexBuilder::Impl {
 public:
  Status Add(const TarEntry& entry) {
    ++entries_;
    LAYERFS_TRY(path, SplitEntryPath(entry.path));
    if (path.empty()) return SetRoot(entry);
    const std::string_view name = path.back();
    path.pop_back();
    if (name.starts_with(kWhiteoutPrefix)) return AddWhiteout(path, name);
    LAYERFS_TRY(directory, MakeParents(path));
    LAYERFS_CHECK_OK(AddNamed(directory, name, entry));
    tree_.Recycle();
    return {};
  }

  bool links_below() const { return links_below_; }
  Result<Bytes> Finish(const LayerFacts& facts) && {
    for (const auto& [directory, name] : aufs_names_) {
      if (const EntryId id = tree_.Find(directory, name); id != kNoEntry) tree_.Remove(id);
    }
    const LayerInfo layer = {.diff_id = facts.diff_id,
                             .tar_size = facts.tar_size,
                             .segment_count = static_cast<uint32_t>(facts.segments.size())};
    return SerializeTree(std::move(tree_), IndexKind::kLayer, {&layer, 1}, facts.segments);
  }

 private:
  using Components = std::vector<std::string_view>;

  Status SetRoot(const TarEntry& entry) {
    if (entry.type != TarEntryType::kDirectory) {
      return Fail(ErrorCode::kCorrupt, "the root is not a directory");
    }
    return SetAttributes(kRootInode, entry);
  }

  Status AddWhiteout(const Components& parents, std::string_view marker) {
    if (marker.starts_with(kAufsPrefix) && marker != kOpaqueMarker) return {};
    const std::string_view name = marker.substr(kWhiteoutPrefix.size());
    if (name.empty() || name == "." || name == "..") {
      return Fail(ErrorCode::kCorrupt, "a whiteout that names nothing inside its directory");
    }
    LAYERFS_TRY(directory, MakeParents(parents));
    if (marker == kOpaqueMarker) {
      tree_.SetOpaque(directory, true);
      return {};
    }
    const EntryId id = tree_.Find(directory, name);
    if (id == kNoEntry) {
      LAYERFS_TRY(added, tree_.Put(directory, name, kNoInode));
      static_cast<void>(added);
    } else if (const InodeNumber node = tree_.entry(id).node; node != kNoInode) {
      HideLower(node);
    }
    return {};
  }

  // A name of this layer whose lower namesake is gone, by a whiteout or by an earlier entry of the
  // layer: of a directory nothing below may show through. Other types hide it by being there.
  void HideLower(InodeNumber node) {
    if (!tree_.IsDirectory(node)) return;
    tree_.SetOpaque(node, true);
    // An implicit directory would be looked for in the lower layers.
    tree_.SetImplicit(node, false);
  }

  // The directory that an entry goes into: symlinks of this layer are followed, what is missing
  // becomes an implicit directory.
  Result<InodeNumber> MakeParents(const Components& path) {
    LAYERFS_TRY(walked, walker_.ToDirectory(path));
    InodeNumber directory = walked.directory;
    implicit_ += walked.missing.size();
    if (implicit_ > kFreeImplicitDirectories + kImplicitDirectoriesPerEntry * entries_) {
      return Fail(ErrorCode::kTooLarge, "the tar implies " + std::to_string(implicit_) +
                                            " directories, and has " + std::to_string(entries_) +
                                            " entries");
    }
    for (const std::string_view name : walked.missing) {
      LAYERFS_TRY(made, tree_.AddNode({.inode = {.mode = 0040755, .implicit = true}}));
      LAYERFS_CHECK_OK(Name(directory, name, made));
      directory = made;
    }
    return directory;
  }

  Status AddNamed(InodeNumber directory, std::string_view name, const TarEntry& entry) {
    if (entry.type == TarEntryType::kHardLink) return AddHardLink(directory, name, entry);
    if (entry.type == TarEntryType::kSymlink) {
      LAYERFS_CHECK_OK(CheckSymlinkTarget(entry.link_target));
    }
    if (entry.type == TarEntryType::kDirectory) {
      const EntryId id = tree_.Find(directory, name);
      const InodeNumber existing = id == kNoEntry ? kNoInode : tree_.entry(id).node;
      if (existing != kNoInode && tree_.IsDirectory(existing)) {
        return SetAttributes(existing, entry);
      }
    }
    LAYERFS_TRY(made, NodeOf(entry));
    LAYERFS_TRY(node, tree_.AddNode(made));
    return Name(directory, name, node);
  }

  Status Name(InodeNumber directory, std::string_view name, InodeNumber node) {
    if (tree_.Find(directory, name) != kNoEntry) HideLower(node);
    LAYERFS_TRY(id, tree_.Put(directory, name, node));
    static_cast<void>(id);
    if (name.starts_with(kAufsPrefix)) aufs_names_.emplace_back(directory, name);
    return {};
  }

  Status AddHardLink(InodeNumber directory, std::string_view name, const TarEntry& entry) {
    LAYERFS_TRY_IN(target, SplitLinkTarget(entry.link_target), "hard link's target");
    if (target.empty()) return Fail(ErrorCode::kCorrupt, "a hard link to a directory");
    const std::string_view last = target.back();
    target.pop_back();
    LAYERFS_TRY_IN(parent, walker_.ToDirectory(target), "hard link's target");
    if (parent.missing.empty()) {
      if (parent.directory == directory && last == name) {
        return Fail(ErrorCode::kCorrupt, "a hard link to itself");
      }
      const EntryId id = tree_.Find(parent.directory, last);
      const InodeNumber node = id == kNoEntry ? kNoInode : tree_.entry(id).node;
      if (node != kNoInode && !tree_.IsDirectory(node)) return Name(directory, name, node);
      if (node != kNoInode && !tree_.node(node).implicit()) {
        return Fail(ErrorCode::kCorrupt,
                    "a hard link to the directory " + Quoted(entry.link_target));
      }
    }
    return AddUnresolved(directory, name, parent, last);
  }

  // The target lies in a lower layer, if anywhere: its path is kept for the merge. (What is an
  // implicit directory here may be a symlink there.)
  Status AddUnresolved(InodeNumber directory, std::string_view name, const WalkedDirectory& parent,
                       std::string_view last) {
    Components rest = parent.missing;
    rest.push_back(last);
    std::string path = tree_.PathOf(parent.directory);
    if (!path.empty()) path += '/';
    path += JoinPath(rest);
    LAYERFS_CHECK_OK(CheckTargetSize(path));
    LAYERFS_TRY(node, tree_.AddNode({.inode = {.unresolved_link = true}, .target = path}));
    links_below_ = true;
    return Name(directory, name, node);
  }

  // What Linux keeps of them, once the mode is set too.
  Status TakeXattrs(const TarEntry& entry) {
    xattrs_.clear();
    for (const auto& [name, value] : entry.xattrs) {
      if (!TakesXattr(entry, name)) continue;
      if (name == "security.capability") LAYERFS_CHECK_OK(CheckCapability(value));
      if (name == kAclAccessXattr) {
        LAYERFS_TRY_IN(kept, KeptPosixAcl(value, entry.permissions), name);
        access_acl_ = std::move(kept).value_or("");
        if (!access_acl_.empty()) xattrs_.push_back({.name = name, .value = access_acl_});
      } else if (name == kAclDefaultXattr) {
        LAYERFS_TRY_IN(kept, KeptPosixAcl(value, std::nullopt), name);
        if (entry.type != TarEntryType::kDirectory && kept.has_value()) {
          return Fail(ErrorCode::kCorrupt, "a default ACL on what is no directory");
        }
        default_acl_ = std::move(kept).value_or("");
        if (!default_acl_.empty()) xattrs_.push_back({.name = name, .value = default_acl_});
      } else {
        xattrs_.push_back({.name = name, .value = value});
      }
    }
    return {};
  }

  Result<MutableTree::NewNode> NodeOf(const TarEntry& entry) {
    LAYERFS_CHECK_OK(TakeXattrs(entry));
    MutableTree::NewNode node;
    node.xattrs = xattrs_;
    Inode& inode = node.inode;
    inode.mode = FileType(entry.type) | (entry.permissions & 07777);
    inode.uid = entry.uid;
    inode.gid = entry.gid;
    inode.mtime = entry.mtime;
    switch (entry.type) {
      case TarEntryType::kRegular:
        inode.size = entry.size;
        inode.data_offset = entry.data_offset;
        node.sparse = entry.sparse;
        node.extents = entry.extents;
        break;
      case TarEntryType::kSymlink:
        inode.mode = FileType(entry.type) | 0777;  // as lstat(2) gives it, whatever the tar says
        inode.size = entry.link_target.size();
        node.target = entry.link_target;
        break;
      case TarEntryType::kCharDevice:
      case TarEntryType::kBlockDevice:
        inode.rdev = entry.rdev;
        break;
      default:
        break;
    }
    return node;
  }

  Status SetAttributes(InodeNumber directory, const TarEntry& entry) {
    LAYERFS_TRY(node, NodeOf(entry));
    return tree_.SetAttributes(directory, node);
  }

  MutableTree tree_;
  bool links_below_ = false;
  TreeWalker walker_{tree_};
  uint64_t entries_ = 0;
  uint64_t implicit_ = 0;  // directories that were
  // Of the entry at hand.
  std::vector<Xattr> xattrs_;
  std::string access_acl_;
  std::string default_acl_;
  // Names that AUFS left behind: they may be targets of hard links, and go at the end.
  std::vector<std::pair<InodeNumber, std::string>> aufs_names_;
};

LayerIndexBuilder::LayerIndexBuilder() : impl_(std::make_unique<Impl>()) {}
LayerIndexBuilder::~LayerIndexBuilder() = default;

Status LayerIndexBuilder::Add(const TarEntry& entry) {
  Status status = impl_->Add(entry);
  if (status.has_value()) return {};
  return Fail(std::move(status).error().In("entry " + Quoted(entry.path) + " at tar offset " +
                                           std::to_string(entry.header_offset)));
}

bool LayerIndexBuilder::links_below() const { return impl_->links_below(); }

Result<Bytes> LayerIndexBuilder::Finish(const LayerFacts& facts) {
  const std::unique_ptr<Impl> finished = std::exchange(impl_, std::make_unique<Impl>());
  return std::move(*finished).Finish(facts);
}

}  // namespace layerfs
