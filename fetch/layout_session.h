// SPDX-License-Identifier: Apache-2.0
// LayoutSession: what one writer adds to an OCI layout that others may write to at the same time,
// and how it is taken back where the image does not come about: a layout has no garbage collector.
// Thread-safe.
//
// Invariants:
//   1. From the first look at the layout's blobs on, the session holds a shared lock on their
//      directory. What it has seen there, no other session takes away.
//   2. A session takes back, under the exclusive lock, only what it has added itself and no
//      document of the layout names. Where others hold the lock, or a document cannot be read, it
//      stays.
//   3. Temporary files of writers that were killed go when a session begins that no other one is
//      beside, by the exclusive lock.
#pragma once

#include <string>
#include <vector>

#include "fetch/oci_layout.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/file.h"
#include "index/base/synchronized.h"

namespace layerfs {

class LayoutSession {
 public:
  explicit LayoutSession(OciLayout layout) : layout_(std::move(layout)) {}
  // Takes back what was added since the last Keep.
  ~LayoutSession();
  LayoutSession(const LayoutSession&) = delete;
  LayoutSession& operator=(const LayoutSession&) = delete;

  // Makes the layout where it is none, and begins.
  Status Begin();
  // Begins where there is a layout; false where there is none.
  Result<bool> BeginExisting();
  // A blob that this session has written and that was not there before.
  void Added(const Digest& blob);
  // The image is there: what it names stays.
  void Keep();

 private:
  struct State {
    UniqueFd lock;  // the blobs' directory
    std::vector<Digest> added;
    // Where there was no layout: the directories that it lacked, the innermost first.
    std::vector<std::string> made;
  };
  bool begun() const;
  bool IsLayout() const;
  Result<UniqueFd> Lock() const;
  std::vector<std::string> MissingDirectories() const;
  void TakeBack(const State& state) const;
  void RemoveEmptyLayout(const State& state) const;

  const OciLayout layout_;
  Synchronized<State> state_;
};

}  // namespace layerfs
