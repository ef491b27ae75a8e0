// SPDX-License-Identifier: Apache-2.0
// LayeredFileSystem: files' content, and what changes with it.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "fs/layered_state.h"
#include "fs/overlay_marks.h"
#include "index/base/log.h"

namespace layerfs {
namespace {

void ReplyStatus(const Status& status, Reply& reply) {
  if (status.has_value()) {
    reply.Errno(0);
  } else {
    reply.Fail(status.error());
  }
}

bool Writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }

}  // namespace

void LayeredFileSystem::Open(const Caller&, NodeId id, int flags, Reply reply) {
  const bool writes = Writes(flags);
  if (!writes && !state_->MayBePushed(id)) return OpenNow(id, flags, std::move(reply));
  // std::function wants what can be copied, and a Reply cannot.
  const auto shared = std::make_shared<Reply>(std::move(reply));
  const auto open = [this, id, flags, shared] { OpenNow(id, flags, std::move(*shared)); };
  writes ? state_->BeforeChange(id, open) : state_->BeforeRead(id, open);
}

void LayeredFileSystem::OpenNow(NodeId id, int flags, Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  if (!(*node)->is_regular()) return reply.Errno((*node)->is_directory() ? EISDIR : ENXIO);
  const bool truncate = (flags & O_TRUNC) != 0;
  if (Writes(flags)) {
    const Status upper = state_->tree->EnsureUpper(*node, truncate);
    if (!upper.has_value()) return reply.Fail(upper.error());
  }
  auto use = std::make_shared<OpenFiles::Use>(state_->files.Acquire(*node));
  const auto content = state_->files.Content(*node);
  if (!content.has_value()) return reply.Fail(content.error());
  if (!truncate) {
    OpenReply opened;
    state_->files.Open(*node, *content, Writes(flags), opened);
    return reply.Open(opened);
  }
  const Status dropped = state_->DropPrivileges(**node, nullptr);
  if (!dropped.has_value()) return reply.Fail(dropped.error());
  const State::Waiting waiting = state_->MayWait(std::move(reply));
  content->layer->Truncate(
      waiting.token, 0,
      [this, use, node = *node, content = *content, answer = waiting.reply](Status done) {
        if (!done.has_value()) return answer->Fail(done.error());
        OpenReply opened;
        state_->files.Open(node, content, true, opened);
        opened.keep_cache = false;
        answer->Open(opened);
      });
}

void LayeredFileSystem::Create(const Caller& caller, NodeId parent, std::string_view name,
                               mode_t mode, int, Reply reply) {
  Result<LayerTree::Made> made;
  Result<EntryReply> entry;
  {
    const State::ExclusiveLock guard(state_->tree->lock());
    const auto directory = state_->Node(parent);
    if (!directory.has_value()) return reply.Fail(directory.error());
    made = state_->tree->Create(caller, *directory, name, {S_IFREG | (mode & 07777), 0});
    if (!made.has_value()) return reply.Fail(made.error());
    entry = state_->Entry(*made->node, &made->upper);
  }
  ReplyCreated(std::move(*made), entry, reply);
}

void LayeredFileSystem::TemporaryFile(const Caller& caller, NodeId parent, mode_t mode, int,
                                      Reply reply) {
  Result<LayerTree::Made> made;
  Result<EntryReply> entry;
  {
    const State::ExclusiveLock guard(state_->tree->lock());
    const auto directory = state_->Node(parent);
    if (!directory.has_value()) return reply.Fail(directory.error());
    made = state_->tree->CreateUnnamed(caller, *directory, S_IFREG | (mode & 07777));
    if (!made.has_value()) return reply.Fail(made.error());
    entry = state_->Entry(*made->node, &made->upper);
  }
  ReplyCreated(std::move(*made), entry, reply);
}

void LayeredFileSystem::ReplyCreated(LayerTree::Made made, const Result<EntryReply>& entry,
                                     Reply& reply) {
  const NodePtr node = made.node;
  const OpenFiles::Use use = state_->files.Acquire(node);
  const bool privileged =
      entry.has_value() && (entry->attributes.st_mode & (S_ISUID | S_ISGID)) != 0;
  const auto content = state_->files.Content(node, std::move(made.file), privileged);
  if (!content.has_value() || !entry.has_value()) {
    state_->tree->Forget(node->id, 1);
    return reply.Fail(content.has_value() ? entry.error() : content.error());
  }
  OpenReply opened;
  state_->files.Open(node, *content, true, opened);
  EntryReply answer = *entry;
  answer.attribute_seconds = state_->AttributeSeconds(node->id);
  reply.Create(answer, opened);
}

