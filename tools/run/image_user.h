// SPDX-License-Identifier: Apache-2.0
// ResolveUser: "USER[:GROUP]" as an image's config, docker run -u and the Dockerfile write it →
// ids, by the image's own /etc/passwd and /etc/group. The rules are those of runc's
// libcontainer/user. Thread-safe: functions of values. The files are foreign bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

struct ImageUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // supplementary, sorted
  std::string home = "/";
  bool operator==(const ImageUser&) const = default;
};

// Names go before numbers. A number without an entry stands for itself, with group 0. Supplementary
// groups come along only where no group is given. Empty text is root. A name that is not there, or
// a number beyond 2^31 - 1, is kNotFound or kInvalidArgument with the text.
// Lines that are not entries are passed over.
Result<ImageUser> ResolveUser(std::string_view text, std::string_view passwd,
                              std::string_view group);

}  // namespace layerfs
