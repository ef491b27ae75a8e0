// SPDX-License-Identifier: Apache-2.0
// The parts of HTTP that are words and not transport: header fields, URLs, and the few header
// values that a registry client reads (RFC 9110, RFC 3986, RFC 8288).
// Thread-safe: values and pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

class HttpHeaders {
 public:
  void Add(std::string_view name, std::string_view value);
  // The first field of the name, whatever its letter case; empty where there is none.
  std::string_view Get(std::string_view name) const;
  bool Has(std::string_view name) const;
  std::vector<std::string_view> All(std::string_view name) const;
  size_t size() const { return fields_.size(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct HttpHead {
  int status = 0;  // 0: no response came
  HttpHeaders headers;
};

// "host:port" without its port, and without brackets.
std::string HostOf(std::string_view authority);
// localhost, ::1, and 127.0.0.0/8 in its usual spelling, as addresses: a name like 127.example.com
// is somebody's.
bool IsLoopbackHost(std::string_view host);

struct Url {
  std::string scheme;     // "http" or "https"
  std::string authority;  // "host:port" with the scheme's port filled in, lowercase
  std::string target;     // path and query, from the slash on

  // Absolute http and https URLs; others, and URLs with a user name in them, are kInvalidArgument.
  static Result<Url> Parse(std::string_view text);
  bool SameOrigin(const Url& other) const {
    return scheme == other.scheme && authority == other.authority;
  }
  bool is_loopback() const { return IsLoopbackHost(host()); }
  std::string host() const { return HostOf(authority); }
};

// Whether an answer with that status sends elsewhere, if it has a Location (RFC 9110, 15.4).
bool IsRedirect(int status);
// What a Location header means, seen from `base` (absolute).
Result<std::string> ResolveLocation(std::string_view base, std::string_view location);
// Without query and user name: queries of signed URLs are secrets.
std::string UrlForMessages(std::string_view url);
// A sentence of a library's, which may quote a URL: without user names, and so without passwords.
std::string TextForMessages(std::string_view text);
// What to say behind a TLS library's sentence on a certificate that it does not accept: another
// authority helps where none is known, not where a name or a time is wrong.
std::string CertificateRemedy(std::string_view text);
// Percent-encodes everything but RFC 3986's unreserved letters.
std::string UrlEncode(std::string_view text);
// Adds "key=VALUE" to the URL's query, VALUE encoded.
std::string AppendQuery(std::string_view url, std::string_view key, std::string_view value);

// "bytes FIRST-LAST/TOTAL" or "bytes FIRST-LAST/*".
struct ContentRange {
  uint64_t first = 0;
  uint64_t last = 0;  // inclusive, >= first
  std::optional<uint64_t> total;
};
std::optional<ContentRange> ParseContentRange(std::string_view value);

// Whole digits as a number that fits.
std::optional<uint64_t> ParseDecimal(std::string_view text);

// "Retry-After: 120" or an HTTP date in one of its three forms; never negative, at most an hour.
std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view value,
                                                         std::chrono::system_clock::time_point now);

// The target of rel="next" in a Link header; empty where there is none.
std::string NextLink(std::string_view value);

}  // namespace layerfs
