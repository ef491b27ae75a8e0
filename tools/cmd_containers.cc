// SPDX-License-Identifier: Apache-2.0
// ps and rm: the containers of this machine.
#include <algorithm>
#include <ctime>

#include "tools/command.h"
#include "tools/run/container_store.h"
#include "tools/run/user_namespace.h"
#include "tools/state_option.h"
#include "tools/text.h"

namespace layerfs {
namespace {

constexpr size_t kCommandColumns = 24;

std::string Ago(int64_t then) {
  const int64_t seconds = std::max<int64_t>(0, std::time(nullptr) - then);
  constexpr int64_t kMinute = 60;
  constexpr int64_t kHour = 60 * kMinute;
  constexpr int64_t kDay = 24 * kHour;
  if (seconds < kMinute) return std::to_string(seconds) + " s ago";
  if (seconds < kHour) return std::to_string(seconds / kMinute) + " min ago";
  if (seconds < 2 * kDay) return std::to_string(seconds / kHour) + " h ago";
  return std::to_string(seconds / kDay) + " days ago";
}

std::string StatusText(const ContainerStore::Listed& listed) {
  if (listed.running) return "running";
  if (!listed.record.exit_status.has_value()) return "killed";
  return "exited (" + std::to_string(*listed.record.exit_status) + ")";
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  text = EscapeForTerminal(text);
  if (text.size() > kCommandColumns) text = text.substr(0, kCommandColumns - 1) + "…";
  return text;
}

class PsCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("ps", "list containers");
    app->add_flag("-a,--all", all_, "Those that have ended as well");
    app->add_flag("-q,--quiet", quiet_, "Names only");
    app->add_flag("--json", json_, "Print JSON");
    DeclareState(*app, state_directory_);
    Document(*app, {"  Lists the containers that layerfs run has made and --rm has not removed.",
                    {"layerfs ps -a", "layerfs rm $(layerfs ps -aq)"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    const std::string state = StateDirectory(state_directory_);
    LAYERFS_CHECK_OK(BecomeNamespaceRoot());
    LAYERFS_TRY(store, ContainerStore::Open(state));
    store.CleanUp();
    LAYERFS_TRY(list, store.List());
    if (!all_) std::erase_if(list, [](const auto& listed) { return !listed.running; });
    if (json_) {
      PrintJson(list, io);
    } else if (quiet_) {
      for (const auto& listed : list) std::fprintf(io.out, "%s\n", listed.record.name.c_str());
    } else {
      PrintTable(list, io);
    }
    return ExitStatus::kSuccess;
  }

 private:
  static void PrintTable(const std::vector<ContainerStore::Listed>& list, CommandIo& io) {
    std::fprintf(io.out, "%-12s  %-20s  %-12s  %-12s  %-24s  %s\n", "ID", "NAME", "CREATED",
                 "STATUS", "COMMAND", "IMAGE");
    for (const auto& listed : list) {
      const ContainerRecord& record = listed.record;
      std::fprintf(io.out, "%-12s  %-20s  %-12s  %-12s  %-24s  %s\n", ShortId(record.id).c_str(),
                   record.name.c_str(), Ago(record.created).c_str(), StatusText(listed).c_str(),
                   Joined(record.command).c_str(), EscapeForTerminal(record.image).c_str());
    }
  }

  static void PrintJson(const std::vector<ContainerStore::Listed>& list, CommandIo& io) {
    Json document = Json::array();
    for (const auto& listed : list) {
      const ContainerRecord& record = listed.record;
      Json item = {{"id", record.id},           {"name", record.name},
                   {"image", record.image},     {"command", record.command},
                   {"created", record.created}, {"running", listed.running},
                   {"layer", record.layer}};
      if (record.exit_status.has_value() && !listed.running) {
        item["exitStatus"] = *record.exit_status;
      }
      document.push_back(std::move(item));
    }
    std::fprintf(io.out, "%s\n",
                 document.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  }

  bool all_ = false;
  bool quiet_ = false;
  bool json_ = false;
  std::string state_directory_;
};

class RmCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("rm", "remove containers");
    app->add_option("NAME", names_, "The containers")->required();
    app->add_flag("-f,--force", force_, "Kill those that run; pass over those that are not there");
    DeclareState(*app, state_directory_);
    Document(*app, {"  Removes containers with their layers and their own volumes. A layer that\n"
                    "  --container-layer has put somewhere else stays, and so do named volumes.",
                    {"layerfs rm web", "layerfs rm -f web"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    const std::string state = StateDirectory(state_directory_);
    LAYERFS_CHECK_OK(BecomeNamespaceRoot());
    LAYERFS_TRY(store, ContainerStore::Open(state));
    store.CleanUp();
    return ForEachContainer(names_, "layerfs rm", io, [&](const std::string& name) -> Result<bool> {
      const Status removed = Remove(store, name);
      if (removed.has_value()) return true;
      if (force_ && removed.error().code == ErrorCode::kNotFound) return false;
      return Fail(removed.error());
    });
  }

 private:
  Status Remove(const ContainerStore& store, const std::string& name) const {
    if (force_) LAYERFS_CHECK_OK(store.Kill(name));
    auto container = store.Lock(name);
    if (!container.has_value()) {
      Error error = std::move(container).error();
      if (error.code == ErrorCode::kBusy) error.context += "; --force kills it";
      return Fail(std::move(error));
    }
    LAYERFS_CHECK_OK(container->EndRun());
    return container->record().remove ? Status{} : container->Remove();
  }

  std::vector<std::string> names_;
  bool force_ = false;
  std::string state_directory_;
};

}  // namespace

std::unique_ptr<Command> MakePsCommand() { return std::make_unique<PsCommand>(); }
std::unique_ptr<Command> MakeRmCommand() { return std::make_unique<RmCommand>(); }

}  // namespace layerfs
