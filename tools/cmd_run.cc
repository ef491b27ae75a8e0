// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "fetch/reference.h"
#include "fs/daemonizer.h"
#include "index/base/file.h"
#include "tools/command.h"
#include "tools/run/container_store.h"
#include "tools/run/run_container.h"
#include "tools/run/user_namespace.h"
#include "tools/services.h"
#include "tools/state_option.h"
#include "tools/text.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxEnvironmentFileBytes = uint64_t{16} << 20;

// What docker run returns where no container came to be.
constexpr int kNotRun = 125;

std::optional<std::string> CallerEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

// Layouts are named from the caller's directory; the container may be run again from another.
Result<std::string> AbsoluteImage(const std::string& word) {
  LAYERFS_TRY(reference, ImageReference::Parse(word));
  if (reference.transport != ImageTransport::kRegistry) {
    LAYERFS_TRY(path, AbsolutePath(reference.path));
    reference.path = path;
  }
  return reference.ToString();
}

void ReportEnd(const BundleEnd& end, const char* command, CommandIo& io) {
  if (!end.start_failure.has_value()) return;
  std::fprintf(io.err, "%s: %s\n", command, EscapeForTerminal(*end.start_failure).c_str());
}

ExitStatus NotRun(const Error& error, const char* command, CommandIo& io) {
  std::fprintf(io.err, "%s: %s\n", command, EscapeForTerminal(error.context).c_str());
  return static_cast<ExitStatus>(kNotRun);
}

class RunCommand final : public Command {
 public:
  // Any other may be the container's.
  ExitStatus usage_status() const override { return static_cast<ExitStatus>(kNotRun); }
  CLI::App* Declare(CLI::App& parent) override {
    app_ = parent.add_subcommand("run", "run a container of a converted image");
    app_->prefix_command();
    DeclareProcess(*app_);
    DeclareContainer(*app_);
    DeclareState(*app_, state_directory_);
    app_->add_option("--platform", platform_, "Which image of an image index")
        ->type_name("OS/ARCH[/VARIANT]");
    services_.DeclareCache(*app_);
    services_.DeclareRegistry(*app_);
    services_.DeclareOffline(*app_);
    Document(
        *app_,
        {"  Mounts the image with a container layer on top and runs its command, or COMMAND, in a\n"
         "  container: the user, environment, working directory, volumes and stop signal are the\n"
         "  image's where no option says otherwise. Files are fetched as they are read.\n"
         "\n"
         "  Standard output and error are the container's, and so is its exit status; 125 says\n"
         "  that it could not be made, 126 that its command cannot be run, 127 that there is no\n"
         "  such command. Signals go to the container; TERM as the image's stop signal, and a\n"
         "  second TERM as KILL.\n"
         "\n"
         "  System calls are filtered by /etc/containers/seccomp.json or\n"
         "  /usr/share/containers/seccomp.json, as Podman does; where neither is there, nothing "
         "is\n"
         "  filtered and a warning says so. An ordinary user's containers run in a user "
         "namespace,\n"
         "  with the ids that /etc/subuid gives, or with root alone where there are none.\n"
         "\n"
         "  Without --rm the container stays, with its name and its layer: see layerfs ps, start,\n"
         "  rm, diff and commit. Containers lie below /var/lib/layerfs (or --state), the layer of "
         "NAME\n"
         "  in containers/NAME/layer. What a killed run leaves is cleaned up by the next command.",
         {"layerfs run --rm docker://127.0.0.1:5000/app:1-lazy",
          "layerfs run --name web -e MODE=test -v /srv/data:/data:ro oci:/images/app:1 "
          "/usr/bin/app",
          "layerfs run --rm -it oci:/images/app:1 sh"}});
    return app_;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    Result<RunRequest> request = MakeRequest();
    if (!request.has_value()) return NotRun(request.error(), "layerfs run", io);
    if (detach_) return RunDetached(*std::move(request), io);
    const Status root = BecomeNamespaceRoot();
    if (!root.has_value()) return NotRun(root.error(), "layerfs run", io);
    const Result<BundleEnd> end = RunContainer(*request);
    if (!end.has_value()) return NotRun(end.error(), "layerfs run", io);
    ReportEnd(*end, "layerfs run", io);
    return static_cast<ExitStatus>(end->status);
  }

 private:
  // An option that may be given again and again, and takes one word each time.
  static CLI::Option* AddList(CLI::App& app, const char* names, std::vector<std::string>& words,
                              const char* what, const char* type) {
    return app.add_option(names, words, what)
        ->type_name(type)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
  }

