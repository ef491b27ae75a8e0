// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/startup_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "fetch/manifest.h"
#include "tools/convert/convert_image.h"
#include "tools/run/runtime.h"
#include "tools/startup/add_startup.h"
#include "tools/startup/recording.h"
#include "tools/startup/trace_files.h"
#include "tools/state_option.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kUnmountPatience{10'000};
// Most tasks end by themselves once they are ready; the others are told to.
constexpr std::chrono::milliseconds kEndPatience{3'000};
constexpr std::chrono::milliseconds kKillTimeout{20'000};
constexpr uint64_t kMaxLinkBytes = 1024;

struct NoProgress final : ConvertProgress {
  void OnLayers(size_t) override {}
  void OnProgress(const LayerProgress&) override {}
};

void RemoveAll(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

// What the kernel keeps of files is what makes a second start warm. The tool itself is not what is
// started: a machine that runs containers has it in memory (see also ResidentFiles).
Status DropCaches(const CommandWords& tool, const std::string& log) {
  ::sync();
  LAYERFS_TRY(file, OpenFile("/proc/sys/vm/drop_caches", O_WRONLY));
  LAYERFS_CHECK_OK(WriteFull(file.get(), AsBytes("3")));
  return RunProgram(tool, log, kKillTimeout);
}

// An event log's times from the command's start, and the phases that it tells of.
void TakeEvents(std::vector<LoggedEvent> events, double began, StartSample& sample) {
  for (LoggedEvent& event : events) {
    event.at -= began;
    if (event.event == "resolved") sample.resolved = event.at;
    if (event.event == "opened") sample.opened = event.at;
    if (event.event == "read" && sample.first_byte == 0) sample.first_byte = event.at + event.took;
  }
  if (sample.first_byte == 0) sample.first_byte = sample.mounted;
  sample.events = std::move(events);
}

}  // namespace

StartupBench::StartupBench(const StartupBenchOptions& options, std::FILE* talk)
    : options_(options), talk_(talk), scratch_(options.scratch) {}

StartupBench::~StartupBench() {
  if (registry_.has_value()) registry_->End();
}

void StartupBench::Say(const std::string& text) const {
  if (talk_ != nullptr) std::fprintf(talk_, "%s\n", text.c_str());
}

Result<std::unique_ptr<StartupBench>> StartupBench::Start(const StartupBenchOptions& options,
                                                          std::FILE* talk) {
  auto bench = std::unique_ptr<StartupBench>(new StartupBench(options, talk));
  LAYERFS_TRY(program, OwnProgram());
  bench->program_ = program;
  LAYERFS_CHECK_OK(bench->tools_.AddOwnProgram());
  // docker-registry stands for another machine's program.
  for (const char* tool :
       {"crun", "runc", "ctr", "containerd-shim-runc-v2", "podman", "conmon", "docker-registry"}) {
    if (const auto path = FindProgram(tool)) LAYERFS_CHECK_OK(bench->tools_.Add(*path));
  }
  LAYERFS_CHECK_OK(bench->StartRegistry());
  LAYERFS_TRY(model, NetworkModel::Start(NetworkProfile{}));
  bench->model_ = std::move(model);
  LAYERFS_TRY(port,
              bench->model_->AddUpstream("127.0.0.1:" + std::to_string(bench->registry_port_)));
  bench->shaped_port_ = port;
  return bench;
}

Status StartupBench::StartRegistry() {
  LAYERFS_TRY(port, FreePort());
  registry_port_ = port;
  const std::string address = "127.0.0.1:" + std::to_string(port);
  const std::string config =
      "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + scratch_ +
      "/registry}}\nhttp: {addr: \"" + address + "\"}\n";
  LAYERFS_CHECK_OK(WriteFileAtomically(scratch_ + "/registry.yml", AsBytes(config)));
  LAYERFS_TRY(child, ChildProgram::Start({"docker-registry", "serve", scratch_ + "/registry.yml"},
                                         scratch_ + "/registry.log"));
  registry_.emplace(std::move(child));
  LAYERFS_CHECK_OK_IN(
      WaitForServer(*registry_, [&] { return IsServed("http://" + address + "/v2/"); }),
      "docker-registry does not start");
  return {};
}

std::string StartupBench::Direct(const std::string& repository, const std::string& tag) const {
  return "127.0.0.1:" + std::to_string(registry_port_) + "/" + repository + ":" + tag;
}
std::string StartupBench::Shaped(const std::string& repository, const std::string& tag) const {
  return "127.0.0.1:" + std::to_string(shaped_port_) + "/" + repository + ":" + tag;
}

// What its control groups are called begins with the scratch directory's name.
std::string StartupBench::NextName() {
  return std::filesystem::path(scratch_).filename().string() + "-" + std::to_string(++containers_);
}

// For a cache that begins empty. It stays until the measurements are through: ext4 looks long for
// an inode where some were freed in the seconds before.
std::string StartupBench::NextEmptyPlace() {
  return scratch_ + "/places/" + std::to_string(++places_);
}

Result<StartupBench::Prepared> StartupBench::Prepare(size_t number) {
  const std::string& image = options_.images[number];
  Prepared prepared;
  prepared.repository = "bench/image" + std::to_string(number);
  prepared.result.image = image;
  LAYERFS_CHECK_OK(
      RunProgram({"skopeo", "copy", "--dest-tls-verify=false", "--src-tls-verify=false", image,
                  "docker://" + Direct(prepared.repository, "plain")},
                 scratch_ + "/skopeo.log", options_.timeout));
  ServiceOptions service_options;
  service_options.cache_directory = scratch_ + "/cache-prepare";
  Services services(service_options);
  LAYERFS_CHECK_OK(CountImageBytes(services, prepared));
  LAYERFS_CHECK_OK(Convert(image, services, prepared));
  LAYERFS_CHECK_OK(AddPack(image, services, prepared));
  LAYERFS_CHECK_OK(Unpack(prepared));
  LAYERFS_CHECK_OK(HoldRegistryFiles(prepared));
  return prepared;
}

Status StartupBench::Convert(const std::string& image, Services& services, Prepared& prepared) {
  LAYERFS_TRY(source, ImageReference::Parse(image));
  LAYERFS_TRY(stores, services.Stores());
  NoProgress none;
  for (const char* tag : {"bare", "lazy"}) {
    ConvertOptions convert;
    convert.source = source;
    LAYERFS_TRY(destination, ImageReference::Parse("docker://" + Direct(prepared.repository, tag)));
    convert.destination = destination;
    convert.cache_directory = services.options().cache_directory;
    convert.spool_directory = scratch_;
    Say("converting " + image + " (" + tag + ")");
    LAYERFS_CHECK_OK(ConvertImage(convert, *stores, none));
  }
  return {};
}

// Of the one platform that a pull takes, where the image has several.
Status StartupBench::CountImageBytes(Services& services, Prepared& prepared) {
  LAYERFS_TRY(stores, services.Stores());
  LAYERFS_TRY(plain, ImageReference::Parse("docker://" + Direct(prepared.repository, "plain")));
  LAYERFS_TRY(reader, stores->OpenReader(plain));
  LAYERFS_TRY(root, reader->ReadRoot());
  LAYERFS_TRY_IN(manifest, Manifest::Parse(root.raw), plain.ToString());
  for (const Descriptor& layer : manifest.layers) prepared.result.image_bytes += layer.size;
  return {};
}

Status StartupBench::AddPack(const std::string& image, Services& services, Prepared& prepared) {
  LAYERFS_TRY(cache, services.Cache());
  LAYERFS_TRY(stores, services.Stores());
  LAYERFS_TRY(scheduler, services.Fetcher());
  AddStartupOptions add;
  LAYERFS_TRY(reference, ImageReference::Parse("docker://" + Direct(prepared.repository, "lazy")));
  add.image = reference;
  LAYERFS_TRY(traces, ReadTraces(options_.traces));
  add.traces = std::move(traces);
  if (add.traces.empty()) {
    Say("recording " + image);
    RecordOptions record;
    record.image = reference.ToString();
    record.command = options_.command;
    record.ready = options_.ready;
    record.timeout = options_.timeout;
    LAYERFS_TRY_IN(trace, RecordStartup(record, services.options()), "recording");
    add.traces.push_back(std::move(trace));
  }
  LAYERFS_TRY(added, AddStartup(add, ImageContext{*stores, *scheduler, cache}));
  prepared.result.pack_bytes = added.pack_bytes;
  // What the pack has beyond what start-up reads is not the limit's; by its share.
  if (added.page_bytes > 0) {
    prepared.result.page_stream_bytes =
        static_cast<uint64_t>(static_cast<double>(added.stored_page_bytes) *
                              static_cast<double>(added.page_bytes - added.gap_bytes) /
                              static_cast<double>(added.page_bytes));
  }
  prepared.result.tree_bytes = added.stored_tree_bytes;
  return {};
}

// Another machine's: they are in its memory, or on its disks, which are not measured here.
Status StartupBench::HoldRegistryFiles(Prepared& prepared) const {
  const std::string store = scratch_ + "/registry/docker/registry/v2";
  const std::string repository = store + "/repositories/" + prepared.repository;
  LAYERFS_CHECK_OK(prepared.registry.AddTree(repository));
  std::error_code error;
  std::filesystem::recursive_directory_iterator entries(repository, error);
  for (; !error && entries != std::filesystem::recursive_directory_iterator();
       entries.increment(error)) {
    if (entries->path().filename() != "link") continue;
    LAYERFS_TRY(link, ReadFile(entries->path(), kMaxLinkBytes));
    LAYERFS_TRY(digest, Digest::Parse(AsText(link)));
    const std::string hex = digest.Hex();
    LAYERFS_CHECK_OK(
        prepared.registry.Add(store + "/blobs/sha256/" + hex.substr(0, 2) + "/" + hex + "/data"));
  }
  if (error) return FailErrno(repository, error.value());
  return {};
}

// The local copy, by way of a mount: what is measured against is what is mounted.
Status StartupBench::Unpack(Prepared& prepared) {
  const std::string mount_point = scratch_ + "/mnt";
  const std::string tree =
      scratch_ + "/tree-" + std::filesystem::path(prepared.repository).filename().string();
  LAYERFS_CHECK_OK(MakeDirectories(tree));
  Say("unpacking " + prepared.result.image);
  LAYERFS_TRY(mount, Mount("docker://" + Direct(prepared.repository, "bare"), mount_point,
                           {"--cache", scratch_ + "/cache-prepare", "--fill", "off"}));
  Result<TaskSpec> spec = CopyTree(mount, mount_point, tree);
  const Status ended = mount.End(kUnmountPatience);
  if (!spec.has_value()) return Fail(std::move(spec).error());
  prepared.local = std::move(*spec);
  return ended;
}

Result<TaskSpec> StartupBench::CopyTree(const MountProcess& mount, const std::string& mount_point,
                                        const std::string& tree) {
  LAYERFS_CHECK_OK(RunProgram({"cp", "-a", mount_point + "/.", tree}, scratch_ + "/unpack.log",
                              options_.timeout));
  LAYERFS_TRY(spec, TaskSpec::Make(mount.image_config(), options_.command, tree));
  spec.scratch = scratch_ + "/task";
  return spec;
}

Result<MountProcess> StartupBench::Mount(const std::string& image, const std::string& mount_point,
                                         const std::vector<std::string>& words) {
  LAYERFS_CHECK_OK(MakeDirectories(mount_point));
  MountProcess::Options options;
  options.program = program_;
  options.words = words;
  options.image = image;
  options.mount_point = mount_point;
  return MountProcess::Start(options);
}

Status StartupBench::WaitFor(StartupTask& task, double began, StartSample& sample) {
  LAYERFS_CHECK_OK(task.WaitReady(options_.ready, options_.timeout));
  sample.ready = MonotonicSeconds() - began;
  const NetworkStatistics statistics = model_->Statistics();
  sample.link_bytes = statistics.down_bytes;
  sample.requests = statistics.requests;
  sample.connections = statistics.connections;
  return {};
}

Result<StartSample> StartupBench::RunMount(const std::string& tag, const Prepared& prepared) {
  const std::string mount_point = scratch_ + "/mnt";
  const std::string cache = NextEmptyPlace();
  const std::string event_file = scratch_ + "/events";
  // The last run's are not this one's, whatever becomes of it.
  ::unlink(event_file.c_str());
  LAYERFS_CHECK_OK(DropCaches({program_, "--version"}, scratch_ + "/warm.log"));
  model_->ResetStatistics();
  StartSample sample;
  const double began = MonotonicSeconds();
  LAYERFS_TRY(mount, Mount("docker://" + Shaped(prepared.repository, tag), mount_point,
                           {"--cache", cache, "--events", event_file, "--no-passthrough"}));
  sample.mounted = MonotonicSeconds() - began;
  TaskSpec spec = prepared.local;
  spec.root = mount_point;
  Status ready;
  {
    auto task = StartupTask::Start(spec);
    ready = task.has_value() ? WaitFor(**task, began, sample) : Status(Fail(task.error()));
  }
  const Status ended = mount.End(kUnmountPatience);
  LAYERFS_CHECK_OK(ready);
  LAYERFS_CHECK_OK(ended);
  LAYERFS_TRY(events, ReadEventLog(event_file));
  TakeEvents(std::move(events), began, sample);
  return sample;
}

Result<StartSample> StartupBench::RunLocal(const Prepared& prepared) {
  StartSample sample;
  model_->ResetStatistics();
  const double began = MonotonicSeconds();
  LAYERFS_TRY(task, StartupTask::Start(prepared.local));
  LAYERFS_CHECK_OK(WaitFor(*task, began, sample));
  return sample;
}

// With an empty store for each run, because it gives up what it has only when it likes.
Result<StartSample> StartupBench::RunContainerd(const Prepared& prepared) {
  const std::string home = scratch_ + "/containerd";
  LAYERFS_TRY(server, StartContainerd(home));
  Result<StartSample> sample =
      RunEngine(ContainerdCommands(
                    {home, Shaped(prepared.repository, "plain"), NextName(), options_.command}),
                home);
  server.End();
  RemoveAll(home);
  return sample;
}

Result<StartSample> StartupBench::RunPodman(const Prepared& prepared) {
  const std::string home = scratch_ + "/podman";
  RemoveAll(home);
  LAYERFS_CHECK_OK(MakeDirectories(home));
  LAYERFS_TRY(runtime, ChooseRuntime("", FindRuntimes(), DetectCgroups()));
  Result<StartSample> sample = RunEngine(
      PodmanCommands({home, Shaped(prepared.repository, "plain"), NextName(), options_.command},
                     runtime),
      home);
  RemoveAll(home);
  return sample;
}

// As a user types it, with everything as it is by default, a runtime included.
Result<StartSample> StartupBench::RunCommand(const Prepared& prepared) {
  const std::string home = NextEmptyPlace();
  LAYERFS_CHECK_OK(MakeDirectories(home));
  const std::string name = NextName();
  EngineCommands engine;
  engine.tool = {program_, "--version"};
  engine.run = {program_,
                "run",
                "--rm",
                "--state",
                home,
                "--cache",
                home + "/cache",
                "--name",
                name,
                "docker://" + Shaped(prepared.repository, "lazy")};
  engine.run.insert(engine.run.end(), options_.command.begin(), options_.command.end());
  engine.kill = {program_, "rm", "--force", "--state", home, name};
  return RunEngine(engine, home);
}

Result<StartSample> StartupBench::RunEngine(const EngineCommands& engine, const std::string& home) {
  const std::string log = home + "/engine.log";
  LAYERFS_CHECK_OK(DropCaches(engine.tool, log));
  model_->ResetStatistics();
  StartSample sample;
  const double began = MonotonicSeconds();
  if (!engine.pull.empty()) {
    LAYERFS_CHECK_OK_IN(RunProgram(engine.pull, log, options_.timeout), "pull");
    sample.opened = MonotonicSeconds() - began;
  }
  LAYERFS_TRY(task, StartupTask::StartProgram(engine.run));
  const Status ready = WaitFor(*task, began, sample);
  const Status by_itself = task->WaitReady({.exit = true}, kEndPatience);
  if (!by_itself.has_value() && by_itself.error().code == ErrorCode::kTimeout) {
    (void)RunProgram(engine.kill, log, kKillTimeout);
    (void)task->WaitReady({.exit = true}, kEndPatience);
  }
  task->Stop();
  LAYERFS_CHECK_OK(ready);
  return sample;
}

Result<StartSample> StartupBench::RunWay(const std::string& way, const Prepared& prepared) {
  if (way == "layerfs") return RunMount("lazy", prepared);
  if (way == "nopack") return RunMount("bare", prepared);
  if (way == "run") return RunCommand(prepared);
  if (way == "overlayfs") return RunContainerd(prepared);
  if (way == "podman") return RunPodman(prepared);
  // What the ways before it have dropped from the page cache comes back first.
  LAYERFS_TRY(warming, RunLocal(prepared));
  return RunLocal(prepared);
}

// Warm, then measured: T_run.
Status StartupBench::MeasureLocal(Prepared& prepared) {
  std::vector<double> seconds;
  for (int run = -1; run < options_.runs; ++run) {
    LAYERFS_CHECK_OK(options_.ready.CheckNotYet());
    LAYERFS_TRY_IN(sample, RunLocal(prepared), "the local copy");
    if (run >= 0) seconds.push_back(sample.ready);
  }
  prepared.result.run_seconds = SpreadOf(seconds).median;
  return {};
}

void StartupBench::RunOnce(int run, const Prepared& prepared, ImageResult& result,
                           WaySamples& way) {
  const Status quiet = options_.ready.CheckNotYet();
  Result<StartSample> sample = quiet.has_value() ? RunWay(way.way, prepared) : Fail(quiet.error());
  char text[160];
  std::snprintf(text, sizeof text, "%-12s %-10s run %d: ", result.profile.c_str(), way.way.c_str(),
                run + 1);
  std::string line = text;
  if (sample.has_value()) {
    std::snprintf(text, sizeof text, "ready in %.3f s", sample->ready);
    Say(line + text);
    way.samples.push_back(std::move(*sample));
  } else {
    Say(line + "FAILED: " + sample.error().context);
    way.failures.push_back(sample.error().context);
  }
}

ImageResult StartupBench::MeasureOver(const std::string& profile_word, const Prepared& prepared) {
  ImageResult result = prepared.result;
  result.profile = profile_word;
  const auto profile = ParseNetworkProfile(profile_word);
  if (!profile.has_value()) {
    result.failure = profile.error().context;
    return result;
  }
  result.round_trip = profile->round_trip;
  result.bytes_per_second = profile->bytes_per_second;
  result.ways.push_back({.way = "layerfs"});
  for (const char* way : {"nopack", "run", "overlayfs", "podman", "local"}) {
    if (std::ranges::find(options_.against, way) != options_.against.end()) {
      result.ways.push_back({.way = way});
    }
  }
  model_->SetProfile(*profile);
  for (int run = 0; run < options_.runs; ++run) {
    for (WaySamples& way : result.ways) RunOnce(run, prepared, result, way);
  }
  RemoveAll(scratch_ + "/places");
  return result;
}

std::vector<ImageResult> StartupBench::Run(const OnResult& on_result) {
  std::vector<ImageResult> results;
  for (size_t i = 0; i < options_.images.size(); ++i) {
    Result<Prepared> prepared = Prepare(i);
    if (prepared.has_value()) {
      const Status local = MeasureLocal(*prepared);
      if (!local.has_value()) prepared = Fail(local.error());
    }
    if (!prepared.has_value()) {
      Say(options_.images[i] + ": FAILED: " + prepared.error().context);
      ImageResult result;
      result.image = options_.images[i];
      result.failure = prepared.error().context;
      results.push_back(std::move(result));
      on_result(results);
      continue;
    }
    for (const std::string& word : options_.profiles) {
      results.push_back(MeasureOver(word, *prepared));
      on_result(results);
    }
    RemoveAll(prepared->local.root);
  }
  return results;
}

}  // namespace layerfs
