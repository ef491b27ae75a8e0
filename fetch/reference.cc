// SPDX-License-Identifier: Apache-2.0
// The grammar of registry references is that of distribution/reference (regexp.go, normalize.go).
#include "fetch/reference.h"

#include <algorithm>
#include <cctype>

#include "fetch/http_message.h"

namespace layerfs {
namespace {

constexpr std::string_view kForms =
    "write docker://HOST[:PORT]/REPOSITORY[:TAG][@sha256:…], oci:DIRECTORY[:TAG], or "
    "docker-archive:FILE[:NAME:TAG|:@N]";
constexpr std::string_view kDockerHub = "docker.io";
constexpr size_t kMaxRepositoryBytes = 255;  // distribution/reference: NameTotalLengthMax
constexpr size_t kMaxTagBytes = 128;

std::unexpected<Error> Refuse(std::string_view text, std::string_view why) {
  return Fail(ErrorCode::kInvalidArgument, "image reference \"" + std::string(text) + "\": " +
                                               std::string(why) + "; " + std::string(kForms));
}

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// [a-z0-9]+ ((. | _ | __ | -+) [a-z0-9]+)*
bool IsPathComponent(std::string_view part) {
  if (part.empty() || !IsLowerOrDigit(part.front()) || !IsLowerOrDigit(part.back())) return false;
  for (size_t i = 0; i < part.size();) {
    size_t end = i;
    while (end < part.size() && !IsLowerOrDigit(part[end])) ++end;
    const std::string_view separator = part.substr(i, end - i);
    const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    i = end + 1;
  }
  return true;
}

bool IsRepository(std::string_view name) {
  if (name.empty() || name.size() > kMaxRepositoryBytes) return false;
  while (true) {
    const size_t slash = name.find('/');
    if (!IsPathComponent(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

// [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
bool IsTag(std::string_view tag) {
  if (tag.empty() || tag.size() > kMaxTagBytes || tag[0] == '.' || tag[0] == '-') return false;
  return std::ranges::all_of(tag, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
}

bool IsPort(std::string_view port) {
  return !port.empty() && port.size() <= 5 &&
         std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; }) &&
         std::stoi(std::string(port)) <= 65535;
}

// HOST[:PORT], where HOST is a DNS name, an IPv4 address, or an IPv6 address in brackets.
bool IsRegistry(std::string_view registry) {
  if (registry.starts_with('[')) {
    const size_t close = registry.find(']');
    if (close == std::string_view::npos || close < 2) return false;
    const std::string_view address = registry.substr(1, close - 1);
    if (address.find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) {
      return false;
    }
    const std::string_view rest = registry.substr(close + 1);
    return rest.empty() || (rest.starts_with(':') && IsPort(rest.substr(1)));
  }
  const size_t colon = registry.find(':');
  const std::string_view host = registry.substr(0, colon);
  if (colon != std::string_view::npos && !IsPort(registry.substr(colon + 1))) return false;
  return !host.empty() && host.front() != '-' && host.back() != '-' && host.front() != '.' &&
         std::ranges::all_of(
             host, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '.'; });
}

// Takes "@sha256:…" off the end of `rest`.
Result<std::optional<Digest>> TakeDigest(std::string_view& rest) {
  const size_t at = rest.rfind('@');
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view text = rest.substr(at + 1);
  // A directory's name may hold an @ too.
  if (text.find(':') == std::string_view::npos || text.find('/') != std::string_view::npos) {
    return std::nullopt;
  }
  LAYERFS_TRY(digest, Digest::Parse(text));
  rest = rest.substr(0, at);
  return std::optional(digest);
}

// Whether docker takes the word before the first slash for a registry.
bool LooksLikeRegistry(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:[") != std::string_view::npos ||
         std::ranges::any_of(first, [](unsigned char c) { return std::isupper(c) != 0; });
}

Result<ImageReference> ParseRegistry(std::string_view text, std::string_view rest) {
  ImageReference reference;
  auto digest = TakeDigest(rest);
  if (!digest)
    return Fail(std::move(digest).error().In("image reference \"" + std::string(text) + "\""));
  reference.digest = *digest;

  const size_t slash = rest.find('/');
  if (slash != std::string_view::npos && LooksLikeRegistry(rest.substr(0, slash))) {
    reference.registry = rest.substr(0, slash);
    rest.remove_prefix(slash + 1);
  } else {
    reference.registry = kDockerHub;
  }
  if (reference.registry == "index.docker.io") reference.registry = kDockerHub;
  const size_t colon = rest.find(':');
  reference.repository = rest.substr(0, colon);
  if (colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    if (!IsTag(reference.tag)) return Refuse(text, "the tag is not one");
  } else if (!reference.digest) {
    reference.tag = "latest";
  }
  if (reference.registry == kDockerHub && reference.repository.find('/') == std::string::npos) {
    reference.repository.insert(0, "library/");
  }
  if (!IsRegistry(reference.registry)) return Refuse(text, "the registry's name is not one");
  if (!IsRepository(reference.repository)) {
    const bool upper = std::ranges::any_of(reference.repository,
                                           [](unsigned char c) { return std::isupper(c) != 0; });
    return Refuse(
        text, upper ? "a repository's name must be lowercase" : "the repository's name is not one");
  }
  return reference;
}

Result<ImageReference> ParseLayout(std::string_view text, std::string_view rest) {
  ImageReference reference;
  reference.transport = ImageTransport::kOciLayout;
  auto digest = TakeDigest(rest);
  if (!digest)
    return Fail(std::move(digest).error().In("image reference \"" + std::string(text) + "\""));
  reference.digest = *digest;
  const size_t colon = rest.find(':');
  reference.path = rest.substr(0, colon);
  if (colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    if (reference.tag.empty()) return Refuse(text, "the tag is empty");
  }
  if (reference.path.empty()) return Refuse(text, "no directory is named");
  return reference;
}

Result<ImageReference> ParseArchive(std::string_view text, std::string_view rest) {
  ImageReference reference;
  reference.transport = ImageTransport::kDockerArchive;
  const size_t colon = rest.find(':');
  reference.path = rest.substr(0, colon);
  if (colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    if (reference.tag.empty()) return Refuse(text, "the image's name is empty");
  }
  if (reference.path.empty()) return Refuse(text, "no file is named");
  return reference;
}

}  // namespace

Result<ImageReference> ImageReference::Parse(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return Refuse("", "it holds a NUL byte");
  constexpr std::string_view kRegistry = "docker://";
  constexpr std::string_view kLayout = "oci:";
  constexpr std::string_view kArchive = "docker-archive:";
  if (text.starts_with(kRegistry)) return ParseRegistry(text, text.substr(kRegistry.size()));
  if (text.starts_with(kLayout)) return ParseLayout(text, text.substr(kLayout.size()));
  if (text.starts_with(kArchive)) return ParseArchive(text, text.substr(kArchive.size()));
  for (const std::string_view other :
       {"containers-storage:", "dir:", "docker-daemon:", "oci-archive:", "http://", "https://"}) {
    if (text.starts_with(other)) {
      return Refuse(text, "\"" + std::string(other) + "\" is not a transport that layerfs has");
    }
  }
  return ParseRegistry(text, text);
}

std::string ImageReference::ToString() const {
  const std::string pin = digest ? "@" + digest->ToString() : "";
  const std::string tail = (tag.empty() ? "" : ":" + tag) + pin;
  switch (transport) {
    case ImageTransport::kRegistry:
      return "docker://" + registry + "/" + repository + tail;
    case ImageTransport::kOciLayout:
      return "oci:" + path + tail;
    case ImageTransport::kDockerArchive:
      return "docker-archive:" + path + tail;
  }
  return "";
}

std::string ServerOfRegistry(const std::string& registry) {
  return registry == "docker.io" ? "registry-1.docker.io" : registry;
}

bool ImageReference::is_loopback() const {
  return transport == ImageTransport::kRegistry && IsLoopbackHost(HostOf(registry));
}

}  // namespace layerfs
