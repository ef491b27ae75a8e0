// SPDX-License-Identifier: Apache-2.0
// DiskExtractor: applies layers to a real directory entry by entry, as containerd's and umoci's
// extraction do, and says where the outcome depends on things that a layer need not decide. The
// naive reference that the merge is compared with.
// One thread at a time.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "index/tar_parser.h"

namespace layerfs {

enum class ExtractOutcome {
  kDone,
  kRefused,    // as the extractors named above would: a missing link target, a file as parent
  kAmbiguous,  // it depends on the order of entries in a way that a layer index does not keep
};

class DiskExtractor {
 public:
  // `root` must exist and be empty. Nothing outside of it is touched.
  explicit DiskExtractor(std::filesystem::path root) : root_(std::move(root)) {}

  // `content` tells a regular file's bytes.
  ExtractOutcome Apply(const std::vector<TarEntry>& layer,
                       const std::map<uint64_t, std::string>& content_by_offset);

  // In IndexDump's words, without times and xattrs.
  std::string Dump() const;

 private:
  using Path = std::string;  // relative to the root, without symlinks; empty: the root

  ExtractOutcome ApplyEntry(const TarEntry& entry, const std::string& content);
  bool Create(const TarEntry& entry, const Path& path, const std::string& content);
  ExtractOutcome Link(const TarEntry& entry, const Path& path);
  void WhiteOut(const Path& directory, const std::string& marker);
  void RemoveUntouched(const Path& path, bool keep_itself);
  void RemoveAll(const Path& path);
  ExtractOutcome Resolve(const std::string& directory, Path* resolved) const;
  bool MakeDirectories(const Path& path);
  ExtractOutcome CheckOrder() const;
  void Touch(const Path& path);

  std::filesystem::path Real(const Path& path) const { return root_ / path; }

  std::filesystem::path root_;
  // Of the layer at hand:
  std::set<Path> touched_;                            // extracted, and all their parents
  std::map<std::string, Path> parents_;               // as named → as it was resolved
  std::map<Path, std::set<std::string>> names_;       // an entry's place → the names used for it
  std::map<Path, std::set<std::string>> link_names_;  // a link target's place → the names used
};

}  // namespace layerfs
