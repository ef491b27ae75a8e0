// SPDX-License-Identifier: Apache-2.0
#include "fetch/http_message.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

using std::chrono::milliseconds;

TEST(HttpHeaders, NamesAreFoundInAnyLetterCaseAndValuesAreTrimmed) {
  HttpHeaders headers;
  headers.Add("Content-TYPE", "  a/b \r\n");
  headers.Add("x", "1");
  headers.Add("X", "2");
  EXPECT_EQ(headers.Get("content-type"), "a/b");
  EXPECT_EQ(headers.All("x").size(), 2U);
  EXPECT_FALSE(headers.Has("y"));
}

TEST(Url, PartsAreNormalized) {
  const Url url = *Url::Parse("HTTPS://Registry.Example/v2/A?b#c");
  EXPECT_EQ(url.scheme, "https");
  EXPECT_EQ(url.authority, "registry.example:443");
  EXPECT_EQ(url.target, "/v2/A?b");
  EXPECT_EQ(Url::Parse("http://[::1]:5000")->host(), "::1");
  EXPECT_EQ(Url::Parse("http://[::1]/x")->authority, "[::1]:80");
}

TEST(Url, AnotherSchemeHostOrPortIsAnotherOrigin) {
  const Url url = *Url::Parse("https://a.example/x");
  EXPECT_TRUE(url.SameOrigin(*Url::Parse("https://A.example:443/y")));
  for (const char* other :
       {"http://a.example/x", "https://b.example/x", "https://a.example:444/x"}) {
    EXPECT_FALSE(url.SameOrigin(*Url::Parse(other))) << other;
  }
}

TEST(Url, LoopbackIsAnAddressAndNoName) {
  const auto is_loopback = [](const char* text) { return Url::Parse(text)->is_loopback(); };
  for (const char* text : {"http://localhost:5000/", "http://127.1.2.3/", "http://[::1]:80/"}) {
    EXPECT_TRUE(is_loopback(text)) << text;
  }
  for (const char* text : {"http://127.example.com/", "http://127.0.0.1.example.com:5000/",
                           "http://localhost.example.com/", "http://[::2]/", "http://10.0.0.1/"}) {
    EXPECT_FALSE(is_loopback(text)) << text;
  }
}

TEST(Url, WhatIsNoWebAddressIsRefused) {
  for (const char* bad : {"", "/x", "ftp://a/", "file:///etc/passwd", "http://", "http://u:p@a/",
                          "http://a/ b", "http://a/\r\nX: y"}) {
    EXPECT_FALSE(Url::Parse(bad).has_value()) << bad;
  }
}

TEST(ResolveLocation, FollowsRfc3986) {
  const std::string base = "https://r.example/v2/a/blobs?x=1";
  const auto resolve = [&](const char* location) { return *ResolveLocation(base, location); };
  EXPECT_EQ(resolve("http://other.example:80/b?c"), "http://other.example:80/b?c");
  EXPECT_EQ(resolve("//cdn.example/b"), "https://cdn.example:443/b");
  EXPECT_EQ(resolve("/b"), "https://r.example:443/b");
  EXPECT_EQ(resolve("b?d=http://x/"), "https://r.example:443/v2/a/b?d=http://x/");
  EXPECT_EQ(resolve("?y=2"), "https://r.example:443/v2/a/blobs?y=2");
  EXPECT_FALSE(ResolveLocation(base, "").has_value());
  EXPECT_FALSE(ResolveLocation(base, "javascript:x").has_value());
}

TEST(TextForMessages, LeavesOutUserNames) {
  EXPECT_EQ(TextForMessages("Unsupported proxy syntax in 'http://user:s3:cr/et@[bad'"),
            "Unsupported proxy syntax in 'http://[bad'");
  EXPECT_EQ(TextForMessages("Could not resolve proxy: user:secret@host"),
            "Could not resolve proxy: host");
  EXPECT_EQ(TextForMessages("Failed to connect to ::1 port 1 after 0 ms"),
            "Failed to connect to ::1 port 1 after 0 ms");
  EXPECT_EQ(TextForMessages(""), "");
}

