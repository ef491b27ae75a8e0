// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <deque>
#include <string>

#include "index/index.h"

namespace layerfs {
namespace {

constexpr int kMaxSymlinks = 40;  // As the kernel: MAXSYMLINKS, linux/namei.h.

// Puts the components of `path` in front of `rest`.
void PushFront(std::deque<std::string>& rest, std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  rest.insert(rest.begin(), parts.begin(), parts.end());
}

}  // namespace

Result<InodeNumber> ResolvePath(const Index& tree, std::string_view path, bool follow_last) {
  // "file/" names no file, and "link/" what the link leads to: path_resolution(7).
  const bool wants_directory = path.ends_with('/') || path.ends_with("/.");
  std::deque<std::string> rest;
  PushFront(rest, path);
  InodeNumber at = kRootInode;
  int links = 0;
  while (!rest.empty()) {
    const std::string name = std::move(rest.front());
    rest.pop_front();
    if (!tree.Get(at).is_directory()) {
      return FailErrno("path " + std::string(path) + ": before \"" + name + "\"", ENOTDIR);
    }
    if (name == "..") {
      at = tree.Get(at).parent;
      continue;
    }
    const std::optional<Dirent> entry = tree.Lookup(at, name);
    if (!entry.has_value() || entry->is_whiteout()) {
      return FailErrno("path " + std::string(path) + ": \"" + name + "\"", ENOENT);
    }
    if (tree.Get(entry->inode).is_symlink() && (follow_last || wants_directory || !rest.empty())) {
      if (++links > kMaxSymlinks) {
        return Fail(ErrorCode::kInvalidArgument,
                    "path " + std::string(path) + ": more than 40 symbolic links");
      }
      const std::string_view target = tree.Target(entry->inode);
      if (target.starts_with('/')) at = kRootInode;
      PushFront(rest, target);
      continue;
    }
    at = entry->inode;
  }
  if (wants_directory && !tree.Get(at).is_directory()) {
    return FailErrno("path " + std::string(path), ENOTDIR);
  }
  return at;
}

}  // namespace layerfs
