// SPDX-License-Identifier: Apache-2.0
// ReadaheadWindow: how far the kernel reads ahead on one mount. While a startup pack streams in it
// is kept at nothing: a fault then asks for its page, which the pack brings, and not for a window
// around it, most of which it does not.
// One thread at a time.
#pragma once

#include <string>

#include "index/base/error.h"

namespace layerfs {

class ReadaheadWindow {
 public:
  // Of the mount on `mount_point` (absolute); asks the kernel's tables, not the mount. kNotFound
  // where nothing is mounted.
  static Result<ReadaheadWindow> Find(const std::string& mount_point);

  // Files that are opened from now on read so far ahead. kPermission without privilege.
  Status Set(unsigned kib) const;
  Result<unsigned> Get() const;

 private:
  explicit ReadaheadWindow(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace layerfs
