// SPDX-License-Identifier: Apache-2.0
// LayerTree: what a name leads to, and what a directory holds, merged.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "fs/layer_tree.h"
#include "fs/object_identity.h"
#include "index/base/directory_stream.h"

namespace layerfs {
namespace {}  // namespace

// `marked`: whether the object has marks.
Result<bool> LayerTree::IsUpperWhiteout(const ObjectPath& object, bool marked,
                                        const struct stat& attributes) const {
  if (IsWhiteoutDevice(attributes)) return true;
  if (!marked || !S_ISREG(attributes.st_mode) || attributes.st_size != 0) return false;
  return HasWhiteoutXattr(object);
}

// Where nobody knows who has made the layers, a redirect could show what is to be hidden.
Status LayerTree::CheckRedirect(const std::string& redirect) const {
  if (redirect.empty() || options_.follow_redirects) return {};
  return FailErrno("redirect to " + redirect, EPERM);
}

// What one source adds to a merge; `ends` where nothing below it counts, `name` where the sources
// below have it under another one.
Status LayerTree::MergeBelow(const LowerEntry& entry, uint32_t source, std::vector<LowerRef>& found,
                             std::string& name, bool& ends) const {
  const bool is_directory = S_ISDIR(entry.type);
  ends = entry.whiteout || !is_directory;
  if (entry.whiteout || (!is_directory && !found.empty())) return {};
  found.push_back({source, entry.object});
  if (!is_directory || sources_.size() == source + 1) return {};
  LAYERFS_TRY(marks, sources_[source]->Marks(entry.object));
  LAYERFS_CHECK_OK(CheckRedirect(marks.redirect));
  ends = marks.opaque;
  if (!marks.redirect.empty()) name = std::move(marks.redirect);
  return {};
}

Result<std::vector<LowerRef>> LayerTree::LookupBelow(const std::vector<LowerRef>& parents,
                                                     std::string_view name,
                                                     LowerEntry* first) const {
  std::vector<LowerRef> found;
  std::string current(name);
  for (size_t i = 0; i < parents.size(); ++i) {
    const uint32_t source = parents[i].source;
    LAYERFS_TRY(entry, sources_[source]->Lookup(parents[i].object, current));
    if (!entry.has_value()) continue;
    if (found.empty()) *first = *entry;
    bool ends = false;
    LAYERFS_CHECK_OK(MergeBelow(*entry, source, found, current, ends));
    if (ends) break;
    if (current.starts_with('/')) {
      LowerEntry ignored;
      const std::vector<LowerRef> rest(parents.begin() + static_cast<ptrdiff_t>(i) + 1,
                                       parents.end());
      LAYERFS_TRY(more, LookupRedirect(rest, current, &ignored));
      found.insert(found.end(), more.begin(), more.end());
      break;
    }
  }
  return found;
}

Result<std::optional<LowerEntry>> LayerTree::Walk(const LowerSource& source,
                                                  std::string_view path) const {
  LowerEntry at;
  at.object = source.Root();
  at.type = S_IFDIR;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (name.empty()) continue;
    LAYERFS_TRY(entry, source.Lookup(at.object, name));
    if (!entry.has_value() || entry->whiteout) return entry;
    if (!S_ISDIR(entry->type) && !path.empty()) return std::nullopt;
    at = *entry;
  }
  return at;
}

// `redirect` is a name in the parents or a path from the roots; `parents` says which sources count.
Result<std::vector<LowerRef>> LayerTree::LookupRedirect(const std::vector<LowerRef>& parents,
                                                        const std::string& redirect,
                                                        LowerEntry* first) const {
  if (!redirect.starts_with('/')) return LookupBelow(parents, redirect, first);
  std::vector<LowerRef> found;
  std::string path = redirect;
  const uint32_t begin = parents.empty() ? 0 : parents.front().source;
  for (uint32_t source = begin; source < sources_.size(); ++source) {
    LAYERFS_TRY(entry, Walk(*sources_[source], path));
    if (!entry.has_value()) continue;
    if (found.empty()) *first = *entry;
    std::string name;
    bool ends = false;
    LAYERFS_CHECK_OK(MergeBelow(*entry, source, found, name, ends));
    if (ends) break;
    if (name.starts_with('/')) path = name;
    if (!name.empty() && name[0] != '/') path = path.substr(0, path.rfind('/') + 1) + name;
  }
  return found;
}

