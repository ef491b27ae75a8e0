// SPDX-License-Identifier: Apache-2.0
#include "index/tar_entry.h"

#include <algorithm>
#include <optional>

#include "index/posix_acl.h"

namespace layerfs {
namespace {

std::optional<TarEntryType> TypeOf(char typeflag) {
  switch (typeflag) {
    case '\0':
    case '0':
    case '7':  // contiguous
    case 'S':  // old GNU sparse
      return TarEntryType::kRegular;
    case '1':
      return TarEntryType::kHardLink;
    case '2':
      return TarEntryType::kSymlink;
    case '3':
      return TarEntryType::kCharDevice;
    case '4':
      return TarEntryType::kBlockDevice;
    case '5':
    case 'D':  // GNU's incremental dump: a directory whose payload is the list of its names
      return TarEntryType::kDirectory;
    case '6':
      return TarEntryType::kFifo;
    default:
      return std::nullopt;
  }
}

// Other types have no payload, whatever their size field says. Go's archive/tar reads it like this
// and so do the runtimes that are built on it; POSIX allows data behind a hard link, but such a tar
// has never been an image layer that anybody could unpack.
bool HasPayload(char typeflag, TarEntryType type) {
  return type == TarEntryType::kRegular || typeflag == 'D';
}

std::string TypeflagName(char typeflag) {
  if (typeflag > ' ' && typeflag < 0x7f) return std::string("'") + typeflag + "'";
  return std::to_string(static_cast<uint8_t>(typeflag));
}

Status SetNames(const TarHeader& header, uint64_t path_limit, TarExtensions& extensions,
                TarEntry& entry) {
  // The order in which Go's archive/tar lets one replace the other.
  if (!extensions.pax.sparse.name.empty()) {
    entry.path = std::move(extensions.pax.sparse.name);
  } else if (!extensions.gnu_path.empty()) {
    entry.path = std::move(extensions.gnu_path);
  } else if (extensions.pax.path.has_value()) {
    entry.path = std::move(*extensions.pax.path);
  } else {
    entry.path = header.Path();
  }
  // Before there was a type for directories, a slash at the end marked them.
  if (header.typeflag() == '\0' && entry.path.ends_with('/')) {
    entry.type = TarEntryType::kDirectory;
  }
  if (entry.type == TarEntryType::kHardLink || entry.type == TarEntryType::kSymlink) {
    if (!extensions.gnu_link_target.empty()) {
      entry.link_target = std::move(extensions.gnu_link_target);
    } else if (extensions.pax.link_target.has_value()) {
      entry.link_target = std::move(*extensions.pax.link_target);
    } else {
      entry.link_target = header.LinkTarget();
    }
    if (entry.link_target.empty()) return Fail(ErrorCode::kCorrupt, "a link without a target");
  }
  if (std::max(entry.path.size(), entry.link_target.size()) > path_limit) {
    return Fail(ErrorCode::kTooLarge,
                "a path of more than " + std::to_string(path_limit) + " bytes");
  }
  return {};
}

Status SetAttributes(const TarHeader& header, PaxOverrides& pax, TarEntry& entry) {
  LAYERFS_TRY(permissions, header.Permissions());
  LAYERFS_TRY(uid, pax.uid.has_value() ? Result<uint32_t>(*pax.uid) : header.Uid());
  LAYERFS_TRY(gid, pax.gid.has_value() ? Result<uint32_t>(*pax.gid) : header.Gid());
  LAYERFS_TRY(mtime, pax.mtime.has_value() ? Result<Timestamp>(*pax.mtime) : header.Mtime());
  entry.permissions = permissions;
  entry.uid = uid;
  entry.gid = gid;
  entry.mtime = mtime;
  if (entry.type == TarEntryType::kCharDevice || entry.type == TarEntryType::kBlockDevice) {
    LAYERFS_TRY(device, header.Device());
    entry.rdev = device;
  }
  entry.xattrs.reserve(pax.xattrs.size());
  for (auto& [name, xattr] : pax.xattrs) {
    if (name == kAclAccessXattr && xattr.form == PaxOverrides::XattrForm::kInWords) {
      entry.permissions = PermissionsUnderAcl(entry.permissions, xattr.value);
    }
    entry.xattrs.emplace_back(name, std::move(xattr.value));
  }
  return {};
}

Status SetPayload(const TarHeader& header, const PaxOverrides& pax, TarEntry& entry) {
  if (!HasPayload(header.typeflag(), entry.type)) return {};
  LAYERFS_TRY(size, pax.size.has_value() ? Result<uint64_t>(*pax.size) : header.Size());
  if (size > kMaxTarOffset - entry.data_offset) {
    return Fail(ErrorCode::kCorrupt, "the entry's end is beyond the largest offset");
  }
  entry.data_size = size;
  if (entry.type == TarEntryType::kRegular) entry.size = size;
  return {};
}

}  // namespace

Result<TarEntry> MakeTarEntry(const TarHeader& header, uint64_t data_offset, uint64_t path_limit,
                              TarExtensions& extensions) {
  const std::optional<TarEntryType> type = TypeOf(header.typeflag());
  if (!type.has_value()) {
    return Fail(ErrorCode::kUnsupported,
                "entries of type " + TypeflagName(header.typeflag()) + " are not supported");
  }
  TarEntry entry;
  entry.type = *type;
  entry.data_offset = data_offset;
  LAYERFS_CHECK_OK(SetNames(header, path_limit, extensions, entry));
  LAYERFS_CHECK_OK(SetAttributes(header, extensions.pax, entry));
  LAYERFS_CHECK_OK(SetPayload(header, extensions.pax, entry));
  return entry;
}

}  // namespace layerfs
