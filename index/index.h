// SPDX-License-Identifier: Apache-2.0
// Index: the description of a tree as it lies in memory or in a mapped file — a layer's (whiteouts
// and all) or a whole image's. FORMAT.md is normative for the bytes; index_layout.h alone knows
// them.
// Immutable after Open; thread-safe. After Open no lookup can fail on the format.
//
// Invariants, checked once by Open:
//   1. Inode numbers are positions, 1 is the root, the root is a directory, 0 is nobody.
//   2. A directory's entries are sorted by name (bytes), distinct, non-empty, without '/' or NUL,
//      never "." or "..", at most 255 bytes.
//   3. Every directory but the root is the child of exactly one entry, its parent; walking parents
//      from any inode ends at the root.
//   4. Every offset, count and reference stays inside its section.
//   5. A tree (kind kTree) has no whiteouts, opaque marks, implicit directories or unresolved
//   links.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/file.h"
#include "index/chunk_ref.h"

namespace layerfs {

enum class InodeNumber : uint32_t {};
inline constexpr InodeNumber kNoInode{0};
inline constexpr InodeNumber kRootInode{1};
constexpr uint32_t ToUint(InodeNumber inode) { return static_cast<uint32_t>(inode); }

// Position of a layer in the index's layer table: 0 is the lowest.
enum class LayerNumber : uint16_t {};
constexpr uint16_t ToUint(LayerNumber layer) { return static_cast<uint16_t>(layer); }

enum class IndexKind : uint32_t { kLayer = 1, kTree = 2 };

struct Timestamp {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;  // < 1e9
  auto operator<=>(const Timestamp&) const = default;
};

// What stat(2) tells, and where the data are.
struct Inode {
  uint32_t mode = 0;  // type and permissions as st_mode has them; type 0: an unresolved link
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  Timestamp mtime;
  uint64_t size = 0;  // regular: bytes; symlink: length of the target; else 0
  dev_t rdev = 0;     // devices only (makedev)
  // Regular files: the payload is at [data_offset, data_offset + size) of the layer's tar, unless
  // the file is sparse (see Index::DataExtents).
  LayerNumber layer{0};
  uint64_t data_offset = 0;
  // Directories only.
  InodeNumber parent = kNoInode;
  uint32_t entry_count = 0;
  // Layer indexes only.
  bool implicit = false;         // a directory that the tar does not list but needs
  bool opaque = false;           // a directory that hides everything below it
  bool unresolved_link = false;  // a hard link whose target is not in this layer; see Index::Target

  bool is_directory() const { return (mode & 0170000) == 0040000; }
  bool is_regular() const { return (mode & 0170000) == 0100000; }
  bool is_symlink() const { return (mode & 0170000) == 0120000; }
};

struct Dirent {
  std::string_view name;
  InodeNumber inode = kNoInode;  // kNoInode: a whiteout (layer indexes only)
  bool is_whiteout() const { return inode == kNoInode; }
};

struct Xattr {
  std::string_view name;   // with its namespace: "user.x", "security.capability"
  std::string_view value;  // any bytes
};

// A run of a file's bytes that lie in a layer's tar. Holes between runs read as zeros.
struct DataExtent {
  uint64_t file_offset = 0;
  uint64_t tar_offset = 0;
  uint64_t size = 0;
};

// One layer of the image: whose blob the chunks of its files are in.
struct LayerInfo {
  Digest blob;             // zero in a layer index: a blob cannot hold its own digest
  uint64_t blob_size = 0;  // likewise
  Digest diff_id;          // SHA-256 of the layer's tar
  uint64_t tar_size = 0;
  uint32_t first_segment = 0;  // segments [first_segment, first_segment + segment_count)
  uint32_t segment_count = 0;
};

// A piece of the lazy chunk table: `ref` is how to get it (from the layer's blob), and the chunks
// in it cover [tar_begin, tar_end) of the layer's tar.
struct SegmentRef {
  ChunkRef ref;
  LayerNumber layer{0};
  uint64_t tar_begin = 0;
  uint64_t tar_end = 0;
};

class Index {
 public:
  // Validates `bytes` (invariants above). Errors: kCorrupt with the section and offset;
  // kUnsupported naming an unknown incompat feature or version.
  static Result<Index> Open(Bytes bytes);
  static Result<Index> Open(MappedFile file);
  Index(Index&&) noexcept;
  Index& operator=(Index&&) noexcept;
  ~Index();

  IndexKind kind() const;
  ByteSpan bytes() const;
  // Inodes are 1 … inode_count().
  uint32_t inode_count() const;
  bool Contains(InodeNumber inode) const;

  // `inode` must be contained.
  Inode Get(InodeNumber inode) const;
  // The symlink's target, or an unresolved link's path in the tar (cleaned, relative to the root).
  std::string_view Target(InodeNumber inode) const;
  // By position, 0 … entry_count - 1, in name order. `directory` must be a directory.
  Dirent EntryAt(InodeNumber directory, uint32_t position) const;
  std::optional<Dirent> Lookup(InodeNumber directory, std::string_view name) const;
  std::vector<Xattr> Xattrs(InodeNumber inode) const;
  bool HasXattrs(InodeNumber inode) const;
  std::optional<std::string_view> FindXattr(InodeNumber inode, std::string_view name) const;
  // Whether any inode has it: a walk over all attribute sets.
  bool HasXattrNamed(std::string_view name) const;
  // The runs of `inode` (regular) that overlap [offset, offset + size), clipped to it, in order.
  std::vector<DataExtent> DataExtents(InodeNumber inode, uint64_t offset, uint64_t size) const;
  bool IsSparse(InodeNumber inode) const;
  // The sum of a regular file's runs. Of a sparse file's, the first kMaxCountedRuns are counted: a
  // hostile index may have millions, and a stat asks.
  uint64_t DataBytes(InodeNumber inode) const;
  static constexpr uint32_t kMaxCountedRuns = 65536;

  std::span<const LayerInfo> layers() const;
  uint32_t segment_count() const;
  SegmentRef Segment(uint32_t number) const;
  // The number of the segment of `layer` that covers `tar_offset`; nothing where none does.
  std::optional<uint32_t> FindSegment(LayerNumber layer, uint64_t tar_offset) const;

  // Sum of the sizes of the regular files (each inode once), for statfs and for people.
  uint64_t total_file_bytes() const;

  // Gives resident pages of a mapped index back to the kernel; they come again when touched.
  void DropResident() const;

 private:
  struct State;
  explicit Index(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

// Walks `path` ("/" separated, leading and repeated slashes ignored) from the root of a tree.
// Follows symlinks inside the root where `follow_last` (always for the components before the last);
// kNotFound names the component that is missing, ELOOP after 40 links is kInvalidArgument.
Result<InodeNumber> ResolvePath(const Index& tree, std::string_view path, bool follow_last);

}  // namespace layerfs
