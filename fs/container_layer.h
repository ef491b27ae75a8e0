// SPDX-License-Identifier: Apache-2.0
// ContainerLayer: the directory of a container layer (CONTAINER_LAYER.md), opened and locked. For
// the mount, and for the tools that read a layer (commit, diff). Immutable after Open; thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fs/layer_lock.h"
#include "fs/overlay_marks.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

// DIR/image: what lies below the layer.
struct LayerBinding {
  std::optional<Digest> manifest;  // nothing: "scratch"
  std::string reference;           // as it was given, with its transport
  std::string platform;
};

// The image that a layer is bound to, wherever its tag points by now; with its transport.
std::string PinnedReference(const LayerBinding& binding);

class ContainerLayer {
 public:
  // Makes the directory where it is missing or empty, else checks that it is bound to the same
  // manifest (kInvalidArgument naming both and the remedy). kBusy where somebody goes on using it.
  // Removes what a killed daemon left in work/.
  static Result<ContainerLayer> Open(const std::string& directory, const LayerBinding& binding);
  // As it is bound, for tools; kNotFound where it is no container layer.
  static Result<ContainerLayer> OpenExisting(const std::string& directory);
  // U and W of a mount of plain directories; binding() is scratch.
  struct PlainMarks {
    bool user = false;           // in the user form even where the daemon may write the trusted one
    bool override_stat = false;  // owners and modes in attributes even where it may set them
  };
  static Result<ContainerLayer> OpenPlain(const std::string& upper, const std::string& work,
                                          std::span<const std::string> lowers,
                                          const PlainMarks& marks);

  // What DIR/image says, without opening the layer. kNotFound where there is none.
  static Result<LayerBinding> ReadBinding(const std::string& directory);

  const std::string& directory() const { return directory_; }  // for messages
  const LayerBinding& binding() const { return binding_; }
  const MarkForm& form() const { return form_; }
  int upper() const { return upper_.get(); }
  int work() const { return work_.get(); }
  int index() const { return index_.get(); }
  int partial() const { return partial_.get(); }  // -1 in a plain one

  // The layer is about to be served on `mount_point`, by this process.
  Status NoteMount(const std::string& mount_point) const { return lock_.NoteMount(mount_point); }

  // Empties work/ and drops the names in index/ that show no link. Open has done so.
  Status CleanUp() const;

 private:
  ContainerLayer() = default;
  static Result<ContainerLayer> OpenParts(const std::string& upper, const std::string& work,
                                          bool with_partial);
  Status KeepOwnersInXattrs();

  std::string directory_;
  LayerBinding binding_;
  MarkForm form_;
  LayerLock lock_;
  UniqueFd upper_;
  UniqueFd work_;
  UniqueFd index_;
  UniqueFd partial_;
};

// Without "." and "..".
Result<std::vector<std::string>> NamesInDirectory(UniqueFd directory);

// Removes the name, and all below it where it is a directory. Follows no symlink and looks into no
// mount (an error).
Status RemoveTree(int directory_fd, const std::string& name);

}  // namespace layerfs
