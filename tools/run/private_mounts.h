// SPDX-License-Identifier: Apache-2.0
// PrivateMounts: for as long as it lives, its thread and what that starts have a mount namespace of
// their own. What is mounted outside is seen in it too, but not the other way round: no other
// namespace copies what is mounted here, and with the last process in it, it is gone.
// Belongs to the thread that enters it. Needs root, or a user namespace's.
#pragma once

#include <utility>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class PrivateMounts {
 public:
  static Result<PrivateMounts> Enter();
  PrivateMounts(PrivateMounts&& other) noexcept;
  PrivateMounts& operator=(PrivateMounts&&) = delete;
  ~PrivateMounts();

 private:
  PrivateMounts() = default;

  UniqueFd outside_;
  UniqueFd root_;       // going back leaves one at the namespace's own root
  UniqueFd directory_;  // likewise
  bool inside_ = false;
};

}  // namespace layerfs
