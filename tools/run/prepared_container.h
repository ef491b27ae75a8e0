// SPDX-License-Identifier: Apache-2.0
// PreparedContainer: a mounted root, what the image's config says and what the caller wants → a
// container that only has to be run. For `layerfs run`, and for whoever watches a container's
// start.
// One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "tools/run/image_defaults.h"
#include "tools/run/image_user.h"
#include "tools/run/root_directory.h"
#include "tools/run/run_bundle.h"
#include "tools/run/run_options.h"
#include "tools/run/runtime.h"

namespace layerfs {

// Where a container lies. All paths are absolute.
struct ContainerPlace {
  std::string id;         // unique among the runtime's containers
  std::string root;       // where the image is mounted, with its container layer where it has one
  std::string directory;  // exists; of this run alone: bundle, hosts, logs
  std::string volumes;    // the container's own volumes; made where they are needed
  std::string named_volumes;  // those that containers share by name; likewise
};

class PreparedContainer {
 public:
  // Resolves the user by the container's files, makes the working directory, mount points and
  // volumes, and writes the bundle. On a mount that cannot be written to, what is missing is an
  // error that names it.
  static Result<PreparedContainer> Prepare(const ImageDefaults& image, const RunOptions& options,
                                           const ContainerPlace& place);

  const std::vector<std::string>& arguments() const { return arguments_; }
  const ImageUser& user() const { return user_; }

  // Once. Afterwards the root is as the container left it: see RootDirectory::RemoveMountPoints.
  Result<BundleEnd> Run(const Runtime& runtime, const RunHooks& hooks, bool forward_signals = true);

 private:
  PreparedContainer(RootDirectory root, BundleRun run)
      : root_(std::move(root)), run_(std::move(run)) {}
  friend class ContainerPreparation;

  RootDirectory root_;
  BundleRun run_;
  std::vector<std::string> arguments_;
  ImageUser user_;
};

}  // namespace layerfs