TEST(UrlForMessages, LeavesOutWhatMayBeSecret) {
  EXPECT_EQ(UrlForMessages("https://s3.example/b?X-Amz-Signature=abc"), "https://s3.example/b");
  EXPECT_EQ(UrlForMessages("https://u:p@s3.example/b"), "https://s3.example/b");
}

TEST(AppendQuery, AddsToWhatIsThere) {
  EXPECT_EQ(AppendQuery("http://a/b", "digest", "sha256:ab"), "http://a/b?digest=sha256%3Aab");
  EXPECT_EQ(AppendQuery("http://a/b?_state=x", "k", "v"), "http://a/b?_state=x&k=v");
  EXPECT_EQ(AppendQuery("http://a/b?", "k", "v"), "http://a/b?k=v");
}

TEST(ContentRange, ParsesAndRefuses) {
  const auto range = ParseContentRange("bytes 5-9/100");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 5U);
  EXPECT_EQ(range->last, 9U);
  EXPECT_EQ(range->total, 100U);
  EXPECT_FALSE(ParseContentRange("Bytes 0-0/*")->total.has_value());
  for (const char* bad :
       {"", "bytes", "bytes 9-5/100", "bytes 0-100/100", "bytes */100", "bytes -5/100",
        "items 0-1/2", "bytes 0-1", "bytes 0-1/x", "bytes 0-99999999999999999999/*"}) {
    EXPECT_FALSE(ParseContentRange(bad)) << bad;
  }
}

TEST(RetryAfter, TakesSecondsAndDates) {
  const auto now = std::chrono::system_clock::from_time_t(784111777);  // 6 Nov 1994 08:49:37
  const auto parse = [&](const char* value) { return ParseRetryAfter(value, now); };
  EXPECT_EQ(parse("120"), milliseconds(120'000));
  EXPECT_EQ(parse("0"), milliseconds(0));
  EXPECT_EQ(parse("Sun, 06 Nov 1994 08:49:47 GMT"), milliseconds(10'000));
  EXPECT_EQ(parse("Sunday, 06-Nov-94 08:49:47 GMT"), milliseconds(10'000));
  EXPECT_EQ(parse("Sun Nov  6 08:49:47 1994"), milliseconds(10'000));
  EXPECT_EQ(parse("Sun, 06 Nov 1994 08:49:07 GMT"), milliseconds(0));  // in the past
  EXPECT_EQ(parse("99999999999999999999999"), std::chrono::hours(1));
  for (const char* bad : {"", "soon", "-5", "1.5", "Sun, 06 Nov 1994"}) {
    EXPECT_FALSE(parse(bad).has_value()) << bad;
  }
}

TEST(NextLink, FindsTheNextOneOnly) {
  EXPECT_EQ(NextLink("</v2/a/tags/list?last=b&n=2>; rel=\"next\""), "/v2/a/tags/list?last=b&n=2");
  EXPECT_EQ(NextLink("<a>; rel=\"prev\", <b>; rel=next"), "b");
  EXPECT_EQ(NextLink("<a>; rel=\"prev\""), "");
  EXPECT_EQ(NextLink("<a"), "");
}

TEST(CertificateRemedyTest, AnAuthorityHelpsWhereNoneIsKnown) {
  for (const char* text : {"SSL certificate problem: unable to get local issuer certificate",
                           "SSL certificate problem: self-signed certificate"}) {
    EXPECT_NE(CertificateRemedy(text).find("--ca FILE"), std::string::npos) << text;
  }
  for (const char* text :
       {"SSL certificate problem: certificate has expired",
        "SSL: no alternative certificate subject name matches target host name"}) {
    EXPECT_EQ(CertificateRemedy(text), "") << text;
  }
}

}  // namespace
}  // namespace layerfs
