// SPDX-License-Identifier: Apache-2.0
// LayerNode: one inode of a LayeredFileSystem that the kernel knows, and NodeTable: all of them.
// A node says where its object is: in the upper directory, by a name in its parent (never by a
// path), and in the sources below.
// NodeTable is thread-safe. A node's fields are guarded by LayerTree's lock, where nothing else is
// said.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "fs/lower_source.h"
#include "fs/reply.h"
#include "index/base/file.h"
#include "index/base/synchronized.h"

namespace layerfs {

using SharedFd = std::shared_ptr<const UniqueFd>;

struct LowerRef {
  uint32_t source = 0;  // position in the stack
  LowerObject object;
};

struct LayerNode;
using NodePtr = std::shared_ptr<LayerNode>;

struct LayerNode {
  NodeId id = 0;
  uint64_t st_ino = 0;
  mode_t type = 0;  // S_IFMT bits
  // Tells it from others that have had, or will have, its id: a file handle is good for one of them
  // (linux fs/fuse/inode.c, fuse_get_dentry). 0 where the id comes from below: nothing there goes.
  uint32_t generation = 0;

  // One of its names; a file may have others. Null for the root, and where no name is known.
  NodePtr parent;
  std::string name;
  bool has_upper = false;
  bool indexed = false;  // the upper object is found in index/, by st_ino
  bool partial = false;  // of the upper file's bytes, some may still be below
  bool dead = false;     // it has no name any more, for good (or not yet: O_TMPFILE)
  // A directory's merged ones, the topmost first; of another object the one that shows, or shows
  // through a partial file.
  std::vector<LowerRef> lowers;
  SharedFd pinned;  // O_PATH: the upper object where no name is known

  // Learned when first asked for; set back by what changes them.
  enum class Known : uint8_t { kUnknown, kNo, kYes };
  std::atomic<Known> default_acl{Known::kUnknown};
  std::atomic<int64_t> subdirectories{-1};

  bool is_directory() const { return S_ISDIR(type); }
  bool is_regular() const { return S_ISREG(type); }

 private:
  friend class NodeTable;
  // Guarded by the table.
  uint64_t lookups_ = 0;
  uint64_t children_ = 0;  // nodes whose `parent` this is: they keep it in the table
};

class NodeTable {
 public:
  explicit NodeTable(NodePtr root);

  // Null where the kernel does not know it.
  NodePtr Find(NodeId id) const;
  // The node with `made->id` that is known, or `made`; the kernel's lookups are one more.
  NodePtr Adopt(const NodePtr& made);
  void Forget(NodeId id, uint64_t lookups);
  // Under LayerTree's exclusive lock. `parent` null: no name is known.
  void SetName(const NodePtr& node, NodePtr parent, std::string name);
  size_t size() const;

 private:
  using Nodes = std::unordered_map<NodeId, NodePtr>;
  static void Release(Nodes& nodes, NodePtr node, std::vector<NodePtr>& released);
  Synchronized<Nodes> nodes_;
};

}  // namespace layerfs