Result<bool> LayerTree::ShowsBelow(const LayerNode& parent, std::string_view name) const {
  if (parent.lowers.empty()) return false;
  LowerEntry first;
  LAYERFS_TRY(found, LookupBelow(parent.lowers, name, &first));
  return !found.empty();
}

// The node that the kernel knows for the upper object of that name. A known node is where its name
// says (only this tree changes names while it is mounted), so its marks, and what tells it from
// others of its number, were read when it was made. Null where that has to be seen: an object that
// came from below has the number of another.
NodePtr LayerTree::KnownUpper(const NodePtr& parent, std::string_view name,
                              const struct stat& attributes) const {
  NodePtr node = nodes_->Find(IdOf(UpperKey(attributes)));
  const bool is_it = node != nullptr && node->has_upper && !node->dead && !node->indexed &&
                     node->parent == parent && node->name == name;
  return is_it ? node : nullptr;
}

NodePtr LayerTree::KnownListed(const NodePtr& directory, std::string_view name,
                               uint64_t number) const {
  if (!directory->has_upper) return nullptr;
  struct stat attributes{};
  attributes.st_dev = upper_device_;
  attributes.st_ino = number;
  return KnownUpper(directory, name, attributes);
}

Result<Child> LayerTree::Lookup(const NodePtr& parent, std::string_view name) const {
  Child child;
  if (parent->dead || (!image_below() && name.starts_with(kWhiteoutPrefix))) return child;
  if (parent->has_upper) {
    LAYERFS_TRY(directory, DirectoryFd(*parent));
    struct stat attributes{};
    const std::string terminated(name);
    if (::fstatat(directory->get(), terminated.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) == 0) {
      child.made = KnownUpper(parent, name, attributes);
      child.exists = child.made != nullptr;
      if (child.exists) {
        child.upper = attributes;
        return child;
      }
      const ObjectPath object = PathOfName(directory->get(), terminated);
      LAYERFS_TRY(marked, HasMarks(object));
      LAYERFS_TRY(whiteout, IsUpperWhiteout(object, marked, attributes));
      child.whiteout = whiteout;
      if (whiteout) return child;
      child.upper = attributes;
      LAYERFS_CHECK_OK(FillUpper(*parent, terminated, directory, marked, child));
      child.made->parent = parent;
      child.made->name = terminated;
      return child;
    }
    if (errno != ENOENT) return FailErrno(name, errno);
    child.hides =
        !image_below() && !parent->lowers.empty() && HasWhiteoutFile(directory->get(), name);
    if (child.hides) return child;
  }
  if (!parent->lowers.empty()) LAYERFS_CHECK_OK(FillLower(parent, name, child));
  return child;
}

// Whether the object with that identity is below still. Nothing where that cannot be asked.
std::optional<bool> LayerTree::IsBelow(const std::string& identity) const {
  if (identity.empty()) return std::nullopt;
  for (const auto& source : sources_) {
    const auto has = source->HasIdentity(identity);
    if (has != false) return has;
  }
  return false;
}

// As far as can be seen without: an upper object of that name is where it was.
Result<bool> LayerTree::HasNameBelow(const Origin& origin, const LayerNode& parent,
                                     std::string_view name) const {
  if (parent.lowers.empty()) return false;
  LowerEntry first;
  LAYERFS_TRY(lowers, LookupBelow(parent.lowers, name, &first));
  if (lowers.empty() || LowerKey(first) != origin.number) return false;
  return origin.identity.empty() ||
         sources_[lowers[0].source]->Identity(first.object) == origin.identity;
}

