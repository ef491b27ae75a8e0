// SPDX-License-Identifier: Apache-2.0
// For tests of the builder and the merge: tars → layer indexes → the merged tree → text that a test
// can name its expectation in.
// One thread at a time.
#pragma once

#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/index.h"
#include "index/layer_index_builder.h"
#include "index/merge.h"
#include "tests/index/tar_parse_helper.h"
#include "tests/index/tar_writer.h"

namespace layerfs {

inline Result<Bytes> BuildLayerBytes(ByteSpan tar) {
  LAYERFS_TRY(entries, ParseTar(tar));
  LayerIndexBuilder builder;
  for (const TarEntry& entry : entries) LAYERFS_CHECK_OK(builder.Add(entry));
  const Digest digest = Digest::Of(tar);
  // The segment is claimed, not stored: nothing here reads it.
  const ChunkRef ref = {.digest = digest, .stored_size = kTarBlock, .size = kTarBlock};
  return builder.Finish({.diff_id = digest,
                         .tar_size = tar.size(),
                         .segments = {{.ref = ref, .tar_begin = 0, .tar_end = tar.size()}}});
}

inline Result<Index> BuildLayer(ByteSpan tar) {
  LAYERFS_TRY(bytes, BuildLayerBytes(tar));
  return Index::Open(std::move(bytes));
}

inline TreeMerger::LayerBlob BlobOf(ByteSpan tar) {
  return {.digest = Digest::Of(tar), .size = tar.size()};
}

inline Result<Bytes> MergeTarBytes(std::span<const Bytes> tars) {
  TreeMerger merger;
  for (const Bytes& tar : tars) {
    LAYERFS_TRY(layer, BuildLayer(tar));
    LAYERFS_CHECK_OK(merger.Apply(layer, BlobOf(tar)));
  }
  return std::move(merger).Finish();
}

inline Result<Index> MergeTars(std::span<const Bytes> tars) {
  LAYERFS_TRY(bytes, MergeTarBytes(tars));
  return Index::Open(std::move(bytes));
}

// One line a name, depth first:
//   "etc/"  "etc/passwd = root"  "etc/hosts.allow => etc/hosts" (another name of that inode)
//   "bin -> usr/bin"  "dev/null c 1:3"  "run/pipe p"  "tmp/gone whiteout"  "x => nowhere?"
//   (unresolved link), and behind it what is not as usual: " 0700", " 1000:100", " @12.5" (mtime),
//   " {user.k=v}", " (implicit)", " (opaque)".
class IndexDump {
 public:
  IndexDump(const Index& index, std::span<const Bytes> tars) : index_(index), tars_(tars) {}

  std::string Text() {
    const std::string root = Attributes(index_.Get(kRootInode), kRootInode, 0755);
    if (!root.empty()) text_ += "/" + root + "\n";
    DumpDirectory(kRootInode, "");
    return text_;
  }

 private:
  void DumpDirectory(InodeNumber directory, const std::string& prefix) {
    const uint32_t count = index_.Get(directory).entry_count;
    for (uint32_t position = 0; position < count; ++position) {
      const Dirent entry = index_.EntryAt(directory, position);
      const std::string path = prefix + std::string(entry.name);
      if (entry.is_whiteout()) {
        text_ += path + " whiteout\n";
        continue;
      }
      DumpEntry(entry.inode, path);
    }
  }

  void DumpEntry(InodeNumber number, const std::string& path) {
    const Inode inode = index_.Get(number);
    if (inode.is_directory()) {
      text_ += path + "/" + Attributes(inode, number, 0755) + "\n";
      DumpDirectory(number, path + "/");
      return;
    }
    const auto [first, is_first] = first_names_.try_emplace(ToUint(number), path);
    if (!is_first) {
      text_ += path + " => " + first->second + "\n";
      return;
    }
    const uint32_t usual = inode.is_symlink() ? 0777 : 0644;
    text_ += path + What(inode, number) + Attributes(inode, number, usual) + "\n";
  }

  std::string What(const Inode& inode, InodeNumber number) const {
    const std::string target(index_.Target(number));
    if (inode.unresolved_link) return " => " + target + "?";
    if (inode.is_symlink()) return " -> " + target;
    if (inode.is_regular()) return " = " + Content(inode, number);
    const char type = (inode.mode & 0170000) == 0020000   ? 'c'
                      : (inode.mode & 0170000) == 0060000 ? 'b'
                                                          : 'p';
    std::string text = std::string(" ") + type;
    if (type != 'p') {
      text += " " + std::to_string(major(inode.rdev)) + ":" + std::to_string(minor(inode.rdev));
    }
    return text;
  }

  std::string Content(const Inode& inode, InodeNumber number) const {
    std::string content(inode.size, '\0');
    const Bytes& tar = tars_[ToUint(inode.layer)];
    for (const DataExtent& extent : index_.DataExtents(number, 0, inode.size)) {
      std::copy_n(tar.begin() + static_cast<ptrdiff_t>(extent.tar_offset), extent.size,
                  content.begin() + static_cast<ptrdiff_t>(extent.file_offset));
    }
    std::ranges::replace(content, '\0', '0');
    return content;
  }

  std::string Attributes(const Inode& inode, InodeNumber number, uint32_t usual) const {
    if (inode.unresolved_link) return {};
    std::string text;
    char number_text[16];
    std::snprintf(number_text, sizeof number_text, " %04o", inode.mode & 07777);
    if ((inode.mode & 07777) != usual) text += number_text;
    if (inode.uid != 0 || inode.gid != 0) {
      text += " " + std::to_string(inode.uid) + ":" + std::to_string(inode.gid);
    }
    if (inode.mtime != Timestamp{}) {
      text += " @" + std::to_string(inode.mtime.seconds) + "." +
              std::to_string(inode.mtime.nanoseconds);
    }
    for (const Xattr& xattr : index_.Xattrs(number)) {
      text += " {" + std::string(xattr.name) + "=" + std::string(xattr.value) + "}";
    }
    if (inode.implicit) text += " (implicit)";
    if (inode.opaque) text += " (opaque)";
    return text;
  }

  const Index& index_;
  const std::span<const Bytes> tars_;
  std::map<uint32_t, std::string> first_names_;
  std::string text_;
};

// The text of a layer index, or "error: …".
inline std::string DumpLayer(const Bytes& tar) {
  const auto index = BuildLayer(tar);
  if (!index.has_value()) return "error: " + index.error().context;
  return IndexDump(*index, {&tar, 1}).Text();
}

// The text of the merged tree, or "error: …".
inline std::string DumpMerged(std::span<const Bytes> tars) {
  const auto index = MergeTars(tars);
  if (!index.has_value()) return "error: " + index.error().context;
  return IndexDump(*index, tars).Text();
}

}  // namespace layerfs
