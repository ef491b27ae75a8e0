// SPDX-License-Identifier: Apache-2.0
#include "fetch/layout_blob_source.h"

#include <algorithm>

namespace layerfs {
namespace {

// Disks take a few reads at a time; more threads than this only wait in line.
constexpr int kThreads = 2;
constexpr uint64_t kPieceBytes = uint64_t{256} << 10;

std::chrono::microseconds Since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               start);
}

}  // namespace

LayoutBlobSource::LayoutBlobSource(OciLayout layout)
    : layout_(std::move(layout)), pool_("lf-layout", kThreads) {}

LayoutBlobSource::~LayoutBlobSource() {
  state_.With([](State& state) {
    for (auto& [id, transfer] : state.transfers) transfer->cancelled = true;
  });
}

BlobSource::TransferId LayoutBlobSource::Start(const BlobRange& range, FetchClass /*fetch_class*/,
                                               BlobSink sink) {
  auto transfer = std::make_shared<Transfer>();
  transfer->range = range;
  transfer->sink = std::move(sink);
  const TransferId id = state_.With([&](State& state) {
    state.transfers.emplace(state.next_id, transfer);
    return state.next_id++;
  });
  pool_.Submit([this, id, transfer] { Run(id, *transfer); });
  return id;
}

void LayoutBlobSource::Cancel(TransferId transfer) {
  state_.With([&](State& state) {
    const auto it = state.transfers.find(transfer);
    if (it != state.transfers.end()) it->second->cancelled = true;
  });
}

void LayoutBlobSource::Run(TransferId id, Transfer& transfer) {
  const auto start = std::chrono::steady_clock::now();
  TransferResult result;
  result.status = Deliver(transfer, result);
  result.total = Since(start);
  state_.With([&](State& state) { state.transfers.erase(id); });
  transfer.sink.on_done(result);
}

Status LayoutBlobSource::Deliver(Transfer& transfer, TransferResult& result) const {
  const auto start = std::chrono::steady_clock::now();
  const BlobRange& range = transfer.range;
  if (!RangeFits(range.offset, range.size, range.blob_size)) {
    return Fail(ErrorCode::kInvalidArgument,
                "outside the blob's " + std::to_string(range.blob_size) + " bytes");
  }
  if (transfer.cancelled) return Fail(ErrorCode::kCancelled, "the read was cancelled");
  LAYERFS_TRY(fd, layout_.OpenBlob(range.blob, range.blob_size));
  Bytes piece;
  for (uint64_t done = 0; done < range.size; done += piece.size()) {
    if (transfer.cancelled) return Fail(ErrorCode::kCancelled, "the read was cancelled");
    piece.resize(std::min(range.size - done, kPieceBytes));
    LAYERFS_CHECK_OK(ReadFullAt(fd.get(), range.offset + done, piece));
    if (done == 0) result.first_byte = Since(start);
    result.body_bytes += piece.size();
    if (!transfer.sink.on_data(piece)) return Fail(ErrorCode::kCancelled, "the read was stopped");
  }
  return {};
}

}  // namespace layerfs
