// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_blob_source.h"

#include <optional>

#include "fetch/range_filter.h"

namespace layerfs {
namespace {

// One range on its way. HTTP loop thread only, once it is started.
struct RangeTransfer {
  RangeTransfer(const BlobRange& range, BlobSink to, std::string for_errors)
      : filter(range.offset, range.size, range.blob_size),
        sink(std::move(to)),
        name(std::move(for_errors)) {}

  bool OnHead(const HttpHead& head) {
    if (Status checked = filter.CheckHead(head); !checked) failure = std::move(checked).error();
    return !failure;
  }
  BodyFlow OnData(ByteSpan data) {
    const ByteSpan wanted = filter.Take(data);
    if (!wanted.empty() && !sink.on_data(wanted)) {
      failure = Error{ErrorCode::kCancelled, "the read was stopped"};
      return BodyFlow::kStop;
    }
    // A whole blob, or more than was asked for: the rest need not come. An exact answer goes on to
    // its own end, which keeps the connection.
    const bool surplus = wanted.size() < data.size();
    return filter.complete() && surplus ? BodyFlow::kStop : BodyFlow::kTaken;
  }
  void OnDone(const RegistryResult& result) {
    TransferResult transfer;
    transfer.status = Outcome(result);
    if (!transfer.status) transfer.status = Fail(std::move(transfer.status).error().In(name));
    transfer.retry_after = result.retry_after;
    transfer.first_byte = result.http.first_byte;
    transfer.total = result.http.total;
    transfer.body_bytes = result.http.body_bytes;
    transfer.new_connection = result.http.new_connection;
    sink.on_done(transfer);
  }
  Status Outcome(const RegistryResult& result) {
    if (failure) return Fail(*failure);
    if (filter.complete()) return {};  // whatever happened to the rest of the body
    if (!result.http.status) return result.http.status;
    return Fail(filter.ShortBody());
  }

  RangeFilter filter;
  const BlobSink sink;
  const std::string name;
  std::optional<Error> failure;
};

}  // namespace

BlobSource::TransferId RegistryBlobSource::Start(const BlobRange& range, FetchClass fetch_class,
                                                 BlobSink sink) {
  const std::string blob = range.blob.ToString();
  const auto transfer = std::make_shared<RangeTransfer>(range, std::move(sink),
                                                        name() + ": blob " + blob + ": range " +
                                                            std::to_string(range.offset) + "+" +
                                                            std::to_string(range.size));
  RegistryCall call;
  call.url = host_.RepositoryUrl(repository_) + "blobs/" + blob;
  const std::string header = transfer->filter.RangeHeader();
  if (!header.empty()) call.headers.emplace_back("Range", header);
  call.fetch_class = fetch_class;
  call.scopes = {PullScope(repository_)};
  call.repository = repository_;
  call.redirect_key = blob;
  return host_.Start(
      std::move(call),
      {.on_head = [transfer](const HttpHead& head) { return transfer->OnHead(head); },
       .on_data = [transfer](ByteSpan data) { return transfer->OnData(data); },
       .on_done = [transfer](const RegistryResult& result) { transfer->OnDone(result); }});
}

}  // namespace layerfs