void LayeredFileSystem::Read(const Caller&, NodeId id, uint64_t, uint64_t offset, size_t size, int,
                             Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const auto content = state_->files.Content(*node);
  if (!content.has_value()) return reply.Fail(content.error());
  const State::Waiting waiting = state_->MayWait(std::move(reply));
  const auto answer = [shared = waiting.reply](Result<ByteSpan> bytes) {
    if (bytes.has_value()) {
      shared->Data(*bytes);
    } else {
      shared->Fail(bytes.error());
    }
  };
  if (content->layer != nullptr) {
    content->layer->Read(waiting.token, offset, size, answer);
  } else {
    ReadLowerFile(content->lower, state_->interrupts, waiting.token, offset, size, answer);
  }
}

void LayeredFileSystem::Write(const Caller&, NodeId id, uint64_t, uint64_t offset, ByteSpan data,
                              bool written_back, Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const auto content = state_->files.Content(*node);
  if (!content.has_value()) return reply.Fail(content.error());
  if (content->layer == nullptr) return reply.Errno(EBADF);
  std::optional<std::string> capability;
  if (written_back) {
    capability = state_->CapabilityToKeep(**node);
  } else {
    const Status dropped = state_->DropPrivileges(**node, nullptr);
    if (!dropped.has_value()) return reply.Fail(dropped.error());
  }
  // The kernel has worked out where an append goes; pages that it writes back may come through a
  // handle that appends.
  const State::Waiting waiting = state_->MayWait(std::move(reply));
  content->layer->Write(
      waiting.token, offset, data, {},
      [this, node = *node, capability, answer = waiting.reply](Result<size_t> written) {
        if (capability.has_value()) state_->GiveBack(*node, *capability);
        if (!written.has_value()) return answer->Fail(written.error());
        answer->Written(*written);
      });
}

Status LayeredFileSystem::State::DropPrivileges(const LayerNode& node, const Caller* user) {
  if (!files.MayLosePrivileges(node.id)) return {};
  const ExclusiveLock guard(tree->lock());
  LAYERFS_TRY(left, tree->DropPrivileges(node, user));
  files.NotePrivileges(node.id, left);
  return {};
}

// A store through a mapping drops no capability, but the write does that brings it to the upper
// file.
std::optional<std::string> LayeredFileSystem::State::CapabilityToKeep(const LayerNode& node) const {
  if (!files.MayLosePrivileges(node.id)) return std::nullopt;
  const SharedLock guard(tree->lock());
  return tree->GetXattr(node, kCapabilityXattr).value_or(std::nullopt);
}

void LayeredFileSystem::State::GiveBack(const LayerNode& node,
                                        const std::string& capability) const {
  const ExclusiveLock guard(tree->lock());
  const Status given = tree->SetXattr(node, kCapabilityXattr, capability, 0);
  if (!given.has_value()) LogWarning("container layer: " + given.error().context);
}

void LayeredFileSystem::KillPrivileges(const Caller& caller, NodeId id) {
  const NodePtr node = state_->tree->Find(id);
  // What is written has an upper object; what is going to be truncated gets it now.
  if (node == nullptr || !state_->tree->EnsureUpper(node, true).has_value()) return;
  static_cast<void>(state_->DropPrivileges(*node, &caller));
}

void LayeredFileSystem::Release(NodeId id, uint64_t handle, int32_t, Reply reply) {
  state_->files.Close(id, OpenFiles::Handle::Decode(handle));
  reply.Errno(0);
}

void LayeredFileSystem::Sync(const Caller&, NodeId id, uint64_t, bool data_only, Reply reply) {
  if (!state_->options.sync) return reply.Errno(0);
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const OpenFiles::Use use = state_->files.Acquire(*node);
  const auto content = state_->files.Content(*node);
  if (!content.has_value()) return reply.Fail(content.error());
  if (content->layer == nullptr) return reply.Errno(0);
  ReplyStatus(content->layer->Sync(data_only), reply);
}

void LayeredFileSystem::SetAttributes(const Caller& caller, NodeId id,
                                      const AttributeChange& change, uint64_t, Reply reply) {
  if (!change.size) return ChangeAttributes(caller, id, change, std::move(reply));
  const auto shared = std::make_shared<Reply>(std::move(reply));
  state_->BeforeChange(id, [this, caller, id, change, shared] {
    ChangeAttributes(caller, id, change, std::move(*shared));
  });
}

