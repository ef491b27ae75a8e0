// SPDX-License-Identifier: Apache-2.0
#include "fs/fail_point.h"

#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "index/base/synchronized.h"

namespace layerfs {
namespace {

struct Armed {
  std::string name;   // empty: none
  uint64_t left = 0;  // the hit that counts
};

Armed Parse(std::string_view fail_at) {
  Armed armed{std::string(fail_at), 1};
  const size_t colon = fail_at.rfind(':');
  if (colon == std::string_view::npos) return armed;
  armed.name = fail_at.substr(0, colon);
  std::from_chars(fail_at.data() + colon + 1, fail_at.data() + fail_at.size(), armed.left);
  return armed;
}

// The one global of the program: what it stands for, the process's death, is global too.
Synchronized<Armed>& TheArmed() {
  static Synchronized<Armed> armed = [] {
    const char* const fail_at = std::getenv("LAYERFS_FAIL_AT");
    return Synchronized<Armed>(fail_at == nullptr ? Armed{} : Parse(fail_at));
  }();
  return armed;
}

}  // namespace

void HitFailPoint(std::string_view name) {
  const bool dies = TheArmed().With([&](Armed& armed) {
    if (armed.name.empty() || (armed.name != "*" && armed.name != name)) return false;
    if (armed.left == 0) return false;
    --armed.left;
    return armed.left == 0;
  });
  if (dies) _exit(kFailPointExit);
}

void ArmFailPoints(std::string_view fail_at) {
  TheArmed().With([&](Armed& armed) { armed = fail_at.empty() ? Armed{} : Parse(fail_at); });
}

}  // namespace layerfs
