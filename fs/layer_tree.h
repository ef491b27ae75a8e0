// SPDX-License-Identifier: Apache-2.0
// LayerTree: the names and inodes of a LayeredFileSystem: what the upper directory and the sources
// below it look like merged, and every change of that. No data but whole copy-ups from directories.
// Thread-safe, as follows.
//
// Locking: whoever calls a const method holds lock() at least shared, for others exclusively, where
// nothing else is said. It is held over local metadata calls, as the kernel holds a directory's
// lock over them; never over data or the network.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "fs/caller_identity.h"
#include "fs/container_layer.h"
#include "fs/file_system.h"
#include "fs/id_map.h"
#include "fs/layer_node.h"
#include "fs/lower_source.h"
#include "fs/namespace_ids.h"
#include "fs/partial_map.h"
#include "fs/upper_numbers.h"
#include "index/base/lru_map.h"
#include "index/base/synchronized.h"

namespace layerfs {

// Where an upper object is: a name in an open directory, or (empty name) an open object itself.
struct UpperPlace {
  SharedFd fd;
  std::string name;

  int directory() const { return fd->get(); }
  ObjectPath path() const {
    return name.empty() ? PathOfDescriptor(fd->get()) : PathOfName(fd->get(), name);
  }
};

// What a name in a directory leads to.
struct Child {
  bool exists = false;
  bool whiteout = false;  // an upper object of that name says that it does not exist
  bool hides = false;     // so does a file beside it (overlay_marks.h)
  NodePtr made;           // exists: the node that the table has for it, or a new one
  std::optional<struct stat> upper;
};

class LayerTree {
 public:
  struct Options {
    bool redirect_dir = true;
    bool follow_redirects = true;
    bool static_nlink = false;
    std::optional<uid_t> squash_uid;
    std::optional<gid_t> squash_gid;
    IdMap uids;
    IdMap gids;
    NamespaceIds ids;
  };
  static Result<std::unique_ptr<LayerTree>> Make(std::optional<ContainerLayer> layer,
                                                 std::vector<std::unique_ptr<LowerSource>> sources,
                                                 Options options);

  std::shared_mutex& lock() const { return lock_; }
  bool writable() const { return layer_.has_value(); }
  NodePtr Find(NodeId id) const { return nodes_->Find(id); }                 // without the lock
  void Forget(NodeId id, uint64_t lookups) { nodes_->Forget(id, lookups); }  // without the lock
  size_t node_count() const { return nodes_->size(); }
  // Before the first operation: `changed` is called, with the lock held, for each directory whose
  // attributes a copy-up in it or of it changes (the ctime: nobody can set one).
  void SetOnChangedDirectory(std::function<void(NodeId)> changed) {
    on_changed_directory_ = std::move(changed);
  }
  const std::shared_ptr<PartialMaps>& partial_maps() const { return maps_; }

  // --- Reading (layer_tree.cc, layer_lookup.cc) ---
  Result<Child> Lookup(const NodePtr& parent, std::string_view name) const;
  // The kernel gets to know the child.
  NodePtr Adopt(const Child& child) const { return nodes_->Adopt(child.made); }
  // Without the lock: an inode that the kernel has forgotten, by its number, as a file handle names
  // it (layer_find.cc); the kernel gets to know it. Null where no name leads to it.
  NodePtr FindAgain(NodeId id) const;
  // As a caller sees them. `upper`: the upper object's own, where they are at hand.
  Result<struct stat> Attributes(const LayerNode& node, const struct stat* upper = nullptr) const;
  struct ListedEntry {
    std::string_view name;
    uint64_t st_ino = 0;
    mode_t type = 0;
  };
  // kNames: without looking at each upper object. A Lookup may then not find what is a whiteout,
  // and the number is the upper object's own, whatever it was copied up from.
  enum class Listing { kExact, kNames };
  // Stops when `each` returns false.
  using EachEntry = std::function<bool(const ListedEntry& entry)>;
  Status List(const LayerNode& directory, Listing listing, const EachEntry& each) const;
  // The node of an entry that List has named, where its object is an upper one with one name and
  // the kernel knows it; else null. No I/O.
  NodePtr KnownListed(const NodePtr& directory, std::string_view name, uint64_t number) const;
  Result<UpperPlace> Place(const LayerNode& node) const;
  Result<UniqueFd> OpenUpper(const LayerNode& node, int flags) const;
  Result<std::string> ReadLink(const LayerNode& node) const;
  Result<std::optional<std::string>> GetXattr(const LayerNode& node, std::string_view name) const;
  Result<std::vector<std::string>> ListXattrs(const LayerNode& node) const;
  Result<std::shared_ptr<LowerFile>> OpenLower(const LayerNode& node) const;
  Result<struct statvfs> Statistics() const;

