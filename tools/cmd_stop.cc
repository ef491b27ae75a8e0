// SPDX-License-Identifier: Apache-2.0
// stop and logs: containers that run in the background.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "index/base/file.h"
#include "tools/command.h"
#include "tools/run/container_store.h"
#include "tools/run/user_namespace.h"
#include "tools/state_option.h"

namespace layerfs {
namespace {

class StopCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("stop", "stop containers that run");
    app->add_option("NAME", names_, "The containers")->required();
    app->add_option("-t,--time", seconds_, "After how many seconds they are killed")
        ->type_name("SECONDS")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    DeclareState(*app, state_directory_);
    Document(*app,
             {"  Sends the stop signal, of the image or of --stop-signal, and kills what goes "
              "on after that.",
              {"layerfs stop web", "layerfs stop -t 60 db"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    const std::string state = StateDirectory(state_directory_);
    LAYERFS_CHECK_OK(BecomeNamespaceRoot());
    LAYERFS_TRY(store, ContainerStore::Open(state));
    return ForEachContainer(names_, "layerfs stop", io,
                            [&](const std::string& name) -> Result<bool> {
                              LAYERFS_CHECK_OK(store.Stop(name, std::chrono::seconds(seconds_)));
                              return true;
                            });
  }

 private:
  std::vector<std::string> names_;
  int seconds_ = 10;  // as docker stop
  std::string state_directory_;
};

class LogsCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("logs", "what a container in the background has said");
    app->add_option("NAME", name_, "The container")->required();
    DeclareState(*app, state_directory_);
    Document(*app, {"  Prints what a container of layerfs run --detach has written to standard "
                    "output and error.",
                    {"layerfs logs web"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    const std::string state = StateDirectory(state_directory_);
    LAYERFS_CHECK_OK(BecomeNamespaceRoot());
    LAYERFS_TRY(store, ContainerStore::Open(state));
    LAYERFS_TRY(path, store.LogOf(name_));
    LAYERFS_TRY(log, OpenFile(path, O_RDONLY));
    std::array<char, 65536> buffer{};
    while (true) {
      const ssize_t got = ::read(log.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return FailErrno(path, errno);
      if (got == 0) return ExitStatus::kSuccess;
      std::fwrite(buffer.data(), 1, static_cast<size_t>(got), io.out);
    }
  }

 private:
  std::string name_;
  std::string state_directory_;
};

}  // namespace

std::unique_ptr<Command> MakeStopCommand() { return std::make_unique<StopCommand>(); }
std::unique_ptr<Command> MakeLogsCommand() { return std::make_unique<LogsCommand>(); }

}  // namespace layerfs
