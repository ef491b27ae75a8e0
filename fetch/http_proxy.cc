// SPDX-License-Identifier: Apache-2.0
#include "fetch/http_proxy.h"

#include "fetch/http_message.h"
#include "index/base/environment.h"

namespace layerfs {

HttpProxy HttpProxy::For(const std::string& url) {
  const auto parsed = Url::Parse(url);
  if (!parsed) return {};
  if (parsed->is_loopback()) return {.none = true, .url = {}};
  if (parsed->scheme != "http" || Environment("http_proxy") || Environment("REQUEST_METHOD")) {
    return {};
  }
  return {.none = false, .url = Environment("HTTP_PROXY").value_or("")};
}

}  // namespace layerfs
