// SPDX-License-Identifier: Apache-2.0
#include "fetch/http_message.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kMaxRetryAfter = std::chrono::hours(1);

bool SameName(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string Lowercase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

bool HasControlBytes(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; });
}

std::unexpected<Error> BadUrl(std::string_view text, std::string_view why) {
  return Fail(ErrorCode::kInvalidArgument,
              "URL \"" + UrlForMessages(text) + "\": " + std::string(why));
}

std::optional<std::chrono::system_clock::time_point> ParseHttpDate(const std::string& text) {
  for (const char* format :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"}) {
    tm parts{};
    const char* end = strptime(text.c_str(), format, &parts);
    if (end == nullptr || *end != '\0') continue;
    return std::chrono::system_clock::from_time_t(timegm(&parts));
  }
  return std::nullopt;
}

}  // namespace

void HttpHeaders::Add(std::string_view name, std::string_view value) {
  fields_.emplace_back(Trim(name), Trim(value));
}

std::string_view HttpHeaders::Get(std::string_view name) const {
  for (const auto& [field, value] : fields_) {
    if (SameName(field, name)) return value;
  }
  return {};
}

bool HttpHeaders::Has(std::string_view name) const {
  return std::ranges::any_of(fields_, [&](const auto& f) { return SameName(f.first, name); });
}

std::vector<std::string_view> HttpHeaders::All(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const auto& [field, value] : fields_) {
    if (SameName(field, name)) values.push_back(value);
  }
  return values;
}

Result<Url> Url::Parse(std::string_view text) {
  if (HasControlBytes(text)) return BadUrl("", "it holds blanks or control bytes");
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return BadUrl(text, "not an absolute URL");
  Url url;
  url.scheme = Lowercase(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https") return BadUrl(text, "neither http nor https");
  const std::string_view rest = text.substr(colon + 3);
  const size_t end = rest.find_first_of("/?#");
  url.authority = Lowercase(rest.substr(0, end));
  if (url.authority.find('@') != std::string::npos) return BadUrl(text, "it holds a user name");
  if (url.host().empty()) return BadUrl(text, "it names no host");
  const size_t bracket = url.authority.rfind(']');
  const size_t port = url.authority.find(':', bracket == std::string::npos ? 0 : bracket);
  if (port == std::string::npos) url.authority += url.scheme == "http" ? ":80" : ":443";
  url.target = end == std::string_view::npos ? "/" : std::string(rest.substr(end));
  url.target.resize(std::min(url.target.size(), url.target.find('#')));
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  return url;
}

std::string HostOf(std::string_view authority) {
  if (authority.starts_with('[')) {
    return std::string(authority.substr(1, std::min(authority.find(']'), authority.size()) - 1));
  }
  return std::string(authority.substr(0, authority.find(':')));
}

bool IsLoopbackHost(std::string_view host) {
  const bool address =
      host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
  return address || host == "localhost" || host == "::1";
}

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

Result<std::string> ResolveLocation(std::string_view base, std::string_view location) {
  LAYERFS_TRY(from, Url::Parse(base));
  location = Trim(location);
  if (location.empty()) return BadUrl(base, "it redirects to nowhere");
  std::string target;
  const size_t colon = location.find(':');
  const bool absolute = colon != std::string_view::npos && location.find_first_of("/?#") > colon;
  if (absolute) {
    target = location;
  } else if (location.starts_with("//")) {
    target = from.scheme + ":" + std::string(location);
  } else {
    const std::string origin = from.scheme + "://" + from.authority;
    const std::string path = from.target.substr(0, from.target.find('?'));
    if (location.starts_with('/')) {
      target = origin + std::string(location);
    } else if (location.starts_with('?')) {
      target = origin + path + std::string(location);
    } else {
      target = origin + path.substr(0, path.rfind('/') + 1) + std::string(location);
    }
  }
  LAYERFS_TRY(checked, Url::Parse(target));
  return checked.scheme + "://" + checked.authority + checked.target;
}

std::string UrlForMessages(std::string_view url) {
  std::string shown(url.substr(0, url.find_first_of("?#")));
  const size_t slashes = shown.find("://");
  if (slashes != std::string::npos) {
    const size_t end = std::min(shown.find('/', slashes + 3), shown.size());
    const size_t at = shown.rfind('@', end);
    if (at != std::string::npos && at > slashes) shown.erase(slashes + 3, at - slashes - 2);
  }
  constexpr size_t kMaxShown = 300;
  if (shown.size() > kMaxShown) shown = shown.substr(0, kMaxShown) + "…";
  return shown;
}

std::string TextForMessages(std::string_view text) {
  constexpr std::string_view kBounds = " \t\n'\"";
  std::string shown;
  while (!text.empty()) {
    const size_t begin = std::min(text.find_first_not_of(kBounds), text.size());
    shown += text.substr(0, begin);
    text.remove_prefix(begin);
    std::string_view word = text.substr(0, text.find_first_of(kBounds));
    text.remove_prefix(word.size());
    const size_t at = word.rfind('@');
    if (at != std::string_view::npos) {
      const size_t slashes = word.find("://");
      if (slashes < at) shown += word.substr(0, slashes + 3);
      word.remove_prefix(at + 1);
    }
    shown += word;
  }
  return shown;
}

std::string CertificateRemedy(std::string_view text) {
  for (const std::string_view unknown : {"issuer", "self-signed", "self signed"}) {
    if (text.find(unknown) != std::string_view::npos) {
      return "; name the authority that signed the certificate with --ca FILE";
    }
  }
  return "";
}

std::string UrlEncode(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      encoded.push_back(c);
    } else {
      encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return encoded;
}

std::string AppendQuery(std::string_view url, std::string_view key, std::string_view value) {
  const bool has_query = url.find('?') != std::string_view::npos;
  std::string longer(url);
  if (!has_query) {
    longer += '?';
  } else if (!longer.ends_with('?') && !longer.ends_with('&')) {
    longer += '&';
  }
  return longer + std::string(key) + "=" + UrlEncode(value);
}

std::optional<uint64_t> ParseDecimal(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc() || end != text.end()) return std::nullopt;
  return value;
}

