// SPDX-License-Identifier: Apache-2.0
#include "tests/fetch/fake_http2.h"

#include <algorithm>
#include <vector>

namespace layerfs {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kMaxFrameBytes = 16'384;  // what every client takes

enum Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
};
enum Flag : uint8_t { kEndStream = 1, kAck = 1, kEndHeaders = 4, kPadded = 8, kPriority = 32 };
constexpr uint32_t kNoError = 0;
constexpr uint32_t kInternalError = 2;
constexpr uint16_t kInitialWindowSize = 4;

std::string BigEndian(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = bytes; i-- > 0;) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

uint32_t FromBigEndian(std::string_view text) {
  uint32_t value = 0;
  for (const char c : text) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

uint8_t* Raw(std::string& text) { return reinterpret_cast<uint8_t*>(text.data()); }

}  // namespace

FakeHttp2::FakeHttp2(Wire wire, Handler handler)
    : wire_(std::move(wire)), handler_(std::move(handler)) {
  nghttp2_hd_inflate_new(&inflater_);
  nghttp2_hd_deflate_new(&deflater_, 4096);
}

FakeHttp2::~FakeHttp2() {
  nghttp2_hd_inflate_del(inflater_);
  nghttp2_hd_deflate_del(deflater_);
}

void FakeHttp2::Serve() {
  std::string preface;
  if (!wire_.read(kPreface.size(), &preface) || preface != kPreface) return;
  if (!SendFrame(kSettings, 0, 0, "")) return;
  while (true) {
    while (asked_.empty()) {
      if (!ReadFrame()) return;
    }
    const Asked next = std::move(asked_.front());
    asked_.pop_front();
    if (!Answer(next)) return;
  }
}

bool FakeHttp2::SendFrame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  return wire_.write(BigEndian(payload.size(), 3) + BigEndian(type, 1) + BigEndian(flags, 1) +
                     BigEndian(stream, 4) + std::string(payload));
}

// Requests wait in `asked_`; the rest is dealt with at once.
bool FakeHttp2::ReadFrame() {
  std::string head;
  std::string payload;
  if (!wire_.read(9, &head)) return false;
  const auto type = static_cast<uint8_t>(head[3]);
  const auto flags = static_cast<uint8_t>(head[4]);
  const uint32_t stream = FromBigEndian(std::string_view(head).substr(5)) & 0x7fffffff;
  if (!wire_.read(FromBigEndian(std::string_view(head).substr(0, 3)), &payload)) return false;
  switch (type) {
    case kHeaders: {
      std::string_view block = payload;
      if ((flags & kPadded) != 0) block = block.substr(1, block.size() - 1 - Raw(payload)[0]);
      if ((flags & kPriority) != 0) block.remove_prefix(5);
      return OnHeaders(stream, block);
    }
    case kSettings:
      if ((flags & kAck) != 0) return true;
      OnSettings(payload);
      return SendFrame(kSettings, kAck, 0, "");
    case kPing:
      return (flags & kAck) != 0 || SendFrame(kPing, kAck, 0, payload);
    case kWindowUpdate:
      (stream == 0 ? window_
                   : stream_windows_.try_emplace(stream, initial_window_).first->second) +=
          FromBigEndian(payload);
      return true;
    case kReset:
      reset_.insert(stream);
      return true;
    default:
      return true;
  }
}

// The client is ours: its header blocks come whole, and without a body after them.
bool FakeHttp2::OnHeaders(uint32_t stream, std::string_view block) {
  std::string bytes(block);
  FakeRequest request;
  size_t done = 0;
  for (int flags = 0; (flags & NGHTTP2_HD_INFLATE_FINAL) == 0;) {
    nghttp2_nv field{};
    const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, Raw(bytes) + done,
                                                bytes.size() - done, 1);
    if (used < 0) return false;
    done += static_cast<size_t>(used);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0) continue;
    const std::string name(reinterpret_cast<char*>(field.name), field.namelen);
    const std::string value(reinterpret_cast<char*>(field.value), field.valuelen);
    if (name == ":method") request.method = value;
    if (name == ":path") request.target = value;
    if (!name.starts_with(':')) request.headers.Add(name, value);
  }
  nghttp2_hd_inflate_end_headers(inflater_);
  asked_.push_back({stream, std::move(request)});
  return true;
}

