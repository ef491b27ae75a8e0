// SPDX-License-Identifier: Apache-2.0
// Lock order: OpenInode::making, then LayerTree's lock, then the table.
#include "fs/open_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <shared_mutex>

#include "fs/overlay_marks.h"
#include "index/base/log.h"

namespace layerfs {
namespace {

constexpr char kCapability[] = "security.capability";

}  // namespace

OpenFiles::Use OpenFiles::Acquire(const NodePtr& node) {
  inodes_.With([&](Inodes& inodes) {
    std::shared_ptr<OpenInode>& inode = inodes[node->id];
    if (inode == nullptr) inode = std::make_shared<OpenInode>(node);
    ++inode->uses;
  });
  return Use(this, node);
}

std::shared_ptr<OpenFiles::OpenInode> OpenFiles::Find(NodeId node) const {
  return inodes_.With([&](const Inodes& inodes) {
    const auto it = inodes.find(node);
    return it == inodes.end() ? nullptr : it->second;
  });
}

void OpenFiles::Drop(NodeId node) {
  const auto last = inodes_.With([&](Inodes& inodes) -> std::shared_ptr<OpenInode> {
    const auto it = inodes.find(node);
    if (it == inodes.end() || --it->second->uses > 0) return nullptr;
    std::shared_ptr<OpenInode> inode = std::move(it->second);
    inodes.erase(it);
    return inode;
  });
  if (last != nullptr) Finish(last);
}

void OpenFiles::Finish(const std::shared_ptr<OpenInode>& inode) {
  FileContent content = inode->content.With([](FileContent& held) { return std::move(held); });
  if (!inode->doomed_map.empty()) {
    // Its map may have been made after the last name went.
    const Status removed = content.layer != nullptr
                               ? content.layer->Discard()
                               : tree_.partial_maps()->Remove(inode->doomed_map);
    if (!removed.has_value()) LogWarning("container layer: " + removed.error().context);
    return;
  }
  if (content.layer == nullptr || !content.layer->whole() || content.layer->plain()) return;
  const Status sealed = content.layer->Seal();
  if (!sealed.has_value()) LogWarning("container layer: " + sealed.error().context);
  if (content.layer->plain()) {
    const std::unique_lock guard(tree_.lock());
    inode->node->partial = false;
  }
}

Result<FileContent> OpenFiles::Content(const NodePtr& node) {
  return Content(node, UniqueFd(), false);
}

Result<FileContent> OpenFiles::Content(const NodePtr& node, UniqueFd made, bool privileged) {
  const std::shared_ptr<OpenInode> inode = Find(node->id);
  if (inode == nullptr) return FailErrno("handle", EBADF);
  FileContent content = inode->content.With([](const FileContent& held) { return held; });
  if (content.layer != nullptr) return content;
  const std::lock_guard making(inode->making);
  return Make(*inode, std::move(made), privileged);
}

Result<FileContent> OpenFiles::Make(OpenInode& inode, UniqueFd made, bool privileged) {
  FileContent content = inode.content.With([](const FileContent& held) { return held; });
  if (content.layer != nullptr) return content;
  const NodePtr& node = inode.node;
  LayerFile::Parts parts;
  {
    const std::shared_lock guard(tree_.lock());
    if (!node->has_upper) {
      if (content.lower == nullptr) {
        LAYERFS_TRY(lower, tree_.OpenLower(*node));
        content.lower = std::move(lower);
      }
    } else {
      parts.upper = std::move(made);
      if (!parts.upper.valid()) {
        LAYERFS_TRY(upper, tree_.OpenUpper(*node, O_RDWR | O_NONBLOCK));
        LAYERFS_CHECK_OK_IN(RefuseMetacopy(upper.get()), node->name);
        parts.upper = std::move(upper);
        LAYERFS_TRY(attributes, tree_.Attributes(*node));
        LAYERFS_TRY(capability, tree_.GetXattr(*node, kCapability));
        privileged = (attributes.st_mode & (S_ISUID | S_ISGID)) != 0 || capability.has_value();
      }
      if (node->partial) {
        LAYERFS_TRY(lower, tree_.OpenLower(*node));
        const LowerIdentity identity{node->lowers[0].object.number, lower->size()};
        LAYERFS_TRY(map, tree_.partial_maps()->Load(parts.upper.get(), identity));
        if (map != nullptr) {
          parts.map = std::move(map);
          parts.lower = std::move(lower);
          parts.maps = tree_.partial_maps();
        }
      }
    }
  }
  if (parts.upper.valid()) {
    LAYERFS_TRY(layer, LayerFile::Open(std::move(parts), interrupts_));
    content = FileContent{std::move(layer), nullptr};
    inodes_.With([&](Inodes&) { inode.privileged = privileged; });
  }
  inode.content.With([&](FileContent& held) { held = content; });
  return content;
}

bool OpenFiles::OpenPassthrough(const std::shared_ptr<OpenInode>& inode, const FileContent& content,
                                bool writes, OpenReply& reply) {
  if (!passthrough_ || content.layer == nullptr) return false;
  const auto join = [&](int32_t registered) {
    return inodes_.With([&](Inodes&) {
      if (inode->cached_opens > 0 || (inode->backing_id == 0 && registered == 0)) return false;
      if (inode->backing_id == 0) inode->backing_id = registered;
      ++inode->passthrough_opens;
      inode->passthrough_writers += writes ? 1 : 0;
      reply.backing_id = inode->backing_id;
      return true;
    });
  };
  if (join(0)) return true;
  const bool may =
      inodes_.With([&](Inodes&) { return inode->cached_opens == 0 && inode->privileged == false; });
  if (!may || !content.layer->plain()) return false;
  const int id = notifier_->RegisterBackingFile(content.layer->fd());
  if (id < 0) {
    // EPERM: not privileged; ELOOP: the layer lies on a stacked file system. Neither will change.
    LogDebug("passthrough is not possible here: errno " + std::to_string(-id));
    if (id == -EPERM || id == -ELOOP) passthrough_ = false;
    return false;
  }
  const bool joined = join(id);
  if (!joined || reply.backing_id != id) notifier_->UnregisterBackingFile(id);
  return joined;
}

void OpenFiles::Open(const NodePtr& node, const FileContent& content, bool writes,
                     OpenReply& reply) {
  const std::shared_ptr<OpenInode> inode = Find(node->id);
  const bool was_unseen = ChangesUnseen(node->id);
  bool passthrough = OpenPassthrough(inode, content, writes, reply);
  // An open that is neither one nor the other is one of two that raced; the other's mode stands.
  while (!passthrough) {
    const bool cached = inodes_.With([&](Inodes&) {
      if (inode->passthrough_opens > 0) return false;
      ++inode->cached_opens;
      return true;
    });
    if (cached) break;
    passthrough = OpenPassthrough(inode, content, writes, reply);
  }
  inodes_.With([&](Inodes&) { ++inode->uses; });
  reply.handle = Handle{passthrough, writes}.Encode();
  // A plain file may have been written behind the page cache while it was open with a backing file.
  reply.keep_cache = content.layer == nullptr || !content.layer->plain() || !passthrough_;
  if (passthrough && writes && !was_unseen) notifier_->InvalidateNode(node->id, -1, 0);
}

void OpenFiles::Close(NodeId node, Handle handle) {
  int32_t unused = 0;
  inodes_.With([&](Inodes& inodes) {
    const auto it = inodes.find(node);
    if (it == inodes.end()) return;
    OpenInode& inode = *it->second;
    uint32_t& opens = handle.passthrough ? inode.passthrough_opens : inode.cached_opens;
    if (opens > 0) --opens;
    if (handle.passthrough && handle.writes && inode.passthrough_writers > 0) {
      --inode.passthrough_writers;
    }
    if (inode.passthrough_opens == 0) unused = std::exchange(inode.backing_id, 0);
  });
  if (unused > 0) notifier_->UnregisterBackingFile(unused);
  Drop(node);
}

bool OpenFiles::ChangesUnseen(NodeId node) const {
  return inodes_.With([&](const Inodes& inodes) {
    const auto it = inodes.find(node);
    return it != inodes.end() && it->second->passthrough_writers > 0;
  });
}

bool OpenFiles::MayLosePrivileges(NodeId node) const {
  return inodes_.With([&](const Inodes& inodes) {
    const auto it = inodes.find(node);
    return it == inodes.end() || it->second->privileged != false;
  });
}

void OpenFiles::NotePrivileges(NodeId node, bool privileged) {
  inodes_.With([&](Inodes& inodes) {
    const auto it = inodes.find(node);
    if (it != inodes.end()) it->second->privileged = privileged;
  });
}

void OpenFiles::Doom(NodeId node, const std::string& map) {
  if (map.empty() || tree_.partial_maps() == nullptr) return;
  const bool open = inodes_.With([&](Inodes& inodes) {
    const auto it = inodes.find(node);
    if (it == inodes.end()) return false;
    it->second->doomed_map = map;
    return true;
  });
  if (open) return;
  const Status removed = tree_.partial_maps()->Remove(map);
  if (!removed.has_value()) LogWarning("container layer: " + removed.error().context);
}

}  // namespace layerfs
