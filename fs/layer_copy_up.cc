// SPDX-License-Identifier: Apache-2.0
// LayerTree: copy-up. An object is built where nobody sees it, then gets its name in one step.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "fs/fail_point.h"
#include "fs/layer_tree.h"
#include "fs/lower_file.h"

namespace layerfs {
namespace {

constexpr size_t kCopyBytes = size_t{64} << 20;  // a call at a time

// What copy_file_range says of two file systems between which it cannot copy (copy_file_range(2)).
bool CannotCopyBetween(int error) {
  return error == EXDEV || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
}

// The bytes of [at, end) that `from` has.
Status CopyRange(int from, int to, off_t at, off_t end) {
  bool sends = false;
  while (at < end) {
    const size_t size = std::min(static_cast<size_t>(end - at), kCopyBytes);
    off_t target = at;
    ssize_t done = -1;
    if (!sends) {
      done = ::copy_file_range(from, &at, to, &target, size, 0);
    } else if (::lseek(to, at, SEEK_SET) >= 0) {
      done = ::sendfile(to, from, &at, size);
    }
    if (done > 0 || (done < 0 && errno == EINTR)) continue;
    if (sends && done == 0) return {};
    if (sends || (done < 0 && !CannotCopyBetween(errno))) return FailErrno("copy-up", errno);
    sends = true;
  }
  return {};
}

// A whole file, its holes left out; by reference where the file system can.
Status CopyWhole(int from, int to, uint64_t size) {
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) return FailErrno("copy-up", errno);
  if (::ioctl(to, FICLONE, from) == 0) return {};
  const auto all = static_cast<off_t>(size);
  for (off_t at = 0; at < all;) {
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole to the end
    if (data >= 0) at = data;
    const off_t hole = ::lseek(from, at, SEEK_HOLE);
    const off_t end = hole > at ? std::min(hole, all) : all;
    LAYERFS_CHECK_OK(CopyRange(from, to, at, end));
    at = end;
  }
  return {};
}

bool MayLeaveOut(std::string_view name, int error) {
  // A user's layer cannot keep what only root may set; it does without, as overlayfs does.
  return error == EOPNOTSUPP || (error == EPERM && !name.starts_with("user."));
}

}  // namespace

struct LayerTree::Copied {
  UniqueFd file;
};

std::string LayerTree::TemporaryName() const {
  return "tmp-" + std::to_string(next_temporary_.fetch_add(1));
}

Result<LayerTree::Copied> LayerTree::CopyData(const LayerNode& node) const {
  LAYERFS_TRY(lower, OpenLower(node));
  const WholeContent whole = lower->Whole();
  if (whole.fd < 0) return FailErrno(node.name, EIO);
  Copied copied;
  LAYERFS_TRY(file, OpenFileAt(layer_->work(), ".", O_TMPFILE | O_RDWR, 0600));
  LAYERFS_CHECK_OK_IN(CopyWhole(whole.fd, file.get(), lower->size()), node.name);
  copied.file = std::move(file);
  return copied;
}

Status LayerTree::EnsureUpper(const NodePtr& node, bool truncate) {
  if (!writable()) return FailErrno(node->name, EROFS);
  bool copies_data = false;
  {
    const std::shared_lock guard(lock_);
    if (node->has_upper) return {};
    copies_data = node->is_regular() && !node->lowers.empty() && !truncate &&
                  !sources_[node->lowers[0].source]->allows_partial();
  }
  Copied copied;
  if (copies_data) {
    LAYERFS_TRY(data, CopyData(*node));
    copied = std::move(data);
  }
  const std::unique_lock guard(lock_);
  return CopyUp(node, &copied, truncate);
}

// Parents first.
Status LayerTree::CopyUp(const NodePtr& node, Copied* copied, bool truncate) {
  if (node->has_upper) return {};
  if (!writable()) return FailErrno(node->name, EROFS);
  std::vector<NodePtr> chain;
  for (NodePtr at = node; at != nullptr && !at->has_upper; at = at->parent) {
    chain.push_back(at);
    if (at->dead) break;  // It gets no name.
  }
  for (; !chain.empty(); chain.pop_back()) {
    const NodePtr& at = chain.back();
    LAYERFS_CHECK_OK_IN(CopyUpOne(at, at == node ? copied : nullptr, truncate && at == node),
                        "copy-up of " + at->name);
  }
  return {};
}

