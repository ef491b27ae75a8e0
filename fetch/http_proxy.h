// SPDX-License-Identifier: Apache-2.0
// HttpProxy: where the way to a URL differs from what libcurl takes from http_proxy, https_proxy,
// all_proxy and no_proxy by itself (libcurl-env(3)).
// Thread-safe as long as nobody sets a variable.
#pragma once

#include <string>

namespace layerfs {

struct HttpProxy {
  bool none = false;  // straight, whatever the environment says
  std::string url;    // empty: what the environment says to libcurl

  // Straight to loopback addresses, and to what no_proxy excepts in a form of Go's. HTTP_PROXY in
  // capitals, which libcurl leaves out, counts where there is no http_proxy, as it does for the
  // other tools that pull images (Go's net/http): but not in a CGI's environment, where a client's
  // "Proxy:" header arrives under that name.
  static HttpProxy For(const std::string& url);
};

}  // namespace layerfs
