// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "tools/build_time.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/startup/add_startup.h"
#include "tools/startup/trace_files.h"
#include "tools/text.h"

namespace layerfs {
namespace {

class AttachCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app =
        parent.add_subcommand("attach", "give an image that must not change a startup pack");
    app->add_option("IMAGE", image_, "The converted image, in a registry")->required();
    app->add_option("--trace", traces_, "What its start-up reads; may be repeated")
        ->type_name("FILE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false)
        ->required();
    image_options_.Declare(*app);
    options_.DeclareCache(*app);
    options_.DeclareRegistry(*app);
    Document(
        *app,
        {"  Makes a startup pack for the image and pushes it as a referrer of the image's "
         "manifest\n"
         "  (OCI 1.1, \"subject\"); where the registry does not list referrers, under the tag "
         "that\n"
         "  stands in for the list. The image, its digests, signatures and tags stay as they are.\n"
         "  `layerfs mount --referrers` uses it; of several, the newest. $SOURCE_DATE_EPOCH is "
         "taken "
         "as\n"
         "  the time where it is set. Where the image may change, `layerfs convert --trace` is "
         "better:\n"
         "  it costs no round to find.",
         {"layerfs attach docker://127.0.0.1:5000/app:1 --trace app.trace"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    AddStartupOptions add;
    LAYERFS_TRY(reference, ImageReference::Parse(image_));
    add.image = reference;
    Services services(options_);
    LAYERFS_TRY(cache, services.Cache());
    LAYERFS_TRY(stores, services.Stores());
    LAYERFS_TRY(scheduler, services.Fetcher());
    LAYERFS_TRY(timeout, services.FetchTimeout());
    LAYERFS_TRY(load, image_options_.Get(timeout));
    add.load = load;
    LAYERFS_TRY(traces, ReadTraces(traces_));
    add.traces = std::move(traces);
    add.as_referrer = true;
    LAYERFS_TRY(now, BuildTimeSeconds());
    add.created_seconds = now;
    LAYERFS_TRY(report, AddStartup(add, ImageContext{*stores, *scheduler, cache}));
    const auto name = [](const Digest& digest) { return digest.ToString().substr(0, 19); };
    std::string text = name(report.artifact) + "  startup pack of " +
                       FormatBytes(report.pack_bytes) +
                       (report.was_there ? " is attached already" : " attached");
    if (report.superseded.has_value() && !report.was_there) {
      text += "; it supersedes " + name(*report.superseded);
    }
    std::fprintf(io.out, "%s\n", text.c_str());
    WarnOfMissingPaths(report, io.err);
    return ExitStatus::kSuccess;
  }

 private:
  std::string image_;
  std::vector<std::string> traces_;
  ImageOptionWords image_options_;
  ServiceOptions options_;
};

}  // namespace

std::unique_ptr<Command> MakeAttachCommand() { return std::make_unique<AttachCommand>(); }

}  // namespace layerfs
