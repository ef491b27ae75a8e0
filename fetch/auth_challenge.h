// SPDX-License-Identifier: Apache-2.0
// WWW-Authenticate: the challenges of a 401 (RFC 9110 section 11.6.1; the Bearer parameters are
// those of distribution's token specification).
// Thread-safe: values and pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace layerfs {

struct AuthChallenge {
  std::string scheme;                             // lowercase: "bearer", "basic"
  std::map<std::string, std::string> parameters;  // names lowercase
  std::string Parameter(const std::string& name) const;
};

// All challenges of one header field's value; what is malformed is left out.
std::vector<AuthChallenge> ParseChallenges(std::string_view value);

}  // namespace layerfs
