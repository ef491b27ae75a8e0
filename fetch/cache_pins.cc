// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_pins.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "index/base/log.h"

namespace layerfs {
namespace {

// A file under pins/, named by the SHA-256 of the set's name: magic, LE32 length of the name, the
// name, then the digests, 32 bytes each.
constexpr std::string_view kPinsMagic = "LFSPIN1\n";
constexpr uint64_t kMaxPinBytes = uint64_t{256} << 20;
constexpr size_t kMaxNameBytes = 4096;

std::string PinFileName(std::string_view name) { return "pins/" + Digest::Of(AsBytes(name)).Hex(); }

}  // namespace

Status CachePins::Put(std::string_view name, std::span<const ObjectId> objects) const {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return Fail(ErrorCode::kInvalidArgument, "pin: a name of 1 to 4096 bytes is needed");
  }
  if (directory_.read_only()) {
    return Fail(ErrorCode::kPermission, "pin " + std::string(name) + ": the cache is read-only");
  }
  ByteWriter file;
  file.WriteSpan(AsBytes(kPinsMagic));
  file.Write(static_cast<uint32_t>(name.size()));
  file.WriteSpan(AsBytes(name));
  for (const ObjectId& id : objects) {
    file.WriteSpan(id.digest.bytes);
    if (!id.scope.is_zero()) file.WriteSpan(PartialObjectKey(id).bytes);
  }
  LAYERFS_CHECK_OK(MakeDirectories(directory_.path() + "/pins", 0700));
  return WriteFileAtomically(directory_.path() + "/" + PinFileName(name), file.bytes(),
                             {.mode = 0600, .durable = true});
}

Status CachePins::Remove(std::string_view name) const {
  if (::unlinkat(directory_.fd(), PinFileName(name).c_str(), 0) == 0) return {};
  if (errno == ENOENT)
    return Fail(ErrorCode::kNotFound, "pin " + std::string(name) + ": not there");
  return FailErrno("pin " + std::string(name), errno);
}

Result<std::vector<CachePins::Set>> CachePins::ReadAll(std::optional<Error>& damage) const {
  std::vector<Set> sets;
  std::error_code failed;
  using Entries = std::filesystem::directory_iterator;
  for (Entries entry(directory_.path() + "/pins", failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const std::string file_name = entry->path().filename().string();
    if (file_name.size() != 2 * Digest::kSize) continue;  // One that is being written.
    const Result<Bytes> raw = directory_.ReadAt("pins/" + file_name, kMaxPinBytes);
    if (!raw.has_value() && raw.error().code == ErrorCode::kNotFound) continue;  // Unpinned now.
    if (!raw.has_value()) return Fail(raw.error());
    ByteReader reader(*raw);
    const std::string magic(AsText(reader.ReadSpan(kPinsMagic.size())));
    const auto name_size = reader.Read<uint32_t>();
    std::string name(AsText(reader.ReadSpan(name_size)));
    if (!reader.ok() || magic != kPinsMagic || reader.remaining() % Digest::kSize != 0) {
      damage = Error{ErrorCode::kCorrupt, "pin " + entry->path().string() +
                                              ": not a pin; remove it, and pin its image again"};
      continue;
    }
    const ByteSpan keys = reader.ReadSpan(reader.remaining());
    sets.push_back({std::move(name), Bytes(keys.begin(), keys.end())});
  }
  return sets;
}

Result<std::vector<std::string>> CachePins::Names() const {
  std::optional<Error> damage;
  LAYERFS_TRY(sets, ReadAll(damage));
  if (damage.has_value()) LogWarning(damage->context);
  std::vector<std::string> names;
  for (Set& set : sets) names.push_back(std::move(set.name));
  std::sort(names.begin(), names.end());
  return names;
}

Result<CachePins::Pinned> CachePins::Keys() const {
  Pinned pinned;
  LAYERFS_TRY(sets, ReadAll(pinned.damage));
  for (const Set& set : sets) {
    for (size_t offset = 0; offset < set.keys.size(); offset += Digest::kSize) {
      Digest key;
      std::copy_n(set.keys.begin() + static_cast<ptrdiff_t>(offset), Digest::kSize,
                  key.bytes.begin());
      pinned.keys.insert(key);
    }
  }
  return pinned;
}

}  // namespace layerfs
