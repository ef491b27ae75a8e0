// SPDX-License-Identifier: Apache-2.0
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "fetch/reference.h"
#include "index/base/file.h"
#include "tools/bench/enclosure.h"
#include "tools/bench/startup_bench.h"
#include "tools/command.h"
#include "tools/output_file.h"
#include "tools/startup/scratch_directory.h"
#include "tools/startup/trace_files.h"
#include "tools/text.h"

namespace layerfs {
namespace {

std::vector<std::string> SplitWords(const std::string& list) {
  std::vector<std::string> words;
  size_t begin = 0;
  while (begin <= list.size()) {
    const size_t end = std::min(list.find(',', begin), list.size());
    if (end > begin) words.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

class BenchCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("bench", "measure");
    CLI::App* startup = app->add_subcommand("startup", "the time from nothing to ready");
    startup->add_option("IMAGE", bench_.images, "Images, converted or not")->required();
    startup
        ->add_option("--profile", bench_.profiles,
                     "The link: lan, cloud, wan, bad or RTT,RATE (30ms,100Mbit); may be "
                     "repeated; lan by default")
        ->type_name("PROFILE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    startup
        ->add_option("--against", against_,
                     "Also: overlayfs (a full pull by containerd), podman (likewise), local (an "
                     "unpacked copy, warm), nopack (a mount without the startup pack), run "
                     "(layerfs run, with its runtime)")
        ->type_name("WAY[,WAY…]");
    startup->add_option("--command", bench_.command, "What to run instead of the image's command")
        ->type_name("WORD")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    startup
        ->add_option("--trace", bench_.traces, "Traces for the startup pack; recorded by default")
        ->type_name("FILE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    bench_.ready.Declare(*startup);
    startup->add_option("--runs", bench_.runs, "How often each is measured, one after the other")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    startup->add_option("--directory", directory_, "Where there is room for all of it")
        ->type_name("DIR")
        ->capture_default_str();
    startup->add_flag("--json", json_,
                      "Print the result as JSON; its phases are seconds since the start");
    startup->add_option("--html", html_, "Write a report with pictures")->type_name("FILE");
    app->require_subcommand(1);
    const CommandHelp help = {
        "  Puts each image into a registry of its own on loopback, converts it, records one "
        "start,\n"
        "  and then starts it cold, again and again: kernel and layerfs caches empty, through a\n"
        "  model of the link. Ready is when a line of output matches, a page is served, or the\n"
        "  program ends. The limit is T_run + (set-up + 2 rounds) * R + S / B: T_run the time of "
        "a\n"
        "  local, unpacked, warm copy, S what start-up reads as one compressed stream. Needs root "
        "and\n"
        "  what tools/setup.sh installs. Drops the machine's page cache; only the tool itself is "
        "warm.",
        {"layerfs bench startup oci:corpus/redis --ready READY --profile wan --against "
         "overlayfs,podman,local",
         "layerfs bench startup oci:corpus/gcc oci:corpus/python --ready READY --profile cloud "
         "--profile wan --runs 5 --html report.html"}};
    Document(*app, help);
    Document(*startup, help);
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_CHECK_OK(Check());
    LAYERFS_TRY(scratch, ScratchDirectory::Make("layerfs-bench", directory_));
    for (const std::string& name : scratch.swept()) RemoveControlGroups(name);
    bench_.scratch = scratch.path();
    const Result<int> status =
        RunEnclosed(EngineRunDirectories(), [&] { return static_cast<int>(Measure(io)); });
    RemoveControlGroups(std::filesystem::path(scratch.path()).filename().string());
    if (!status.has_value()) return Fail(status.error());
    return static_cast<ExitStatus>(*status);
  }

 private:
  Status Check() {
    LAYERFS_CHECK_OK(bench_.ready.Check());
    bench_.against = SplitWords(against_);
    for (const std::string& way : bench_.against) {
      constexpr std::array kWays = {"overlayfs", "podman", "local", "nopack", "run"};
      if (std::ranges::find(kWays, way) == kWays.end()) {
        return Fail(ErrorCode::kInvalidArgument,
                    "--against " + way + ": write overlayfs, podman, local, nopack or run");
      }
    }
    if (bench_.profiles.empty()) bench_.profiles = {"lan"};
    for (const std::string& profile : bench_.profiles) {
      LAYERFS_CHECK_OK_IN(ParseNetworkProfile(profile), "--profile");
    }
    for (const std::string& image : bench_.images) LAYERFS_CHECK_OK(ImageReference::Parse(image));
    LAYERFS_CHECK_OK(ReadTraces(bench_.traces));
    LAYERFS_CHECK_OK_IN(CheckOutputFile(html_), "--html");
    if (::geteuid() != 0) {
      return Fail(ErrorCode::kPermission, "the benchmark runs images' programs and needs root");
    }
    LAYERFS_CHECK_OK(CheckPrograms(""));
    for (const std::string& way : bench_.against) LAYERFS_CHECK_OK(CheckPrograms(way));
    return {};
  }

  // In the enclosure.
  ExitStatus Measure(CommandIo& io) {
    const auto failed = [&](const Error& error) {
      std::fprintf(io.err, "layerfs bench: %s\n", error.context.c_str());
      return ExitStatusOf(error.code);
    };
    auto bench = StartupBench::Start(bench_, io.err);
    if (!bench.has_value()) return failed(bench.error());
    Status written;
    const auto results = (*bench)->Run([&](const std::vector<ImageResult>& so_far) {
      if (!json_) std::fputs(FormatTable({so_far.back()}).c_str(), io.out);
      std::fflush(io.out);
      if (!html_.empty()) {
        written = WriteOutputFile(html_, AsBytes(ResultsToHtml(so_far, Machine())));
      }
    });
    if (json_) std::fprintf(io.out, "%s\n", ResultsToJson(results).dump(2).c_str());
    if (!written.has_value()) return failed(written.error());
    return HasFailures(results) ? ExitStatus::kFailure : ExitStatus::kSuccess;
  }

  static std::string Machine() {
    utsname name{};
    ::uname(&name);
    return std::string(name.sysname) + " " + name.release + " " + name.machine + ", " +
           std::to_string(std::thread::hardware_concurrency()) +
           " cores; all over loopback, through "
           "a model of the link";
  }

  StartupBenchOptions bench_;
  std::string directory_ = "/var/tmp";
  std::string against_;
  bool json_ = false;
  std::string html_;
};

}  // namespace

std::unique_ptr<Command> MakeBenchCommand() { return std::make_unique<BenchCommand>(); }

}  // namespace layerfs