  void DeclareProcess(CLI::App& app) {
    AddList(app, "-e,--env", environment_, "Set a variable; a name alone takes the caller's value",
            "NAME[=VALUE]");
    AddList(app, "--env-file", environment_files_, "Variables, one a line", "FILE");
    app.add_option("--entrypoint", entrypoint_, "Instead of the image's; empty: none")
        ->type_name("COMMAND");
    app.add_option("-w,--workdir", options_.working_directory, "Where the command begins")
        ->type_name("DIR");
    app.add_option("-u,--user", options_.user, "As whom, by the image's /etc/passwd and /etc/group")
        ->type_name("USER[:GROUP]");
    app.add_flag("-i,--interactive", options_.interactive, "Pass standard input on");
    app.add_flag("-t,--tty", options_.terminal, "Give the container a terminal");
    app.add_option("--stop-signal", options_.stop_signal, "What TERM becomes")->type_name("SIGNAL");
  }

  // The parent ends when the command runs, and prints the container's name.
  static ExitStatus RunDetached(RunRequest request, CommandIo& io) {
    auto daemon = Daemonizer::Fork("layerfs run: ");
    if (!daemon.has_value()) return NotRun(daemon.error(), "layerfs run", io);
    request.detached = true;
    request.on_started = [&daemon](const std::string& name) { daemon->ReportSuccess(name + "\n"); };
    const Status root = BecomeNamespaceRoot();
    const Result<BundleEnd> end = root.has_value() ? RunContainer(request) : Fail(root.error());
    const int status = end.has_value() ? end->status : kNotRun;
    if (!end.has_value() || end->start_failure.has_value()) {
      daemon->ReportFailure(
          EscapeMessage(end.has_value() ? *end->start_failure : end.error().context), status);
    }
    return static_cast<ExitStatus>(status);
  }

  void DeclareContainer(CLI::App& app) {
    app.add_flag("-d,--detach", detach_,
                 "In the background: prints its name; see layerfs logs, stop");
    app.add_flag("--rm", remove_, "Remove the container when it has ended");
    app.add_option("--name", name_, "What it is called");
    app.add_option("--container-layer", layer_, "Where its changes are kept; made where missing")
        ->type_name("DIR");
    AddList(app, "-v,--volume", volumes_, "Mount a directory, file or named volume",
            "[SRC:]DST[:OPTIONS]");
    AddList(app, "--tmpfs", tmpfs_, "Mount an empty file system in memory", "DST[:OPTIONS]");
    app.add_flag("--read-only", options_.read_only, "The root cannot be written to");
    app.add_option("--hostname", options_.hostname, "The container's host name");
    app.add_option("--network", network_, "The host's network, or none")
        ->type_name("host|none")
        ->capture_default_str();
    AddList(app, "--ulimit", limits_, "Set a limit of setrlimit(2); by default the caller's",
            "NAME=SOFT[:HARD]");
    AddList(app, "--security-opt", security_, "seccomp=FILE, seccomp=unconfined, no-new-privileges",
            "OPTION");
    AddList(app, "-l,--label", labels_, "Set metadata: the runtime's annotations", "KEY[=VALUE]");
    app.add_option("--runtime", runtime_, "crun, runc, or a program; by default what fits")
        ->type_name("RUNTIME");
  }

  Result<RunRequest> MakeRequest() {
    std::vector<std::string> words = app_->remaining();
    if (!words.empty() && words.front() == "--") words.erase(words.begin());
    if (words.empty()) return Fail(ErrorCode::kInvalidArgument, "an IMAGE is missing");
    if (words.front().starts_with('-')) {
      return Fail(ErrorCode::kInvalidArgument,
                  words.front() + ": is no option; see \"layerfs run --help\"");
    }
    RunRequest request;
    LAYERFS_TRY(image, AbsoluteImage(words.front()));
    request.image = image;
    options_.command.assign(words.begin() + 1, words.end());
    LAYERFS_CHECK_OK(ParseWords());
    request.options = options_;
    request.name = name_;
    request.remove = remove_;
    request.runtime = runtime_;
    if (!layer_.empty()) {
      LAYERFS_TRY(layer, AbsolutePath(layer_));
      request.layer_directory = layer;
    }
    request.state_directory = StateDirectory(state_directory_);
    LAYERFS_TRY(program, OwnProgram());
    request.program = program;
    LAYERFS_TRY(mount_words, MountWords());
    request.mount_words = std::move(mount_words);
    return request;
  }

