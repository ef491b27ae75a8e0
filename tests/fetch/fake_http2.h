// SPDX-License-Identifier: Apache-2.0
// FakeHttp2: the server's side of one HTTP/2 connection (RFC 9113), for FakeServer: frames by hand,
// so that they can be wrong ones.
// One thread at a time.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "tests/fetch/fake_server.h"

namespace layerfs {

class FakeHttp2 {
 public:
  // `read` gets so many bytes, `write` sends all; false at the connection's end.
  struct Wire {
    std::function<bool(size_t, std::string*)> read;
    std::function<bool(std::string_view)> write;
    std::function<void(std::chrono::milliseconds)> sleep;
  };
  using Handler = std::function<FakeResponse(FakeRequest)>;
  FakeHttp2(Wire wire, Handler handler);
  ~FakeHttp2();
  FakeHttp2(const FakeHttp2&) = delete;
  FakeHttp2& operator=(const FakeHttp2&) = delete;

  // Answers one request after the other, until the connection ends.
  void Serve();

 private:
  struct Asked {
    uint32_t stream;
    FakeRequest request;
  };
  bool ReadFrame();
  bool OnHeaders(uint32_t stream, std::string_view block);
  void OnSettings(std::string_view settings);
  bool SendFrame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload);
  bool Answer(const Asked& asked);
  bool SendHead(uint32_t stream, const FakeResponse& response, bool with_body);
  bool SendData(uint32_t stream, std::string_view data, bool last);
  bool EndEarly(uint32_t stream, const FakeResponse& response);

  const Wire wire_;
  const Handler handler_;
  nghttp2_hd_inflater* inflater_ = nullptr;
  nghttp2_hd_deflater* deflater_ = nullptr;
  std::deque<Asked> asked_;
  int64_t initial_window_ = 65'535;
  int64_t window_ = 65'535;
  std::map<uint32_t, int64_t> stream_windows_;
  std::set<uint32_t> reset_;  // by the client
};

}  // namespace layerfs
