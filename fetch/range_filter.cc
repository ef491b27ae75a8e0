// SPDX-License-Identifier: Apache-2.0
#include "fetch/range_filter.h"

#include <algorithm>

namespace layerfs {
namespace {

std::unexpected<Error> Wrong(std::string what) {
  return Fail(ErrorCode::kNetwork, std::move(what), /*retryable=*/true);
}

}  // namespace

std::string RangeFilter::RangeHeader() const {
  if (offset_ == 0 && size_ == blob_size_) return "";
  return "bytes=" + std::to_string(offset_) + "-" + std::to_string(offset_ + size_ - 1);
}

Status RangeFilter::CheckHead(const HttpHead& head) {
  const HttpHeaders& headers = head.headers;
  if (!headers.Get("Content-Encoding").empty() && headers.Get("Content-Encoding") != "identity") {
    return Wrong("HTTP " + std::to_string(head.status) +
                 " with a content encoding that nobody asked for");
  }
  if (head.status == 200) {
    const auto length = ParseDecimal(headers.Get("Content-Length"));
    if (length && *length != blob_size_) {
      return Wrong("HTTP 200 with " + std::to_string(*length) + " bytes; the blob has " +
                   std::to_string(blob_size_));
    }
    skip_ = offset_;
    unasked_whole_ = size_ != blob_size_;
    return {};
  }
  if (head.status != 206)
    return Wrong("HTTP " + std::to_string(head.status) + " to a range request");
  const auto range = ParseContentRange(headers.Get("Content-Range"));
  if (!range) return Wrong("HTTP 206 without a Content-Range that is one");
  if (range->first != offset_) {
    return Wrong("HTTP 206 with another range: it begins at " + std::to_string(range->first));
  }
  if (range->total && *range->total != blob_size_) {
    return Wrong("HTTP 206 of a blob of " + std::to_string(*range->total) + " bytes; it has " +
                 std::to_string(blob_size_));
  }
  return {};
}

ByteSpan RangeFilter::Take(ByteSpan data) {
  const auto skipped = std::min<uint64_t>(skip_, data.size());
  skip_ -= skipped;
  data = data.subspan(skipped);
  data = data.first(std::min<uint64_t>(data.size(), size_ - taken_));
  taken_ += data.size();
  return data;
}

Error RangeFilter::ShortBody() const {
  return {
      ErrorCode::kNetwork,
      "the body ended after " + std::to_string(taken_) + " of " + std::to_string(size_) + " bytes",
      true};
}

}  // namespace layerfs
