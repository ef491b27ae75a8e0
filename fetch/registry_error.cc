// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_error.h"

#include "index/base/json.h"

namespace layerfs {
namespace {

constexpr size_t kMaxShownBytes = 300;

// Foreign words for one line of a terminal.
std::string Sanitized(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    if (shown.size() >= kMaxShownBytes) return shown + "…";
    const auto byte = static_cast<unsigned char>(c);
    shown.push_back(byte < 0x20 || byte >= 0x7f ? ' ' : c);
  }
  return shown;
}

struct StatusMeaning {
  ErrorCode code;
  bool retryable = false;
};

StatusMeaning Meaning(int status) {
  switch (status) {
    case 401:
      return {ErrorCode::kUnauthorized};
    case 403:
      return {ErrorCode::kPermission};
    case 404:
    case 410:
      return {ErrorCode::kNotFound};
    case 405:
    case 415:
    case 501:
      return {ErrorCode::kUnsupported};
    case 413:
      return {ErrorCode::kTooLarge};
    case 416:
      return {ErrorCode::kCorrupt};
    case 408:
    case 425:
    case 429:
      return {ErrorCode::kNetwork, true};
    default:
      return {ErrorCode::kNetwork, status >= 500};
  }
}

}  // namespace

std::string DescribeErrorBody(std::string_view body) {
  constexpr uint64_t kMaxBodyBytes = 64 * 1024;
  const auto json = ParseJson(AsBytes(body), kMaxBodyBytes);
  if (!json || !json->is_object()) {
    // What Go's servers (most registries) say to plain http; nginx says it in HTML.
    const bool wants_tls =
        body.find("HTTP request to an HTTPS server") != std::string_view::npos ||
        body.find("plain HTTP request was sent to HTTPS") != std::string_view::npos;
    return wants_tls ? "it speaks https: name its authority with --ca FILE" : "";
  }
  const auto errors = json->find("errors");
  std::string text;
  if (errors != json->end() && errors->is_array()) {
    for (const Json& error : *errors) {
      const auto code = JsonOptionalString(error, "code");
      const auto message = JsonOptionalString(error, "message");
      if (!text.empty()) text += "; ";
      if (code && !code->empty()) text += *code;
      if (message && !message->empty()) text += (code && !code->empty() ? ": " : "") + *message;
    }
    return Sanitized(text);
  }
  // Token servers and object stores in front of registries.
  for (const char* key : {"message", "details", "error_description", "error"}) {
    const auto message = JsonOptionalString(*json, key);
    if (message && !message->empty()) return Sanitized(*message);
  }
  return "";
}

Error RegistryError(int status, std::string_view body) {
  const StatusMeaning meaning = Meaning(status);
  std::string context = "HTTP " + std::to_string(status);
  const std::string description = DescribeErrorBody(body);
  if (!description.empty()) context += ": " + description;
  return {meaning.code, std::move(context), meaning.retryable};
}

}  // namespace layerfs
