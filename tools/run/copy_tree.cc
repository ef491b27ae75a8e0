// SPDX-License-Identifier: Apache-2.0
#include "tools/run/copy_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "index/base/file.h"
#include "index/path.h"
#include "tools/run/sorted_names.h"

namespace layerfs {
namespace {

constexpr size_t kCopyBytes = size_t{1} << 20;

class TreeCopy {
 public:
  explicit TreeCopy(int to_root) : to_root_(to_root) {}

  // `path` is relative to the root, for links and errors.
  Status CopyDirectory(int from, int to, const std::string& path) {
    LAYERFS_TRY_IN(names, SortedNames(from), Quoted(path));
    for (const std::string& name : names) {
      LAYERFS_CHECK_OK(CopyEntry({from, to, name, path.empty() ? name : path + "/" + name}));
    }
    struct stat attributes;
    if (::fstat(from, &attributes) != 0) return FailErrno(Quoted(path), errno);
    return CopyAttributes(from, to, attributes, path);
  }

 private:
  struct Entry {
    int from = -1;
    int to = -1;
    std::string name;
    std::string path;
  };

  Status CopyEntry(const Entry& entry) {
    struct stat attributes;
    if (::fstatat(entry.from, entry.name.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) != 0) {
      return FailErrno(Quoted(entry.path), errno);
    }
    if (!S_ISDIR(attributes.st_mode) && attributes.st_nlink > 1) {
      const auto [known, is_new] = links_.emplace(attributes.st_ino, entry.path);
      if (!is_new) {
        if (::linkat(to_root_, known->second.c_str(), entry.to, entry.name.c_str(), 0) == 0) {
          return {};
        }
        return FailErrno(Quoted(entry.path), errno);
      }
    }
    if (S_ISDIR(attributes.st_mode)) return CopySubdirectory(entry);
    if (S_ISREG(attributes.st_mode)) return CopyFile(entry, attributes);
    return CopyNode(entry, attributes);
  }

  Status CopySubdirectory(const Entry& entry) {
    if (::mkdirat(entry.to, entry.name.c_str(), 0700) != 0) {
      return FailErrno(Quoted(entry.path), errno);
    }
    LAYERFS_TRY(from, OpenFileAt(entry.from, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    LAYERFS_TRY(to, OpenFileAt(entry.to, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return CopyDirectory(from.get(), to.get(), entry.path);
  }

  Status CopyFile(const Entry& entry, const struct stat& attributes) {
    LAYERFS_TRY(from, OpenFileAt(entry.from, entry.name, O_RDONLY | O_NOFOLLOW));
    LAYERFS_TRY(to, OpenFileAt(entry.to, entry.name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    Bytes buffer(kCopyBytes);
    while (true) {
      const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return FailErrno(Quoted(entry.path), errno);
      if (got == 0) break;
      LAYERFS_CHECK_OK_IN(WriteFull(to.get(), ByteSpan(buffer).first(static_cast<size_t>(got))),
                          Quoted(entry.path));
    }
    return CopyAttributes(from.get(), to.get(), attributes, entry.path);
  }

  // Symbolic links, devices, FIFOs and sockets.
  Status CopyNode(const Entry& entry, const struct stat& attributes) {
    const char* const name = entry.name.c_str();
    int made = 0;
    if (S_ISLNK(attributes.st_mode)) {
      std::string target(kMaxLinkTargetBytes + 1, '\0');
      const ssize_t size = ::readlinkat(entry.from, name, target.data(), target.size());
      if (size < 0) return FailErrno(Quoted(entry.path), errno);
      target.resize(static_cast<size_t>(size));
      made = ::symlinkat(target.c_str(), entry.to, name);
    } else {
      made = ::mknodat(entry.to, name, attributes.st_mode, attributes.st_rdev);
    }
    const timespec times[2] = {attributes.st_atim, attributes.st_mtim};
    if (made != 0 ||
        ::fchownat(entry.to, name, attributes.st_uid, attributes.st_gid, AT_SYMLINK_NOFOLLOW) !=
            0 ||
        (!S_ISLNK(attributes.st_mode) &&
         ::fchmodat(entry.to, name, attributes.st_mode & 07777, 0) != 0) ||
        ::utimensat(entry.to, name, times, AT_SYMLINK_NOFOLLOW) != 0) {
      return FailErrno(Quoted(entry.path), errno);
    }
    return {};
  }

  // The owner first: changing it clears capabilities and setuid.
  static Status CopyAttributes(int from, int to, const struct stat& attributes,
                               const std::string& path) {
    if (::fchown(to, attributes.st_uid, attributes.st_gid) != 0) {
      return FailErrno(Quoted(path), errno);
    }
    LAYERFS_CHECK_OK_IN(CopyXattrs(from, to), Quoted(path));
    const timespec times[2] = {attributes.st_atim, attributes.st_mtim};
    if (::fchmod(to, attributes.st_mode & 07777) != 0 || ::futimens(to, times) != 0) {
      return FailErrno(Quoted(path), errno);
    }
    return {};
  }

  static Status CopyXattrs(int from, int to) {
    const ssize_t list_size = ::flistxattr(from, nullptr, 0);
    if (list_size < 0) return errno == ENOTSUP ? Status{} : FailErrno("xattrs", errno);
    std::string names(static_cast<size_t>(list_size), '\0');
    const ssize_t listed = ::flistxattr(from, names.data(), names.size());
    if (listed < 0) return FailErrno("xattrs", errno);
    names.resize(static_cast<size_t>(listed));
    for (size_t at = 0; at < names.size();) {
      const std::string name = names.c_str() + at;
      at += name.size() + 1;
      const ssize_t size = ::fgetxattr(from, name.c_str(), nullptr, 0);
      if (size < 0) return FailErrno(name, errno);
      Bytes value(static_cast<size_t>(size));
      const ssize_t got = ::fgetxattr(from, name.c_str(), value.data(), value.size());
      if (got < 0) return FailErrno(name, errno);
      // A file system that does not know the name is no reason not to start.
      if (::fsetxattr(to, name.c_str(), value.data(), static_cast<size_t>(got), 0) != 0 &&
          errno != ENOTSUP) {
        return FailErrno(name, errno);
      }
    }
    return {};
  }

  const int to_root_;
  std::map<ino_t, std::string> links_;  // the first copy of a file with several names
};

}  // namespace

Status CopyTree(int from, int to) { return TreeCopy(to).CopyDirectory(from, to, ""); }

}  // namespace layerfs
