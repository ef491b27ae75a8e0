// SPDX-License-Identifier: Apache-2.0
#include "fetch/image_record.h"

#include <algorithm>

#include "index/base/log.h"

namespace layerfs {
namespace {

constexpr std::string_view kRecordMagic = "LFSIMG1\n";
constexpr std::string_view kDirectory = "images";
// Six million objects.
constexpr uint64_t kMaxRecordBytes = uint64_t{256} << 20;
constexpr size_t kMaxNameBytes = 4096;

std::string DocumentOf(const Digest& manifest) {
  return std::string(kDirectory) + "/" + manifest.Hex();
}

Digest ReadDigest(ByteReader& reader) {
  Digest digest;
  const ByteSpan bytes = reader.ReadSpan(Digest::kSize);
  if (bytes.size() == Digest::kSize) std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  return digest;
}

Bytes Encode(const ImageRecord& record) {
  ByteWriter writer;
  writer.WriteSpan(AsBytes(kRecordMagic));
  writer.Write(static_cast<uint32_t>(record.name.size()));
  writer.WriteSpan(AsBytes(record.name));
  writer.WriteSpan(record.manifest.bytes);
  writer.Write(record.layer_bytes);
  writer.Write(static_cast<uint32_t>(record.objects.size()));
  for (const ObjectId& id : record.objects) {
    writer.WriteSpan(id.digest.bytes);
    writer.WriteSpan(id.scope.bytes);
    writer.Write(id.size);
  }
  return std::move(writer).Take();
}

Result<ImageRecord> Decode(ByteSpan bytes) {
  constexpr size_t kEntryBytes = 2 * Digest::kSize + sizeof(uint64_t);
  ByteReader reader(bytes);
  ImageRecord record;
  const bool magic = AsText(reader.ReadSpan(kRecordMagic.size())) == kRecordMagic;
  const auto name_size = reader.Read<uint32_t>();
  if (!magic || name_size > kMaxNameBytes) return Fail(ErrorCode::kCorrupt, "not an image record");
  record.name = AsText(reader.ReadSpan(name_size));
  record.manifest = ReadDigest(reader);
  record.layer_bytes = reader.Read<uint64_t>();
  const auto count = reader.Read<uint32_t>();
  if (!reader.ok() || reader.remaining() != count * kEntryBytes) {
    return Fail(ErrorCode::kCorrupt, "an image record that is cut short");
  }
  record.objects.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    ObjectId id;
    id.digest = ReadDigest(reader);
    id.scope = ReadDigest(reader);
    id.size = reader.Read<uint64_t>();
    record.objects.push_back(id);
  }
  return record;
}

Result<ImageRecord> ReadRecord(const ObjectCache& cache, const std::string& document) {
  LAYERFS_TRY(raw, cache.ReadDocument(document, kMaxRecordBytes));
  LAYERFS_TRY_IN(record, Decode(raw), "cache: " + document);
  return record;
}

}  // namespace

uint64_t ImageRecord::object_bytes() const {
  uint64_t bytes = 0;
  for (const ObjectId& id : objects) bytes += id.size;
  return bytes;
}

Status WriteImageRecord(ObjectCache& cache, const ImageRecord& record) {
  ImageRecord named = record;
  named.name.resize(std::min(named.name.size(), kMaxNameBytes));
  return cache.WriteDocument(DocumentOf(record.manifest), Encode(named));
}

Result<ImageRecord> ReadImageRecord(const ObjectCache& cache, const Digest& manifest) {
  return ReadRecord(cache, DocumentOf(manifest));
}

std::vector<ImageRecord> ReadImageRecords(const ObjectCache& cache) {
  std::vector<ImageRecord> records;
  for (const std::string& document : cache.ListDocuments(kDirectory)) {
    auto record = ReadRecord(cache, document);
    if (record.has_value()) {
      records.push_back(std::move(*record));
    } else {
      LogDebug(record.error().context);
    }
  }
  std::sort(records.begin(), records.end(),
            [](const ImageRecord& a, const ImageRecord& b) { return a.name < b.name; });
  return records;
}

ImagePresence PresenceOf(const ImageRecord& record, const std::unordered_set<Digest>& whole) {
  ImagePresence presence;
  for (const ObjectId& id : record.objects) {
    if (!whole.contains(id.digest)) continue;
    ++presence.objects;
    presence.bytes += id.size;
  }
  presence.complete = !record.objects.empty() && presence.objects == record.objects.size();
  return presence;
}

}  // namespace layerfs
