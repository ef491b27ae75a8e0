// SPDX-License-Identifier: Apache-2.0
#include "index/merge_links.h"

#include <string>
#include <utility>

#include "index/path.h"

namespace layerfs {

Status LinkResolver::LookBefore() {
  for (uint32_t i = 1; i <= layer_.inode_count(); ++i) {
    const InodeNumber inode{i};
    if (!layer_.Get(inode).unresolved_link) continue;
    LAYERFS_TRY(before, Find(layer_.Target(inode)));
    Link link{.inode = inode, .before = before};
    if (link.before != kNoInode && tree_.IsDirectory(link.before)) link.before = kNoInode;
    if (link.before != kNoInode) tree_.Hold(link.before);
    by_inode_[inode] = links_.size();
    links_.push_back(link);
  }
  return {};
}

void LinkResolver::AddName(EntryId id, InodeNumber inode, InodeNumber placeholder) {
  const size_t number = by_inode_.at(inode);
  links_[number].placeholder = placeholder;
  by_placeholder_[placeholder] = number;
  names_.push_back({.id = id, .link = number});
}

Status LinkResolver::Resolve() {
  for (const Name& name : names_) {
    // Another name of its directory, in the same layer, may have been put over it since.
    if (tree_.entry(name.id).node != links_[name.link].placeholder) continue;
    LAYERFS_CHECK_OK(ResolveFrom(name.link));
  }
  for (const Name& name : names_) {
    const Link& link = links_[name.link];
    if (tree_.entry(name.id).node != link.placeholder) continue;
    LAYERFS_CHECK_OK(tree_.Replace(name.id, link.target));
  }
  for (const Link& link : links_) {
    if (link.before != kNoInode) tree_.Release(link.before);
  }
  return {};
}

// A link may lead to another's placeholder, and so on: the chain is followed to a file, and all on
// it get that.
Status LinkResolver::ResolveFrom(size_t first) {
  std::vector<size_t> chain;
  InodeNumber target = kNoInode;
  for (size_t at = first; target == kNoInode;) {
    Link& link = links_[at];
    if (link.target != kNoInode) {
      target = link.target;
      break;
    }
    if (link.visited) {  // In a circle; only a lower file can be meant.
      target = link.before;
      if (target == kNoInode) return Fail(NotFound(link, "goes in circles"));
      break;
    }
    link.visited = true;
    chain.push_back(at);
    LAYERFS_TRY(chosen, Choose(link));
    if (const auto next = by_placeholder_.find(chosen); next != by_placeholder_.end()) {
      at = next->second;
    } else {
      target = chosen;
    }
  }
  for (const size_t link : chain) links_[link].target = target;
  return {};
}

Result<InodeNumber> LinkResolver::Choose(const Link& link) {
  const std::string_view target = layer_.Target(link.inode);
  InodeNumber chosen = kNoInode;
  if (!LayerReplaces(target)) {
    LAYERFS_TRY(found, Find(target));
    chosen = found;
  }
  if (chosen == kNoInode) chosen = link.before;
  if (chosen == kNoInode) return Fail(NotFound(link, "does not exist"));
  if (tree_.IsDirectory(chosen)) return Fail(NotFound(link, "is a directory"));
  return chosen;
}

// Whether the layer has something of its own at the path, or something that is no directory on the
// way there.
bool LinkResolver::LayerReplaces(std::string_view target) const {
  const auto components = SplitLinkTarget(target);
  if (!components.has_value()) return false;
  InodeNumber at = kRootInode;
  for (const std::string_view component : *components) {
    if (!layer_.Get(at).is_directory()) return true;
    const std::optional<Dirent> entry = layer_.Lookup(at, component);
    if (!entry.has_value() || entry->is_whiteout()) return false;
    at = entry->inode;
  }
  return !layer_.Get(at).implicit;
}

Result<InodeNumber> LinkResolver::Find(std::string_view target) {
  const auto components = SplitLinkTarget(target);
  if (!components.has_value()) return kNoInode;
  auto id = walker_.FindLinkTarget(*components);
  if (id.has_value()) return *id == kNoEntry ? kNoInode : tree_.entry(*id).node;
  if (id.error().code == ErrorCode::kTooLarge) return Fail(std::move(id).error());
  return kNoInode;
}

Error LinkResolver::NotFound(const Link& link, std::string_view why) const {
  std::string path = "a hard link";
  for (const Name& name : names_) {
    const MutableTree::Entry& entry = tree_.entry(name.id);
    if (entry.node != link.placeholder) continue;
    const std::string parent = tree_.PathOf(entry.directory);
    path = "hard link " + Quoted(parent + (parent.empty() ? "" : "/") + std::string(entry.name));
    break;
  }
  return {.code = ErrorCode::kCorrupt,
          .context =
              path + ": its target " + Quoted(layer_.Target(link.inode)) + " " + std::string(why)};
}

}  // namespace layerfs
