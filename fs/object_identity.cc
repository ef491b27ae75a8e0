// SPDX-License-Identifier: Apache-2.0
#include "fs/object_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "index/base/bytes.h"
#include "index/base/file.h"
#include "index/base/xxh3.h"

namespace layerfs {
namespace {

struct Handle {
  file_handle head{};
  uint8_t bytes[MAX_HANDLE_SZ]{};

  ByteSpan used() const { return {bytes, head.handle_bytes}; }
};

bool GetHandle(int fd, const std::string& name, Handle& handle) {
  handle.head.handle_bytes = sizeof handle.bytes;
  int mount = 0;
  return ::name_to_handle_at(fd, name.c_str(), &handle.head, &mount, AT_EMPTY_PATH) == 0;
}

// Of the file system; it survives a remount, and is another on a copy.
std::string FileSystemId(int fd) {
  struct statfs about{};
  if (::fstatfs(fd, &about) != 0) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%08x%08x", static_cast<unsigned>(about.f_fsid.__val[0]),
                static_cast<unsigned>(about.f_fsid.__val[1]));
  return text;
}

}  // namespace

uint32_t GenerationOf(int fd, const std::string& name) {
  Handle handle;
  if (GetHandle(fd, name, handle)) return static_cast<uint32_t>(Xxh3(handle.used()));
  struct statx attributes{};
  if (::statx(fd, name.c_str(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BTIME, &attributes) !=
      0) {
    return 0;
  }
  const int64_t born[] = {attributes.stx_btime.tv_sec, attributes.stx_btime.tv_nsec};
  return static_cast<uint32_t>(Xxh3({reinterpret_cast<const uint8_t*>(born), sizeof born}));
}

// "TYPE:HANDLE@FILESYSTEM", the latter two in hexadecimal digits.
std::string IdentityOf(int fd, const std::string& name) {
  Handle handle;
  if (!GetHandle(fd, name, handle)) return "";
  std::string text = std::to_string(handle.head.handle_type) + ":";
  char digits[3];
  for (const uint8_t byte : handle.used()) {
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text + "@" + FileSystemId(fd);
}

std::optional<bool> Exists(int fd, const std::string& identity) {
  Handle handle;
  char digits[2 * MAX_HANDLE_SZ + 1];
  char file_system[17];
  if (std::sscanf(identity.c_str(), "%d:%256[0-9a-f]@%16[0-9a-f]", &handle.head.handle_type, digits,
                  file_system) != 3) {
    return false;
  }
  if (FileSystemId(fd) != file_system) return false;
  const size_t size = std::strlen(digits) / 2;
  for (size_t i = 0; i < size; ++i) {
    unsigned byte = 0;
    std::sscanf(digits + 2 * i, "%2x", &byte);
    handle.bytes[i] = static_cast<uint8_t>(byte);
  }
  handle.head.handle_bytes = static_cast<unsigned>(size);
  const UniqueFd found(::open_by_handle_at(fd, &handle.head, O_PATH | O_CLOEXEC));
  if (found.valid()) return true;
  if (errno == EPERM) return std::nullopt;
  return false;
}

}  // namespace layerfs