// All but the size is changed at once; a change of the size comes first, and may wait.
void LayeredFileSystem::ChangeAttributes(const Caller& caller, NodeId id,
                                         const AttributeChange& change, Reply reply) {
  const auto found = state_->Node(id);
  if (!found.has_value()) return reply.Fail(found.error());
  const NodePtr& node = *found;
  const Status upper = state_->tree->EnsureUpper(node, change.size && change.values.st_size == 0);
  if (!upper.has_value()) return reply.Fail(upper.error());
  const auto rest = [this, caller, node, change](Reply& answer) {
    if (change.size) {
      const Status dropped =
          state_->DropPrivileges(*node, change.kill_suid_gid ? &caller : nullptr);
      if (!dropped.has_value()) return answer.Fail(dropped.error());
    }
    const State::ExclusiveLock guard(state_->tree->lock());
    // As linux fs/attr.c, setattr_should_drop_sgid; the rest of it the upper file system does.
    const bool gives_away = (change.uid || change.gid) && !change.mode && !node->is_directory();
    if (gives_away) {
      const Status cleared = state_->ClearForeignSetgid(caller, *node);
      if (!cleared.has_value()) return answer.Fail(cleared.error());
    }
    const Status changed = state_->tree->SetAttributes(*node, change);
    if (!changed.has_value()) return answer.Fail(changed.error());
    if (change.mode && (change.values.st_mode & (S_ISUID | S_ISGID)) != 0) {
      state_->files.NotePrivileges(node->id, true);
    }
    const auto attributes = state_->tree->Attributes(*node);
    if (!attributes.has_value()) return answer.Fail(attributes.error());
    answer.Attributes(*attributes, state_->AttributeSeconds(node->id));
  };
  if (!change.size) return rest(reply);
  auto use = std::make_shared<OpenFiles::Use>(state_->files.Acquire(node));
  const auto content = state_->files.Content(node);
  if (!content.has_value()) return reply.Fail(content.error());
  const State::Waiting waiting = state_->MayWait(std::move(reply));
  content->layer->Truncate(waiting.token, static_cast<uint64_t>(change.values.st_size),
                           [use, rest, answer = waiting.reply](Status done) {
                             if (!done.has_value()) return answer->Fail(done.error());
                             rest(*answer);
                           });
}

void LayeredFileSystem::Allocate(const Caller& caller, NodeId id, uint64_t, int mode,
                                 uint64_t offset, uint64_t size, Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const auto content = state_->files.Content(*node);
  if (!content.has_value()) return reply.Fail(content.error());
  if (content->layer == nullptr) return reply.Errno(EBADF);
  const Status dropped = state_->DropPrivileges(**node, &caller);
  if (!dropped.has_value()) return reply.Fail(dropped.error());
  const State::Waiting waiting = state_->MayWait(std::move(reply));
  content->layer->Allocate(waiting.token, mode, offset, size,
                           [answer = waiting.reply](Status done) { ReplyStatus(done, *answer); });
}

void LayeredFileSystem::CopyRange(const Caller& caller, NodeId from, uint64_t, uint64_t from_offset,
                                  NodeId to, uint64_t, uint64_t to_offset, size_t size,
                                  Reply reply) {
  const auto source_node = state_->Node(from);
  const auto target_node = state_->Node(to);
  if (!source_node.has_value() || !target_node.has_value()) return reply.Errno(ESTALE);
  const auto source = state_->files.Content(*source_node);
  const auto target = state_->files.Content(*target_node);
  if (!source.has_value()) return reply.Fail(source.error());
  if (!target.has_value()) return reply.Fail(target.error());
  if (target->layer == nullptr) return reply.Errno(EBADF);
  const Status dropped = state_->DropPrivileges(**target_node, &caller);
  if (!dropped.has_value()) return reply.Fail(dropped.error());
  const State::Waiting waiting = state_->MayWait(std::move(reply));
  const auto done = [answer = waiting.reply](Result<size_t> copied) {
    if (!copied.has_value()) return answer->Fail(copied.error());
    answer->Written(*copied);
  };
  if (source->layer != nullptr) {
    target->layer->CopyFrom(waiting.token, source->layer, from_offset, to_offset, size, done);
  } else {
    target->layer->CopyFrom(waiting.token, source->lower, from_offset, to_offset, size, done);
  }
}

void LayeredFileSystem::Seek(const Caller&, NodeId id, uint64_t, uint64_t offset, int whence,
                             Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const auto content = state_->files.Content(*node);
  if (!content.has_value()) return reply.Fail(content.error());
  if (content->layer == nullptr) {
    const auto at = content->lower->Seek(offset, whence);
    if (!at.has_value()) return reply.Errno(ENXIO);
    return reply.Offset(static_cast<off_t>(*at));
  }
  const auto at = content->layer->Seek(offset, whence);
  if (!at.has_value()) return reply.Fail(at.error());
  reply.Offset(static_cast<off_t>(*at));
}

}  // namespace layerfs