Status LayerTree::CopyUpOne(const NodePtr& node, Copied* copied, bool truncate) {
  if (node->lowers.empty()) return FailErrno(node->name, ESTALE);
  LAYERFS_TRY(attributes, sources_[node->lowers[0].source]->Attributes(node->lowers[0].object));
  // As a device of the layer's it would be a whiteout.
  if (IsWhiteoutDevice(attributes) && !layer_->form().override_stat) {
    return FailErrno(node->name, EPERM);
  }
  return node->is_regular() ? CopyUpFile(node, attributes, copied, truncate)
                            : CopyUpNamed(node, attributes);
}

// A user can mark files and directories only (xattr(7)).
bool LayerTree::CanMark(mode_t type) const {
  const MarkForm& form = layer_->form();
  if (S_ISREG(type) || S_ISDIR(type) || form.trusted) return true;
  return form.override_stat && !S_ISLNK(type);  // it is a file on the disk
}

Result<bool> LayerTree::WouldSplit(const LayerNode& node) const {
  if (node.has_upper || CanMark(node.type)) return false;
  LAYERFS_TRY(below, Attributes(node));
  return below.st_nlink > 1;
}

// Everything but the data and the size: owner first, which clears what comes behind it.
Status LayerTree::CopyAttributes(const LayerNode& node, const struct stat& attributes,
                                 const ObjectPath& target) const {
  const LowerSource& source = *sources_[node.lowers[0].source];
  const MarkForm& form = layer_->form();
  const char* const path = target.path.c_str();
  const int at_flags = target.follow ? 0 : AT_SYMLINK_NOFOLLOW;
  if (form.override_stat) {
    if (!S_ISLNK(attributes.st_mode)) {
      LAYERFS_CHECK_OK(WriteXattr(target, kOverrideStatXattr, EncodeOverrideStat(attributes)));
    }
  } else {
    if (::fchownat(AT_FDCWD, path, attributes.st_uid, attributes.st_gid, at_flags) != 0) {
      return FailErrno("owner", errno);
    }
    if (!S_ISLNK(attributes.st_mode) && ::chmod(path, attributes.st_mode & 07777) != 0) {
      return FailErrno("mode", errno);
    }
  }
  LAYERFS_TRY(names, source.ListXattrs(node.lowers[0].object));
  for (const std::string& name : names) {
    LAYERFS_TRY(value, LowerXattr(node, name));
    const auto stored = StoredXattrName(name);
    if (!value.has_value() || !stored.has_value()) continue;
    const Status set = WriteXattr(target, *stored, *value);
    if (!set.has_value() && !MayLeaveOut(name, set.error().system_errno)) return set;
  }
  const Origin from{node.st_ino, source.Identity(node.lowers[0].object)};
  const Status origin = WriteXattr(target, form.Own("origin"), EncodeOrigin(from));
  // What cannot be marked gets another number, in the next mount.
  if (!origin.has_value() && CanMark(attributes.st_mode)) return origin;
  const timespec times[2] = {attributes.st_atim, attributes.st_mtim};
  if (::utimensat(AT_FDCWD, path, times, at_flags) != 0) return FailErrno("times", errno);
  return {};
}