  Status ParseWords() {
    // Files first, so that -e wins.
    for (const std::string& file : environment_files_) {
      LAYERFS_TRY_IN(bytes, ReadFile(file, kMaxEnvironmentFileBytes), "--env-file");
      LAYERFS_TRY_IN(words, ParseEnvironmentFile(AsText(bytes), CallerEnvironment),
                     "--env-file " + file);
      options_.environment.insert(options_.environment.end(), words.begin(), words.end());
    }
    for (const std::string& text : environment_) {
      LAYERFS_TRY(word, ParseEnvironmentWord(text, CallerEnvironment));
      if (word.has_value()) options_.environment.push_back(*word);
    }
    for (const std::string& text : volumes_) {
      LAYERFS_TRY(absolute, WithAbsoluteSource(text));
      LAYERFS_TRY(volume, ParseVolumeOption(absolute));
      options_.volumes.push_back(std::move(volume));
    }
    for (const std::string& text : tmpfs_) {
      LAYERFS_TRY(tmpfs, ParseTmpfsOption(text));
      options_.tmpfs.push_back(std::move(tmpfs));
    }
    for (const std::string& text : labels_) {
      LAYERFS_TRY(label, ParseLabel(text));
      options_.labels[label.first] = label.second;
    }
    for (const std::string& text : limits_) LAYERFS_CHECK_OK(AddUlimit(text, options_.limits));
    for (const std::string& text : security_) {
      LAYERFS_CHECK_OK(ApplySecurityOption(text, options_));
    }
    if (!options_.seccomp.empty() && options_.seccomp != "unconfined") {
      LAYERFS_TRY(profile, AbsolutePath(options_.seccomp));
      options_.seccomp = profile;
    }
    if (app_->count("--entrypoint") > 0) options_.entrypoint = entrypoint_;
    // Here, so that the exit status is not one that the command could have.
    if (network_ != "none" && network_ != "host") {
      return Fail(ErrorCode::kInvalidArgument,
                  "--network " + network_ + ": is neither host nor none");
    }
    options_.network = network_ == "none" ? NetworkMode::kNone : NetworkMode::kHost;
    return {};
  }

  // "./SRC:DST" and "../SRC:DST" from where the caller is; "SRC:DST" is a volume's name.
  static Result<std::string> WithAbsoluteSource(const std::string& volume) {
    const size_t colon = volume.find(':');
    const std::string source = volume.substr(0, colon);
    const bool relative =
        source == "." || source == ".." || source.starts_with("./") || source.starts_with("../");
    if (colon == std::string::npos || !relative) return volume;
    LAYERFS_TRY_IN(absolute, AbsolutePath(source), "-v " + volume);
    return absolute + volume.substr(colon);
  }

  // The options of the mount, as `layerfs mount` takes them.
  Result<std::vector<std::string>> MountWords() const {
    std::vector<std::string> words;
    ServiceOptions services = services_;
    if (services.cache_directory.empty()) services.cache_directory = DefaultCacheDirectory();
    LAYERFS_CHECK_OK(services.MakeAbsolute());
    services.AppendWords(words);
    if (!platform_.empty()) words.insert(words.end(), {"--platform", platform_});
    return words;
  }

  CLI::App* app_ = nullptr;
  RunOptions options_;
  ServiceOptions services_;
  std::string state_directory_;
  std::string platform_;
  std::string entrypoint_;
  std::string network_ = "host";
  std::string name_;
  std::string layer_;
  std::string runtime_;
  bool remove_ = false;
  bool detach_ = false;
  std::vector<std::string> environment_;
  std::vector<std::string> environment_files_;
  std::vector<std::string> volumes_;
  std::vector<std::string> tmpfs_;
  std::vector<std::string> labels_;
  std::vector<std::string> limits_;
  std::vector<std::string> security_;
};

class StartCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("start", "run a container again");
    app->add_option("NAME", name_, "The container")->required();
    DeclareState(*app, state_directory_);
    Document(*app, {"  Runs the command of a container that has ended once more, in the "
                    "foreground and with the\n"
                    "  options that it was made with, on what its layer holds.",
                    {"layerfs start web"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(program, OwnProgram());
    const std::string state = StateDirectory(state_directory_);
    const Status root = BecomeNamespaceRoot();
    if (!root.has_value()) return NotRun(root.error(), "layerfs start", io);
    const Result<BundleEnd> end = StartContainer(state, name_, program);
    if (!end.has_value()) return NotRun(end.error(), "layerfs start", io);
    ReportEnd(*end, "layerfs start", io);
    return static_cast<ExitStatus>(end->status);
  }

 private:
  std::string name_;
  std::string state_directory_;
};

}  // namespace

std::unique_ptr<Command> MakeRunCommand() { return std::make_unique<RunCommand>(); }
std::unique_ptr<Command> MakeStartCommand() { return std::make_unique<StartCommand>(); }

}  // namespace layerfs
