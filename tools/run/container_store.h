// SPDX-License-Identifier: Apache-2.0
// ContainerStore: the containers of `layerfs run` on this machine, by name, in a state directory:
//   lock                      taken for a moment while names appear, go and are looked through
//   runtime/                  what the OCI runtime keeps
//   volumes/NAME/             volumes that containers share by name
//   containers/NAME/lock      held (flock) by the `layerfs run` that runs it
//   containers/NAME/container.json
//   containers/NAME/log       what it has said, of one that runs in the background
//   containers/NAME/layer/    the container layer, where it is not somewhere else
//   containers/NAME/volumes/  the container's own volumes
//   containers/NAME/run/      of the present run: root (the mount), bundle (config.json, hosts …)
// A container whose lock is free does not run: what is left of its run was left by a kill.
// Processes may share a directory; an object is one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"
#include "index/base/json.h"

namespace layerfs {

// The first digits of a container's id, as Docker shows it and names the container's host by it.
std::string ShortId(const std::string& id);

struct ContainerRecord {
  std::string name;
  std::string id;  // 64 hex digits
  std::string image;
  std::vector<std::string> command;  // once it is known
  std::string layer;                 // the container layer's directory
  std::string runtime;               // the runtime's program
  int64_t created = 0;               // seconds since 1970
  bool remove = false;               // goes when it has ended
  std::optional<int> exit_status;    // of the last run that has ended
  int64_t run_pid = 0;               // of its `layerfs run`, in its last run
  int64_t mount_pid = 0;             // of the process that serves its root, in its last run
  // How it is run again: see run_options_json.h, and the options of its mount.
  Json options = Json::object();
  std::vector<std::string> mount_words;

  Json ToJson() const;
  static Result<ContainerRecord> FromJson(const Json& json);
};

// 64 random hex digits.
Result<std::string> NewContainerId();

// /var/lib/layerfs for the machine's root, else $XDG_DATA_HOME/layerfs or ~/.local/share/layerfs.
std::string DefaultStateDirectory();

// A container that nobody else touches while this lives.
class LockedContainer {
 public:
  const ContainerRecord& record() const { return record_; }
  const std::string& directory() const { return directory_; }
  std::string root() const { return directory_ + "/run/root"; }
  std::string bundle() const { return directory_ + "/run/bundle"; }
  std::string log() const { return directory_ + "/log"; }
  std::string volumes() const { return directory_ + "/volumes"; }

  Status Save(const ContainerRecord& record);
  // Makes the empty directories of a run.
  Status MakeRunDirectories() const;
  // Ends what a run has left: processes, the mount, run/. With record().remove all of it goes.
  Status EndRun();
  // All of it but a layer that lies elsewhere.
  Status Remove();

 private:
  friend class ContainerStore;
  LockedContainer(std::string state, std::string directory, UniqueFd lock)
      : state_(std::move(state)), directory_(std::move(directory)), lock_(std::move(lock)) {}

  std::string state_;
  std::string directory_;
  UniqueFd lock_;
  ContainerRecord record_;
};

class ContainerStore {
 public:
  // Makes the directory where it is missing.
  static Result<ContainerStore> Open(const std::string& directory);

  const std::string& directory() const { return directory_; }
  std::string runtime_state() const { return directory_ + "/runtime"; }
  std::string named_volumes() const { return directory_ + "/volumes"; }

  // A new one; kExists where the name is in use. An empty layer becomes the one in its directory.
  Result<LockedContainer> Create(ContainerRecord record) const;
  // kNotFound, or kBusy while it runs.
  Result<LockedContainer> Lock(const std::string& name) const;
  // Asks a container that runs to stop, by its stop signal, and kills it where it has not within
  // `patience`. kNotFound; success where it does not run.
  Status Stop(const std::string& name, std::chrono::milliseconds patience) const;
  // Where its log is, of one that ran in the background. kNotFound.
  Result<std::string> LogOf(const std::string& name) const;
  // Kills a container that runs and waits for its `layerfs run` to be through with it.
  Status Kill(const std::string& name) const;

  struct Listed {
    ContainerRecord record;
    bool running = false;
  };
  Result<std::vector<Listed>> List() const;  // by name

  // Ends what killed runs have left; see LockedContainer::EndRun. What cannot be ended is logged.
  void CleanUp() const;

 private:
  explicit ContainerStore(std::string directory) : directory_(std::move(directory)) {}
  std::string ContainerDirectory(const std::string& name) const;
  void FinishRemovals() const;
  Result<std::vector<std::string>> Names() const;
  Result<LockedContainer> LockUnder(const UniqueFd& store_lock, const std::string& name) const;

  std::string directory_;
};

}  // namespace layerfs
