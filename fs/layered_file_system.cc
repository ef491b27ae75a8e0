// SPDX-License-Identifier: Apache-2.0
// LayeredFileSystem: names and attributes.
#include "fs/layered_file_system.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "fs/caller_identity.h"
#include "fs/layered_state.h"
#include "fs/overlay_marks.h"

namespace layerfs {
namespace {

// Names outside the namespaces of xattr(7) are not missing but impossible.
bool HasXattrNamespace(std::string_view name) {
  constexpr std::string_view kNamespaces[] = {"user.", "trusted.", "security.",
                                              "system.posix_acl_"};
  return std::ranges::any_of(kNamespaces,
                             [&](std::string_view prefix) { return name.starts_with(prefix); });
}

void ReplyStatus(const Status& status, Reply& reply) {
  if (status.has_value()) {
    reply.Errno(0);
  } else {
    reply.Fail(status.error());
  }
}

}  // namespace

Result<EntryReply> LayeredFileSystem::State::Entry(const LayerNode& node,
                                                   const struct stat* upper) const {
  EntryReply entry;
  LAYERFS_TRY(attributes, tree->Attributes(node, upper));
  entry.node = node.id;
  entry.generation = node.generation;
  entry.attributes = attributes;
  entry.attribute_seconds = AttributeSeconds(node.id);
  entry.entry_seconds = options.timeout_seconds;
  return entry;
}

void LayeredFileSystem::State::ReplyEntry(const NodePtr& node, Reply& reply,
                                          const struct stat* upper) const {
  const auto entry = Entry(*node, upper);
  if (entry.has_value()) return reply.Entry(*entry);
  tree->Forget(node->id, 1);
  reply.Fail(entry.error());
}

void LayeredFileSystem::State::LookupHandle(NodeId id, Reply& reply) const {
  {
    const SharedLock guard(tree->lock());
    Child known;
    known.made = tree->Find(id);
    if (known.made != nullptr) return ReplyEntry(tree->Adopt(known), reply);
  }
  const NodePtr found = tree->FindAgain(id);
  if (found == nullptr) return reply.Errno(ESTALE);
  const SharedLock guard(tree->lock());
  ReplyEntry(found, reply);
}

Status LayeredFileSystem::State::PrepareNamed(NodeId parent, std::string_view name) const {
  NodePtr node;
  {
    const SharedLock guard(tree->lock());
    const NodePtr directory = tree->Find(parent);
    if (directory == nullptr) return {};
    LAYERFS_TRY(child, tree->Lookup(directory, name));
    if (!child.exists || child.made->has_upper || !child.made->is_regular()) return {};
    node = tree->Find(child.made->id);
  }
  return node == nullptr ? Status() : tree->EnsureUpper(node);
}

Result<std::unique_ptr<LayeredFileSystem>> LayeredFileSystem::Make(
    std::optional<ContainerLayer> layer, std::vector<std::unique_ptr<LowerSource>> sources,
    Options options) {
  // Each caller's own counts instead, see LayerTree::Masked.
  ::umask(0);
  LayerTree::Options tree_options;
  tree_options.redirect_dir = options.redirect_dir;
  tree_options.follow_redirects = options.follow_redirects;
  tree_options.static_nlink = options.static_nlink;
  tree_options.squash_uid = options.squash_uid;
  tree_options.squash_gid = options.squash_gid;
  tree_options.uids = options.uids;
  tree_options.gids = options.gids;
  tree_options.ids = options.ids;
  LAYERFS_TRY(tree, LayerTree::Make(std::move(layer), std::move(sources), std::move(tree_options)));
  return std::unique_ptr<LayeredFileSystem>(
      new LayeredFileSystem(std::make_unique<State>(std::move(tree), std::move(options))));
}

LayeredFileSystem::LayeredFileSystem(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayeredFileSystem::~LayeredFileSystem() = default;

SessionWishes LayeredFileSystem::Wishes() const {
  SessionWishes wishes;
  wishes.writable = state_->tree->writable();
  wishes.posix_acl = state_->options.posix_acl;
  wishes.cache_symlinks = true;
  wishes.handle_killpriv = true;
  return wishes;
}

void LayeredFileSystem::Start(const SessionAbilities& abilities, Notifier& notifier) {
  state_->notifier = &notifier;
  state_->tree->SetOnChangedDirectory(
      [&notifier](NodeId directory) { notifier.InvalidateAttributes(directory); });
  state_->files.Start(&notifier, abilities.passthrough && state_->options.passthrough);
  if (state_->options.pusher != nullptr) state_->options.pusher->Start(notifier);
}

void LayeredFileSystem::Stop() {
  // First the reads: a push may wait for a page that is being read, and an open for a push.
  state_->interrupts.InterruptAll();
  if (state_->options.pusher == nullptr) return;
  state_->options.pusher->Stop();
  state_->interrupts.InterruptAll();
}

void LayeredFileSystem::Interrupt(uint64_t token) { state_->interrupts.Interrupt(token); }

void LayeredFileSystem::Lookup(const Caller&, NodeId parent, std::string_view name, Reply reply) {
  if (name == ".") return state_->LookupHandle(parent, reply);
  const State::SharedLock guard(state_->tree->lock());
  const auto directory = state_->Node(parent);
  if (!directory.has_value()) return reply.Fail(directory.error());
  if (name == "..") {
    Child found;
    found.made = (*directory)->parent == nullptr ? *directory : (*directory)->parent;
    return state_->ReplyEntry(state_->tree->Adopt(found), reply);
  }
  const auto child = state_->tree->Lookup(*directory, name);
  if (!child.has_value()) return reply.Fail(child.error());
  if (!child->exists) {
    EntryReply negative;
    negative.entry_seconds = state_->options.timeout_seconds;
    return reply.Entry(negative);
  }
  const NodePtr node = state_->tree->Adopt(*child);
  state_->ReplyEntry(node, reply, child->upper.has_value() ? &*child->upper : nullptr);
}

void LayeredFileSystem::Forget(NodeId node, uint64_t lookups) {
  state_->tree->Forget(node, lookups);
}

void LayeredFileSystem::GetAttributes(const Caller&, NodeId id, uint64_t, Reply reply) {
  const State::SharedLock guard(state_->tree->lock());
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const auto attributes = state_->tree->Attributes(**node);
  if (!attributes.has_value()) return reply.Fail(attributes.error());
  reply.Attributes(*attributes, state_->AttributeSeconds(id));
}

void LayeredFileSystem::ReadLink(const Caller&, NodeId id, Reply reply) {
  const State::SharedLock guard(state_->tree->lock());
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  if (!S_ISLNK((*node)->type)) return reply.Errno(EINVAL);
  const auto target = state_->tree->ReadLink(**node);
  if (!target.has_value()) return reply.Fail(target.error());
  reply.Target(*target);
}

void LayeredFileSystem::MakeNode(const Caller& caller, NodeId parent, std::string_view name,
                                 mode_t mode, dev_t device, Reply reply) {
  const State::ExclusiveLock guard(state_->tree->lock());
  const auto directory = state_->Node(parent);
  if (!directory.has_value()) return reply.Fail(directory.error());
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  const auto made = state_->tree->Create(caller, *directory, name, {mode, device});
  if (!made.has_value()) return reply.Fail(made.error());
  state_->ReplyEntry(made->node, reply, &made->upper);
}

void LayeredFileSystem::MakeDirectory(const Caller& caller, NodeId parent, std::string_view name,
                                      mode_t mode, Reply reply) {
  MakeNode(caller, parent, name, S_IFDIR | (mode & 07777), 0, std::move(reply));
}

void LayeredFileSystem::Symlink(const Caller& caller, std::string_view target, NodeId parent,
                                std::string_view name, Reply reply) {
  const State::ExclusiveLock guard(state_->tree->lock());
  const auto directory = state_->Node(parent);
  if (!directory.has_value()) return reply.Fail(directory.error());
  const auto made = state_->tree->Create(caller, *directory, name, {S_IFLNK | 0777, 0, target});
  if (!made.has_value()) return reply.Fail(made.error());
  state_->ReplyEntry(made->node, reply, &made->upper);
}

void LayeredFileSystem::Unlink(const Caller&, NodeId parent, std::string_view name, Reply reply) {
  Result<LayerTree::Removed> removed;
  {
    const State::ExclusiveLock guard(state_->tree->lock());
    const auto directory = state_->Node(parent);
    if (!directory.has_value()) return reply.Fail(directory.error());
    removed = state_->tree->Unlink(*directory, name);
  }
  if (!removed.has_value()) return reply.Fail(removed.error());
  state_->files.Doom(removed->node->id, removed->map);
  reply.Errno(0);
}

void LayeredFileSystem::RemoveDirectory(const Caller&, NodeId parent, std::string_view name,
                                        Reply reply) {
  const State::ExclusiveLock guard(state_->tree->lock());
  const auto directory = state_->Node(parent);
  if (!directory.has_value()) return reply.Fail(directory.error());
  const auto removed = state_->tree->RemoveDirectory(*directory, name);
  if (!removed.has_value()) return reply.Fail(removed.error());
  reply.Errno(0);
}

void LayeredFileSystem::Rename(const Caller&, NodeId parent, std::string_view name,
                               NodeId new_parent, std::string_view new_name, unsigned flags,
                               Reply reply) {
  const Status prepared = state_->PrepareNamed(parent, name);
  if (!prepared.has_value()) return reply.Fail(prepared.error());
  Result<LayerTree::Removed> removed;
  {
    const State::ExclusiveLock guard(state_->tree->lock());
    const auto from = state_->Node(parent);
    const auto to = state_->Node(new_parent);
    if (!from.has_value() || !to.has_value()) return reply.Errno(ESTALE);
    removed = state_->tree->Rename(*from, name, *to, new_name, flags);
  }
  if (!removed.has_value()) return reply.Fail(removed.error());
  if (removed->node != nullptr) state_->files.Doom(removed->node->id, removed->map);
  reply.Errno(0);
}

void LayeredFileSystem::Link(const Caller&, NodeId id, NodeId new_parent, std::string_view new_name,
                             Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const Status upper = state_->tree->EnsureUpper(*node);
  if (!upper.has_value()) return reply.Fail(upper.error());
  const State::ExclusiveLock guard(state_->tree->lock());
  const auto directory = state_->Node(new_parent);
  if (!directory.has_value()) return reply.Fail(directory.error());
  const Status linked = state_->tree->Link(*node, *directory, new_name);
  if (!linked.has_value()) return reply.Fail(linked.error());
  Child child;
  child.made = *node;
  state_->ReplyEntry(state_->tree->Adopt(child), reply);
}

void LayeredFileSystem::Statfs(NodeId, Reply reply) {
  const auto statistics = state_->tree->Statistics();
  if (!statistics.has_value()) return reply.Fail(statistics.error());
  reply.Statfs(*statistics);
}

Status LayeredFileSystem::State::ClearForeignSetgid(const Caller& caller,
                                                    const LayerNode& node) const {
  LAYERFS_TRY(attributes, tree->Attributes(node));
  if ((attributes.st_mode & S_ISGID) == 0 ||
      CallerIsInGroup(caller.pid, caller.gid, attributes.st_gid) ||
      IsCapableHere(caller.pid, CAP_FSETID)) {
    return {};
  }
  AttributeChange change;
  change.mode = true;
  change.values.st_mode = attributes.st_mode & 07777 & ~mode_t{S_ISGID};
  return tree->SetAttributes(node, change);
}

void LayeredFileSystem::SetXattr(const Caller& caller, NodeId id, std::string_view name,
                                 std::string_view value, int flags, Reply reply) {
  if (!state_->options.posix_acl && name.starts_with("system.posix_acl_")) {
    return reply.Errno(EOPNOTSUPP);
  }
  if (!StoredXattrName(name).has_value()) return reply.Errno(EPERM);
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const Status upper = state_->tree->EnsureUpper(*node);
  if (!upper.has_value()) return reply.Fail(upper.error());
  const State::ExclusiveLock guard(state_->tree->lock());
  Status done = state_->tree->SetXattr(**node, std::string(name), value, flags);
  // As chmod does it: who is not of the file's group cannot keep its setgid bit.
  if (done.has_value() && name == "system.posix_acl_access") {
    done = state_->ClearForeignSetgid(caller, **node);
  }
  if (done.has_value() && name == kCapabilityXattr) state_->files.NotePrivileges(id, true);
  ReplyStatus(done, reply);
}

void LayeredFileSystem::GetXattr(const Caller&, NodeId id, std::string_view name, size_t capacity,
                                 Reply reply) {
  const State::SharedLock guard(state_->tree->lock());
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const auto value = state_->tree->GetXattr(**node, name);
  if (!value.has_value()) return reply.Fail(value.error());
  if (!value->has_value()) return reply.Errno(HasXattrNamespace(name) ? ENODATA : EOPNOTSUPP);
  reply.XattrBytes(**value, capacity);
}

void LayeredFileSystem::ListXattrs(const Caller& caller, NodeId id, size_t capacity, Reply reply) {
  const State::SharedLock guard(state_->tree->lock());
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const auto names = state_->tree->ListXattrs(**node);
  if (!names.has_value()) return reply.Fail(names.error());
  std::string list;
  for (const std::string& name : *names) {
    // As on a disk (xattr(7)).
    if (name.starts_with("trusted.") && !IsCapable(caller.pid, CAP_SYS_ADMIN)) continue;
    list.append(name).push_back('\0');
  }
  reply.XattrBytes(list, capacity);
}

void LayeredFileSystem::RemoveXattr(const Caller&, NodeId id, std::string_view name, Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  {
    // What is not there is no reason for a copy-up.
    const State::SharedLock guard(state_->tree->lock());
    const auto value = state_->tree->GetXattr(**node, name);
    if (!value.has_value()) return reply.Fail(value.error());
    // There is no such thing as a missing ACL: to remove it is to have it so already.
    if (!value->has_value() && name.starts_with("system.posix_acl_")) return reply.Errno(0);
    if (!value->has_value()) return reply.Errno(HasXattrNamespace(name) ? ENODATA : EOPNOTSUPP);
  }
  const Status upper = state_->tree->EnsureUpper(*node);
  if (!upper.has_value()) return reply.Fail(upper.error());
  const State::ExclusiveLock guard(state_->tree->lock());
  ReplyStatus(state_->tree->RemoveXattr(**node, std::string(name)), reply);
}

}  // namespace layerfs
