// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/startup_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tools/convert/convert_image.h"
#include "tools/startup/add_startup.h"
#include "tools/startup/mount_child.h"
#include "tools/startup/recording.h"
#include "tools/startup/trace_files.h"

namespace layerfs {
namespace {

constexpr int kServerAttempts = 500;
constexpr std::chrono::milliseconds kServerWait{20};

struct NoProgress final : ConvertProgress {
  void OnLayers(size_t) override {}
  void OnProgress(const LayerProgress&) override {}
};

Status WriteText(const std::string& path, const std::string& text) {
  return WriteFileAtomically(path, AsBytes(text));
}

void RemoveAll(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

// What the kernel keeps of files is what makes a second start warm. The tool itself is not what is
// started: a machine that runs containers has it in memory.
Status DropCaches(const std::vector<std::string>& tool, const std::string& log) {
  ::sync();
  LAYERFS_TRY(file, OpenFile("/proc/sys/vm/drop_caches", O_WRONLY));
  LAYERFS_CHECK_OK(WriteFull(file.get(), AsBytes("3")));
  return RunProgram(tool, log);
}

std::string ContainerName() {
  static int number = 0;
  return "layerfs-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
}

}  // namespace

StartupBench::StartupBench(const StartupBenchOptions& options, std::FILE* talk, std::string scratch)
    : options_(options), talk_(talk), scratch_(std::move(scratch)) {}

StartupBench::~StartupBench() {
  if (containerd_.has_value()) containerd_->End();
  if (registry_.has_value()) registry_->End();
  RemoveAll(scratch_);
}

void StartupBench::Say(const std::string& text) const {
  if (talk_ != nullptr) std::fprintf(talk_, "%s\n", text.c_str());
}

Result<std::unique_ptr<StartupBench>> StartupBench::Start(const StartupBenchOptions& options,
                                                          std::FILE* talk) {
  if (::geteuid() != 0) {
    return Fail(ErrorCode::kPermission, "the benchmark runs images' programs and needs root");
  }
  std::string scratch = options.directory + "/layerfs-bench.XXXXXX";
  if (::mkdtemp(scratch.data()) == nullptr) return FailErrno(scratch, errno);
  auto bench = std::unique_ptr<StartupBench>(new StartupBench(options, talk, scratch));
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
  LAYERFS_CHECK_OK(WriteText(scratch_ + "/registry.yml",
                             "version: 0.1\nlog: {level: error}\nstorage: {filesystem: "
                             "{rootdirectory: " +
                                 scratch_ + "/registry}}\nhttp: {addr: \"" + address + "\"}\n"));
  LAYERFS_TRY(child, Child::Start({"docker-registry", "serve", scratch_ + "/registry.yml"},
                                  scratch_ + "/registry.log"));
  registry_.emplace(std::move(child));
  for (int i = 0; i < kServerAttempts; ++i) {
    if (IsServed("http://" + address + "/v2/")) return {};
    if (!registry_->running()) break;
    std::this_thread::sleep_for(kServerWait);
  }
  return Fail(ErrorCode::kIo,
              "docker-registry does not start; tools/setup.sh installs what the benchmark needs");
}

// With an empty store: one for each run, because it gives up what it has only when it likes.
Status StartupBench::StartContainerd() {
  const std::string home = scratch_ + "/containerd";
  RemoveAll(home);
  LAYERFS_CHECK_OK(MakeDirectories(home));
  LAYERFS_CHECK_OK(WriteText(home + "/config.toml",
                             "version = 2\nroot = \"" + home + "/root\"\nstate = \"" + home +
                                 "/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
                                 "[grpc]\naddress = \"" +
                                 home + "/socket\"\n"));
  LAYERFS_TRY(child,
              Child::Start({"containerd", "--config", home + "/config.toml"}, home + "/log"));
  containerd_.emplace(std::move(child));
  for (int i = 0; i < kServerAttempts; ++i) {
    if (RunProgram({"ctr", "-a", home + "/socket", "version"}, home + "/ctr.log").has_value()) {
      return {};
    }
    std::this_thread::sleep_for(kServerWait);
  }
  return Fail(ErrorCode::kIo, "containerd does not start");
}

bool StartupBench::Against(const std::string& way) const {
  return std::ranges::find(options_.against, way) != options_.against.end();
}

std::string StartupBench::Direct(const std::string& repository, const std::string& tag) const {
  return "127.0.0.1:" + std::to_string(registry_port_) + "/" + repository + ":" + tag;
}
std::string StartupBench::Shaped(const std::string& repository, const std::string& tag) const {
  return "127.0.0.1:" + std::to_string(shaped_port_) + "/" + repository + ":" + tag;
}

Result<StartupBench::Prepared> StartupBench::Prepare(size_t number) {
  const std::string& image = options_.images[number];
  Prepared prepared;
  prepared.repository = "bench/image" + std::to_string(number);
  prepared.result.image = image;
  LAYERFS_TRY(source, ImageReference::Parse(image));
  LAYERFS_CHECK_OK(
      RunProgram({"skopeo", "copy", "--dest-tls-verify=false", "--src-tls-verify=false", image,
                  "docker://" + Direct(prepared.repository, "plain")},
                 scratch_ + "/skopeo.log"));
  ServiceOptions service_options;
  service_options.cache_directory = scratch_ + "/cache-prepare";
  Services services(service_options);
  LAYERFS_TRY(cache, services.Cache());
  LAYERFS_TRY(stores, services.Stores());
  LAYERFS_TRY(scheduler, services.Fetcher());
  NoProgress none;
  for (const char* tag : {"bare", "lazy"}) {
    ConvertOptions convert;
    convert.source = source;
    LAYERFS_TRY(destination, ImageReference::Parse("docker://" + Direct(prepared.repository, tag)));
    convert.destination = destination;
    convert.cache_directory = service_options.cache_directory;
    convert.spool_directory = scratch_;
    Say("converting " + image + " (" + tag + ")");
    LAYERFS_TRY(report, ConvertImage(convert, *stores, none));
    prepared.result.image_bytes = 0;
    for (const LayerReport& layer : report.layers) prepared.result.image_bytes += layer.source_size;
  }
  const std::string lazy = "docker://" + Direct(prepared.repository, "lazy");
  AddStartupOptions add;
  LAYERFS_TRY(reference, ImageReference::Parse(lazy));
  add.image = reference;
  LAYERFS_TRY(traces, ReadTraces(options_.traces));
  add.traces = std::move(traces);
  if (add.traces.empty()) {
    Say("recording " + image);
    RecordOptions record;
    record.image = lazy;
    record.command = options_.command;
    record.ready = options_.ready;
    record.timeout = options_.timeout;
    LAYERFS_TRY(trace, RecordStartup(record, service_options));
    add.traces.push_back(std::move(trace));
  }
  LAYERFS_TRY(added, AddStartup(add, ImageContext{*stores, *scheduler, cache}));
  prepared.result.pack_bytes = added.pack_bytes;
  prepared.result.page_stream_bytes = added.stored_page_bytes;
  prepared.result.tree_bytes = added.stored_tree_bytes;
  LAYERFS_CHECK_OK(Unpack("docker://" + Direct(prepared.repository, "bare"), prepared));
  return prepared;
}

// The local copy, by way of a mount: what is measured against is what is mounted.
Status StartupBench::Unpack(const std::string& image, Prepared& prepared) {
  const std::string mount_point = scratch_ + "/mnt";
  const std::string tree =
      scratch_ + "/tree-" + std::filesystem::path(prepared.repository).filename().string();
  LAYERFS_CHECK_OK(MakeDirectories(mount_point));
  LAYERFS_CHECK_OK(MakeDirectories(tree));
  Say("unpacking " + prepared.result.image);
  LAYERFS_TRY(mount, MountChild::Start(image, mount_point,
                                       {"--cache", scratch_ + "/cache-prepare", "--fill", "off"}));
  LAYERFS_TRY(spec, TaskSpec::Make(mount->config(), options_.command));
  prepared.local = std::move(spec);
  prepared.local.root = tree;
  LAYERFS_CHECK_OK(RunProgram({"cp", "-a", mount_point + "/.", tree}, scratch_ + "/unpack.log"));
  return mount->Stop();
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

Result<StartSample> StartupBench::RunLayerfs(const std::string& image, const Prepared& prepared) {
  const std::string mount_point = scratch_ + "/mnt";
  const std::string cache = scratch_ + "/cache-run";
  const std::string event_file = scratch_ + "/events";
  RemoveAll(cache);
  LAYERFS_CHECK_OK(DropCaches({"/proc/self/exe", "--version"}, scratch_ + "/warm.log"));
  model_->ResetStatistics();
  StartSample sample;
  const double began = MonotonicSeconds();
  LAYERFS_TRY(mount, MountChild::Start("docker://" + image, mount_point,
                                       {"--cache", cache, "--events", event_file,
                                        "--no-passthrough", "--fill", "off"}));
  sample.mounted = MonotonicSeconds() - began;
  TaskSpec spec = prepared.local;
  spec.root = mount_point;
  LAYERFS_TRY(task, StartupTask::Start(spec));
  LAYERFS_CHECK_OK(WaitFor(*task, began, sample));
  task->Stop();
  LAYERFS_CHECK_OK(mount->Stop());
  LAYERFS_TRY(events, ReadEventLog(event_file));
  for (LoggedEvent& event : events) {
    event.at -= began;
    if (event.event == "resolved") sample.resolved = event.at;
    if (event.event == "opened") sample.opened = event.at;
    if (event.event == "read" && sample.first_byte == 0) sample.first_byte = event.at + event.took;
  }
  if (sample.first_byte == 0) sample.first_byte = sample.mounted;
  sample.events = std::move(events);
  RemoveAll(cache);
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

Result<StartSample> StartupBench::RunContainerd(const Prepared& prepared) {
  const std::string home = scratch_ + "/containerd";
  const std::string reference = Shaped(prepared.repository, "plain");
  const std::vector<std::string> ctr = {"ctr", "-a", home + "/socket", "-n", "bench"};
  const auto words = [&](std::vector<std::string> more) {
    more.insert(more.begin(), ctr.begin(), ctr.end());
    return more;
  };
  LAYERFS_CHECK_OK(StartContainerd());
  LAYERFS_CHECK_OK(DropCaches(words({"version"}), home + "/ctr.log"));
  model_->ResetStatistics();
  StartSample sample;
  const double began = MonotonicSeconds();
  LAYERFS_CHECK_OK(
      RunProgram(words({"images", "pull", "--plain-http", "--snapshotter", "overlayfs", reference}),
                 home + "/ctr.log"));
  sample.opened = MonotonicSeconds() - began;
  const std::string name = ContainerName();
  std::vector<std::string> run = {"run",       "--rm",    "--net-host", "--snapshotter",
                                  "overlayfs", reference, name};
  run.insert(run.end(), options_.command.begin(), options_.command.end());
  LAYERFS_TRY(task, StartupTask::StartProgram(words(run)));
  const Status ready = WaitFor(*task, began, sample);
  // Most tasks end by themselves once they are ready; the others have to be told.
  (void)task->WaitReady({.exit = true}, std::chrono::seconds(3));
  (void)RunProgram(words({"tasks", "kill", "--all", "-s", "KILL", name}), home + "/ctr.log");
  (void)task->WaitReady({.exit = true}, std::chrono::seconds(3));
  task->Stop();
  containerd_->End();
  containerd_.reset();
  RemoveAll(home);
  LAYERFS_CHECK_OK(ready);
  return sample;
}

Result<StartSample> StartupBench::RunPodman(const Prepared& prepared) {
  const std::string home = scratch_ + "/podman";
  LAYERFS_CHECK_OK(MakeDirectories(home));
  const std::string reference = Shaped(prepared.repository, "plain");
  const auto words = [&](std::vector<std::string> more) {
    const std::vector<std::string> podman = {"podman",    "--root",           home + "/root",
                                             "--runroot", home + "/run",      "--storage-driver",
                                             "overlay",   "--cgroup-manager", "cgroupfs"};
    more.insert(more.begin(), podman.begin(), podman.end());
    return more;
  };
  LAYERFS_CHECK_OK(DropCaches(words({"version"}), home + "/log"));
  model_->ResetStatistics();
  StartSample sample;
  const double began = MonotonicSeconds();
  LAYERFS_CHECK_OK(
      RunProgram(words({"pull", "--quiet", "--tls-verify=false", reference}), home + "/log"));
  sample.opened = MonotonicSeconds() - began;
  const std::string name = ContainerName();
  std::vector<std::string> run = {"run", "--rm", "--network", "host", "--name", name, reference};
  run.insert(run.end(), options_.command.begin(), options_.command.end());
  LAYERFS_TRY(task, StartupTask::StartProgram(words(run)));
  const Status ready = WaitFor(*task, began, sample);
  (void)task->WaitReady({.exit = true}, std::chrono::seconds(3));
  (void)RunProgram(words({"rm", "--force", "--ignore", name}), home + "/log");
  task->Stop();
  LAYERFS_CHECK_OK(RunProgram(words({"rmi", "--force", "--all"}), home + "/log"));
  LAYERFS_CHECK_OK(ready);
  return sample;
}

Result<StartSample> StartupBench::RunWay(const std::string& way, const Prepared& prepared) {
  if (way == "layerfs") return RunLayerfs(Shaped(prepared.repository, "lazy"), prepared);
  if (way == "nopack") return RunLayerfs(Shaped(prepared.repository, "bare"), prepared);
  if (way == "overlayfs") return RunContainerd(prepared);
  if (way == "podman") return RunPodman(prepared);
  return RunLocal(prepared);
}

Result<std::vector<ImageResult>> StartupBench::Run() {
  std::vector<std::string> ways = {"layerfs"};
  for (const char* way : {"nopack", "overlayfs", "podman", "local"}) {
    if (Against(way)) ways.emplace_back(way);
  }
  std::vector<ImageResult> results;
  for (size_t i = 0; i < options_.images.size(); ++i) {
    LAYERFS_TRY_IN(prepared, Prepare(i), options_.images[i]);
    // Warm, then measured: T_run.
    std::vector<double> run_seconds;
    for (int run = -1; run < options_.runs; ++run) {
      LAYERFS_TRY_IN(sample, RunLocal(prepared), options_.images[i] + ": the local copy");
      if (run >= 0) run_seconds.push_back(sample.ready);
    }
    for (const std::string& word : options_.profiles) {
      LAYERFS_TRY(profile, ParseNetworkProfile(word));
      ImageResult result = prepared.result;
      result.profile = word;
      result.round_trip = profile.round_trip;
      result.bytes_per_second = profile.bytes_per_second;
      result.run_seconds = SpreadOf(run_seconds).median;
      for (const std::string& way : ways) result.ways.push_back({way, {}});
      model_->SetProfile(profile);
      for (int run = 0; run < options_.runs; ++run) {
        for (WaySamples& way : result.ways) {
          LAYERFS_TRY_IN(sample, RunWay(way.way, prepared),
                         options_.images[i] + " over " + word + ": " + way.way);
          char line[160];
          std::snprintf(line, sizeof line, "%-12s %-10s run %d: ready in %.3f s", word.c_str(),
                        way.way.c_str(), run + 1, sample.ready);
          Say(line);
          way.samples.push_back(std::move(sample));
        }
      }
      results.push_back(std::move(result));
    }
    RemoveAll(prepared.local.root);
  }
  return results;
}

}  // namespace layerfs
