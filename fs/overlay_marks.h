// SPDX-License-Identifier: Apache-2.0
// The marks of overlayfs's on-disk convention and our own (CONTAINER_LAYER.md, "Marks in upper"):
// their names, how they are written and read. Nobody else knows them.
// Thread-safe: values only, and system calls on what the caller names.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/error.h"
#include "index/path.h"

namespace layerfs {

// In which form a layer's marks are written.
struct MarkForm {
  // trusted.overlay.*, trusted.layerfs.* and 0/0 devices; else the user.* forms.
  bool trusted = true;
  bool devices = true;         // whiteouts are 0/0 devices; else PREFIXwhiteout on an empty file
  bool override_stat = false;  // owners and modes in user.containers.override_stat

  std::string Overlay(std::string_view mark) const;  // "trusted.overlay." + mark
  std::string Own(std::string_view mark) const;      // "trusted.layerfs." + mark
};

// Whether this attribute of an object on disk is a mark, or another's attribute that is escaped.
bool IsPrivateXattr(std::string_view name);
// How an attribute is stored that a user of the mount calls `shown`: overlayfs's names and our own
// are escaped as overlayfs does it ("trusted.overlay.overlay.…";
// Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts"), so that layers can lie
// inside of the mount. Nothing for kOverrideStatXattr, which cannot be had.
std::optional<std::string> StoredXattrName(std::string_view shown);
// The reverse; nothing for marks.
std::optional<std::string> ShownXattrName(std::string_view stored);

bool IsWhiteoutDevice(const struct stat& attributes);

// Whiteouts and the opaque mark as files, as AUFS and fuse-overlayfs leave them in directories
// where they could make no device: ".wh.NAME" (kWhiteoutPrefix) and ".wh..wh..opq". They are read,
// never written.
inline constexpr char kOpaqueFile[] = ".wh..wh..opq";
// What such a file says is not there: empty for another name, and for what AUFS keeps for itself.
std::string_view NameOfWhiteoutFile(std::string_view name);
bool HasWhiteoutFile(int directory_fd, std::string_view path);

// The xattr calls below take a path that leads to the object: "/proc/self/fd/N/NAME" for a name in
// an open directory (not followed), "/proc/self/fd/N" for an open object itself.
struct ObjectPath {
  std::string path;
  bool follow = false;  // a trailing symlink: for "/proc/self/fd/N"
};
ObjectPath PathOfName(int directory_fd, std::string_view name);
ObjectPath PathOfDescriptor(int fd);

inline constexpr char kCapabilityXattr[] = "security.capability";

// Nothing where there is no such attribute, or the file system has none. A capability of no form
// that the kernel knows counts as empty: it is there, to be removed, and says nothing.
Result<std::optional<std::string>> ReadXattr(const ObjectPath& object, const std::string& name);
Status WriteXattr(const ObjectPath& object, const std::string& name, std::string_view value,
                  int flags = 0);
// No error where it is not there.
Status DropXattr(const ObjectPath& object, const std::string& name);
// All, private ones too.
Result<std::vector<std::string>> ReadXattrNames(const ObjectPath& object);
// As a user of the mount sees them.
Result<std::vector<std::string>> ReadShownXattrNames(const ObjectPath& object);

// Marks are read in both forms. Most objects have none, which one call tells.
Result<bool> HasMarks(const ObjectPath& object);
enum class OpaqueMark { kNone, kOpaque, kHasWhiteouts };
Result<OpaqueMark> ReadOpaque(const ObjectPath& directory);
Result<std::string> ReadRedirect(const ObjectPath& directory);  // empty: none
// For an empty regular file.
Result<bool> HasWhiteoutXattr(const ObjectPath& file);
// kIo where its data lie in a layer below (overlayfs's metacopy), which is not followed.
Status RefuseMetacopy(int file);
// OWN"origin": what an object was copied up from.
struct Origin {
  uint64_t number = 0;   // the inode number that shows
  std::string identity;  // of the object of a plain directory (object_identity.h); may be empty
  bool operator==(const Origin&) const = default;
};
std::string EncodeOrigin(const Origin& origin);
Result<std::optional<Origin>> ReadOrigin(const ObjectPath& object);

// "T3", "U-1": the link count that shows, as such or relative to the upper inode's.
struct LinkCount {
  bool relative = false;
  int64_t value = 0;
  bool operator==(const LinkCount&) const = default;
};
std::string EncodeLinkCount(LinkCount count);
std::optional<LinkCount> DecodeLinkCount(std::string_view text);

// user.containers.override_stat: owner, mode and perhaps type and device that show.
inline constexpr char kOverrideStatXattr[] = "user.containers.override_stat";
std::string EncodeOverrideStat(const struct stat& attributes);
// Changes `attributes` to what the mark says; kCorrupt where it says nothing sensible.
Status ApplyOverrideStat(std::string_view text, struct stat& attributes);

}  // namespace layerfs
