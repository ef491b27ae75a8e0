// SPDX-License-Identifier: Apache-2.0
#include "fs/directory_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "fs/lower_file.h"
#include "fs/object_identity.h"
#include "fs/overlay_marks.h"
#include "index/base/directory_stream.h"
#include "index/base/file.h"

namespace layerfs {
namespace {

mode_t TypeOf(unsigned char type) { return DTTOIF(type); }

class DirectorySource final : public LowerSource {
 public:
  DirectorySource(std::string path, UniqueFd root, dev_t device)
      : name_(std::move(path)), root_(std::move(root)), device_(device) {}

  LowerObject Root() const override { return At(""); }

  Result<LowerObject> FileWithNumber(uint64_t /*number*/) const override {
    return Fail(ErrorCode::kUnsupported, name_ + ": files of a directory are copied up whole");
  }

  Result<std::optional<LowerEntry>> Lookup(const LowerObject& directory,
                                           std::string_view name) const override {
    std::string path = Join(*directory.path, name);
    struct stat attributes{};
    if (name.starts_with(kWhiteoutPrefix)) return std::nullopt;
    if (::fstatat(root_.get(), path.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG) {
        return FailErrno(Describe(path), errno);
      }
      if (!HasWhiteoutFile(root_.get(), path)) return std::nullopt;
      return LowerEntry{.object = At(std::move(path)), .whiteout = true};
    }
    LAYERFS_TRY(whiteout, IsWhiteout(*directory.path, path, attributes));
    LAYERFS_CHECK_OK(ApplyOverride(path, attributes));
    return LowerEntry{At(std::move(path)), attributes.st_mode & S_IFMT, whiteout,
                      attributes.st_ino,   attributes.st_dev,           attributes.st_nlink};
  }

  Status List(const LowerObject& directory, const EachEntry& each) const override {
    LAYERFS_TRY(opened, OpenUnnoticed(Name(*directory.path), O_DIRECTORY));
    const int fd = opened.get();
    const DirectoryStream stream = MakeDirectoryStream(std::move(opened));
    if (stream == nullptr) return FailErrno(Describe(*directory.path), errno);
    LAYERFS_TRY(opaque, ReadOpaque(PathOfDescriptor(fd)));
    const bool has_whiteout_files = opaque != OpaqueMark::kNone;
    for (;;) {
      errno = 0;
      const dirent* const entry = ::readdir(stream.get());
      if (entry == nullptr && errno != 0) return FailErrno(Describe(*directory.path), errno);
      if (entry == nullptr) return {};
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (name.starts_with(kWhiteoutPrefix)) {
        const std::string_view hidden = NameOfWhiteoutFile(name);
        LowerEntry whiteout{.object = At(Join(*directory.path, hidden)), .whiteout = true};
        if (!hidden.empty() && !each(hidden, whiteout)) return {};
        continue;
      }
      // What may be a whiteout or has no type has to be looked at.
      LowerEntry found{
          At(Join(*directory.path, name)), TypeOf(entry->d_type), false, entry->d_ino, device_, 0};
      if (entry->d_type == DT_CHR || entry->d_type == DT_UNKNOWN ||
          ((entry->d_type == DT_REG) && has_whiteout_files)) {
        LAYERFS_TRY(looked_up, Lookup(directory, name));
        if (!looked_up.has_value()) continue;
        found = *looked_up;
      }
      if (!each(name, found)) return {};
    }
  }

