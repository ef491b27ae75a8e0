// SPDX-License-Identifier: Apache-2.0
#include "fs/object_generation.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <span>

#include "index/base/xxh3.h"

namespace layerfs {

uint32_t GenerationOf(int fd, const std::string& name) {
  struct {
    file_handle head{};
    uint8_t bytes[MAX_HANDLE_SZ]{};
  } handle;
  handle.head.handle_bytes = sizeof handle.bytes;
  int mount = 0;
  if (::name_to_handle_at(fd, name.c_str(), &handle.head, &mount, AT_EMPTY_PATH) == 0) {
    return static_cast<uint32_t>(Xxh3(std::span(handle.bytes).first(handle.head.handle_bytes)));
  }
  struct statx attributes{};
  if (::statx(fd, name.c_str(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BTIME, &attributes) !=
      0) {
    return 0;
  }
  const int64_t born[] = {attributes.stx_btime.tv_sec, attributes.stx_btime.tv_nsec};
  return static_cast<uint32_t>(Xxh3({reinterpret_cast<const uint8_t*>(born), sizeof born}));
}

}  // namespace layerfs