std::optional<ContentRange> ParseContentRange(std::string_view value) {
  value = Trim(value);
  constexpr std::string_view kUnit = "bytes";
  if (value.size() < kUnit.size() || !SameName(value.substr(0, kUnit.size()), kUnit)) {
    return std::nullopt;
  }
  value = Trim(value.substr(kUnit.size()));
  const size_t dash = value.find('-');
  const size_t slash = value.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) {
    return std::nullopt;
  }
  const auto first = ParseDecimal(Trim(value.substr(0, dash)));
  const auto last = ParseDecimal(Trim(value.substr(dash + 1, slash - dash - 1)));
  if (!first || !last || *last < *first) return std::nullopt;
  ContentRange range{*first, *last, std::nullopt};
  const std::string_view total = Trim(value.substr(slash + 1));
  if (total == "*") return range;
  range.total = ParseDecimal(total);
  if (!range.total || *range.total <= range.last) return std::nullopt;
  return range;
}

std::optional<std::chrono::milliseconds> ParseRetryAfter(
    std::string_view value, std::chrono::system_clock::time_point now) {
  value = Trim(value);
  const bool digits =
      !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
  if (digits) {
    const auto seconds = ParseDecimal(value);
    if (!seconds || *seconds > 3600) return kMaxRetryAfter;
    return std::chrono::seconds(*seconds);
  }
  const auto date = ParseHttpDate(std::string(value));
  if (!date) return std::nullopt;
  const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(*date - now);
  return std::clamp(wait, std::chrono::milliseconds(0), kMaxRetryAfter);
}

std::string NextLink(std::string_view value) {
  while (true) {
    const size_t open = value.find('<');
    const size_t close = value.find('>', open);
    if (open == std::string_view::npos || close == std::string_view::npos) return "";
    const std::string_view target = value.substr(open + 1, close - open - 1);
    value.remove_prefix(close + 1);
    const std::string_view parameters = value.substr(0, value.find('<'));
    const std::string lower = Lowercase(parameters);
    if (lower.find("rel=\"next\"") != std::string::npos ||
        lower.find("rel=next") != std::string::npos) {
      return std::string(target);
    }
  }
}

}  // namespace layerfs
