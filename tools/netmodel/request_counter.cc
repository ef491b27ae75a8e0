// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/request_counter.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace layerfs {
namespace {

constexpr size_t kMostHeadBytes = 64 * 1024;
constexpr std::string_view kHeadEnd = "\r\n\r\n";

std::string Lower(std::string text) {
  for (char& letter : text) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return text;
}

}  // namespace

uint64_t RequestCounter::Feed(ByteSpan bytes) {
  uint64_t requests = 0;
  while (!bytes.empty() && !blind_) {
    const auto body = static_cast<size_t>(std::min<uint64_t>(body_left_, bytes.size()));
    body_left_ -= body;
    bytes = bytes.subspan(body);
    if (bytes.empty()) break;
    const size_t seen = head_.size();
    head_.append(AsText(bytes));
    const size_t end = head_.find(kHeadEnd, seen < 3 ? 0 : seen - 3);
    if (end == std::string::npos) {
      blind_ = head_.size() > kMostHeadBytes || head_[0] < 'A' || head_[0] > 'Z';
      break;
    }
    bytes = bytes.subspan(end + kHeadEnd.size() - seen);
    head_.resize(end);
    blind_ = !EndHead();
    if (!blind_) ++requests;
    head_.clear();
  }
  return requests;
}

bool RequestCounter::EndHead() {
  const size_t line_end = head_.find("\r\n");
  if (head_.substr(0, line_end).find(" HTTP/1.") == std::string::npos) return false;
  const std::string headers = Lower(head_.substr(std::min(line_end, head_.size())));
  static constexpr std::string_view kLength = "\r\ncontent-length:";
  const size_t at = headers.find(kLength);
  if (at != std::string::npos) {
    size_t digits = at + kLength.size();
    while (digits < headers.size() && headers[digits] == ' ') ++digits;
    std::from_chars(headers.data() + digits, headers.data() + headers.size(), body_left_);
  } else if (headers.find("\r\ntransfer-encoding:") != std::string::npos) {
    body_left_ = ~uint64_t{0};  // Counts no more: nothing that is measured here sends such bodies.
  }
  return true;
}

}  // namespace layerfs
