// SPDX-License-Identifier: Apache-2.0
// commit and diff: what a container layer holds, as an image and as a list.
#include <sys/stat.h>

#include <cstdlib>

#include "fs/container_layer.h"
#include "fs/file_reader.h"
#include "tools/build_time.h"
#include "tools/command.h"
#include "tools/commit/commit_image.h"
#include "tools/commit/layer_changes.h"
#include "tools/run/container_store.h"
#include "tools/run/user_namespace.h"
#include "tools/services.h"
#include "tools/state_option.h"
#include "tools/text.h"

namespace layerfs {
namespace {

// A container layer, locked, and the image that it is bound to.
class LayerArgument {
 public:
  void Declare(CLI::App& app) {
    app.add_option("CONTAINER-LAYER", word_, "Its directory, or a container's name")->required();
    DeclareState(app, state_directory_);
    options_.DeclareCache(app);
    options_.DeclareRegistry(app);
  }

  Result<const ContainerLayer*> Open() {
    // Before this is somebody else's: the defaults go by who the caller is.
    if (options_.cache_directory.empty()) options_.cache_directory = DefaultCacheDirectory();
    state_directory_ = StateDirectory(state_directory_);
    LAYERFS_CHECK_OK(BecomeNamespaceRoot());
    LAYERFS_TRY(directory, Directory());
    LAYERFS_TRY(layer, ContainerLayer::OpenExisting(directory));
    layer_ = std::make_unique<ContainerLayer>(std::move(layer));
    if (!layer_->binding().manifest.has_value()) return layer_.get();
    LAYERFS_CHECK_OK_IN(LoadImage(), directory + ": the image below");
    return layer_.get();
  }

  CommitBase base() { return {image_, reader_.get()}; }
  const Index* tree() const { return image_ != nullptr ? &image_->tree() : nullptr; }
  Services& services() { return services_; }

 private:
  // A word with a slash is a path; a container's name goes before a directory of that name.
  Result<std::string> Directory() const {
    struct stat attributes;
    if (word_.find('/') == std::string::npos) {
      LAYERFS_TRY(store, ContainerStore::Open(state_directory_));
      const auto container = store.Lock(word_);
      if (container.has_value()) return container->record().layer;
      const bool is_directory = ::stat(word_.c_str(), &attributes) == 0;
      if (container.error().code != ErrorCode::kNotFound || !is_directory) {
        return Fail(container.error());
      }
    }
    return word_;
  }

  Status LoadImage() {
    const LayerBinding& binding = layer_->binding();
    LAYERFS_TRY(reference, ImageReference::Parse(binding.reference));
    reference.digest = binding.manifest;
    LAYERFS_TRY(cache, services_.Cache());
    LAYERFS_TRY(stores, services_.Stores());
    LAYERFS_TRY(scheduler, services_.Fetcher());
    LAYERFS_TRY(timeout, services_.FetchTimeout());
    const ImageContext context{*stores, *scheduler, cache};
    ImageOptions image_options;
    image_options.timeout = timeout;
    LAYERFS_TRY(image, Image::Load(reference, context, image_options));
    image_ = std::move(image);
    reader_ = std::make_unique<FileReader>(image_, context, FileReader::Options{timeout});
    return {};
  }

  std::string word_;
  std::string state_directory_;
  ServiceOptions options_;
  Services services_{options_};
  std::unique_ptr<ContainerLayer> layer_;
  std::shared_ptr<Image> image_;
  std::unique_ptr<FileReader> reader_;
};

class CommitCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("commit", "make a container layer into an image");
    layer_.Declare(*app);
    app->add_option("IMAGE", destination_, "What the image is to be called")->required();
    app->add_option("-m,--message", options_.message, "For the image's history")->type_name("TEXT");
    app->add_option("-a,--author", options_.author, "Who made it")->type_name("TEXT");
    app->add_option("-c,--change", options_.changes,
                    "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, "
                    "VOLUME or WORKDIR, as in a Dockerfile")
        ->type_name("INSTRUCTION")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    app->add_flag("-q,--quiet", quiet_, "Print the image's digest only");
    Document(
        *app,
        {"  Writes the image that the container layer lies on, with what the layer changes as one\n"
         "  layer more, converted as it is written. Layers that the destination has are neither\n"
         "  read nor written; in the registry that the image came from they are not moved at all.\n"
         "  Of files that the container has changed in part, the rest is fetched. A layer that is\n"
         "  bound to no image becomes an image of one layer.\n"
         "\n"
         "  The container must not run. $SOURCE_DATE_EPOCH is taken as the time where it is set;\n"
         "  the same layer then gives the same image, byte for byte.",
         {"layerfs commit web docker://127.0.0.1:5000/web:2",
          "layerfs commit -m 'with tools' -c 'CMD [\"/bin/tool\"]' /var/lib/c1 "
          "oci:/images/app:tools"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(destination, ImageReference::Parse(destination_));
    options_.destination = destination;
    LAYERFS_TRY(now, BuildTimeSeconds());
    options_.created = now;
    LAYERFS_TRY(layer, layer_.Open());
    LAYERFS_TRY(stores, layer_.services().Stores());
    LAYERFS_TRY(report, CommitImage(*layer, layer_.base(), options_, *stores));
    for (const std::string& note : report.notes) {
      std::fprintf(io.err, "layerfs commit: %s\n", note.c_str());
    }
    if (quiet_) {
      std::fprintf(io.out, "%s\n", report.manifest.ToString().c_str());
    } else {
      std::fprintf(io.out, "%s  %zu entries, %s  %s\n", report.manifest.ToString().c_str(),
                   report.entries, FormatBytes(report.layer_size).c_str(),
                   options_.destination.ToString().c_str());
    }
    return ExitStatus::kSuccess;
  }

 private:
  LayerArgument layer_;
  std::string destination_;
  CommitOptions options_;
  bool quiet_ = false;
};

class DiffCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("diff", "list what a container layer changes");
    layer_.Declare(*app);
    Document(*app,
             {"  One path a line: A, C or D before what the layer adds, changes or deletes. A\n"
              "  directory counts as changed when something in it is. The container must not run.",
              {"layerfs diff web", "layerfs diff /var/lib/c1"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(layer, layer_.Open());
    LAYERFS_TRY_IN(changes, ReadLayerChanges(*layer, layer_.tree()), layer->directory());
    for (const LayerEntry& entry : changes.entries) {
      if (!entry.in_diff) continue;
      const char kind = entry.change == ChangeKind::kAdded     ? 'A'
                        : entry.change == ChangeKind::kChanged ? 'C'
                                                               : 'D';
      const std::string path = "/" + entry.path;
      std::fprintf(io.out, "%c %s\n", kind,
                   (io.out_is_terminal ? EscapeForTerminal(path) : path).c_str());
    }
    return ExitStatus::kSuccess;
  }

 private:
  LayerArgument layer_;
};

}  // namespace

std::unique_ptr<Command> MakeCommitCommand() { return std::make_unique<CommitCommand>(); }
std::unique_ptr<Command> MakeDiffCommand() { return std::make_unique<DiffCommand>(); }

}  // namespace layerfs
