// SPDX-License-Identifier: Apache-2.0
#include "fs/overlay_marks.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>

namespace layerfs {
namespace {

constexpr std::string_view kTrustedOverlay = "trusted.overlay.";
constexpr std::string_view kUserOverlay = "user.overlay.";
constexpr std::string_view kTrustedOwn = "trusted.layerfs.";
constexpr std::string_view kUserOwn = "user.layerfs.";
// What begins with one of these is a mark, or with kEscape behind it what a user calls so.
constexpr std::string_view kMarkPrefixes[] = {kTrustedOverlay, kUserOverlay, kTrustedOwn, kUserOwn};
constexpr std::string_view kEscape = "overlay.";
// Most values are short; longer ones are asked for again with their size.
constexpr size_t kFirstTryBytes = 256;
constexpr size_t kMaxNamesBytes = 65536;  // XATTR_LIST_MAX

ssize_t GetXattr(const ObjectPath& object, const char* name, char* buffer, size_t size) {
  return object.follow ? ::getxattr(object.path.c_str(), name, buffer, size)
                       : ::lgetxattr(object.path.c_str(), name, buffer, size);
}

Result<std::optional<std::string>> ReadEither(const ObjectPath& object, std::string_view mark,
                                              std::string_view trusted, std::string_view user) {
  auto value = ReadXattr(object, std::string(trusted).append(mark));
  if (!value.has_value() || value->has_value()) return value;
  return ReadXattr(object, std::string(user).append(mark));
}

template <typename T>
bool ParseWhole(std::string_view text, T& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string TypeWord(const struct stat& attributes) {
  const auto device = [&](std::string_view word) {
    return std::string(word) + "-" + std::to_string(major(attributes.st_rdev)) + "-" +
           std::to_string(minor(attributes.st_rdev));
  };
  switch (attributes.st_mode & S_IFMT) {
    case S_IFDIR:
      return "dir";
    case S_IFLNK:
      return "symlink";
    case S_IFIFO:
      return "pipe";
    case S_IFSOCK:
      return "socket";
    case S_IFCHR:
      return device("char");
    case S_IFBLK:
      return device("block");
    default:
      return "file";
  }
}

bool ApplyType(std::string_view word, struct stat& attributes) {
  struct TypeName {
    std::string_view name;
    mode_t type;
  };
  constexpr TypeName kTypes[] = {{"dir", S_IFDIR},  {"file", S_IFREG},    {"symlink", S_IFLNK},
                                 {"pipe", S_IFIFO}, {"socket", S_IFSOCK}, {"char", S_IFCHR},
                                 {"block", S_IFBLK}};
  const std::vector<std::string_view> parts = Split(word, '-');
  const auto* const found = std::ranges::find(kTypes, parts[0], &TypeName::name);
  if (found == std::end(kTypes)) return false;
  attributes.st_mode = (attributes.st_mode & ~mode_t{S_IFMT}) | found->type;
  if (found->type != S_IFCHR && found->type != S_IFBLK) return parts.size() == 1;
  unsigned major_number = 0;
  unsigned minor_number = 0;
  if (parts.size() != 3 || !ParseWhole(parts[1], major_number) ||
      !ParseWhole(parts[2], minor_number)) {
    return false;
  }
  attributes.st_rdev = makedev(major_number, minor_number);
  attributes.st_size = 0;
  return true;
}

}  // namespace

std::string MarkForm::Overlay(std::string_view mark) const {
  return std::string(trusted ? kTrustedOverlay : kUserOverlay).append(mark);
}
std::string MarkForm::Own(std::string_view mark) const {
  return std::string(trusted ? kTrustedOwn : kUserOwn).append(mark);
}

bool IsPrivateXattr(std::string_view name) {
  return name == kOverrideStatXattr ||
         std::ranges::any_of(kMarkPrefixes, [&](auto prefix) { return name.starts_with(prefix); });
}

std::optional<std::string> StoredXattrName(std::string_view shown) {
  for (const std::string_view prefix : kMarkPrefixes) {
    if (!shown.starts_with(prefix)) continue;
    return std::string(prefix).append(kEscape).append(shown.substr(prefix.size()));
  }
  if (IsPrivateXattr(shown)) return std::nullopt;
  return std::string(shown);
}

std::optional<std::string> ShownXattrName(std::string_view stored) {
  for (const std::string_view prefix : kMarkPrefixes) {
    if (!stored.starts_with(prefix)) continue;
    const std::string_view rest = stored.substr(prefix.size());
    if (!rest.starts_with(kEscape)) return std::nullopt;
    return std::string(prefix).append(rest.substr(kEscape.size()));
  }
  if (IsPrivateXattr(stored)) return std::nullopt;
  return std::string(stored);
}

bool IsWhiteoutDevice(const struct stat& attributes) {
  return S_ISCHR(attributes.st_mode) && attributes.st_rdev == makedev(0, 0);
}

std::string_view NameOfWhiteoutFile(std::string_view name) {
  if (!name.starts_with(kWhiteoutPrefix)) return {};
  name.remove_prefix(kWhiteoutPrefix.size());
  return name.starts_with(kWhiteoutPrefix) ? std::string_view() : name;
}

bool HasWhiteoutFile(int directory_fd, std::string_view path) {
  const size_t name = path.rfind('/') + 1;  // 0 where there is none
  std::string whiteout(path);
  whiteout.insert(name, kWhiteoutPrefix);
  struct stat attributes{};
  return ::fstatat(directory_fd, whiteout.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) == 0;
}

ObjectPath PathOfName(int directory_fd, std::string_view name) {
  return {("/proc/self/fd/" + std::to_string(directory_fd) + "/").append(name), false};
}
ObjectPath PathOfDescriptor(int fd) { return {"/proc/self/fd/" + std::to_string(fd), true}; }

Result<std::optional<std::string>> ReadXattr(const ObjectPath& object, const std::string& name) {
  std::string value(kFirstTryBytes, '\0');
  for (;;) {
    ssize_t size = GetXattr(object, name.c_str(), value.data(), value.size());
    if (size >= 0) {
      value.resize(static_cast<size_t>(size));
      return value;
    }
    if (errno == ENODATA || errno == EOPNOTSUPP) return std::nullopt;
    if (errno == EINVAL && name == kCapabilityXattr) return std::string();
    if (errno != ERANGE) return FailErrno(name, errno);
    size = GetXattr(object, name.c_str(), nullptr, 0);
    if (size < 0 && errno != ENODATA) return FailErrno(name, errno);
    value.resize(size < 0 ? kFirstTryBytes : static_cast<size_t>(size) + 1);
  }
}

Status WriteXattr(const ObjectPath& object, const std::string& name, std::string_view value,
                  int flags) {
  const int result =
      object.follow
          ? ::setxattr(object.path.c_str(), name.c_str(), value.data(), value.size(), flags)
          : ::lsetxattr(object.path.c_str(), name.c_str(), value.data(), value.size(), flags);
  if (result != 0) return FailErrno(name, errno);
  return {};
}

Status DropXattr(const ObjectPath& object, const std::string& name) {
  const int result = object.follow ? ::removexattr(object.path.c_str(), name.c_str())
                                   : ::lremovexattr(object.path.c_str(), name.c_str());
  if (result != 0 && errno != ENODATA && errno != EOPNOTSUPP) return FailErrno(name, errno);
  return {};
}

Result<std::vector<std::string>> ReadXattrNames(const ObjectPath& object) {
  const auto list = [&](char* buffer, size_t size) {
    return object.follow ? ::listxattr(object.path.c_str(), buffer, size)
                         : ::llistxattr(object.path.c_str(), buffer, size);
  };
  std::string names(kFirstTryBytes, '\0');
  ssize_t size = list(names.data(), names.size());
  if (size < 0 && errno == ERANGE) {
    names.resize(kMaxNamesBytes);
    size = list(names.data(), names.size());
  }
  std::vector<std::string> found;
  if (size < 0 && errno == EOPNOTSUPP) return found;
  if (size < 0) return FailErrno("extended attributes", errno);
  for (const char* at = names.data(); at < names.data() + size; at += found.back().size() + 1) {
    found.emplace_back(at);
  }
  return found;
}

Result<std::vector<std::string>> ReadShownXattrNames(const ObjectPath& object) {
  LAYERFS_TRY(names, ReadXattrNames(object));
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (auto as = ShownXattrName(name)) shown.push_back(*std::move(as));
  }
  return shown;
}

Result<bool> HasMarks(const ObjectPath& object) {
  LAYERFS_TRY(names, ReadXattrNames(object));
  return std::ranges::any_of(
      names, [](const std::string& name) { return !ShownXattrName(name).has_value(); });
}

Result<OpaqueMark> ReadOpaque(const ObjectPath& directory) {
  LAYERFS_TRY(value, ReadEither(directory, "opaque", kTrustedOverlay, kUserOverlay));
  const std::string mark = std::move(value).value_or("");
  if (mark == "y") return OpaqueMark::kOpaque;
  return mark == "x" ? OpaqueMark::kHasWhiteouts : OpaqueMark::kNone;
}

Result<std::string> ReadRedirect(const ObjectPath& directory) {
  LAYERFS_TRY(value, ReadEither(directory, "redirect", kTrustedOverlay, kUserOverlay));
  return value.value_or("");
}

Result<bool> HasWhiteoutXattr(const ObjectPath& file) {
  LAYERFS_TRY(value, ReadEither(file, "whiteout", kTrustedOverlay, kUserOverlay));
  return value.has_value();
}

Status RefuseMetacopy(int file) {
  for (const std::string_view prefix : kMarkPrefixes) {
    const std::string name = std::string(prefix).append("metacopy");
    if (::fgetxattr(file, name.c_str(), nullptr, 0) >= 0) {
      return Fail(ErrorCode::kIo,
                  "a metacopy file of overlayfs, whose data are not in this layer; copy them into "
                  "it: mount the layers with overlayfs, and touch the file");
    }
    if (errno != ENODATA && errno != EOPNOTSUPP) return FailErrno(name, errno);
  }
  return {};
}

std::string EncodeOrigin(const Origin& origin) {
  const std::string number = std::to_string(origin.number);
  return origin.identity.empty() ? number : number + " " + origin.identity;
}

Result<std::optional<Origin>> ReadOrigin(const ObjectPath& object) {
  LAYERFS_TRY(value, ReadEither(object, "origin", kTrustedOwn, kUserOwn));
  if (!value.has_value()) return std::nullopt;
  const std::string_view text = *value;
  const size_t space = std::min(text.find(' '), text.size());
  Origin origin;
  if (!ParseWhole(text.substr(0, space), origin.number)) {
    return Fail(ErrorCode::kCorrupt, object.path + ": origin \"" + *value + "\" is no number");
  }
  origin.identity = text.substr(std::min(space + 1, text.size()));
  return origin;
}

std::string EncodeLinkCount(LinkCount count) {
  if (!count.relative) return "T" + std::to_string(count.value);
  return std::string(count.value < 0 ? "U" : "U+") + std::to_string(count.value);
}

std::optional<LinkCount> DecodeLinkCount(std::string_view text) {
  if (text.size() < 2 || (text[0] != 'T' && text[0] != 'U')) return std::nullopt;
  LinkCount count;
  count.relative = text[0] == 'U';
  text.remove_prefix(count.relative && text[1] == '+' ? 2 : 1);
  if (!ParseWhole(text, count.value)) return std::nullopt;
  return count;
}

std::string EncodeOverrideStat(const struct stat& attributes) {
  char mode[16];
  std::snprintf(mode, sizeof mode, "%o", attributes.st_mode & 07777U);
  return std::to_string(attributes.st_uid) + ":" + std::to_string(attributes.st_gid) + ":" + mode +
         ":" + TypeWord(attributes);
}

Status ApplyOverrideStat(std::string_view text, struct stat& attributes) {
  const std::vector<std::string_view> parts = Split(text, ':');
  unsigned mode = 0;
  if (parts.size() < 3 || parts.size() > 4 || !ParseWhole(parts[0], attributes.st_uid) ||
      !ParseWhole(parts[1], attributes.st_gid) || !ParseWhole(parts[2], mode, 8) || mode > 07777 ||
      (parts.size() == 4 && !ApplyType(parts[3], attributes))) {
    return Fail(ErrorCode::kCorrupt, std::string(kOverrideStatXattr) + ": \"" + std::string(text) +
                                         "\" is not uid:gid:mode[:type]");
  }
  attributes.st_mode = (attributes.st_mode & S_IFMT) | mode;
  return {};
}

}  // namespace layerfs
