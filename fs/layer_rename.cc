// SPDX-License-Identifier: Apache-2.0
// LayerTree: rename. Whatever is needed before it (copy-up, marks) changes nothing that shows; then
// one renameat2 does it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fs/fail_point.h"
#include "fs/layer_tree.h"

namespace layerfs {
namespace {

constexpr size_t kLongRedirectBytes = 1024;

}  // namespace

// A directory that merges says with what, and any other that it does not, before it comes to a
// place where the layers below have something.
Status LayerTree::MarkMoved(const LayerNode& node, const NodePtr& new_parent,
                            std::string_view new_name) {
  if (!node.is_directory()) return {};
  LAYERFS_TRY(place, Place(node));
  if (!node.lowers.empty()) {
    const LowerRef& lower = node.lowers.front();
    const std::string redirect = sources_[lower.source]->PathOf(lower.object);
    const Status marked = WriteXattr(place.path(), layer_->form().Overlay("redirect"), redirect);
    // More than an attribute holds here (ext4: what is left of a block): mv copies it then.
    if (!marked.has_value() && redirect.size() > kLongRedirectBytes) {
      return FailErrno(new_name, EXDEV);
    }
    LAYERFS_CHECK_OK(marked);
  } else {
    LAYERFS_TRY(shows, ShowsBelow(*new_parent, new_name));
    if (shows) LAYERFS_CHECK_OK(SetOpaque(place.path()));
  }
  FailPoint("rename.marked");
  return {};
}

Status LayerTree::MoveName(const NodePtr& node, const NodePtr& parent, const std::string& name,
                           const Target& target) {
  LAYERFS_TRY(leaves_whiteout, ShowsBelow(*parent, name));
  LAYERFS_TRY(directory, DirectoryFd(*parent));
  const auto rename = [&](unsigned flags) {
    return ::renameat2(directory->get(), name.c_str(), target.directory->get(), target.name.c_str(),
                       flags) == 0;
  };
  FailPoint("rename");
  if (target.whiteout && (leaves_whiteout || node->is_directory())) {
    // The whiteout takes the old name.
    if (!rename(RENAME_EXCHANGE)) return FailErrno(name, errno);
    FailPoint("rename.exchanged");
    if (!leaves_whiteout) ::unlinkat(directory->get(), name.c_str(), 0);
    return {};
  }
  if (!leaves_whiteout) {
    if (!rename(0)) return FailErrno(name, errno);
    FailPoint("rename.done");
    return {};
  }
  if (layer_->form().devices && rename(RENAME_WHITEOUT)) {
    FailPoint("rename.done");
    return {};
  }
  if (layer_->form().devices && errno != EINVAL) return FailErrno(name, errno);
  // Without RENAME_WHITEOUT: a whiteout is put where nothing is, and the two change places.
  struct stat there{};
  if (::fstatat(target.directory->get(), target.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
    LAYERFS_CHECK_OK(MakeWhiteout(*parent, target.directory->get(), target.name));
    if (!rename(RENAME_EXCHANGE)) return FailErrno(name, errno);
    return {};
  }
  if (!rename(0)) return FailErrno(name, errno);
  return MakeWhiteout(*parent, directory->get(), name);
}

Status LayerTree::ExchangeNames(const NodePtr& parent, std::string_view name, const NodePtr& node,
                                const NodePtr& new_parent, std::string_view new_name,
                                const NodePtr& new_node) {
  LAYERFS_CHECK_OK(CopyUp(new_node, nullptr, false));
  if (new_node->indexed) LAYERFS_CHECK_OK(EnsureAlias(new_node, new_parent, new_name));
  LAYERFS_CHECK_OK(MarkMoved(*node, new_parent, new_name));
  LAYERFS_CHECK_OK(MarkMoved(*new_node, parent, name));
  LAYERFS_TRY(from, DirectoryFd(*parent));
  LAYERFS_TRY(to, DirectoryFd(*new_parent));
  FailPoint("exchange");
  if (::renameat2(from->get(), std::string(name).c_str(), to->get(), std::string(new_name).c_str(),
                  RENAME_EXCHANGE) != 0) {
    return FailErrno(name, errno);
  }
  FailPoint("exchange.done");
  const int moved = (node->is_directory() ? 1 : 0) - (new_node->is_directory() ? 1 : 0);
  CountSubdirectory(*parent, -moved);
  CountSubdirectory(*new_parent, moved);
  MovedTo(node, new_parent, new_name);
  MovedTo(new_node, parent, name);
  return {};
}

void LayerTree::MovedTo(const NodePtr& node, const NodePtr& parent, std::string_view name) {
  if (node->indexed) return;
  node->pinned.reset();
  nodes_->SetName(node, parent, std::string(name));
}

Result<LayerTree::Removed> LayerTree::Rename(const NodePtr& parent, std::string_view name,
                                             const NodePtr& new_parent, std::string_view new_name,
                                             unsigned flags) {
  // A user's whiteout has no meaning here, as on overlayfs.
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return FailErrno(name, EINVAL);
  LAYERFS_TRY(child, Lookup(parent, name));
  if (!child.exists) return FailErrno(name, ENOENT);
  if (new_parent->dead) return FailErrno(new_name, ENOENT);
  if (!image_below() && new_name.starts_with(kWhiteoutPrefix)) return FailErrno(new_name, EPERM);
  LAYERFS_TRY(replaced, Lookup(new_parent, new_name));
  const NodePtr node = Known(child);
  const NodePtr new_node = Known(replaced);
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if (exchange && new_node == nullptr) return FailErrno(new_name, ENOENT);
  if ((flags & RENAME_NOREPLACE) != 0 && new_node != nullptr) return FailErrno(new_name, EEXIST);
  if (new_node != nullptr && new_node->id == node->id) return Removed{};
  const auto from_below = [&](const NodePtr& one) {
    return one != nullptr && one->is_directory() && !one->lowers.empty();
  };
  if (!options_.redirect_dir && (from_below(node) || (exchange && from_below(new_node)))) {
    return FailErrno(name, EXDEV);
  }
  for (const NodePtr& one : {node, exchange ? new_node : nullptr}) {
    LAYERFS_TRY(splits, one == nullptr ? Result<bool>(false) : WouldSplit(*one));
    if (splits) return FailErrno(name, EXDEV);  // mv copies it then
  }
  LAYERFS_CHECK_OK(CopyUp(node, nullptr, false));
  if (node->indexed) LAYERFS_CHECK_OK(EnsureAlias(node, parent, name));
  LAYERFS_CHECK_OK(CopyUp(new_parent, nullptr, false));
  if (exchange) {
    LAYERFS_CHECK_OK(ExchangeNames(parent, name, node, new_parent, new_name, new_node));
    return Removed{};
  }
  Loss loss;
  if (new_node != nullptr) {
    if (new_node->is_directory() != node->is_directory()) {
      return FailErrno(new_name, node->is_directory() ? ENOTDIR : EISDIR);
    }
    if (new_node->is_directory()) {
      LAYERFS_TRY(empty, IsEmpty(*new_node));
      if (!empty) return FailErrno(new_name, ENOTEMPTY);
      LAYERFS_CHECK_OK(ClearWhiteouts(*new_node));
    }
    LAYERFS_TRY(lost, BeforeLoss(new_node, new_parent, new_name));
    loss = std::move(lost);
  }
  LAYERFS_CHECK_OK(MarkMoved(*node, new_parent, new_name));
  LAYERFS_TRY(directory, DirectoryFd(*new_parent));
  LAYERFS_CHECK_OK(
      MoveName(node, parent, std::string(name),
               Target{std::move(directory), std::string(new_name), replaced.whiteout}));
  if (node->is_directory()) {
    CountSubdirectory(*parent, -1);
    CountSubdirectory(*new_parent, new_node == nullptr ? 1 : 0);
  }
  if (loss.removed.node != nullptr) LAYERFS_CHECK_OK(AfterLoss(loss));
  MovedTo(node, new_parent, new_name);
  return loss.removed;
}

}  // namespace layerfs
