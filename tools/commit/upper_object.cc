// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/upper_object.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "index/base/file.h"
#include "index/path.h"

namespace layerfs {
namespace {

Status ReadMarks(const ObjectPath& path, UpperObject& object) {
  LAYERFS_TRY(names, ReadXattrNames(path));
  for (const std::string& name : names) {
    if (name == kOverrideStatXattr) {
      LAYERFS_TRY(text, ReadXattr(path, name));
      if (text.has_value()) LAYERFS_CHECK_OK(ApplyOverrideStat(*text, object.attributes));
    }
    const auto shown = ShownXattrName(name);
    if (!shown.has_value()) continue;
    LAYERFS_TRY(value, ReadXattr(path, name));
    if (!value.has_value()) continue;
    // It gives nobody anything, and no archive can say it: in a PAX header an empty value is none.
    if (name == kCapabilityXattr && value->empty()) continue;
    object.xattrs[*shown] = std::move(*value);
  }
  LAYERFS_TRY(origin, ReadOrigin(path));
  if (origin.has_value()) object.origin = origin->number;
  if (!object.is_directory()) return {};
  LAYERFS_TRY(opaque, ReadOpaque(path));
  object.opaque = opaque;
  LAYERFS_TRY(redirect, ReadRedirect(path));
  object.redirect = std::move(redirect);
  return {};
}

Result<std::string> ReadTarget(int directory_fd, const std::string& name) {
  std::string target(kMaxLinkTargetBytes + 1, '\0');
  const ssize_t size = ::readlinkat(directory_fd, name.c_str(), target.data(), target.size());
  if (size < 0) return FailErrno(Quoted(name), errno);
  target.resize(static_cast<size_t>(size));
  return target;
}

}  // namespace

Result<UpperObject> ReadUpperObject(int directory_fd, const std::string& name,
                                    bool may_hold_whiteouts) {
  UpperObject object;
  if (::fstatat(directory_fd, name.c_str(), &object.attributes, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(Quoted(name), errno);
  }
  object.inode = object.attributes.st_ino;
  const ObjectPath path = PathOfName(directory_fd, name);
  object.whiteout = IsWhiteoutDevice(object.attributes);
  if (!object.whiteout && may_hold_whiteouts && S_ISREG(object.attributes.st_mode) &&
      object.attributes.st_size == 0) {
    LAYERFS_TRY(marked, HasWhiteoutXattr(path));
    object.whiteout = marked;
  }
  if (object.whiteout) return object;
  LAYERFS_CHECK_OK_IN(ReadMarks(path, object), Quoted(name));
  if (S_ISLNK(object.attributes.st_mode)) {
    LAYERFS_TRY(target, ReadTarget(directory_fd, name));
    object.target = std::move(target);
  }
  return object;
}

Result<UpperObject> ReadUpperRoot(int upper_fd) {
  UpperObject object;
  if (::fstat(upper_fd, &object.attributes) != 0) return FailErrno("upper", errno);
  object.inode = object.attributes.st_ino;
  LAYERFS_CHECK_OK_IN(ReadMarks(PathOfDescriptor(upper_fd), object), "upper");
  return object;
}

}  // namespace layerfs
