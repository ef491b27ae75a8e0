// SPDX-License-Identifier: Apache-2.0
// LayerTree: new names, and changes of an object's attributes.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fs/caller_identity.h"
#include "fs/fail_point.h"
#include "fs/layer_tree.h"
#include "fs/object_identity.h"

namespace layerfs {
namespace {

constexpr char kAccessAcl[] = "system.posix_acl_access";
constexpr char kDefaultAcl[] = "system.posix_acl_default";
constexpr mode_t kPermissions = 0777;

// A user may not remove one, not even one that is not there.
Status DropCapability(const ObjectPath& object) {
  LAYERFS_TRY(value, ReadXattr(object, kCapabilityXattr));
  // An empty one stays (linux security/commoncap.c, cap_inode_need_killpriv).
  return value.value_or("").empty() ? Status() : DropXattr(object, kCapabilityXattr);
}

// What a new object of `mode` may, where the directory's default ACL had its say in what it really
// may (see RealMode: the owner may more).
mode_t ModeUnderAcl(mode_t mode, mode_t real) {
  return (mode & ~kPermissions) | (real & mode & S_IRWXU) | (real & (S_IRWXG | S_IRWXO));
}

}  // namespace

NodePtr LayerTree::Known(const Child& child) const {
  if (!child.exists) return nullptr;
  const NodePtr known = nodes_->Find(child.made->id);
  return known != nullptr ? known : child.made;
}

void LayerTree::CountSubdirectory(LayerNode& parent, int change) {
  const int64_t known = parent.subdirectories.load();
  if (known >= 0) parent.subdirectories = known + change;
}

// The parent is in the upper directory from here on; EEXIST where something shows.
Result<LayerTree::Target> LayerTree::NewName(const NodePtr& parent, std::string_view name) {
  if (parent->dead) return FailErrno(name, ENOENT);
  // It would say that another name is not there.
  if (!image_below() && name.starts_with(kWhiteoutPrefix)) return FailErrno(name, EPERM);
  LAYERFS_CHECK_OK(CopyUp(parent, nullptr, false));
  LAYERFS_TRY(child, Lookup(parent, name));
  if (child.exists) return FailErrno(name, EEXIST);
  LAYERFS_TRY(directory, DirectoryFd(*parent));
  return Target{std::move(directory), std::string(name), child.whiteout, child.hides};
}

// The umask counts where the directory has no default ACL (acl(5)); the kernel leaves it to us.
Result<mode_t> LayerTree::Masked(const Caller& caller, const LayerNode& parent, mode_t mode) const {
  using Known = LayerNode::Known;
  auto& known = const_cast<LayerNode&>(parent).default_acl;
  if (known == Known::kUnknown) {
    LAYERFS_TRY(acl, GetXattr(parent, kDefaultAcl));
    known = acl.has_value() ? Known::kYes : Known::kNo;
  }
  return known == Known::kYes || S_ISLNK(mode) ? mode : mode & ~caller.umask;
}

CallerIdentity LayerTree::MakerOf(const Caller& caller) const {
  // Where attributes say who owns what, all of it is really the daemon's.
  if (layer_->form().override_stat) return CallerIdentity(0, 0);
  return CallerIdentity(options_.uids.ToDisk(caller.uid), options_.gids.ToDisk(caller.gid));
}

// What a new object's attribute says, as the kernel would make its owner and mode.
Result<std::string> LayerTree::NewOverrideStat(const Caller& caller, const LayerNode& parent,
                                               const NewObject& object) const {
  struct stat shown{};
  shown.st_uid = options_.uids.ToDisk(caller.uid);
  shown.st_gid = options_.gids.ToDisk(caller.gid);
  shown.st_mode = object.mode;
  shown.st_rdev = object.device;
  LAYERFS_TRY(directory, Attributes(parent));
  if ((directory.st_mode & S_ISGID) != 0) {
    shown.st_gid = options_.gids.ToDisk(directory.st_gid);
    if (S_ISDIR(object.mode)) shown.st_mode |= S_ISGID;
  }
  return EncodeOverrideStat(shown);
}

// Where an attribute says the mode, the real one must not keep the daemon out (it may be a user's),
// nor give its rights away.
mode_t LayerTree::RealMode(mode_t mode) const {
  if (!layer_->form().override_stat) return mode & 07777;
  return (mode & 0777) | (S_ISDIR(mode) ? 0700 : 0600);
}

// One step: what is there afterwards has its owner, mode and ACLs. `file`: wanted open.
Status LayerTree::MakeObject(const Caller& caller, int directory, const std::string& name,
                             const NewObject& object, UniqueFd* file) const {
  const CallerIdentity identity = MakerOf(caller);
  const char* const terminated = name.c_str();
  int result = 0;
  if (S_ISREG(object.mode) && file != nullptr) {
    result = ::openat(directory, terminated, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      RealMode(object.mode));
    if (result >= 0) file->Reset(result);
  } else if (S_ISDIR(object.mode)) {
    result = ::mkdirat(directory, terminated, RealMode(object.mode));
  } else if (S_ISLNK(object.mode)) {
    result = ::symlinkat(std::string(object.target).c_str(), directory, terminated);
  } else {
    // Only files can carry the mark that says what it is.
    result = layer_->form().override_stat
                 ? ::mknodat(directory, terminated, S_IFREG | RealMode(object.mode), 0)
                 : ::mknodat(directory, terminated, object.mode, object.device);
  }
  if (result < 0) return FailErrno(name, errno);
  return {};
}

// Built in a directory like the parent, then put over the whiteout in one step.
Status LayerTree::Replace(const Caller& caller, const LayerNode& directory, const Target& target,
                          const NewObject& object, UniqueFd* file) const {
  const int work = layer_->work();
  const std::string staging = TemporaryName();
  if (::mkdirat(work, staging.c_str(), 0700) != 0) return FailErrno("work", errno);
  const auto build = [&]() -> Status {
    LAYERFS_TRY(stage, OpenFileAt(work, staging, O_PATH | O_DIRECTORY));
    const ObjectPath stage_path = PathOfDescriptor(stage.get());
    const ObjectPath parent_path = PathOfDescriptor(target.directory->get());
    struct stat parent{};
    if (::fstatat(target.directory->get(), "", &parent, AT_EMPTY_PATH) != 0) {
      return FailErrno("parent", errno);
    }
    if (!layer_->form().override_stat &&
        (::fchownat(stage.get(), "", parent.st_uid, parent.st_gid, AT_EMPTY_PATH) != 0 ||
         ::chmod(stage_path.path.c_str(), parent.st_mode & 07777) != 0)) {
      return FailErrno("work", errno);
    }
    LAYERFS_TRY(acl, ReadXattr(parent_path, kDefaultAcl));
    if (acl.has_value()) LAYERFS_CHECK_OK(WriteXattr(stage_path, kDefaultAcl, *acl));
    LAYERFS_CHECK_OK(MakeObject(caller, stage.get(), target.name, object, file));
    const ObjectPath made = PathOfName(stage.get(), target.name);
    if (S_ISDIR(object.mode)) LAYERFS_CHECK_OK(SetOpaque(made));
    if (layer_->form().override_stat) {
      NewObject as = object;
      if (acl.has_value() && !S_ISLNK(object.mode)) {
        struct stat real{};
        if (::lstat(made.path.c_str(), &real) != 0) return FailErrno("work", errno);
        as.mode = ModeUnderAcl(object.mode, real.st_mode);
      }
      LAYERFS_TRY(shown, NewOverrideStat(caller, directory, as));
      const Status marked = WriteXattr(made, kOverrideStatXattr, shown);
      if (!marked.has_value() && !S_ISLNK(object.mode)) return marked;
    }
    FailPoint("create.built");
    return MoveIntoPlace(stage.get(), target.name, target, S_ISDIR(object.mode));
  };
  const Status built = build();
  static_cast<void>(RemoveTree(work, staging));
  return built;
}

Status LayerTree::MoveIntoPlace(int from, const std::string& name, const Target& target,
                                bool is_directory) const {
  // A directory cannot be renamed over a device, but it can change places with it.
  const unsigned flags = !target.whiteout ? RENAME_NOREPLACE : (is_directory ? RENAME_EXCHANGE : 0);
  if (::renameat2(from, name.c_str(), target.directory->get(), target.name.c_str(), flags) != 0) {
    return FailErrno(target.name, errno);
  }
  FailPoint("create.in_place");
  return {};
}

Status LayerTree::SetOpaque(const ObjectPath& directory) const {
  return WriteXattr(directory, layer_->form().Overlay("opaque"), "y");
}

// Just made there: it has no marks, and nothing below shows through it.
Status LayerTree::AdoptNew(const NodePtr& parent, const Target& target, mode_t type, Made& made) {
  if (::fstatat(target.directory->get(), target.name.c_str(), &made.upper, AT_SYMLINK_NOFOLLOW) !=
      0) {
    return FailErrno(target.name, errno);
  }
  auto node = std::make_shared<LayerNode>();
  node->type = type;
  node->has_upper = true;
  node->st_ino = UpperKey(made.upper);
  node->id = IdOf(node->st_ino);
  node->generation = GenerationOf(target.directory->get(), target.name);
  node->parent = parent;
  node->name = target.name;
  made.node = nodes_->Adopt(node);
  return {};
}

Result<LayerTree::Made> LayerTree::Create(const Caller& caller, const NodePtr& parent,
                                          std::string_view name, const NewObject& object) {
  // overlayfs refuses it too (fs/overlayfs/dir.c, ovl_mknod).
  if (S_ISCHR(object.mode) && object.device == 0) return FailErrno(name, EPERM);
  LAYERFS_TRY(target, NewName(parent, name));
  NewObject masked = object;
  LAYERFS_TRY(mode, Masked(caller, *parent, object.mode));
  masked.mode = mode;
  Made made;
  FailPoint("create");
  if (target.whiteout || target.hides || layer_->form().override_stat) {
    LAYERFS_CHECK_OK(Replace(caller, *parent, target, masked, &made.file));
  } else {
    LAYERFS_CHECK_OK(MakeObject(caller, target.directory->get(), target.name, masked, &made.file));
  }
  FailPoint("create.done");
  if (S_ISDIR(object.mode)) CountSubdirectory(*parent, 1);
  LAYERFS_CHECK_OK(AdoptNew(parent, target, object.mode & S_IFMT, made));
  return made;
}

Result<LayerTree::Made> LayerTree::CreateUnnamed(const Caller& caller, const NodePtr& parent,
                                                 mode_t mode) {
  if (parent->dead) return FailErrno(parent->name, ENOENT);
  LAYERFS_CHECK_OK(CopyUp(parent, nullptr, false));
  LAYERFS_TRY(masked, Masked(caller, *parent, mode));
  LAYERFS_TRY(directory, DirectoryFd(*parent));
  Made made;
  {
    const CallerIdentity identity = MakerOf(caller);
    LAYERFS_TRY(file, OpenFileAt(directory->get(), ".", O_TMPFILE | O_RDWR, RealMode(masked)));
    made.file = std::move(file);
  }
  if (layer_->form().override_stat) {
    struct stat real{};
    if (::fstat(made.file.get(), &real) != 0) return FailErrno("temporary file", errno);
    if (parent->default_acl == LayerNode::Known::kYes) masked = ModeUnderAcl(masked, real.st_mode);
    LAYERFS_TRY(shown, NewOverrideStat(caller, *parent, {S_IFREG | masked, 0}));
    LAYERFS_CHECK_OK(WriteXattr(PathOfDescriptor(made.file.get()), kOverrideStatXattr, shown));
  }
  LAYERFS_TRY(pinned, OpenFile(PathOfDescriptor(made.file.get()).path, O_PATH));
  if (::fstat(made.file.get(), &made.upper) != 0) return FailErrno("temporary file", errno);
  auto node = std::make_shared<LayerNode>();
  node->type = S_IFREG;
  node->st_ino = UpperKey(made.upper);
  node->id = IdOf(node->st_ino);
  node->generation = GenerationOf(made.file.get(), "");
  node->has_upper = true;
  node->dead = true;
  node->pinned = std::make_shared<const UniqueFd>(std::move(pinned));
  made.node = nodes_->Adopt(node);
  return made;
}

Status LayerTree::Link(const NodePtr& node, const NodePtr& parent, std::string_view name) {
  LAYERFS_TRY(target, NewName(parent, name));
  LAYERFS_CHECK_OK(CopyUp(node, nullptr, false));
  if (node->indexed) LAYERFS_CHECK_OK(StartLinkChange(*node));
  LAYERFS_TRY(place, Place(*node));
  const auto link = [&](int directory, const std::string& as) {
    return place.name.empty()
               ? ::linkat(AT_FDCWD, place.path().path.c_str(), directory, as.c_str(),
                          AT_SYMLINK_FOLLOW)
               : ::linkat(place.directory(), place.name.c_str(), directory, as.c_str(), 0);
  };
  FailPoint("link");
  if (!target.whiteout) {
    if (link(target.directory->get(), target.name) != 0) return FailErrno(name, errno);
  } else {
    const std::string temporary = TemporaryName();
    if (link(layer_->work(), temporary) != 0) return FailErrno(name, errno);
    FailPoint("link.built");
    const Status moved = MoveIntoPlace(layer_->work(), temporary, target, false);
    if (!moved.has_value()) {
      ::unlinkat(layer_->work(), temporary.c_str(), 0);
      return moved;
    }
  }
  FailPoint("link.done");
  if (!node->dead) return {};
  // An O_TMPFILE gets its first name.
  node->dead = false;
  node->pinned.reset();
  nodes_->SetName(node, parent, std::string(name));
  return {};
}

// An ACL has the mode's bits in it: the real ones, which have to be the same then.
Status LayerTree::ChangeModeOfAcl(const ObjectPath& target, mode_t mode) const {
  LAYERFS_TRY(acl, ReadXattr(target, kAccessAcl));
  if (acl.has_value() && ::chmod(target.path.c_str(), RealMode(mode)) != 0) {
    return FailErrno("ACL", errno);
  }
  return {};
}

// The other way round: an ACL that was set says what shows.
Status LayerTree::TakeModeOfAcl(const UpperPlace& place) const {
  LAYERFS_TRY(shown, UpperAttributes(place, nullptr));
  struct stat real{};
  if (::fstatat(place.directory(), place.name.c_str(), &real,
                AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
    return FailErrno(place.name, errno);
  }
  shown.st_mode = (shown.st_mode & ~kPermissions) | (real.st_mode & kPermissions);
  return WriteXattr(place.path(), kOverrideStatXattr, EncodeOverrideStat(shown));
}

Status LayerTree::SetAttributes(const LayerNode& node, const AttributeChange& asked) {
  AttributeChange change = asked;
  // An owner that does not show cannot be changed; saying so would fail every `cp -p`.
  change.uid = asked.uid && !options_.squash_uid.has_value();
  change.gid = asked.gid && !options_.squash_gid.has_value();
  change.values.st_uid = options_.uids.ToDisk(asked.values.st_uid);
  change.values.st_gid = options_.gids.ToDisk(asked.values.st_gid);
  LAYERFS_TRY(place, Place(node));
  const ObjectPath target = place.path();
  const int at_flags = target.follow ? 0 : AT_SYMLINK_NOFOLLOW;
  FailPoint("attributes");
  if (layer_->form().override_stat && (change.uid || change.gid || change.mode)) {
    LAYERFS_TRY(shown, UpperAttributes(place, nullptr));
    if (change.uid) shown.st_uid = change.values.st_uid;
    if (change.gid) shown.st_gid = change.values.st_gid;
    if (change.mode) {
      shown.st_mode = (shown.st_mode & S_IFMT) | (change.values.st_mode & 07777);
      LAYERFS_CHECK_OK(ChangeModeOfAcl(target, shown.st_mode));
    } else if (!S_ISDIR(shown.st_mode)) {
      // As linux fs/open.c, chown_common.
      shown.st_mode &= ~mode_t{S_ISUID};
      if ((shown.st_mode & S_IXGRP) != 0) shown.st_mode &= ~mode_t{S_ISGID};
    }
    // Changes ctime, whatever the mark said before, and drops capabilities.
    if ((change.uid || change.gid) &&
        ::fchownat(AT_FDCWD, target.path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(-1),
                   at_flags) != 0) {
      return FailErrno(node.name, errno);
    }
    // A symbolic link cannot be marked. Its owner means little; saying so would fail every tar.
    if (!S_ISLNK(shown.st_mode)) {
      LAYERFS_CHECK_OK(WriteXattr(target, kOverrideStatXattr, EncodeOverrideStat(shown)));
    }
  } else {
    // The owner first: it clears setuid, and the mode that is asked for counts.
    if ((change.uid || change.gid) &&
        ::fchownat(AT_FDCWD, target.path.c_str(),
                   change.uid ? change.values.st_uid : static_cast<uid_t>(-1),
                   change.gid ? change.values.st_gid : static_cast<gid_t>(-1), at_flags) != 0) {
      return FailErrno(node.name, errno);
    }
    FailPoint("attributes.owned");
    if (change.mode && ::chmod(target.path.c_str(), change.values.st_mode & 07777) != 0) {
      return FailErrno(node.name, errno);
    }
  }
  if (change.atime || change.mtime || change.atime_now || change.mtime_now) {
    timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
    if (change.atime) times[0] = change.values.st_atim;
    if (change.mtime) times[1] = change.values.st_mtim;
    if (change.atime_now) times[0].tv_nsec = UTIME_NOW;
    if (change.mtime_now) times[1].tv_nsec = UTIME_NOW;
    if (::utimensat(AT_FDCWD, target.path.c_str(), times, at_flags) != 0) {
      return FailErrno(node.name, errno);
    }
  }
  FailPoint("attributes.done");
  return {};
}

// As linux fs/attr.c, setattr_should_drop_suidgid.
Result<bool> LayerTree::DropPrivileges(const LayerNode& node, const Caller* user) {
  LAYERFS_TRY(attributes, Attributes(node));
  mode_t mode = attributes.st_mode & 07777;
  // As linux fs/attr.c, setattr_should_drop_suidgid.
  if (user != nullptr && (mode & (S_ISUID | S_ISGID)) != 0 && !IsCapable(user->pid, CAP_FSETID)) {
    mode &= ~mode_t{S_ISUID};
    const bool may_keep = CallerIsInGroup(user->pid, user->gid, attributes.st_gid) ||
                          IsCapableHere(user->pid, CAP_FSETID);
    if ((mode & S_IXGRP) != 0 || !may_keep) mode &= ~mode_t{S_ISGID};
  }
  if (mode != (attributes.st_mode & 07777)) {
    AttributeChange change;
    change.mode = true;
    change.values.st_mode = mode;
    LAYERFS_CHECK_OK(SetAttributes(node, change));
  }
  LAYERFS_TRY(place, Place(node));
  LAYERFS_CHECK_OK(DropCapability(place.path()));
  return (mode & (S_ISUID | S_ISGID)) != 0;
}

Status LayerTree::SetXattr(const LayerNode& node, const std::string& name, std::string_view value,
                           int flags) {
  const auto stored = StoredXattrName(name);
  if (!stored.has_value()) return FailErrno(name, EPERM);
  LAYERFS_TRY(place, Place(node));
  FailPoint("xattr");
  LAYERFS_CHECK_OK(WriteXattr(place.path(), *stored, value, flags));
  FailPoint("xattr.done");
  if (name == kAccessAcl && layer_->form().override_stat) return TakeModeOfAcl(place);
  if (name == kDefaultAcl) {
    const_cast<LayerNode&>(node).default_acl = LayerNode::Known::kUnknown;
  }
  return {};
}

Status LayerTree::RemoveXattr(const LayerNode& node, const std::string& name) {
  LAYERFS_TRY(present, GetXattr(node, name));
  const auto stored = StoredXattrName(name);
  if (!present.has_value() || !stored.has_value()) return FailErrno(name, ENODATA);
  LAYERFS_TRY(place, Place(node));
  FailPoint("xattr.remove");
  LAYERFS_CHECK_OK(DropXattr(place.path(), *stored));
  if (name == kDefaultAcl) {
    const_cast<LayerNode&>(node).default_acl = LayerNode::Known::kUnknown;
  }
  return {};
}

}  // namespace layerfs