  // --- Copy-up (layer_copy_up.cc) ---
  // Without the lock: the node has an upper object afterwards. `truncate`: its bytes are not
  // wanted.
  Status EnsureUpper(const NodePtr& node, bool truncate = false);

  // --- Changes (layer_create.cc, layer_remove.cc, layer_rename.cc) ---
  // The new node, which the kernel knows from here on.
  struct Made {
    NodePtr node;
    struct stat upper{};  // the upper object's own
    UniqueFd file;        // open for reading and writing, of Create
  };
  struct NewObject {
    mode_t mode = 0;  // type and permissions, before the umask
    dev_t device = 0;
    std::string_view target = {};  // of a symlink
  };
  Result<Made> Create(const Caller& caller, const NodePtr& parent, std::string_view name,
                      const NewObject& object);
  Result<Made> CreateUnnamed(const Caller& caller, const NodePtr& parent, mode_t mode);
  Status Link(const NodePtr& node, const NodePtr& parent, std::string_view name);
  // What became of an object that lost a name: `node` where the kernel knows it; the map that
  // nobody needs any more, to be removed when nobody has the file open.
  struct Removed {
    NodePtr node;
    std::string map;
  };
  Result<Removed> Unlink(const NodePtr& parent, std::string_view name);
  Result<Removed> RemoveDirectory(const NodePtr& parent, std::string_view name);
  Result<Removed> Rename(const NodePtr& parent, std::string_view name, const NodePtr& new_parent,
                         std::string_view new_name, unsigned flags);
  // All but the size. EnsureUpper came before.
  Status SetAttributes(const LayerNode& node, const AttributeChange& change);
  // Drops capabilities as any write does, and of one by `user` (null: who may set them) setuid and
  // setgid; the latter stays where the group may not execute the file and he is of it. Whether any
  // is left.
  Result<bool> DropPrivileges(const LayerNode& node, const Caller* user);
  Status SetXattr(const LayerNode& node, const std::string& name, std::string_view value,
                  int flags);
  Status RemoveXattr(const LayerNode& node, const std::string& name);

 private:
  LayerTree(std::optional<ContainerLayer> layer, std::vector<std::unique_ptr<LowerSource>> sources,
            Options options);
  Status Start();

