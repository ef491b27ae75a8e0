// SPDX-License-Identifier: Apache-2.0
#include "index/pax_records.h"

#include <charconv>

#include "index/posix_acl.h"
#include "index/tar_header.h"
#include "index/tar_xattr.h"

namespace layerfs {
namespace {

constexpr std::string_view kSchilyXattr = "SCHILY.xattr.";
constexpr std::string_view kLibarchiveXattr = "LIBARCHIVE.xattr.";
constexpr std::string_view kGnuSparse = "GNU.sparse.";

using XattrForm = PaxOverrides::XattrForm;

std::unexpected<Error> BadValue(std::string_view key) {
  return Fail(ErrorCode::kCorrupt, "PAX record " + std::string(key) + ": the value is malformed");
}

Status SetText(std::optional<std::string>& target, std::string_view key, std::string_view value) {
  if (value.find('\0') != std::string_view::npos) {
    return Fail(ErrorCode::kCorrupt, "PAX record " + std::string(key) + ": holds a NUL");
  }
  target = std::string(value);
  return {};
}

template <typename T>
Status SetNumber(std::optional<T>& target, std::string_view key, std::string_view value,
                 uint64_t limit) {
  const std::optional<uint64_t> number = ParsePaxNumber(value);
  if (!number.has_value() || *number > limit) {
    return Fail(ErrorCode::kCorrupt,
                "PAX record " + std::string(key) + ": not a number or out of range");
  }
  target = static_cast<T>(*number);
  return {};
}

Status AddExtent(PaxSparse& sparse, uint64_t offset, uint64_t size, uint64_t limit) {
  if (sparse.map.size() >= limit) {
    return Fail(ErrorCode::kTooLarge,
                "sparse map: more than " + std::to_string(limit) + " extents");
  }
  sparse.map.emplace_back(offset, size);
  return {};
}

// GNU.sparse.map, form 0.1: "offset,size,offset,size…".
Status ApplySparseMap(PaxSparse& sparse, std::string_view key, std::string_view value,
                      uint64_t limit) {
  sparse.map.clear();
  sparse.has_map = true;
  const auto next_number = [&] {
    const size_t comma = value.find(',');
    const std::optional<uint64_t> number = ParsePaxNumber(value.substr(0, comma));
    value = comma == std::string_view::npos ? "" : value.substr(comma + 1);
    return number;
  };
  while (!value.empty()) {
    const std::optional<uint64_t> offset = next_number();
    const std::optional<uint64_t> size = next_number();
    if (!offset.has_value() || !size.has_value()) return BadValue(key);
    LAYERFS_CHECK_OK(AddExtent(sparse, *offset, *size, limit));
  }
  return {};
}

Status ApplySparse(PaxSparse& sparse, std::string_view key, std::string_view value,
                   uint64_t limit) {
  const std::string_view name = key.substr(kGnuSparse.size());
  if (name == "map") return ApplySparseMap(sparse, key, value, limit);
  if (name == "major") {
    sparse.major = value;
  } else if (name == "minor") {
    sparse.minor = value;
  } else if (name == "name") {
    std::optional<std::string> text;
    LAYERFS_CHECK_OK(SetText(text, key, value));
    sparse.name = *text;
  } else if (name == "realsize" || name == "size") {
    return SetNumber(sparse.real_size, key, value, kMaxTarOffset);
  } else if (name == "numblocks") {
    sparse.has_map = true;
    return SetNumber(sparse.run_count, key, value, kMaxTarOffset);
  } else if (name == "offset") {
    if (sparse.pending_offset.has_value()) return BadValue(key);
    sparse.has_map = true;
    return SetNumber(sparse.pending_offset, key, value, kMaxTarOffset);
  } else if (name == "numbytes") {
    std::optional<uint64_t> size;
    LAYERFS_CHECK_OK(SetNumber(size, key, value, kMaxTarOffset));
    if (!sparse.pending_offset.has_value()) return BadValue(key);
    LAYERFS_CHECK_OK(AddExtent(sparse, *sparse.pending_offset, *size, limit));
    sparse.pending_offset.reset();
  }
  return {};
}

Status SetXattr(PaxOverrides& overrides, std::string_view name, std::string value, XattrForm form) {
  if (!IsLinuxXattrName(name)) return {};
  // Those who unpack layers fail at it too: setxattr(2) says ERANGE.
  if (name.size() > kMaxXattrName) {
    return Fail(ErrorCode::kTooLarge, "extended attribute " + std::string(name) +
                                          ": a name of more than " + std::to_string(kMaxXattrName) +
                                          " bytes");
  }
  if (value.size() > kMaxXattrValue) {
    return Fail(ErrorCode::kTooLarge, "extended attribute " + std::string(name) + ": more than " +
                                          std::to_string(kMaxXattrValue) + " bytes");
  }
  const auto found = overrides.xattrs.find(name);
  if (found == overrides.xattrs.end()) {
    overrides.xattrs.emplace(name, PaxOverrides::XattrValue{form, std::move(value)});
  } else if (form <= found->second.form) {
    found->second = {form, std::move(value)};
  }
  return {};
}

// Whether `key` speaks of an extended attribute in one of its forms; takes it in if so.
Result<bool> ApplyXattr(PaxOverrides& overrides, std::string_view key, std::string_view value) {
  if (key.starts_with(kSchilyXattr)) {
    LAYERFS_CHECK_OK(SetXattr(overrides, key.substr(kSchilyXattr.size()), std::string(value),
                              XattrForm::kPlain));
  } else if (key.starts_with(kLibarchiveXattr)) {
    const std::optional<std::string> name = DecodeUrl(key.substr(kLibarchiveXattr.size()));
    std::optional<std::string> decoded = DecodeBase64(value);
    if (!name.has_value() || !decoded.has_value()) return BadValue(key);
    LAYERFS_CHECK_OK(SetXattr(overrides, *name, std::move(*decoded), XattrForm::kEncoded));
  } else if (key == "RHT.security.selinux") {
    // libselinux sets the label together with its NUL.
    if (!value.empty()) {
      LAYERFS_CHECK_OK(
          SetXattr(overrides, "security.selinux", std::string(value) + '\0', XattrForm::kInWords));
    }
  } else if (key == "SCHILY.acl.access" || key == "SCHILY.acl.default") {
    const bool is_access = key.ends_with("access");
    std::optional<std::string> acl = EncodePosixAcl(value, is_access);
    if (acl.has_value()) {
      LAYERFS_CHECK_OK(SetXattr(overrides, is_access ? kAclAccessXattr : kAclDefaultXattr,
                                std::move(*acl), XattrForm::kInWords));
    }
  } else {
    return false;
  }
  return true;
}

}  // namespace

Status ForEachPaxRecord(
    ByteSpan payload,
    const std::function<Status(std::string_view key, std::string_view value)>& on_record) {
  std::string_view rest = AsText(payload);
  while (!rest.empty()) {
    size_t length = 0;
    const auto [end, status] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    const auto digits = static_cast<size_t>(end - rest.data());
    if (status != std::errc() || length > rest.size() || length < digits + 2 ||
        rest[digits] != ' ' || rest[length - 1] != '\n') {
      return Fail(ErrorCode::kCorrupt, "PAX record: malformed length");
    }
    const std::string_view record = rest.substr(digits + 1, length - digits - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0 ||
        record.substr(0, equals).find('\0') != std::string_view::npos) {
      return Fail(ErrorCode::kCorrupt, "PAX record: malformed key");
    }
    LAYERFS_CHECK_OK(on_record(record.substr(0, equals), record.substr(equals + 1)));
    rest.remove_prefix(length);
  }
  return {};
}

std::optional<uint64_t> ParsePaxNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Timestamp> ParsePaxTime(std::string_view text) {
  constexpr size_t kDigits = 9;
  constexpr int64_t kSecond = 1'000'000'000;
  const bool negative = text.starts_with('-');
  const size_t point = text.find('.');
  int64_t seconds = 0;
  const std::string_view whole = text.substr(0, point);
  const auto [end, status] = std::from_chars(whole.data(), whole.data() + whole.size(), seconds);
  if (status != std::errc() || end != whole.data() + whole.size()) return std::nullopt;
  int64_t nanoseconds = 0;
  if (point != std::string_view::npos) {
    const std::string_view fraction = text.substr(point + 1);
    if (fraction.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
    for (size_t i = 0; i < kDigits; ++i) {
      nanoseconds = nanoseconds * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
    }
  }
  if (negative && nanoseconds != 0) {
    if (seconds == INT64_MIN) return std::nullopt;
    --seconds;
    nanoseconds = kSecond - nanoseconds;
  }
  return Timestamp{seconds, static_cast<uint32_t>(nanoseconds)};
}

Status PaxOverrides::Apply(std::string_view key, std::string_view value,
                           uint64_t max_sparse_extents) {
  LAYERFS_TRY(is_xattr, ApplyXattr(*this, key, value));
  if (is_xattr) return {};
  const bool erased = value.empty();  // An empty value takes back what an earlier record said.
  if (key == "path") {
    path.reset();
    return erased ? Status() : SetText(path, key, value);
  }
  if (key == "linkpath") {
    link_target.reset();
    return erased ? Status() : SetText(link_target, key, value);
  }
  if (key == "size") {
    size.reset();
    return erased ? Status() : SetNumber(size, key, value, kMaxTarOffset);
  }
  if (key == "uid") {
    uid.reset();
    return erased ? Status() : SetNumber(uid, key, value, kMaxTarId);
  }
  if (key == "gid") {
    gid.reset();
    return erased ? Status() : SetNumber(gid, key, value, kMaxTarId);
  }
  if (key == "mtime") {
    mtime = ParsePaxTime(value);
    return erased || mtime.has_value() ? Status() : BadValue(key);
  }
  if (key.starts_with(kGnuSparse)) {
    return erased ? Status() : ApplySparse(sparse, key, value, max_sparse_extents);
  }
  return {};
}

}  // namespace layerfs