Status LayerTree::CopyUpFile(const NodePtr& node, const struct stat& attributes, Copied* copied,
                             bool truncate) {
  UniqueFd file;
  const bool partial = !truncate && attributes.st_size > 0 && maps_ != nullptr &&
                       sources_[node->lowers[0].source]->allows_partial();
  if (copied != nullptr && copied->file.valid()) {
    file = std::move(copied->file);
  } else {
    if (!truncate && !partial && attributes.st_size > 0) {
      LAYERFS_TRY(data, CopyData(*node));
      file = std::move(data.file);
    } else {
      LAYERFS_TRY(made, OpenFileAt(layer_->work(), ".", O_TMPFILE | O_RDWR, 0600));
      file = std::move(made);
    }
  }
  FailPoint("copy_up.file.made");
  if (partial) {
    if (::ftruncate(file.get(), attributes.st_size) != 0) return FailErrno("size", errno);
    LAYERFS_CHECK_OK(maps_->Attach(
        file.get(),
        LowerIdentity{node->lowers[0].object.number, static_cast<uint64_t>(attributes.st_size)}));
    FailPoint("copy_up.file.attached");
  }
  const ObjectPath built = PathOfDescriptor(file.get());
  LAYERFS_CHECK_OK(CopyAttributes(*node, attributes, built));
  FailPoint("copy_up.file.built");
  if (node->dead) {
    LAYERFS_TRY(pinned, OpenFile(built.path, O_PATH));
    node->pinned = std::make_shared<const UniqueFd>(std::move(pinned));
  } else {
    const bool several = attributes.st_nlink > 1;
    if (several) {
      LAYERFS_CHECK_OK(
          WriteXattr(built, layer_->form().Own("nlink"),
                     EncodeLinkCount({false, static_cast<int64_t>(attributes.st_nlink)})));
      if (::linkat(AT_FDCWD, built.path.c_str(), layer_->index(),
                   std::to_string(node->st_ino).c_str(), AT_SYMLINK_FOLLOW) != 0) {
        return FailErrno("index", errno);
      }
      FailPoint("copy_up.file.indexed");
      node->indexed = true;
    } else {
      LAYERFS_CHECK_OK(GiveName(node, built));
    }
  }
  node->has_upper = true;
  node->partial = partial;
  LAYERFS_CHECK_OK(NoteNumber(*node));
  // Other tools look for it by name.
  return node->indexed ? EnsureAlias(node, node->parent, node->name) : Status();
}

bool LayerTree::IsMarkCertain(mode_t type) const { return image_below() && CanMark(type); }