  // Reading.
  bool image_below() const { return image_below_; }
  uint64_t KeyOf(dev_t device, uint64_t inode) const;
  uint64_t UpperKey(const struct stat& attributes) const;
  uint64_t LowerKey(const LowerEntry& entry) const;
  static NodeId IdOf(uint64_t key) { return key == kRootNode ? kRootNode | kAliasBit : key; }
  Result<SharedFd> DirectoryFd(const LayerNode& directory) const;
  Result<std::optional<std::string>> LowerXattr(const LayerNode& node, std::string_view name) const;
  // An attribute's value as this namespace can have it.
  std::optional<std::string> XattrHere(std::string_view name,
                                       std::optional<std::string> value) const;
  Result<std::optional<ListedEntry>> LookAt(const LayerNode& directory, int fd,
                                            const char* name) const;
  Result<bool> IsUpperWhiteout(const ObjectPath& object, bool marked,
                               const struct stat& attributes) const;
  Result<std::vector<LowerRef>> LookupBelow(const std::vector<LowerRef>& parents,
                                            std::string_view name, LowerEntry* first) const;
  Status CheckRedirect(const std::string& redirect) const;
  Result<std::vector<LowerRef>> LookupRedirect(const std::vector<LowerRef>& parents,
                                               const std::string& redirect,
                                               LowerEntry* first) const;
  Result<std::optional<LowerEntry>> Walk(const LowerSource& source, std::string_view path) const;
  Status MergeBelow(const LowerEntry& entry, uint32_t source, std::vector<LowerRef>& found,
                    std::string& name, bool& ends) const;
  NodePtr AdoptAt(std::string_view path, NodeId id) const;
  NodePtr AdoptInside(const NodePtr& directory, NodeId id, std::vector<NodePtr>& found) const;
  Result<std::optional<uint64_t>> NumberFromBelow(const LayerNode& parent, std::string_view name,
                                                  const ObjectPath& object, bool marked,
                                                  const struct stat& attributes) const;
  std::optional<bool> IsBelow(const std::string& identity) const;
  bool IsIndexed(uint64_t number, const struct stat& upper) const;
  Result<bool> HasNameBelow(const Origin& origin, const LayerNode& parent,
                            std::string_view name) const;
  Result<bool> ShowsBelow(const LayerNode& parent, std::string_view name) const;
  NodePtr KnownUpper(const NodePtr& parent, std::string_view name,
                     const struct stat& attributes) const;
  Status FillUpper(const LayerNode& parent, const std::string& name, const SharedFd& directory,
                   bool marked, Child& child) const;
  Status FillLower(const NodePtr& parent, std::string_view name, Child& child) const;
  // With the owner and mode that its mark says, before any mapping. `upper`: its own, if at hand.
  Result<struct stat> UpperAttributes(const UpperPlace& place, const struct stat* upper) const;
  Result<uint64_t> CountLinks(const UpperPlace& place, const struct stat& upper) const;
  Result<uint64_t> CountSubdirectories(const LayerNode& node) const;

  // Copy-up.
  struct Copied;  // data that were copied without the lock
  Result<Copied> CopyData(const LayerNode& node) const;
  Status CopyUp(const NodePtr& node, Copied* copied, bool truncate);
  Status CopyUpOne(const NodePtr& node, Copied* copied, bool truncate);
  Status CopyUpFile(const NodePtr& node, const struct stat& attributes, Copied* copied,
                    bool truncate);
  Status CopyUpNamed(const NodePtr& node, const struct stat& attributes);
  Status CopyAttributes(const LayerNode& node, const struct stat& attributes,
                        const ObjectPath& target) const;
  Status GiveName(const NodePtr& node, const ObjectPath& built);
  Status NoteNumber(const LayerNode& node) const;
  Status EnsureAlias(const NodePtr& node, const NodePtr& parent, std::string_view name);
  Status StartLinkChange(const LayerNode& node);
  bool CanMark(mode_t type) const;
  // Whether the mark of an upper object of that type, or that it has none, says all of its number:
  // nothing of an image changes unseen.
  bool IsMarkCertain(mode_t type) const;
  // Whether it has several names below that a copy-up of one could not keep together.
  Result<bool> WouldSplit(const LayerNode& node) const;
  std::string TemporaryName() const;
  Status RestoreTimes(const LayerNode& directory, int fd, const struct stat& before) const;

