// SPDX-License-Identifier: Apache-2.0
#include "index/index_sections.h"

#include <algorithm>

namespace layerfs {
namespace {

using layout::Load;

std::string Hex(uint64_t bits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  do {
    text.insert(text.begin(), kDigits[bits & 15]);
    bits >>= 4;
  } while (bits != 0);
  return "0x" + text;
}

Result<layout::Header> ReadHeader(ByteSpan bytes) {
  if (bytes.size() < sizeof(layout::Header)) return Fail(BrokenIndex("header", "cut short"));
  const auto header = Load<layout::Header>(bytes, 0);
  if (header.magic != layout::kMagic) return Fail(BrokenIndex("header", "not a layerfs index"));
  if (header.version != layout::kVersion) {
    return Fail(ErrorCode::kUnsupported, "index: format version " + std::to_string(header.version) +
                                             "; this layerfs reads " +
                                             std::to_string(layout::kVersion) +
                                             ": use a newer one, or convert anew");
  }
  if (const uint64_t unknown = header.incompat & ~layout::kKnownIncompat; unknown != 0) {
    return Fail(ErrorCode::kUnsupported, "index: needs features that this layerfs does not know (" +
                                             Hex(unknown) + "): use a newer one");
  }
  if (header.kind != static_cast<uint32_t>(IndexKind::kLayer) &&
      header.kind != static_cast<uint32_t>(IndexKind::kTree)) {
    return Fail(BrokenIndex("header", "unknown kind " + std::to_string(header.kind)));
  }
  if (header.file_size != bytes.size() || header.file_size > kMaxIndexBytes) {
    return Fail(BrokenIndex("header", "says " + std::to_string(header.file_size) +
                                          " bytes, there are " + std::to_string(bytes.size())));
  }
  if (header.section_count > layout::kMaxSections) {
    return Fail(BrokenIndex("header", "too many sections"));
  }
  if (header.zero0 != 0 || header.zero1 != 0) {
    return Fail(BrokenIndex("header", "reserved bytes are not zero"));
  }
  return header;
}

const layout::SectionSpec* FindSpec(uint32_t id) {
  for (const layout::SectionSpec& spec : layout::kSectionSpecs) {
    if (static_cast<uint32_t>(spec.id) == id) return &spec;
  }
  return nullptr;
}

std::string NameOf(uint32_t id) {
  const layout::SectionSpec* const spec = FindSpec(id);
  return spec != nullptr ? spec->name : "section " + std::to_string(id);
}

}  // namespace

Error BrokenIndex(std::string_view where, std::string_view what) {
  return Error{ErrorCode::kCorrupt, "index: " + std::string(where) + ": " + std::string(what)};
}

Error BrokenRecord(std::string_view section, uint64_t position, std::string_view what) {
  return BrokenIndex(std::string(section) + " record " + std::to_string(position), what);
}

Result<ParsedIndex> ParseSections(ByteSpan bytes) {
  LAYERFS_TRY(header, ReadHeader(bytes));
  const uint64_t table_size = uint64_t{header.section_count} * sizeof(layout::SectionRecord);
  if (!RangeFits(sizeof(layout::Header), table_size, bytes.size())) {
    return Fail(BrokenIndex("section table", "cut short"));
  }
  ParsedIndex index{.kind = static_cast<IndexKind>(header.kind),
                    .table = bytes.subspan(sizeof(layout::Header), table_size)};
  if (layout::HeaderChecksum(header, index.table) != header.checksum) {
    return Fail(BrokenIndex("header", "checksum mismatch"));
  }
  uint64_t end = sizeof(layout::Header) + table_size;
  uint32_t last_id = 0;
  uint32_t known = 0;
  for (uint32_t i = 0; i < header.section_count; ++i) {
    const auto record = Load<layout::SectionRecord>(index.table, i);
    if (record.id <= last_id) return Fail(BrokenIndex(NameOf(record.id), "out of order"));
    last_id = record.id;
    if (record.offset != AlignUp(end, layout::kSectionAlignment) ||
        !RangeFits(record.offset, record.size, bytes.size())) {
      return Fail(BrokenIndex(NameOf(record.id), "not where it must be"));
    }
    end = record.offset + record.size;
    const layout::SectionSpec* const spec = FindSpec(record.id);
    if (spec == nullptr) continue;  // Of a later writer, who says by a compat bit that we may.
    if (record.record_size != spec->record_size || record.size % spec->record_size != 0) {
      return Fail(BrokenIndex(spec->name, "record size"));
    }
    index.sections.*spec->view = bytes.subspan(record.offset, record.size);
    ++known;
  }
  if (known != layout::kSectionCount) return Fail(BrokenIndex("section table", "one is missing"));
  if (AlignUp(end, layout::kSectionAlignment) != bytes.size()) {
    return Fail(BrokenIndex("header", "bytes behind the last section"));
  }
  return index;
}

Status VerifySections(const ParsedIndex& index, ByteSpan bytes) {
  const auto is_zero = [](uint8_t byte) { return byte == 0; };
  uint64_t end = sizeof(layout::Header) + index.table.size();
  for (uint64_t i = 0; i < layout::Count<layout::SectionRecord>(index.table); ++i) {
    const auto record = Load<layout::SectionRecord>(index.table, i);
    if (!std::ranges::all_of(bytes.subspan(end, record.offset - end), is_zero)) {
      return Fail(BrokenIndex(NameOf(record.id), "bytes in front are not zero"));
    }
    end = record.offset + record.size;
    if (FindSpec(record.id) == nullptr) continue;
    if (Xxh3(bytes.subspan(record.offset, record.size)) != record.checksum) {
      return Fail(BrokenIndex(NameOf(record.id), "checksum mismatch"));
    }
  }
  if (!std::ranges::all_of(bytes.subspan(end), is_zero)) {
    return Fail(BrokenIndex("end", "bytes behind the last section are not zero"));
  }
  return {};
}

}  // namespace layerfs
