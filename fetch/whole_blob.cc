// SPDX-License-Identifier: Apache-2.0
#include "fetch/whole_blob.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace layerfs {
namespace {

constexpr uint64_t kReadBytes = 256 * 1024;

Error Stopped() { return {ErrorCode::kCancelled, "the read was stopped"}; }

}  // namespace

Result<std::shared_ptr<WholeBlob>> WholeBlob::Create(uint64_t size) {
  LAYERFS_TRY(file, OpenUnnamedFile(SpoolDirectory()));
  return std::shared_ptr<WholeBlob>(new WholeBlob(size, std::move(file)));
}

void WholeBlob::Attach(ReaderId id, Reader reader) {
  Reader& added = readers_[id] = std::move(reader);
  if (ServeKept(added)) return EndReader(id, {});
  if (!carried_ || !disk_) {
    EndReader(id, Fail(ErrorCode::kNetwork, "what was kept of the blob cannot be read", true));
  }
}

void WholeBlob::Detach(ReaderId id) { EndReader(id, Fail(Stopped())); }

bool WholeBlob::ServeKept(Reader& reader) {
  Bytes bytes;
  while (reader.offset < std::min(reader.end, kept_)) {
    bytes.resize(std::min({kReadBytes, reader.end - reader.offset, kept_ - reader.offset}));
    if (Status read = ReadFullAt(file_.get(), reader.offset, bytes); !read) {
      disk_ = std::move(read);
      return false;
    }
    reader.offset += bytes.size();
    if (!reader.on_data(bytes)) {
      reader.stopped = true;
      return true;
    }
  }
  return reader.offset == reader.end;
}

void WholeBlob::EndReader(ReaderId id, Status status) {
  const auto reader = readers_.find(id);
  if (reader == readers_.end()) return;
  const auto on_done = std::move(reader->second.on_done);
  if (reader->second.stopped) status = Fail(Stopped());
  readers_.erase(reader);
  on_done(std::move(status));
}

void WholeBlob::BeginCarrying() {
  carried_ = true;
  at_ = 0;
}

bool WholeBlob::OnData(ByteSpan data) {
  if (abandoned_) return false;
  // After an answer that broke, what is there comes again.
  const auto known = std::min<uint64_t>(data.size(), kept_ - std::min(kept_, at_));
  at_ += data.size();
  data = data.subspan(known);
  data = data.first(std::min<uint64_t>(data.size(), size_ - kept_));
  if (data.empty()) return at_ <= size_;
  if (disk_) disk_ = WriteFullAt(file_.get(), kept_, data);
  if (!disk_) return false;
  const uint64_t begin = kept_;
  kept_ += data.size();
  HandOn(begin, data);
  return true;
}

void WholeBlob::HandOn(uint64_t begin, ByteSpan data) {
  std::vector<ReaderId> ended;
  for (auto& [id, reader] : readers_) {
    const uint64_t end = std::min(reader.end, kept_);
    if (reader.offset >= end) continue;  // Those behind the front have had theirs by Attach.
    const ByteSpan part = data.subspan(reader.offset - begin, end - reader.offset);
    reader.offset = end;
    reader.stopped = !reader.on_data(part);
    if (reader.stopped || reader.offset == reader.end) ended.push_back(id);
  }
  for (const ReaderId id : ended) EndReader(id, {});
}

void WholeBlob::EndCarrying(const Status& status) {
  carried_ = false;
  Error error{
      ErrorCode::kNetwork,
      "the blob ended after " + std::to_string(at_) + " of " + std::to_string(size_) + " bytes",
      true};
  if (!disk_) {
    error = Error{ErrorCode::kNetwork, "the blob cannot be kept: " + disk_.error().context, true};
  } else if (!status) {
    error = status.error();
    error.retryable = true;
  }
  while (!readers_.empty()) EndReader(readers_.begin()->first, Fail(error));
}

}  // namespace layerfs
