// SPDX-License-Identifier: Apache-2.0
// LayerTree: names that go.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fs/fail_point.h"
#include "fs/layer_tree.h"

namespace layerfs {

// Who has the object open, or as its working directory, goes on with it.
Status LayerTree::Pin(const NodePtr& node) const {
  if (node->pinned != nullptr || nodes_->Find(node->id) != node) return {};
  LAYERFS_TRY(opened, OpenUpper(*node, O_PATH));
  node->pinned = std::make_shared<const UniqueFd>(std::move(opened));
  return {};
}

Result<LayerTree::Loss> LayerTree::BeforeLoss(const NodePtr& node, const NodePtr& parent,
                                              std::string_view name) {
  Loss loss;
  loss.removed.node = node;
  loss.named = node->parent == parent && node->name == name;
  loss.last = true;
  if (!node->has_upper) {
    if (node->is_directory()) return loss;
    LAYERFS_TRY(below, Attributes(*node));
    if (below.st_nlink <= 1) return loss;
    LAYERFS_TRY(splits, WouldSplit(*node));
    loss.last = !splits;
    if (splits) return loss;
    // Its other names have to know of it: the count is kept with the upper inode.
    LAYERFS_CHECK_OK(CopyUp(node, nullptr, false));
  }
  if (node->indexed) {
    LAYERFS_CHECK_OK(EnsureAlias(node, parent, name));
    LAYERFS_CHECK_OK(StartLinkChange(*node));
  }
  LAYERFS_TRY(attributes, Attributes(*node));
  loss.last = node->is_directory() || attributes.st_nlink <= 1;
  if (loss.last && !IsMarkCertain(node->type)) {
    LAYERFS_TRY(place, Place(*node));
    struct stat upper{};
    if (::fstatat(place.directory(), place.name.c_str(), &upper,
                  AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
      return FailErrno(name, errno);
    }
    loss.key = UpperKey(upper);
  }
  if (loss.last && node->partial && maps_ != nullptr) {
    LAYERFS_TRY(file, OpenUpper(*node, O_RDONLY | O_NONBLOCK));
    LAYERFS_TRY(map, maps_->IdOf(file.get()));
    loss.removed.map = std::move(map);
  }
  // By index/ it is found as long as it has a name at all.
  if (node->indexed ? loss.last : loss.named) LAYERFS_CHECK_OK(Pin(node));
  return loss;
}

Status LayerTree::AfterLoss(const Loss& loss) {
  const NodePtr& node = loss.removed.node;
  if (node->indexed && loss.last) {
    FailPoint("unlink.index");
    if (::unlinkat(layer_->index(), std::to_string(node->st_ino).c_str(), 0) != 0) {
      return FailErrno("index", errno);
    }
    node->indexed = false;
  }
  if (loss.last) {
    node->dead = true;
    if (loss.key.has_value()) numbers_.Erase(*loss.key);
    if (node->is_directory()) directory_fds_.With([&](auto& fds) { fds.Erase(node->id); });
  }
  if (loss.last || (loss.named && !node->indexed)) nodes_->SetName(node, nullptr, "");
  return {};
}

// A link costs no inode, neither now nor when it goes.
Status LayerTree::LinkWhiteout(int directory, const std::string& name) const {
  const int work = layer_->work();
  for (const bool is_first : {true, false}) {
    if (!shared_whiteout_.empty() &&
        ::linkat(work, shared_whiteout_.c_str(), directory, name.c_str(), 0) == 0) {
      return {};
    }
    if (!is_first || (!shared_whiteout_.empty() && errno == EEXIST)) break;
    // None yet, or it has all the links that an inode may have.
    if (!shared_whiteout_.empty()) ::unlinkat(work, shared_whiteout_.c_str(), 0);
    shared_whiteout_ = TemporaryName();
    if (::mknodat(work, shared_whiteout_.c_str(), S_IFCHR, 0) != 0) break;
  }
  if (::mknodat(directory, name.c_str(), S_IFCHR, 0) != 0) return FailErrno(name, errno);
  return {};
}

Status LayerTree::MakeWhiteout(const LayerNode& parent, int directory,
                               const std::string& name) const {
  FailPoint("whiteout");
  if (layer_->form().devices) {
    LAYERFS_CHECK_OK(LinkWhiteout(directory, name));
    FailPoint("whiteout.made");
    return {};
  }
  LAYERFS_TRY(place, Place(parent));
  LAYERFS_TRY(opaque, ReadOpaque(place.path()));
  if (opaque == OpaqueMark::kNone) {
    LAYERFS_CHECK_OK(WriteXattr(place.path(), layer_->form().Overlay("opaque"), "x"));
  }
  LAYERFS_TRY(file, OpenFileAt(layer_->work(), ".", O_TMPFILE | O_RDWR, 0600));
  const ObjectPath built = PathOfDescriptor(file.get());
  LAYERFS_CHECK_OK(WriteXattr(built, layer_->form().Overlay("whiteout"), ""));
  if (::linkat(AT_FDCWD, built.path.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return FailErrno(name, errno);
  }
  FailPoint("whiteout.made");
  return {};
}

// What is there gives way to a whiteout in one step.
Status LayerTree::CoverByWhiteout(const LayerNode& parent, int directory, const std::string& name,
                                  bool is_directory) const {
  const std::string temporary = TemporaryName();
  LAYERFS_CHECK_OK(MakeWhiteout(parent, layer_->work(), temporary));
  FailPoint("cover");
  if (::renameat2(layer_->work(), temporary.c_str(), directory, name.c_str(),
                  is_directory ? RENAME_EXCHANGE : 0) != 0) {
    const int error = errno;
    ::unlinkat(layer_->work(), temporary.c_str(), 0);
    return FailErrno(name, error);
  }
  FailPoint("cover.done");
  return is_directory ? RemoveTree(layer_->work(), temporary) : Status();
}

Result<LayerTree::Removed> LayerTree::Unlink(const NodePtr& parent, std::string_view name) {
  LAYERFS_TRY(child, Lookup(parent, name));
  if (!child.exists) return FailErrno(name, ENOENT);
  const NodePtr node = Known(child);
  if (node->is_directory()) return FailErrno(name, EISDIR);
  // What has no upper object came from below.
  LAYERFS_TRY(shows_below, node->has_upper ? ShowsBelow(*parent, name) : Result<bool>(true));
  LAYERFS_TRY(loss, BeforeLoss(node, parent, name));
  LAYERFS_CHECK_OK(CopyUp(parent, nullptr, false));
  LAYERFS_TRY(directory, DirectoryFd(*parent));
  const std::string terminated(name);
  // An object with an upper one has this name there: by now, where it is in index/.
  const bool has_name = node->has_upper;
  FailPoint("unlink");
  if (has_name && shows_below) {
    LAYERFS_CHECK_OK(CoverByWhiteout(*parent, directory->get(), terminated, false));
  } else if (has_name) {
    if (::unlinkat(directory->get(), terminated.c_str(), 0) != 0) return FailErrno(name, errno);
  } else {
    LAYERFS_CHECK_OK(MakeWhiteout(*parent, directory->get(), terminated));
  }
  FailPoint("unlink.done");
  LAYERFS_CHECK_OK(AfterLoss(loss));
  return loss.removed;
}

Result<bool> LayerTree::IsEmpty(const LayerNode& directory) const {
  bool empty = true;
  LAYERFS_CHECK_OK(List(directory, Listing::kExact, [&](const ListedEntry&) {
    empty = false;
    return false;
  }));
  return empty;
}

// Whiteouts may be left in it; it goes at once all the same.
Status LayerTree::RemoveUpperDirectory(int directory, const std::string& name) const {
  FailPoint("rmdir");
  if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) == 0) return {};
  if (errno != ENOTEMPTY && errno != EEXIST) return FailErrno(name, errno);
  const std::string temporary = TemporaryName();
  if (::renameat(directory, name.c_str(), layer_->work(), temporary.c_str()) != 0) {
    return FailErrno(name, errno);
  }
  FailPoint("rmdir.moved");
  return RemoveTree(layer_->work(), temporary);
}

Result<LayerTree::Removed> LayerTree::RemoveDirectory(const NodePtr& parent,
                                                      std::string_view name) {
  LAYERFS_TRY(child, Lookup(parent, name));
  if (!child.exists) return FailErrno(name, ENOENT);
  const NodePtr node = Known(child);
  if (!node->is_directory()) return FailErrno(name, ENOTDIR);
  LAYERFS_TRY(empty, IsEmpty(*node));
  if (!empty) return FailErrno(name, ENOTEMPTY);
  LAYERFS_TRY(shows_below, node->has_upper ? ShowsBelow(*parent, name) : Result<bool>(true));
  LAYERFS_TRY(loss, BeforeLoss(node, parent, name));
  LAYERFS_CHECK_OK(CopyUp(parent, nullptr, false));
  LAYERFS_TRY(directory, DirectoryFd(*parent));
  const std::string terminated(name);
  if (!node->has_upper) {
    LAYERFS_CHECK_OK(MakeWhiteout(*parent, directory->get(), terminated));
  } else if (shows_below) {
    LAYERFS_CHECK_OK(CoverByWhiteout(*parent, directory->get(), terminated, true));
  } else {
    LAYERFS_CHECK_OK(RemoveUpperDirectory(directory->get(), terminated));
  }
  FailPoint("rmdir.done");
  CountSubdirectory(*parent, -1);
  LAYERFS_CHECK_OK(AfterLoss(loss));
  return loss.removed;
}

// The directory looks empty; nothing is left in it afterwards, so that it can be renamed over.
Status LayerTree::ClearWhiteouts(const LayerNode& directory) {
  if (!directory.has_upper) return {};
  LAYERFS_TRY(place, Place(directory));
  LAYERFS_TRY(fd, DirectoryFd(directory));
  const int opened = ::openat(fd->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return FailErrno(directory.name, errno);
  LAYERFS_TRY(found, NamesInDirectory(UniqueFd(opened)));
  if (found.empty()) return {};
  // From here on whiteouts in it make no difference.
  LAYERFS_CHECK_OK(SetOpaque(place.path()));
  FailPoint("clear.opaque");
  for (const std::string& name : found) {
    if (::unlinkat(fd->get(), name.c_str(), 0) != 0) return FailErrno(name, errno);
    FailPoint("clear.one");
  }
  return {};
}

}  // namespace layerfs
