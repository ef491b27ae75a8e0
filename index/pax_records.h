// SPDX-License-Identifier: Apache-2.0
// PAX extended header records ("LENGTH KEY=VALUE\n"), and what those that layerfs knows say about
// the entry that follows. Keys that it does not know are passed over.
// Facts: POSIX.1-2017 pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files".
// One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

// Splits `payload` into records, in order. A malformed one, or an error of `on_record`, ends it.
// The value is any bytes; NULs and newlines included.
Status ForEachPaxRecord(
    ByteSpan payload,
    const std::function<Status(std::string_view key, std::string_view value)>& on_record);

// Digits only, nothing around them, fits.
std::optional<uint64_t> ParsePaxNumber(std::string_view text);
// [-]SECONDS[.FRACTION]; digits beyond nanoseconds are cut off.
std::optional<Timestamp> ParsePaxTime(std::string_view text);

// GNU.sparse.*: which of the three PAX forms, and what belongs to it.
struct PaxSparse {
  std::string major;
  std::string minor;
  std::string name;                                // replaces the path
  std::optional<uint64_t> real_size;               // GNU.sparse.realsize or GNU.sparse.size
  std::vector<std::pair<uint64_t, uint64_t>> map;  // 0.0 and 0.1: (offset, size)
  std::optional<uint64_t> pending_offset;          // 0.0: an offset that waits for its numbytes
  std::optional<uint64_t> run_count;               // how many runs the map claims to have
  bool has_map = false;
};

struct PaxOverrides {
  std::optional<std::string> path;
  std::optional<std::string> link_target;
  std::optional<uint64_t> size;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<Timestamp> mtime;
  PaxSparse sparse;
  // By the name that Linux knows. Where an archive has an attribute in several forms, the first of
  // these wins.
  enum class XattrForm { kPlain, kEncoded, kInWords };
  struct XattrValue {
    XattrForm form = XattrForm::kPlain;
    std::string value;
  };
  std::map<std::string, XattrValue, std::less<>> xattrs;

  // Takes a record in. `max_sparse_extents` bounds sparse.map.
  Status Apply(std::string_view key, std::string_view value, uint64_t max_sparse_extents);
};

}  // namespace layerfs
