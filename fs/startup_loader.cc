// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_loader.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "index/base/bytes.h"
#include "index/base/log.h"
#include "index/index_codec.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxRunsBytes = uint64_t{32} << 20;
constexpr std::chrono::milliseconds kPatience{4'000};  // without a byte, before the mount answers

// Named by the head's digest, so that what an artifact says is kept apart from what the layers say.
std::string TreeDocument(const StartupReference& reference) {
  return "startup-tree-v1-" + reference.head.Hex();
}
// The head as it lies, then the runs, decompressed.
std::string StartupDocument(const StartupReference& reference) {
  return "startup-v1-" + reference.head.Hex();
}

Result<LargeBuffer> Decompressed(const PackPart& part, ByteSpan stored) {
  LargeBuffer bytes(part.size);
  LAYERFS_CHECK_OK_IN(ZstdDecompressor().Decompress(stored, bytes), "startup pack");
  return bytes;
}

// Only the head says that a piece is a part of what has the digest of all pages.
Result<std::shared_ptr<CachedObject>> OpenPages(const StartupParts& parts, const PackHead& head) {
  return parts.cache->OpenObject(ObjectId{
      head.pages_digest, uint64_t{head.page_count} * kPackPageBytes, parts.reference.head});
}

Result<Index> MapTree(const StartupParts& parts) {
  LAYERFS_TRY(mapped, parts.cache->MapDocument(TreeDocument(parts.reference)));
  LAYERFS_TRY(tree, Index::Open(std::move(mapped)));
  LAYERFS_CHECK_OK(parts.check_tree(tree));
  return tree;
}

}  // namespace

std::optional<OpenedStartup> StartupLoader::FindCached(const StartupParts& parts) {
  const auto document = parts.cache->ReadDocument(StartupDocument(parts.reference),
                                                  kMaxPackHeadBytes + kMaxRunsBytes);
  if (!document.has_value() || document->size() < parts.reference.head_size) return std::nullopt;
  const ByteSpan head_bytes = ByteSpan(*document).first(parts.reference.head_size);
  if (Digest::Of(head_bytes) != parts.reference.head) return std::nullopt;
  auto head = PackHead::Decode(head_bytes);
  if (!head.has_value()) return std::nullopt;
  auto tree = MapTree(parts);
  if (!tree.has_value()) return std::nullopt;
  auto runs = DecodePackRuns(ByteSpan(*document).subspan(parts.reference.head_size), *head, *tree);
  if (!runs.has_value()) return std::nullopt;
  std::shared_ptr<CachedObject> object;
  if (head->page_count > 0) {
    auto pages = OpenPages(parts, *head);
    if (!pages.has_value() || !(*pages)->whole()) return std::nullopt;
    object = std::move(*pages);
  }
  OpenedStartup opened;
  opened.tree = std::move(*tree);
  opened.pack =
      std::make_shared<StartupPack>(std::move(*head), std::move(*runs), std::move(object), true);
  opened.pack->Finish({});
  return opened;
}

StartupLoader::StartupLoader(StartupParts parts)
    : parts_(std::move(parts)),
      feed_(std::make_shared<StartupFeed>(parts_.source, parts_.reference.blob,
                                          parts_.reference.blob_size, parts_.timeout)) {
  feed_->Start();
  thread_ = std::jthread([this] {
    ::pthread_setname_np(::pthread_self(), "lf-startup");
    Run();
  });
}

StartupLoader::~StartupLoader() { feed_->Cancel(); }

Result<OpenedStartup> StartupLoader::WaitOpened() {
  const auto patience = std::min(kPatience, parts_.timeout);
  for (uint64_t before = 0;;) {
    if (opened_.WaitFor(patience, [](auto& slot) { return slot.has_value(); })) break;
    const uint64_t received = feed_->received();
    if (received == before) {
      return Fail(ErrorCode::kTimeout, "startup pack " + parts_.reference.blob.ToString() +
                                           ": nothing has come for " +
                                           std::to_string(patience.count()) + " ms");
    }
    before = received;
  }
  return opened_.With([](auto& slot) { return std::move(*slot); });
}

void StartupLoader::Deliver(Result<OpenedStartup> opened) {
  if (std::exchange(delivered_, true)) return;
  opened_.WithNotify([&](auto& slot) { slot = std::move(opened); });
}

void StartupLoader::Run() {
  const Status streamed = Stream();
  if (pack_ != nullptr) pack_->Finish(streamed);
  parts_.on_event("through", feed_->received());
  if (streamed.has_value()) return;
  const Error error = streamed.error().In(parts_.image);
  const bool unwanted = error.code == ErrorCode::kCancelled;
  if (delivered_ && !unwanted) LogWarning("the startup pack is given up: " + error.context);
  Deliver(Fail(error));
}

Status StartupLoader::Stream() {
  LAYERFS_TRY(head, TakeHead());
  ZstdStreamDecoder pages;
  for (const PackPart& part : head.parts) {
    if (part.kind == PackPartKind::kPages) {
      LAYERFS_CHECK_OK(TakePiece(part, pages));
      continue;
    }
    if (part.kind == PackPartKind::kSegments && pack_ != nullptr) pack_->End();
    LAYERFS_TRY(stored, TakePart(part));
    switch (part.kind) {
      case PackPartKind::kTree:
        LAYERFS_CHECK_OK(OpenTree(part, stored));
        break;
      case PackPartKind::kConfig:
        KeepConfig(part, stored);
        break;
      case PackPartKind::kRuns:
        LAYERFS_CHECK_OK(OpenRuns(head, part, stored));
        break;
      case PackPartKind::kSegments:
        LAYERFS_CHECK_OK(KeepSegments(part, stored));
        break;
      case PackPartKind::kPages:
        break;
    }
  }
  Remember();
  return {};
}

