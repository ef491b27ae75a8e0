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

// Whether a user of the mount must not see or change this attribute.
bool IsPrivateXattr(std::string_view name);

bool IsWhiteoutDevice(const struct stat& attributes);

// The xattr calls below take a path that leads to the object: "/proc/self/fd/N/NAME" for a name in
// an open directory (not followed), "/proc/self/fd/N" for an open object itself.
struct ObjectPath {
  std::string path;
  bool follow = false;  // a trailing symlink: for "/proc/self/fd/N"
};
ObjectPath PathOfName(int directory_fd, std::string_view name);
ObjectPath PathOfDescriptor(int fd);

// Nothing where there is no such attribute, or the file system has none.
Result<std::optional<std::string>> ReadXattr(const ObjectPath& object, const std::string& name);
Status WriteXattr(const ObjectPath& object, const std::string& name, std::string_view value,
                  int flags = 0);
// No error where it is not there.
Status DropXattr(const ObjectPath& object, const std::string& name);
// All, private ones too.
Result<std::vector<std::string>> ReadXattrNames(const ObjectPath& object);

// Marks are read in both forms.
enum class OpaqueMark { kNone, kOpaque, kHasWhiteouts };
Result<OpaqueMark> ReadOpaque(const ObjectPath& directory);
Result<std::string> ReadRedirect(const ObjectPath& directory);  // empty: none
// For an empty regular file.
Result<bool> HasWhiteoutXattr(const ObjectPath& file);
Result<std::optional<uint64_t>> ReadOrigin(const ObjectPath& object);

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