Status LayerTree::NoteNumber(const LayerNode& node) const {
  if (node.dead || IsMarkCertain(node.type)) return {};
  LAYERFS_TRY(place, Place(node));
  struct stat upper{};
  if (::fstatat(place.directory(), place.name.c_str(), &upper, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(node.name, errno);
  }
  numbers_.Put(UpperKey(upper), node.st_ino);
  return {};
}

// The upper parent's times are not the copy-up's business. Its ctime cannot be set back: whoever
// has it cached is told, with the lock held, so that nobody asks before all is done.
Status LayerTree::RestoreTimes(const LayerNode& directory, int fd,
                               const struct stat& before) const {
  on_changed_directory_(directory.id);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  const ObjectPath path = PathOfDescriptor(fd);
  if (::utimensat(AT_FDCWD, path.path.c_str(), times, 0) != 0) return FailErrno("times", errno);
  return {};
}

// Links what was built by descriptor, or renames what has a name in work/, to the node's name.
Status LayerTree::GiveName(const NodePtr& node, const ObjectPath& built) {
  LAYERFS_TRY(directory, DirectoryFd(*node->parent));
  struct stat before{};
  if (::fstatat(directory->get(), "", &before, AT_EMPTY_PATH) != 0) {
    return FailErrno("parent", errno);
  }
  FailPoint("copy_up.name");
  if (built.follow) {
    if (::linkat(AT_FDCWD, built.path.c_str(), directory->get(), node->name.c_str(),
                 AT_SYMLINK_FOLLOW) != 0) {
      return FailErrno("name", errno);
    }
  } else if (::renameat2(AT_FDCWD, built.path.c_str(), directory->get(), node->name.c_str(),
                         RENAME_NOREPLACE) != 0) {
    return FailErrno("name", errno);
  }
  FailPoint("copy_up.named");
  return RestoreTimes(*node->parent, directory->get(), before);
}

// Directories, symbolic links, devices, FIFOs and sockets.
Status LayerTree::CopyUpNamed(const NodePtr& node, const struct stat& attributes) {
  const std::string temporary = TemporaryName();
  const int work = layer_->work();
  const auto make = [&]() -> int {
    if (S_ISDIR(attributes.st_mode)) return ::mkdirat(work, temporary.c_str(), 0700);
    if (!S_ISLNK(attributes.st_mode)) {
      const mode_t type =
          layer_->form().override_stat ? mode_t{S_IFREG} : attributes.st_mode & S_IFMT;
      return ::mknodat(work, temporary.c_str(), type | 0600, attributes.st_rdev);
    }
    const auto target = sources_[node->lowers[0].source]->ReadLink(node->lowers[0].object);
    if (!target.has_value()) return -1;
    return ::symlinkat(target->c_str(), work, temporary.c_str());
  };
  if (make() != 0) return FailErrno("work", errno);
  FailPoint("copy_up.made");
  const ObjectPath built = PathOfName(work, temporary);
  const auto finish = [&]() -> Status {
    LAYERFS_CHECK_OK(CopyAttributes(*node, attributes, built));
    FailPoint("copy_up.built");
    if (node->dead) {
      LAYERFS_TRY(pinned, OpenFileAt(work, temporary, O_PATH | O_NOFOLLOW));
      node->pinned = std::make_shared<const UniqueFd>(std::move(pinned));
      return RemoveTree(work, temporary);
    }
    if (node->is_directory() || attributes.st_nlink <= 1) return GiveName(node, built);
    LAYERFS_CHECK_OK(
        WriteXattr(built, layer_->form().Own("nlink"),
                   EncodeLinkCount({false, static_cast<int64_t>(attributes.st_nlink)})));
    if (::renameat(work, temporary.c_str(), layer_->index(),
                   std::to_string(node->st_ino).c_str()) != 0) {
      return FailErrno("index", errno);
    }
    node->indexed = true;
    return {};
  };
  const Status finished = finish();
  if (!finished.has_value()) {
    static_cast<void>(RemoveTree(work, temporary));
    return finished;
  }
  node->has_upper = true;
  LAYERFS_CHECK_OK(NoteNumber(*node));
  if (node->is_directory()) on_changed_directory_(node->id);
  return node->indexed ? EnsureAlias(node, node->parent, node->name) : Status();
}

// A file with several names in the image shows under each; a name that is about to change has to be
// in the upper directory.
Status LayerTree::EnsureAlias(const NodePtr& node, const NodePtr& parent, std::string_view name) {
  LAYERFS_CHECK_OK(CopyUp(parent, nullptr, false));
  LAYERFS_TRY(directory, DirectoryFd(*parent));
  const std::string terminated(name);
  struct stat attributes{};
  if (::fstatat(directory->get(), terminated.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) == 0) {
    return {};
  }
  LAYERFS_TRY(place, Place(*node));
  LAYERFS_TRY(text, ReadXattr(place.path(), layer_->form().Own("nlink")));
  const auto count = DecodeLinkCount(text.value_or(""));
  struct stat upper{};
  if (::fstatat(place.directory(), place.name.c_str(), &upper, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(place.name, errno);
  }
  if (count.has_value() && count->relative) {
    const int64_t total = static_cast<int64_t>(upper.st_nlink) + count->value;
    LAYERFS_CHECK_OK(
        WriteXattr(place.path(), layer_->form().Own("nlink"), EncodeLinkCount({false, total})));
    FailPoint("alias.counted");
  }
  struct stat before{};
  if (::fstatat(directory->get(), "", &before, AT_EMPTY_PATH) != 0) {
    return FailErrno("parent", errno);
  }
  if (::linkat(place.directory(), place.name.c_str(), directory->get(), terminated.c_str(), 0) !=
      0) {
    return FailErrno(name, errno);
  }
  FailPoint("alias.linked");
  return RestoreTimes(*parent, directory->get(), before);
}

// Until now the count that shows stayed whatever the upper inode's was; from here on both change
// together.
Status LayerTree::StartLinkChange(const LayerNode& node) {
  LAYERFS_TRY(place, Place(node));
  struct stat upper{};
  if (::fstatat(place.directory(), place.name.c_str(), &upper, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(place.name, errno);
  }
  LAYERFS_TRY(shown, CountLinks(place, upper));
  LAYERFS_CHECK_OK(WriteXattr(
      place.path(), layer_->form().Own("nlink"),
      EncodeLinkCount({true, static_cast<int64_t>(shown) - static_cast<int64_t>(upper.st_nlink)})));
  FailPoint("links.counted");
  return {};
}

}  // namespace layerfs
