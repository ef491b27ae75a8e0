// SPDX-License-Identifier: Apache-2.0
#include "fetch/http_proxy.h"

#include <algorithm>
#include <cctype>
#include <ranges>
#include <string_view>

#include "fetch/http_message.h"
#include "index/base/environment.h"

namespace layerfs {
namespace {

// "HOST:PORT", "ADDRESS:PORT", "*.DOMAIN" and "*.DOMAIN:PORT", which Go's tools take in no_proxy
// (golang.org/x/net/http/httpproxy) and libcurl does not know; what it knows is left to it.
bool IsExcepted(const Url& url, std::string_view entry) {
  const size_t colon = entry.rfind(':');
  const bool has_port = colon != std::string_view::npos && colon + 1 < entry.size() &&
                        ParseDecimal(entry.substr(colon + 1)).has_value() &&
                        (entry.find(':') == colon || entry[colon - 1] == ']');
  const bool starred = entry.starts_with("*.");
  if (!has_port && !starred) return false;
  if (starred) entry.remove_prefix(1);
  const std::string place = has_port ? url.authority : url.host();
  const bool below = entry.starts_with('.');
  return below ? place.ends_with(entry)
               : place == entry || place.ends_with("." + std::string(entry));
}

bool IsExcepted(const Url& url) {
  // The one that counts for libcurl.
  std::string list = Environment("no_proxy").value_or(Environment("NO_PROXY").value_or(""));
  std::ranges::transform(list, list.begin(), [](unsigned char c) {
    return c == ' ' ? ',' : static_cast<char>(std::tolower(c));
  });
  return std::ranges::any_of(std::views::split(list, ','), [&](const auto& entry) {
    return IsExcepted(url, std::string_view(entry.begin(), entry.end()));
  });
}

}  // namespace

HttpProxy HttpProxy::For(const std::string& url) {
  const auto parsed = Url::Parse(url);
  if (!parsed) return {};
  if (parsed->is_loopback() || IsExcepted(*parsed)) return {.none = true, .url = {}};
  if (parsed->scheme != "http" || Environment("http_proxy") || Environment("REQUEST_METHOD")) {
    return {};
  }
  return {.none = false, .url = Environment("HTTP_PROXY").value_or("")};
}

}  // namespace layerfs
