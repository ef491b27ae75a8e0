// SPDX-License-Identifier: Apache-2.0
#include "index/pack.h"

#include <algorithm>
#include <string>

namespace layerfs {
namespace {

constexpr char kPackMagic[] = "LAYERFSP";
constexpr size_t kMagicBytes = 8;
constexpr uint32_t kVersion = 1;
constexpr uint64_t kKnownIncompat = 0;
constexpr uint64_t kHeadBytes = 112;
constexpr uint64_t kPartBytes = 48;
constexpr size_t kRunBytes = 12;

std::unexpected<Error> Refuse(const std::string& what) {
  return Fail(ErrorCode::kCorrupt, "startup pack: " + what);
}

Digest ReadDigest(ByteReader& reader) {
  Digest digest;
  const ByteSpan bytes = reader.ReadSpan(Digest::kSize);
  if (bytes.size() == Digest::kSize) std::ranges::copy(bytes, digest.bytes.begin());
  return digest;
}

uint64_t MaxPartBytes(PackPartKind kind) {
  return kind == PackPartKind::kTree ? kMaxIndexBytes : kMaxChunkBytes;
}

Status CheckVersion(uint32_t version, uint64_t incompat) {
  if (version != kVersion) {
    return Fail(ErrorCode::kUnsupported, "startup pack: version " + std::to_string(version) +
                                             "; this layerfs reads version 1");
  }
  if ((incompat & ~kKnownIncompat) != 0) {
    return Fail(ErrorCode::kUnsupported, "startup pack: incompat features " +
                                             std::to_string(incompat & ~kKnownIncompat) +
                                             " are not known to this layerfs");
  }
  return {};
}

// Which kinds may stand where: 1, 2 at most once, 3, then 4s, then 5 at most once.
Status CheckOrder(const std::vector<PackPart>& parts) {
  size_t at = 0;
  const auto take = [&](PackPartKind kind) {
    const bool there = at < parts.size() && parts[at].kind == kind;
    if (there) ++at;
    return there;
  };
  if (!take(PackPartKind::kTree)) return Refuse("does not begin with a tree");
  take(PackPartKind::kConfig);
  if (!take(PackPartKind::kRuns)) return Refuse("no runs where they should be");
  while (take(PackPartKind::kPages)) {
  }
  take(PackPartKind::kSegments);
  if (at != parts.size()) return Refuse("part " + std::to_string(at) + ": of an unexpected kind");
  return {};
}

Status CheckParts(const PackHead& head) {
  LAYERFS_CHECK_OK(CheckOrder(head.parts));
  uint64_t pages = 0;
  for (const PackPart& part : head.parts) {
    const uint64_t limit = MaxPartBytes(part.kind);
    if (part.stored_size == 0 || part.size == 0 || part.stored_size > limit || part.size > limit) {
      return Refuse("a part of " + std::to_string(part.stored_size) + " bytes for " +
                    std::to_string(part.size));
    }
    if (part.kind != PackPartKind::kPages) continue;
    if (part.size % kPackPageBytes != 0) return Refuse("a piece of pages with part of a page");
    pages += part.size / kPackPageBytes;
  }
  if (pages != head.page_count) {
    return Refuse("pieces for " + std::to_string(pages) + " pages, not " +
                  std::to_string(head.page_count));
  }
  return {};
}

}  // namespace

Result<PackHead> PackHead::Decode(ByteSpan bytes) {
  ByteReader reader(bytes);
  if (AsText(reader.ReadSpan(kMagicBytes)) != std::string_view(kPackMagic, kMagicBytes)) {
    return Refuse("is none: its first bytes are not LAYERFSP");
  }
  const auto version = reader.Read<uint32_t>();
  const auto part_count = reader.Read<uint32_t>();
  reader.Read<uint64_t>();  // compat
  LAYERFS_CHECK_OK(CheckVersion(version, reader.Read<uint64_t>()));
  PackHead head;
  head.image = ReadDigest(reader);
  head.pages_digest = ReadDigest(reader);
  head.page_count = reader.Read<uint32_t>();
  head.run_count = reader.Read<uint32_t>();
  head.bare_run_count = reader.Read<uint32_t>();
  const auto zero = reader.Read<uint32_t>();
  if (!reader.ok() || zero != 0) return Refuse("a head that is cut off or not zero where it must");
  if (part_count > kMaxPackParts || head.page_count > kMaxPackPages ||
      head.run_count > kMaxPackRuns || head.bare_run_count > kMaxPackRuns) {
    return Fail(ErrorCode::kTooLarge, "startup pack: more parts, pages or runs than allowed");
  }
  if (reader.remaining() != part_count * kPartBytes) return Refuse("a head of the wrong size");
  head.parts.reserve(part_count);
  for (uint32_t i = 0; i < part_count; ++i) {
    PackPart part;
    part.kind = static_cast<PackPartKind>(reader.Read<uint32_t>());
    part.stored_size = reader.Read<uint32_t>();
    part.size = reader.Read<uint32_t>();
    if (reader.Read<uint32_t>() != 0) return Refuse("a part that is not zero where it must");
    part.digest = ReadDigest(reader);
    head.parts.push_back(part);
  }
  LAYERFS_CHECK_OK(CheckParts(head));
  return head;
}

Bytes PackHead::Encode() const {
  ByteWriter writer;
  writer.WriteSpan(AsBytes(std::string_view(kPackMagic, kMagicBytes)));
  writer.Write(kVersion);
  writer.Write(static_cast<uint32_t>(parts.size()));
  writer.Write(uint64_t{0});
  writer.Write(uint64_t{0});
  writer.WriteSpan(image.bytes);
  writer.WriteSpan(pages_digest.bytes);
  writer.Write(page_count);
  writer.Write(run_count);
  writer.Write(bare_run_count);
  writer.Write(uint32_t{0});
  for (const PackPart& part : parts) {
    writer.Write(static_cast<uint32_t>(part.kind));
    writer.Write(part.stored_size);
    writer.Write(part.size);
    writer.Write(uint32_t{0});
    writer.WriteSpan(part.digest.bytes);
  }
  return std::move(writer).Take();
}

uint64_t PackHead::EncodedSize() const { return kHeadBytes + parts.size() * kPartBytes; }

uint64_t PackHead::BlobSize() const {
  uint64_t size = EncodedSize();
  for (const PackPart& part : parts) size += part.stored_size;
  return size;
}

Bytes EncodePackRuns(std::span<const PackRun> runs) {
  ByteWriter writer;
  for (const PackRun& run : runs) writer.Write(ToUint(run.inode));
  for (const PackRun& run : runs) writer.Write(run.first_page);
  for (const PackRun& run : runs) writer.Write(run.pages);
  return std::move(writer).Take();
}

namespace {

Status CheckRun(const PackRun& run, const Index& tree) {
  const std::string name = "a run of inode " + std::to_string(ToUint(run.inode));
  if (!tree.Contains(run.inode)) return Refuse(name + ": there is no such inode");
  const Inode inode = tree.Get(run.inode);
  if (!inode.is_regular()) return Refuse(name + ": is no regular file");
  const uint64_t pages = inode.size / kPackPageBytes + (inode.size % kPackPageBytes != 0 ? 1 : 0);
  if (run.pages == 0 || !RangeFits(run.first_page, run.pages, pages)) {
    return Refuse(name + ": pages that the file does not have");
  }
  return {};
}

Status CheckNoOverlap(std::vector<PackRun> runs) {
  std::ranges::sort(
      runs, {}, [](const PackRun& run) { return std::pair(ToUint(run.inode), run.first_page); });
  for (size_t i = 1; i < runs.size(); ++i) {
    const PackRun& before = runs[i - 1];
    if (before.inode == runs[i].inode &&
        uint64_t{before.first_page} + before.pages > runs[i].first_page) {
      return Refuse("a page of inode " + std::to_string(ToUint(before.inode)) + " occurs twice");
    }
  }
  return {};
}

}  // namespace

Result<std::vector<PackRun>> DecodePackRuns(ByteSpan bytes, const PackHead& head,
                                            const Index& tree) {
  const size_t count = size_t{head.run_count} + head.bare_run_count;
  if (bytes.size() != count * kRunBytes) return Refuse("runs of the wrong size");
  ByteReader reader(bytes);
  std::vector<PackRun> runs(count);
  for (PackRun& run : runs) run.inode = InodeNumber{reader.Read<uint32_t>()};
  for (PackRun& run : runs) run.first_page = reader.Read<uint32_t>();
  for (PackRun& run : runs) run.pages = reader.Read<uint32_t>();
  uint64_t packed = 0;
  for (size_t i = 0; i < count; ++i) {
    LAYERFS_CHECK_OK(CheckRun(runs[i], tree));
    if (i < head.run_count) packed += runs[i].pages;
  }
  if (packed != head.page_count) return Refuse("runs that do not add up to its pages");
  LAYERFS_CHECK_OK(CheckNoOverlap(runs));
  return runs;
}

Bytes EncodePackSegments(std::span<const PackSegment> segments) {
  ByteWriter writer;
  for (const PackSegment& segment : segments) {
    writer.Write(segment.number);
    writer.WriteSpan(segment.bytes);
  }
  return std::move(writer).Take();
}

Result<std::vector<PackSegment>> DecodePackSegments(ByteSpan bytes, const Index& tree) {
  ByteReader reader(bytes);
  std::vector<PackSegment> segments;
  while (reader.remaining() > 0) {
    const auto number = reader.Read<uint32_t>();
    if (!reader.ok() || number >= tree.segment_count() ||
        (!segments.empty() && number <= segments.back().number)) {
      return Refuse("segments: a number that cannot stand there");
    }
    const ChunkRef& ref = tree.Segment(number).ref;
    const ByteSpan content = reader.ReadSpan(ref.size);
    if (!reader.ok()) return Refuse("segments: cut off");
    if (Digest::Of(content) != ref.digest) {
      return Fail(ErrorCode::kDigestMismatch,
                  "startup pack: segment " + std::to_string(number) + " is not what the tree says");
    }
    segments.push_back({number, content});
  }
  return segments;
}

}  // namespace layerfs
