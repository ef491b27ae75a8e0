// SPDX-License-Identifier: Apache-2.0
// `layerfs record`, `layerfs trace`: what start-ups read, as text.
#include <unistd.h>

#include <cstdio>

#include "tools/command.h"
#include "tools/output_file.h"
#include "tools/startup/recording.h"
#include "tools/startup/trace_files.h"
#include "tools/text.h"

namespace layerfs {
namespace {

class RecordCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("record", "write down what an image's start-up reads");
    app->add_option("IMAGE", record_.image, "The converted image")->required();
    app->add_option("COMMAND", record_.command, "What to run instead of the image's own command");
    app->add_option("-o,--output", output_, "Where the trace goes; standard output by default")
        ->type_name("FILE");
    record_.ready.Declare(*app);
    app->add_option("--timeout", timeout_, "How long it may take to be ready")
        ->type_name("TIME")
        ->capture_default_str();
    app->add_option("--platform", record_.platform, "Which image of an image index")
        ->type_name("OS/ARCH[/VARIANT]");
    options_.DeclareCache(*app);
    options_.DeclareRegistry(*app);
    Document(
        *app,
        {"  Mounts the image so that every page of every file that is touched is seen, runs its\n"
         "  program over a scratch layer until it is ready, and writes the trace: which pages "
         "were\n"
         "  read, in the order of first read, and which paths were only looked up. A trace is "
         "text\n"
         "  that can be compared and kept with the image's sources: it names paths, and so "
         "applies\n"
         "  to the next build as well. `layerfs convert --trace` and `layerfs attach --trace` make "
         "a\n"
         "  startup pack of it. Needs root.",
         {"layerfs record oci:/images/app:1 --ready 'listening on' -o app.trace",
          "layerfs record docker://127.0.0.1:5000/app:1 --ready-http http://127.0.0.1:8080/ "
          "-o app.trace -- /app/serve --port 8080"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_CHECK_OK(record_.ready.Check());
    LAYERFS_TRY_IN(timeout, ParseDuration(timeout_), "--timeout");
    record_.timeout = timeout;
    LAYERFS_CHECK_OK_IN(CheckOutputFile(output_), "--output");
    LAYERFS_TRY(trace, RecordStartup(record_, options_));
    const std::string comment[] = {"recorded from " + record_.image + " until it was ready"};
    const std::string text = trace.Encode(comment);
    if (output_.empty()) {
      std::fputs(text.c_str(), io.out);
    } else {
      LAYERFS_CHECK_OK(WriteOutputFile(output_, AsBytes(text)));
    }
    std::fprintf(io.err, "%s: %lu pages (%s) were read\n", record_.image.c_str(),
                 static_cast<unsigned long>(trace.page_count()),
                 FormatBytes(trace.page_count() * kTracePageBytes).c_str());
    return ExitStatus::kSuccess;
  }

 private:
  RecordOptions record_;
  std::string output_;
  std::string timeout_ = "5m";
  ServiceOptions options_;
};

class TraceCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("trace", "work with traces of start-ups");
    merge_ = app->add_subcommand("merge", "one trace of several");
    merge_->add_option("TRACE", files_, "Traces of start-ups of one image")->required();
    merge_->add_option("-o,--output", output_, "Where it goes; standard output by default")
        ->type_name("FILE");
    app->require_subcommand(1);
    Document(*app,
             {"  See `layerfs record`.", {"layerfs trace merge a.trace b.trace -o app.trace"}});
    Document(*merge_, {"  Each page stands as early as in the trace in which it stands earliest.",
                       {"layerfs trace merge a.trace b.trace -o app.trace"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(traces, ReadTraces(files_));
    std::vector<std::string> comments;
    for (const std::string& file : files_) comments.push_back("merged from " + file);
    const std::string text = MergeTraces(traces).Encode(comments);
    if (output_.empty()) {
      std::fputs(text.c_str(), io.out);
    } else {
      LAYERFS_CHECK_OK(WriteOutputFile(output_, AsBytes(text)));
    }
    return ExitStatus::kSuccess;
  }

 private:
  CLI::App* merge_ = nullptr;
  std::vector<std::string> files_;
  std::string output_;
};

}  // namespace

std::unique_ptr<Command> MakeRecordCommand() { return std::make_unique<RecordCommand>(); }
std::unique_ptr<Command> MakeTraceCommand() { return std::make_unique<TraceCommand>(); }

}  // namespace layerfs