  Result<struct stat> Attributes(const LowerObject& object) const override {
    struct stat attributes{};
    if (::fstatat(root_.get(), object.path->c_str(), &attributes,
                  AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
      return FailErrno(Describe(*object.path), errno);
    }
    LAYERFS_CHECK_OK(ApplyOverride(*object.path, attributes));
    return attributes;
  }

  Result<LowerMarks> Marks(const LowerObject& directory) const override {
    const ObjectPath path = Proc(*directory.path);
    LowerMarks marks;
    LAYERFS_TRY(opaque, ReadOpaque(path));
    struct stat file{};
    marks.opaque = opaque == OpaqueMark::kOpaque ||
                   ::fstatat(root_.get(), Join(*directory.path, kOpaqueFile).c_str(), &file,
                             AT_SYMLINK_NOFOLLOW) == 0;
    LAYERFS_TRY(redirect, ReadRedirect(path));
    marks.redirect = std::move(redirect);
    return marks;
  }

  std::string Identity(const LowerObject& object) const override {
    return IdentityOf(root_.get(), *object.path);
  }
  std::optional<bool> HasIdentity(const std::string& identity) const override {
    return Exists(root_.get(), identity);
  }

  std::string PathOf(const LowerObject& directory) const override { return "/" + *directory.path; }
  std::optional<std::string> PathOfNumber(uint64_t /*number*/) const override {
    return std::nullopt;
  }

  Result<std::string> ReadLink(const LowerObject& symlink) const override {
    std::string target(PATH_MAX, '\0');
    const ssize_t size =
        ::readlinkat(root_.get(), symlink.path->c_str(), target.data(), target.size());
    if (size < 0) return FailErrno(Describe(*symlink.path), errno);
    target.resize(static_cast<size_t>(size));
    return target;
  }

  Result<std::optional<std::string>> GetXattr(const LowerObject& object,
                                              std::string_view name) const override {
    const auto stored = StoredXattrName(name);
    if (!stored.has_value()) return std::nullopt;
    return ReadXattr(Proc(*object.path), *stored);
  }
  Result<std::vector<std::string>> ListXattrs(const LowerObject& object) const override {
    return ReadShownXattrNames(Proc(*object.path));
  }

  Result<std::shared_ptr<LowerFile>> Open(const LowerObject& file) const override {
    LAYERFS_TRY(fd, OpenUnnoticed(file.path->c_str(), O_NOFOLLOW | O_NONBLOCK));
    LAYERFS_CHECK_OK_IN(RefuseMetacopy(fd.get()), Describe(*file.path));
    return MakeDirectoryLowerFile(std::move(fd));
  }
  bool allows_partial() const override { return false; }

 private:
  static LowerObject At(std::string path) {
    return {0, std::make_shared<const std::string>(std::move(path))};
  }
  static std::string Join(std::string_view directory, std::string_view name) {
    std::string path(directory);
    if (!path.empty()) path += '/';
    return path.append(name);
  }
  static const char* Name(const std::string& path) { return path.empty() ? "." : path.c_str(); }
  // Reading a layer leaves no trace in it, so that a copy-up finds the times that showed; a user
  // may ask for that for files of their own only.
  Result<UniqueFd> OpenUnnoticed(const char* path, int flags) const {
    auto opened = OpenFileAt(root_.get(), path, O_RDONLY | O_NOATIME | flags);
    if (!opened.has_value() && opened.error().system_errno == EPERM) {
      opened = OpenFileAt(root_.get(), path, O_RDONLY | flags);
    }
    if (!opened.has_value()) return Fail(std::move(opened).error().In(name_));
    return opened;
  }
  std::string Describe(const std::string& path) const { return name_ + "/" + path; }
  ObjectPath Proc(const std::string& path) const {
    return path.empty() ? PathOfDescriptor(root_.get()) : PathOfName(root_.get(), path);
  }

  Result<bool> IsWhiteout(const std::string& directory, const std::string& path,
                          const struct stat& attributes) const {
    if (IsWhiteoutDevice(attributes)) return true;
    if (!S_ISREG(attributes.st_mode) || attributes.st_size != 0) return false;
    LAYERFS_TRY(marked, HasWhiteoutXattr(Proc(path)));
    if (!marked) return false;
    LAYERFS_TRY(opaque, ReadOpaque(Proc(directory)));
    return opaque != OpaqueMark::kNone;
  }
  // As other tools leave it when they could not set the owner.
  Status ApplyOverride(const std::string& path, struct stat& attributes) const {
    if (!has_overrides_) return {};
    LAYERFS_TRY(text, ReadXattr(Proc(path), kOverrideStatXattr));
    if (!text.has_value()) return {};
    return ApplyOverrideStat(*text, attributes);
  }

  const std::string name_;
  const UniqueFd root_;
  const dev_t device_;
  // containers/storage marks the root of such a layer too.
  const bool has_overrides_ = ReadXattr(PathOfDescriptor(root_.get()), kOverrideStatXattr)
                                  .value_or(std::nullopt)
                                  .has_value();
};

}  // namespace

Result<std::unique_ptr<LowerSource>> OpenDirectorySource(const std::string& path) {
  auto opened = OpenFile(path, O_RDONLY | O_DIRECTORY);
  if (!opened.has_value()) {
    Error error = std::move(opened).error();
    if (error.system_errno == ENOTDIR) error.code = ErrorCode::kInvalidArgument;
    return Fail(std::move(error));
  }
  UniqueFd root = std::move(*opened);
  struct stat attributes{};
  if (::fstat(root.get(), &attributes) != 0) return FailErrno(path, errno);
  return std::make_unique<DirectorySource>(path, std::move(root), attributes.st_dev);
}

}  // namespace layerfs
