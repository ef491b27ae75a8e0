// SPDX-License-Identifier: Apache-2.0
// A push parser for tar streams: ustar, GNU (long names, base-256 numbers, sparse) and PAX (path,
// linkpath, size, uid, gid, mtime, SCHILY.xattr.*, LIBARCHIVE.xattr.*, SCHILY.acl.*, GNU.sparse
// 0.0, 0.1 and 1.0). It tells where each payload lies in the stream to the byte, which the index is
// made of; libarchive does not say that for sparse files and PAX extensions, and translates names.
// Global PAX headers say nothing about any entry, as for Docker, containerd and Podman: Go's
// archive/tar hands them on by themselves, and their unpackers pass over them, as libarchive does.
// GNU tar takes them for defaults of what follows, and umoci refuses them.
// Facts: POSIX.1-2017 pax; GNU tar manual, "Tar Internals"; oci-image-spec layer.md.
// One thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

enum class TarEntryType {
  kRegular,
  kHardLink,
  kSymlink,
  kCharDevice,
  kBlockDevice,
  kDirectory,
  kFifo,
};

struct TarEntry {
  TarEntryType type = TarEntryType::kRegular;
  std::string path;          // as the tar has it, any bytes but NUL; not cleaned
  std::string link_target;   // hard links and symlinks
  uint32_t permissions = 0;  // 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  Timestamp mtime;
  dev_t rdev = 0;
  uint64_t size = 0;  // of the file as one reads it (sparse files: holes included)
  std::vector<std::pair<std::string, std::string>> xattrs;  // name with namespace → value

  uint64_t header_offset = 0;  // of the entry's first block, extension headers included
  uint64_t data_offset = 0;    // of the payload; for PAX 1.0 sparse behind the map
  uint64_t data_size = 0;      // bytes of the payload in the tar, without padding
  bool sparse = false;
  std::vector<DataExtent> extents;  // sparse only: in file order, tar offsets absolute
};

// Limits against hostile archives; beyond one is kTooLarge with the entry's offset.
struct TarLimits {
  uint64_t extension_bytes = uint64_t{1}
                             << 20;  // one PAX or GNU long-name payload (and the sum of an entry's)
  uint64_t path_bytes = 65536;
  uint64_t sparse_extents = 1'000'000;
  uint64_t padding_after_end = uint64_t{1} << 20;  // zero blocks after the end-of-archive marker
};

class TarParser {
 public:
  // `on_entry` is called once per entry, when its headers are complete and before Feed has passed
  // its data_offset; an error it returns ends the parsing with that error.
  using OnEntry = std::function<Status(TarEntry&&)>;
  explicit TarParser(OnEntry on_entry, TarLimits limits = {});
  ~TarParser();

  // The next bytes of the stream, any amount. Errors name the tar offset: "tar offset 1024: …".
  Status Feed(ByteSpan bytes);
  // The stream is over. An entry cut short is kCorrupt; a missing end marker is accepted.
  Status Finish();

  uint64_t offset() const;  // bytes fed so far

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerfs
