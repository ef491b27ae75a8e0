// SPDX-License-Identifier: Apache-2.0
// LowerSource: one read-only layer below a container layer, for LayeredFileSystem. An image's
// merged tree is one (ImageSource), a directory of this machine another (DirectorySource).
// Implementations are thread-safe. What a source shows never changes; none of the calls waits for
// the network, but for what LowerFile answers later.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

class LowerFile;  // fs/lower_file.h

// An object of one source, as that source knows it. Cheap to copy.
struct LowerObject {
  uint64_t number = 0;                           // ImageSource: the tree's inode number
  std::shared_ptr<const std::string> path = {};  // DirectorySource: relative to its root
};

// What a lookup in one directory of a source found.
struct LowerEntry {
  LowerObject object;
  mode_t type = 0;        // S_IFMT bits
  bool whiteout = false;  // the name is not there, and nothing below it shows
  // As Attributes tells them, where the lookup knows (`links`: 0 where it does not).
  uint64_t inode = 0;
  dev_t device = 0;
  uint64_t links = 0;
};

// How a directory continues in the sources below it.
struct LowerMarks {
  bool opaque = false;   // not at all
  std::string redirect;  // under another name or path (overlayfs's redirect); empty: its own name
};

class LowerSource {
 public:
  virtual ~LowerSource() = default;

  virtual LowerObject Root() const = 0;
  // The regular file with this inode number, for a partial file's origin; kCorrupt where there is
  // none, kUnsupported where allows_partial() is false.
  virtual Result<LowerObject> FileWithNumber(uint64_t number) const = 0;
  // `directory` is one. Nothing where the source does not have the name.
  virtual Result<std::optional<LowerEntry>> Lookup(const LowerObject& directory,
                                                   std::string_view name) const = 0;
  // Whiteouts included. Order is the source's own. Stops when `each` returns false.
  using EachEntry = std::function<bool(std::string_view name, const LowerEntry& entry)>;
  virtual Status List(const LowerObject& directory, const EachEntry& each) const = 0;
  // st_ino is unique within the source and stable; st_dev is the source's device or 0.
  virtual Result<struct stat> Attributes(const LowerObject& object) const = 0;
  virtual Result<LowerMarks> Marks(const LowerObject& directory) const = 0;
  // Of an object of a plain directory, and whether there is one with that identity
  // (object_identity.h). An image's inode numbers are identity enough: empty, and yes.
  virtual std::string Identity(const LowerObject& object) const = 0;
  virtual std::optional<bool> HasIdentity(const std::string& identity) const = 0;
  // From the source's root, "/"-separated, with a leading "/"; the root's is "/".
  virtual std::string PathOf(const LowerObject& directory) const = 0;
  // One of the paths, as PathOf's, of the object with this inode number; nothing where the source
  // would have to search for it.
  virtual std::optional<std::string> PathOfNumber(uint64_t number) const = 0;

  virtual Result<std::string> ReadLink(const LowerObject& symlink) const = 0;
  // Without private names (overlay_marks.h). Nothing where there is none.
  virtual Result<std::optional<std::string>> GetXattr(const LowerObject& object,
                                                      std::string_view name) const = 0;
  virtual Result<std::vector<std::string>> ListXattrs(const LowerObject& object) const = 0;

  // A regular file's content.
  virtual Result<std::shared_ptr<LowerFile>> Open(const LowerObject& file) const = 0;
  // Whether a copy-up may leave data behind (fs/partial_file.h); else it copies the file whole.
  virtual bool allows_partial() const = 0;
};

}  // namespace layerfs
