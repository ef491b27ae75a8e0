// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/request_counter.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

const std::string kGet = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n";
const std::string kPut =
    "PUT /v2/a HTTP/1.1\r\ncontent-Length: 20\r\n\r\n12345\r\n\r\n1234567890\n";

TEST(RequestCounterTest, CountsRequestsHoweverTheyAreCut) {
  const std::string all = kGet + kGet + kPut + kGet;
  for (size_t piece = 1; piece <= all.size(); ++piece) {
    RequestCounter counter;
    uint64_t count = 0;
    for (size_t at = 0; at < all.size(); at += piece) {
      count += counter.Feed(AsBytes(std::string_view(all).substr(at, piece)));
    }
    EXPECT_EQ(count, 4U) << piece;
  }
}

TEST(RequestCounterTest, WhatIsNotHttpIsNotCounted) {
  RequestCounter tls;
  EXPECT_EQ(tls.Feed(AsBytes("\x16\x03\x01\x02")), 0U);
  EXPECT_EQ(tls.Feed(AsBytes(kGet)), 0U);
  RequestCounter http2;
  EXPECT_EQ(http2.Feed(AsBytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), 0U);
}

}  // namespace
}  // namespace layerfs