Result<PackHead> StartupLoader::TakeHead() {
  LAYERFS_TRY(bytes, feed_->Take(parts_.reference.head_size));
  if (Digest::Of(bytes) != parts_.reference.head) {
    return Fail(ErrorCode::kDigestMismatch, "startup pack: its head is not what the artifact says");
  }
  LAYERFS_TRY(head, PackHead::Decode(bytes));
  if (head.image != parts_.reference.image) {
    return Fail(ErrorCode::kCorrupt, "startup pack: belongs to the image " + head.image.ToString());
  }
  if (head.BlobSize() != parts_.reference.blob_size) {
    return Fail(ErrorCode::kCorrupt, "startup pack: a blob of the wrong size");
  }
  head_bytes_ = std::move(bytes);
  return head;
}

Result<Bytes> StartupLoader::TakePart(const PackPart& part) {
  LAYERFS_TRY(stored, feed_->Take(part.stored_size));
  if (Digest::Of(stored) != part.digest) {
    return Fail(ErrorCode::kDigestMismatch, "startup pack: a part is not what its head says");
  }
  return stored;
}

Status StartupLoader::OpenTree(const PackPart& part, ByteSpan stored) {
  LAYERFS_TRY(arranged, Decompressed(part, stored));
  LargeBuffer bytes(arranged.size());
  LAYERFS_CHECK_OK_IN(DecodeIndex(arranged, bytes), "startup pack: tree");
  const Status kept = parts_.cache->WriteDocument(TreeDocument(parts_.reference), bytes);
  // Mapped, the tree costs no private memory.
  auto mapped = kept.has_value() ? MapTree(parts_) : Fail(kept.error());
  if (!mapped.has_value()) {
    mapped = Index::Open(Bytes(bytes.data(), bytes.data() + bytes.size()));
    if (mapped.has_value()) LAYERFS_CHECK_OK_IN(parts_.check_tree(*mapped), "startup pack");
  }
  if (!mapped.has_value()) return Fail(std::move(mapped).error().In("startup pack: tree"));
  if (mapped->kind() != IndexKind::kTree) {
    return Fail(ErrorCode::kCorrupt, "startup pack: its tree is a layer's index");
  }
  tree_ = std::move(*mapped);
  return {};
}

Status StartupLoader::OpenRuns(const PackHead& head, const PackPart& part, ByteSpan stored) {
  LAYERFS_TRY(bytes, Decompressed(part, stored));
  LAYERFS_TRY(runs, DecodePackRuns(bytes, head, *tree_));
  std::shared_ptr<CachedObject> object;
  if (head.page_count > 0) {
    LAYERFS_TRY_IN(opened, OpenPages(parts_, head), "startup pack");
    object = std::move(opened);
  }
  runs_bytes_ = std::move(bytes);
  const bool whole = object == nullptr || object->whole();
  pack_ = std::make_shared<StartupPack>(head, std::move(runs), std::move(object), whole);
  pack_->NoteDownload(feed_->received(), feed_->first_byte());
  feed_->SetObserver([pack = pack_, first_byte = feed_->first_byte()](uint64_t received) {
    pack->NoteDownload(received, first_byte);
  });
  Deliver(OpenedStartup{std::move(tree_), pack_});
  return {};
}

Status StartupLoader::TakePiece(const PackPart& part, ZstdStreamDecoder& decoder) {
  LAYERFS_TRY(stored, TakePart(part));
  if (pack_->ended()) return {};  // It was whole in the cache.
  Bytes pages(part.size);
  ByteSpan input(stored);
  LAYERFS_TRY_IN(size, decoder.Decode(input, pages), "startup pack");
  // What is behind a piece's last page may only be the end of the stream.
  uint8_t more = 0;
  LAYERFS_TRY_IN(rest, decoder.Decode(input, MutableByteSpan(&more, 1)), "startup pack");
  if (size != pages.size() || rest != 0 || !input.empty()) {
    return Fail(ErrorCode::kCorrupt, "startup pack: a piece that does not yield its pages");
  }
  LAYERFS_CHECK_OK(pack_->Append(std::move(pages)));
  parts_.on_event("pages", pack_->available());
  return {};
}

void StartupLoader::KeepConfig(const PackPart& part, ByteSpan stored) {
  const auto config = Decompressed(part, stored);
  if (!config.has_value() || Digest::Of(*config) != parts_.config) return;
  const Status kept = parts_.cache->WriteDocument(parts_.config_document, *config);
  if (!kept.has_value()) LogDebug("cache: " + kept.error().context);
}

Status StartupLoader::KeepSegments(const PackPart& part, ByteSpan stored) {
  LAYERFS_TRY(bytes, Decompressed(part, stored));
  const auto tree = MapTree(parts_);
  if (!tree.has_value()) return {};  // The cache does not even keep that.
  LAYERFS_TRY(segments, DecodePackSegments(bytes, *tree));
  for (const PackSegment& segment : segments) {
    const ChunkRef ref = tree->Segment(segment.number).ref;
    auto object = parts_.cache->OpenObject(ObjectId{ref.digest, ref.size, {}});
    if (object.has_value() && !(*object)->whole()) {
      LAYERFS_CHECK_OK((*object)->WriteWhole(segment.bytes));
    }
  }
  return {};
}

void StartupLoader::Remember() {
  Bytes document = std::exchange(head_bytes_, {});
  const LargeBuffer runs = std::exchange(runs_bytes_, {});
  document.insert(document.end(), runs.data(), runs.data() + runs.size());
  const Status kept = parts_.cache->WriteDocument(StartupDocument(parts_.reference), document);
  if (!kept.has_value()) LogDebug("cache: " + kept.error().context);
}

}  // namespace layerfs