// Whether an upper object is found in index/ by that number, as its names below find it.
bool LayerTree::IsIndexed(uint64_t number, const struct stat& upper) const {
  if (S_ISDIR(upper.st_mode) || upper.st_nlink <= 1) return false;
  struct stat indexed{};
  return ::fstatat(layer_->index(), std::to_string(number).c_str(), &indexed,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
         indexed.st_ino == upper.st_ino;
}

// The number of what an upper object was copied up from, if that is there still. Plain directories
// may change while nobody has them mounted, or be copied: then the number may be another's, and two
// objects with one would be one. While they are mounted it stays what it was at first.
Result<std::optional<uint64_t>> LayerTree::NumberFromBelow(const LayerNode& parent,
                                                           std::string_view name,
                                                           const ObjectPath& object, bool marked,
                                                           const struct stat& attributes) const {
  if (sources_.empty()) return std::nullopt;
  std::optional<Origin> origin;
  if (marked) {
    LAYERFS_TRY(read, ReadOrigin(object));
    origin = std::move(read);
  }
  if (origin.has_value() && image_below()) return origin->number;
  if (IsMarkCertain(attributes.st_mode)) return std::nullopt;
  const uint64_t own = UpperKey(attributes);
  const auto noted = numbers_.Find(own);
  if (noted.has_value()) return *noted == own ? std::nullopt : noted;
  if (!origin.has_value()) return std::nullopt;
  const std::optional<bool> is_below = IsBelow(origin->identity);
  bool is_copy = is_below == true;
  if (!is_below.has_value()) {
    LAYERFS_TRY(has_name, HasNameBelow(*origin, parent, name));
    is_copy = has_name || IsIndexed(origin->number, attributes);
    numbers_.Put(own, is_copy ? origin->number : own);
  }
  return is_copy ? std::optional(origin->number) : std::nullopt;
}

Status LayerTree::FillUpper(const LayerNode& parent, const std::string& name,
                            const SharedFd& directory, bool marked, Child& child) const {
  child.exists = true;
  child.made = std::make_shared<LayerNode>();
  LayerNode& node = *child.made;
  const ObjectPath path = PathOfName(directory->get(), name);
  node.type = child.upper->st_mode & S_IFMT;
  node.has_upper = true;
  node.st_ino = UpperKey(*child.upper);
  if (marked && layer_->form().override_stat) {
    // Devices, and what else a user cannot make, are files with a mark.
    LAYERFS_TRY(text, ReadXattr(path, kOverrideStatXattr));
    struct stat shown = *child.upper;
    if (text.has_value()) LAYERFS_CHECK_OK_IN(ApplyOverrideStat(*text, shown), name);
    node.type = shown.st_mode & S_IFMT;
  }
  LAYERFS_TRY(from_below, NumberFromBelow(parent, name, path, marked, *child.upper));
  const std::optional<uint64_t> origin = from_below;
  if (origin.has_value()) {
    node.st_ino = *origin;
  } else {
    node.generation = GenerationOf(directory->get(), name);
  }
  node.id = IdOf(node.st_ino);
  if (sources_.empty()) return {};
  if (node.is_directory()) {
    std::string redirect;
    if (marked) {
      LAYERFS_TRY(opaque, ReadOpaque(path));
      if (opaque == OpaqueMark::kOpaque) return {};
      LAYERFS_TRY(elsewhere, ReadRedirect(path));
      redirect = std::move(elsewhere);
    }
    struct stat file{};
    if (!image_below() && ::fstatat(directory->get(), (name + "/" + kOpaqueFile).c_str(), &file,
                                    AT_SYMLINK_NOFOLLOW) == 0) {
      return {};
    }
    LAYERFS_CHECK_OK(CheckRedirect(redirect));
    if (parent.lowers.empty() && !redirect.starts_with('/')) return {};
    LowerEntry first;
    LAYERFS_TRY(lowers, redirect.empty() ? LookupBelow(parent.lowers, name, &first)
                        : redirect.starts_with('/')
                            ? LookupRedirect({}, redirect, &first)
                            : LookupRedirect(parent.lowers, redirect, &first));
    if (!lowers.empty() && S_ISDIR(first.type)) node.lowers = std::move(lowers);
    return {};
  }
  if (!origin.has_value()) return {};
  node.indexed = IsIndexed(*origin, *child.upper);
  if (!node.is_regular() || maps_ == nullptr) return {};
  LAYERFS_TRY(map, ReadXattr(path, maps_->xattr_name()));
  if (!map.has_value()) return {};
  node.partial = true;
  LAYERFS_TRY_IN(lower, sources_[0]->FileWithNumber(*origin), name);
  node.lowers.push_back({0, std::move(lower)});
  return {};
}

Status LayerTree::FillLower(const NodePtr& parent, std::string_view name, Child& child) const {
  LowerEntry first;
  LAYERFS_TRY(lowers, LookupBelow(parent->lowers, name, &first));
  if (lowers.empty()) return {};
  child.exists = true;
  child.made = std::make_shared<LayerNode>();
  LayerNode& node = *child.made;
  node.type = first.type;
  node.st_ino = LowerKey(first);
  node.id = IdOf(node.st_ino);
  node.parent = parent;
  node.name = name;
  node.lowers = std::move(lowers);
  if (node.is_directory() || first.links <= 1 || !layer_.has_value()) return {};
  // Copied up by another of its names.
  struct stat indexed{};
  const std::string number = std::to_string(node.st_ino);
  if (::fstatat(layer_->index(), number.c_str(), &indexed, AT_SYMLINK_NOFOLLOW) != 0) return {};
  LAYERFS_TRY(origin, ReadOrigin(PathOfName(layer_->index(), number)));
  const bool of_another =
      origin.has_value() && !origin->identity.empty() &&
      origin->identity != sources_[node.lowers[0].source]->Identity(first.object);
  if (of_another) return {};
  node.has_upper = true;
  node.indexed = true;
  child.upper = indexed;
  if (!node.is_regular() || maps_ == nullptr) return {};
  LAYERFS_TRY(map, ReadXattr(PathOfName(layer_->index(), std::to_string(node.st_ino)),
                             maps_->xattr_name()));
  node.partial = map.has_value();
  return {};
}

// An upper object as it shows; nothing where it is a whiteout, or has just gone.
Result<std::optional<LayerTree::ListedEntry>> LayerTree::LookAt(const LayerNode& directory, int fd,
                                                                const char* name) const {
  // A number is another where the object came from below, and a device may be a whiteout.
  struct stat attributes{};
  if (::fstatat(fd, name, &attributes, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  const ObjectPath object = PathOfName(fd, name);
  LAYERFS_TRY(marked, HasMarks(object));
  LAYERFS_TRY(whiteout, IsUpperWhiteout(object, marked, attributes));
  if (whiteout) return std::nullopt;
  LAYERFS_TRY(number, NumberFromBelow(directory, name, object, marked, attributes));
  const uint64_t shown = number.value_or(UpperKey(attributes));
  if (marked && layer_->form().override_stat && S_ISREG(attributes.st_mode)) {
    LAYERFS_TRY(text, ReadXattr(object, kOverrideStatXattr));
    if (text.has_value()) LAYERFS_CHECK_OK_IN(ApplyOverrideStat(*text, attributes), name);
  }
  return ListedEntry{name, shown, attributes.st_mode & S_IFMT};
}

Status LayerTree::List(const LayerNode& directory, Listing listing, const EachEntry& each) const {
  if (directory.dead) return {};
  std::unordered_set<std::string> seen;  // names that hide those below
  const bool merges = directory.has_upper ? !directory.lowers.empty() : directory.lowers.size() > 1;
  if (directory.has_upper) {
    LAYERFS_TRY(fd, DirectoryFd(directory));
    const DirectoryStream stream =
        MakeDirectoryStream(UniqueFd(::openat(fd->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    if (stream == nullptr) return FailErrno(directory.name, errno);
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (!image_below() && name.starts_with(kWhiteoutPrefix)) {
        seen.emplace(NameOfWhiteoutFile(name));
        continue;
      }
      if (merges) seen.emplace(name);
      ListedEntry shown{name, entry->d_ino, static_cast<mode_t>(DTTOIF(entry->d_type))};
      if (listing == Listing::kExact || entry->d_type == DT_UNKNOWN) {
        LAYERFS_TRY(looked_at, LookAt(directory, fd->get(), entry->d_name));
        if (!looked_at.has_value()) continue;
        shown = *looked_at;
      }
      if (!each(shown)) return {};
    }
  }
  bool goes_on = true;
  for (size_t i = 0; i < directory.lowers.size() && goes_on; ++i) {
    const LowerRef& lower = directory.lowers[i];
    LAYERFS_CHECK_OK(sources_[lower.source]->List(
        lower.object, [&](std::string_view name, const LowerEntry& entry) {
          if (merges && !seen.emplace(name).second) return true;
          if (!entry.whiteout) goes_on = each({name, LowerKey(entry), entry.type});
          return goes_on;
        }));
  }
  return {};
}

}  // namespace layerfs