  // Changes.
  struct Target {  // where a new name goes
    SharedFd directory;
    std::string name;
    bool whiteout = false;  // there is one in its place
    bool hides = false;     // a file beside it is one
  };
  Result<Target> NewName(const NodePtr& parent, std::string_view name);
  Result<mode_t> Masked(const Caller& caller, const LayerNode& parent, mode_t mode) const;
  mode_t RealMode(mode_t mode) const;
  Status ChangeModeOfAcl(const ObjectPath& target, mode_t mode) const;
  Status TakeModeOfAcl(const UpperPlace& place) const;
  Status MakeObject(const Caller& caller, int directory, const std::string& name,
                    const NewObject& object, UniqueFd* file) const;
  CallerIdentity MakerOf(const Caller& caller) const;
  Result<std::string> NewOverrideStat(const Caller& caller, const LayerNode& parent,
                                      const NewObject& object) const;
  Status Replace(const Caller& caller, const LayerNode& directory, const Target& target,
                 const NewObject& object, UniqueFd* file) const;
  Status MoveIntoPlace(int from, const std::string& name, const Target& target,
                       bool is_directory) const;
  Status AdoptNew(const NodePtr& parent, const Target& target, mode_t type, Made& made);
  Status MakeWhiteout(const LayerNode& parent, int directory, const std::string& name) const;
  Status LinkWhiteout(int directory, const std::string& name) const;
  Status CoverByWhiteout(const LayerNode& parent, int directory, const std::string& name,
                         bool is_directory) const;
  Status SetOpaque(const ObjectPath& directory) const;
  // The node that the kernel knows for what a lookup found.
  NodePtr Known(const Child& child) const;
  // Before a name goes; `node` may stay reachable for those who have it open.
  struct Loss {
    Removed removed;
    bool last = false;            // no name is left
    bool named = false;           // it is the name by which the node is found
    std::optional<uint64_t> key;  // the upper object's, which may have a number in numbers_
  };
  Result<Loss> BeforeLoss(const NodePtr& node, const NodePtr& parent, std::string_view name);
  Status AfterLoss(const Loss& loss);
  Status Pin(const NodePtr& node) const;
  Status RemoveUpperDirectory(int directory, const std::string& name) const;
  Result<bool> IsEmpty(const LayerNode& directory) const;
  Status ClearWhiteouts(const LayerNode& directory);
  Status MarkMoved(const LayerNode& node, const NodePtr& new_parent, std::string_view new_name);
  void MovedTo(const NodePtr& node, const NodePtr& parent, std::string_view name);
  Status ExchangeNames(const NodePtr& parent, std::string_view name, const NodePtr& node,
                       const NodePtr& new_parent, std::string_view new_name,
                       const NodePtr& new_node);
  Status MoveName(const NodePtr& node, const NodePtr& parent, const std::string& name,
                  const Target& target);
  static void CountSubdirectory(LayerNode& parent, int change);

  static constexpr uint64_t kAliasBit = uint64_t{1} << 63;
  // What an inode of the upper directory is moved by where an image's numbers lie below.
  static constexpr uint64_t kUpperInodeBase = uint64_t{1} << 32;

  mutable std::shared_mutex lock_;
  std::function<void(NodeId)> on_changed_directory_ = [](NodeId) {};
  std::optional<ContainerLayer> layer_;
  const std::vector<std::unique_ptr<LowerSource>> sources_;
  const Options options_;
  std::shared_ptr<PartialMaps> maps_;
  std::unique_ptr<NodeTable> nodes_;
  SharedFd upper_fd_;
  dev_t upper_device_ = 0;
  SharedFd index_fd_;
  bool image_below_ = false;
  mutable UpperNumbers numbers_;
  mutable std::atomic<bool> index_used_{false};
  mutable std::atomic<uint64_t> next_temporary_{0};
  // All whiteouts are links to one in work/, as overlayfs makes them; under the exclusive lock.
  mutable std::string shared_whiteout_;
  mutable Synchronized<std::vector<dev_t>> devices_;
  mutable Synchronized<LruMap<NodeId, SharedFd>> directory_fds_;
};

}  // namespace layerfs
