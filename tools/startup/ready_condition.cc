// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/ready_condition.h"

#include <netdb.h>
#include <regex.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <charconv>
#include <cstdint>
#include <memory>

#include "fetch/http_message.h"
#include "index/base/file.h"

namespace layerfs {
namespace {

struct HttpPlace {
  std::string authority;
  std::string host;
  std::string port;
  std::string path;
};

Result<HttpPlace> ParseUrl(const std::string& url) {
  const auto parsed = Url::Parse(url);
  if (!parsed.has_value() || parsed->scheme != "http") {
    return Fail(ErrorCode::kInvalidArgument,
                "--ready-http " + url + ": write http://HOST:PORT/PATH");
  }
  HttpPlace place;
  place.authority = parsed->authority;
  place.host = parsed->host();
  place.port = parsed->authority.substr(parsed->authority.rfind(':') + 1);
  place.path = parsed->target;
  int port = 0;
  const auto [end, error] =
      std::from_chars(place.port.data(), place.port.data() + place.port.size(), port);
  if (error != std::errc() || *end != '\0' || port < 1 || port > UINT16_MAX) {
    return Fail(ErrorCode::kInvalidArgument, "--ready-http " + url + ": no port is " + place.port);
  }
  return place;
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

UniqueFd Connect(const HttpPlace& place) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(place.host.c_str(), place.port.c_str(), &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, FreeAddresses> list(found);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    UniqueFd fd(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol));
    if (!fd.valid()) continue;
    const timeval second{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
    if (::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) return fd;
  }
  return {};
}

}  // namespace

void ReadyCondition::Declare(CLI::App& app) {
  app.add_option("--ready", pattern, "Ready when a line of its output matches")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return std::string(text.empty() ? "an empty pattern" : "");
          },
          ""))
      ->type_name("PATTERN");
  app.add_option("--ready-http", http, "Ready when this page is served")->type_name("URL");
  app.add_flag("--ready-exit", exit, "Ready when it ends with status 0 (the default)");
}

Status ReadyCondition::Check() {
  const int given = (pattern.empty() ? 0 : 1) + (http.empty() ? 0 : 1) + (exit ? 1 : 0);
  if (given > 1) {
    return Fail(ErrorCode::kInvalidArgument,
                "--ready, --ready-http and --ready-exit exclude each other");
  }
  if (given == 0) exit = true;
  if (!pattern.empty()) LAYERFS_CHECK_OK(CheckPattern(pattern));
  if (!http.empty()) LAYERFS_CHECK_OK(ParseUrl(http));
  return {};
}

Status ReadyCondition::CheckNotYet() const {
  if (http.empty() || !IsServed(http)) return {};
  return Fail(ErrorCode::kBusy, "--ready-http " + http +
                                    ": is served already, before the image's program runs; end "
                                    "what serves it, or take another port");
}

bool IsServed(const std::string& url) {
  const auto place = ParseUrl(url);
  if (!place.has_value()) return false;
  const UniqueFd fd = Connect(*place);
  if (!fd.valid()) return false;
  const std::string request =
      "GET " + place->path + " HTTP/1.0\r\nHost: " + place->authority + "\r\n\r\n";
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return false;
  char status[12] = {};  // "HTTP/1.1 200"
  if (::recv(fd.get(), status, sizeof status, MSG_WAITALL) != sizeof status) return false;
  return status[9] == '2' || status[9] == '3';
}

Status CheckPattern(const std::string& pattern) {
  regex_t compiled;
  if (::regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "--ready " + pattern + ": is no regular expression (regex(7))");
  }
  ::regfree(&compiled);
  return {};
}

bool Matches(const std::string& pattern, const std::string& line) {
  regex_t compiled;
  if (::regcomp(&compiled, pattern.c_str(), REG_EXTENDED) != 0) return false;
  // A line of a terminal's ends with a carriage return too; a line may have any bytes in it.
  regmatch_t whole{0, static_cast<regoff_t>(line.size() - (line.ends_with('\r') ? 1 : 0))};
  const bool matches = ::regexec(&compiled, line.c_str(), 1, &whole, REG_STARTEND) == 0;
  ::regfree(&compiled);
  return matches;
}

}  // namespace layerfs
