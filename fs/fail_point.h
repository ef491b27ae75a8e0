// SPDX-License-Identifier: Apache-2.0
// FailPoint: named places at which a test ends the process, as a kill -9 would. Compiled in only
// with LAYERFS_FAIL_POINTS (Debug builds, such as the dev preset); elsewhere it is nothing. The
// environment variable LAYERFS_FAIL_AT names the place: "copy_up.rename" (its first hit),
// "copy_up.rename:3" (its third),
// "*:7" (the seventh hit of any), so that a test can walk through every step of an operation. The
// process then ends with status kFailPointExit, without clean-up of any kind.
// Thread-safe.
#pragma once

#include <string_view>

namespace layerfs {

inline constexpr int kFailPointExit = 86;

#ifdef LAYERFS_FAIL_POINTS
inline constexpr bool kHasFailPoints = true;
#else
inline constexpr bool kHasFailPoints = false;
#endif

// Does nothing but count where the environment does not name this place.
void HitFailPoint(std::string_view name);
// For tests in one process: as the environment variable, from now on, counted from zero; empty:
// nothing fails.
void ArmFailPoints(std::string_view fail_at);

inline void FailPoint(std::string_view name) {
  if constexpr (kHasFailPoints) HitFailPoint(name);
}

}  // namespace layerfs