void FakeHttp2::OnSettings(std::string_view settings) {
  for (; settings.size() >= 6; settings.remove_prefix(6)) {
    if (FromBigEndian(settings.substr(0, 2)) != kInitialWindowSize) continue;
    const int64_t window = FromBigEndian(settings.substr(2, 4));
    for (auto& [stream, left] : stream_windows_) left += window - initial_window_;
    initial_window_ = window;
  }
}

bool FakeHttp2::Answer(const Asked& asked) {
  const FakeResponse response = handler_(asked.request);
  wire_.sleep(response.delay);
  if (response.close_without_answer) return false;
  if (!wire_.write(response.preamble)) return false;
  if (response.status == 0) return true;
  if (!SendHead(asked.stream, response, !response.body.empty())) return false;
  if (response.body.empty()) return true;
  const std::string_view body = response.body;
  if (!response.cut_after.has_value()) return SendData(asked.stream, body, true);
  return SendData(asked.stream, body.substr(0, *response.cut_after), false) &&
         EndEarly(asked.stream, response);
}

bool FakeHttp2::SendHead(uint32_t stream, const FakeResponse& response, bool with_body) {
  std::vector<std::pair<std::string, std::string>> fields = {
      {":status", std::to_string(response.status)}};
  for (auto [name, value] : response.headers) {
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    fields.emplace_back(name, value);
  }
  const size_t length = response.claimed_length.value_or(response.body.size());
  if (!response.until_close) fields.emplace_back("content-length", std::to_string(length));
  std::vector<nghttp2_nv> raw;
  for (auto& [name, value] : fields) {
    raw.push_back({Raw(name), Raw(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  std::string block(nghttp2_hd_deflate_bound(deflater_, raw.data(), raw.size()), '\0');
  const ssize_t size =
      nghttp2_hd_deflate_hd(deflater_, Raw(block), block.size(), raw.data(), raw.size());
  if (size < 0) return false;
  block.resize(static_cast<size_t>(size));
  return SendFrame(kHeaders, with_body ? kEndHeaders : kEndHeaders | kEndStream, stream, block);
}

bool FakeHttp2::SendData(uint32_t stream, std::string_view data, bool last) {
  int64_t& window = stream_windows_.try_emplace(stream, initial_window_).first->second;
  while (!data.empty()) {
    while (std::min(window, window_) <= 0) {
      if (!ReadFrame()) return false;
      if (reset_.contains(stream)) return true;
    }
    const size_t size =
        std::min({data.size(), kMaxFrameBytes, static_cast<size_t>(std::min(window, window_))});
    const bool ends = last && size == data.size();
    if (!SendFrame(kData, ends ? kEndStream : 0, stream, data.substr(0, size))) return false;
    window -= static_cast<int64_t>(size);
    window_ -= static_cast<int64_t>(size);
    data.remove_prefix(size);
  }
  return true;
}

bool FakeHttp2::EndEarly(uint32_t stream, const FakeResponse& response) {
  const std::string_view rest = std::string_view(response.body).substr(*response.cut_after);
  switch (response.http2_end) {
    case FakeResponse::Http2End::kConnection:
      return false;
    case FakeResponse::Http2End::kReset:
      return SendFrame(kReset, 0, stream, BigEndian(kInternalError, 4));
    case FakeResponse::Http2End::kStream:
      return SendFrame(kData, kEndStream, stream, "");
    case FakeResponse::Http2End::kGoAway:
      // None of the streams that are open will be answered.
      SendFrame(kGoAway, 0, 0, BigEndian(0, 4) + BigEndian(kInternalError, 4));
      return false;
    case FakeResponse::Http2End::kGoAwayGently:
      // This stream is answered to its end, those behind it are not.
      SendFrame(kGoAway, 0, 0, BigEndian(stream, 4) + BigEndian(kNoError, 4));
      SendData(stream, rest, true);
      return false;
  }
  return false;
}

}  // namespace layerfs
