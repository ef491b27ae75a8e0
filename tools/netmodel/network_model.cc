// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/network_model.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "index/base/file.h"
#include "index/base/synchronized.h"
#include "tools/netmodel/fault_plan.h"
#include "tools/netmodel/link_shaper.h"
#include "tools/netmodel/model_connection.h"
#include "tools/netmodel/model_listener.h"

namespace layerfs {
namespace {

// What epoll hands back: 0 the wake-up, 1 the timer, then listeners, then connections' sockets.
constexpr uint64_t kWakeTag = 0;
constexpr uint64_t kTimerTag = 1;
constexpr uint64_t kFirstListenerTag = 2;
constexpr uint64_t kFirstConnectionTag = uint64_t{1} << 32;

// A connection's window is what a sender may have under way: twice what the link carries in a
// round trip, as far as that is known, between these.
constexpr double kLeastWindow = 1 << 20;
constexpr double kMostWindow = 32 << 20;

size_t WindowFor(const NetworkProfile& profile) {
  const double seconds = std::chrono::duration<double>(profile.round_trip).count();
  return static_cast<size_t>(
      std::clamp(2 * seconds * profile.bytes_per_second, kLeastWindow, kMostWindow));
}

TimePoint Now() { return std::chrono::steady_clock::now(); }

}  // namespace

class NetworkModel::Loop {
 public:
  explicit Loop(NetworkProfile profile, uint64_t seed) : faults_(seed) {
    Adopt(std::move(profile));
  }
  ~Loop() { Stop(); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Status Open();
  Result<int> AddListener(const std::string& target, int port);
  // What the thread is to do when it comes to it.
  void Ask(std::function<void()> task);
  void AskProfile(NetworkProfile profile) {
    Ask([this, profile = std::move(profile)] { Adopt(profile); });
  }
  void AskReach(Reach reach) {
    Ask([this, reach] { SetReach(reach); });
  }
  void AskBreak() {
    Ask([this] { ResetAll(); });
  }
  void AskResetStatistics() {
    Ask([this] { statistics_ = {.open = connections_.size()}; });
  }
  NetworkStatistics statistics() const {
    return published_.With([](const NetworkStatistics& published) { return published; });
  }

 private:
  using Direction = ModelConnection::Direction;
  static constexpr Direction kDirections[] = {ModelConnection::kUp, ModelConnection::kDown};

  void Adopt(NetworkProfile profile);
  void Run();
  void Stop();
  void RunTasks();
  bool Watch(int fd, uint64_t tag, uint32_t events) const;
  void OnEvent(const epoll_event& event);
  void AcceptAll(ModelListener& listener);
  void AddConnection(const ModelListener& listener, UniqueFd client);
  void SendAll(Direction direction, TimePoint now);
  void DeliverAll(TimePoint now);
  TimePoint NextWake() const;
  void SetTimer(TimePoint at);
  void SetReach(Reach reach);
  void ResetAll();
  void DropOver();

  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd timer_;
  std::thread thread_;
  Synchronized<std::vector<std::function<void()>>> tasks_;
  Synchronized<NetworkStatistics> published_;

  // From here on of the thread only.
  bool stopping_ = false;
  bool silent_ = false;
  NetworkProfile profile_;
  FaultPlan faults_;
  LinkShaper links_[2];
  std::vector<std::unique_ptr<ModelListener>> listeners_;
  std::map<uint64_t, std::unique_ptr<ModelConnection>> connections_;  // by tag of the client
  uint64_t next_tag_ = kFirstConnectionTag;
  uint64_t last_turn_[2] = {0, 0};  // whose turn it was last
  NetworkStatistics statistics_;
};

Status NetworkModel::Loop::Open() {
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  timer_.Reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!epoll_.valid() || !wake_.valid() || !timer_.valid()) {
    return FailErrno("network model: descriptors", errno);
  }
  Watch(wake_.get(), kWakeTag, EPOLLIN);
  Watch(timer_.get(), kTimerTag, EPOLLIN | EPOLLET);
  thread_ = std::thread([this] { Run(); });
  return {};
}

void NetworkModel::Loop::Stop() {
  if (!thread_.joinable()) return;
  Ask([this] { stopping_ = true; });
  thread_.join();
}

bool NetworkModel::Loop::Watch(int fd, uint64_t tag, uint32_t events) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void NetworkModel::Loop::Ask(std::function<void()> task) {
  tasks_.With([&](auto& tasks) { tasks.push_back(std::move(task)); });
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
}

void NetworkModel::Loop::RunTasks() {
  uint64_t count = 0;
  (void)!read(wake_.get(), &count, sizeof count);
  const auto tasks = tasks_.With([](auto& waiting) { return std::exchange(waiting, {}); });
  for (const auto& task : tasks) task();
}

void NetworkModel::Loop::Adopt(NetworkProfile profile) {
  profile_ = std::move(profile);
  faults_.SetRules(profile_.faults);
  for (LinkShaper& link : links_) {
    link.Configure(profile_.round_trip / 2, profile_.bytes_per_second);
  }
}

Result<int> NetworkModel::Loop::AddListener(const std::string& target, int port) {
  LAYERFS_TRY(opened, ModelListener::Open(target, port));
  auto listener = std::make_shared<ModelListener>(std::move(opened));
  const int own_port = listener->port();
  Ask([this, listener] {
    listeners_.push_back(std::make_unique<ModelListener>(std::move(*listener)));
    Watch(listeners_.back()->fd(), kFirstListenerTag + listeners_.size() - 1, EPOLLIN);
  });
  return own_port;
}

void NetworkModel::Loop::Run() {
  pthread_setname_np(pthread_self(), "lf-netmodel");
  // splice(2) to a socket that was closed would raise it.
  sigset_t pipe_signal;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
  std::vector<epoll_event> events(256);
  while (!stopping_) {
    const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) OnEvent(events[static_cast<size_t>(i)]);
    const TimePoint now = Now();
    if (!silent_) {
      for (const Direction direction : kDirections) SendAll(direction, now);
      DeliverAll(now);
    }
    DropOver();
    published_.With([this](NetworkStatistics& published) { published = statistics_; });
    SetTimer(NextWake());
  }
  ResetAll();
}

void NetworkModel::Loop::OnEvent(const epoll_event& event) {
  const uint64_t tag = event.data.u64;
  if (tag == kWakeTag) return RunTasks();
  if (tag == kTimerTag) return;
  if (tag < kFirstConnectionTag) return AcceptAll(*listeners_[tag - kFirstListenerTag]);
  const auto side = tag % 2 == 0 ? ModelConnection::kClient : ModelConnection::kServer;
  const auto found = connections_.find(tag - (side == ModelConnection::kServer ? 1 : 0));
  if (found != connections_.end()) found->second->OnEvents(side, event.events);
}

void NetworkModel::Loop::AcceptAll(ModelListener& listener) {
  while (true) {
    UniqueFd client = listener.Accept();
    if (!client.valid()) return;
    AddConnection(listener, std::move(client));
  }
}

// A client whose server cannot be had sees its connection end.
void NetworkModel::Loop::AddConnection(const ModelListener& listener, UniqueFd client) {
  ++statistics_.connections;
  auto server = listener.Connect();
  if (!server.has_value()) return;
  auto made =
      ModelConnection::Create(std::move(client), std::move(*server), Now(),
                              {profile_.round_trip, WindowFor(profile_), &faults_, &statistics_});
  if (!made.has_value()) return;
  const uint64_t tag = next_tag_;
  next_tag_ += 2;
  constexpr uint32_t kAll = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  ModelConnection& connection = **made;
  connections_.emplace(tag, std::move(*made));
  ++statistics_.open;
  if (!Watch(connection.socket(ModelConnection::kClient), tag, kAll) ||
      !Watch(connection.socket(ModelConnection::kServer), tag + 1, kAll)) {
    connection.Reset();
  }
}

// In turn, a quantum each, from the one after the last; as long as the link takes it.
void NetworkModel::Loop::SendAll(Direction direction, TimePoint now) {
  LinkShaper& link = links_[direction];
  bool sent = true;
  while (sent) {
    sent = false;
    auto next = connections_.upper_bound(last_turn_[direction]);
    for (size_t i = 0; i < connections_.size(); ++i, ++next) {
      if (next == connections_.end()) next = connections_.begin();
      if (!next->second->Sends(direction, now)) continue;
      if (!link.Takes(now)) return;
      next->second->Send(direction, link, now);
      last_turn_[direction] = next->first;
      sent = true;
    }
  }
  if (link.Takes(now)) link.Idle();
}

void NetworkModel::Loop::DeliverAll(TimePoint now) {
  for (const auto& [tag, connection] : connections_) {
    for (const Direction direction : kDirections) {
      if (connection->DeliversAt(direction) <= now) connection->Deliver(direction, now);
    }
  }
}

TimePoint NetworkModel::Loop::NextWake() const {
  TimePoint wake = TimePoint::max();
  if (silent_) return wake;
  for (const auto& [tag, connection] : connections_) {
    for (const Direction direction : kDirections) {
      const TimePoint sends = connection->SendsAt(direction);
      if (sends != TimePoint::max()) {
        wake = std::min(wake, std::max(sends, links_[direction].TakesAt()));
      }
      wake = std::min(wake, connection->DeliversAt(direction));
    }
  }
  return wake;
}

void NetworkModel::Loop::SetTimer(TimePoint at) {
  itimerspec spec{};  // all zeros: off
  if (at != TimePoint::max()) {
    const auto since = std::max<Duration>(at.time_since_epoch(), std::chrono::nanoseconds(1));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
    spec.it_value.tv_sec = seconds.count();
    spec.it_value.tv_nsec = std::chrono::nanoseconds(since - seconds).count();
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

void NetworkModel::Loop::SetReach(Reach reach) {
  silent_ = reach == Reach::kSilent;
  for (size_t i = 0; i < listeners_.size(); ++i) {
    ModelListener& listener = *listeners_[i];
    if (reach == Reach::kRefused) {
      listener.Refuse();
    } else if (listener.fd() < 0 && listener.Listen().has_value()) {
      Watch(listener.fd(), kFirstListenerTag + i, EPOLLIN);
    }
  }
  if (reach == Reach::kRefused) ResetAll();
}

void NetworkModel::Loop::ResetAll() {
  for (const auto& [tag, connection] : connections_) connection->Reset();
  DropOver();
}

void NetworkModel::Loop::DropOver() {
  const size_t dropped =
      std::erase_if(connections_, [](const auto& entry) { return entry.second->over(); });
  statistics_.open -= dropped;
}

NetworkModel::NetworkModel(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
NetworkModel::~NetworkModel() = default;

Result<std::unique_ptr<NetworkModel>> NetworkModel::Start(NetworkProfile profile, uint64_t seed) {
  auto loop = std::make_unique<Loop>(std::move(profile), seed);
  LAYERFS_CHECK_OK(loop->Open());
  return std::unique_ptr<NetworkModel>(new NetworkModel(std::move(loop)));
}

Result<int> NetworkModel::AddUpstream(const std::string& target, int port) {
  return loop_->AddListener(target, port);
}

void NetworkModel::SetProfile(NetworkProfile profile) { loop_->AskProfile(std::move(profile)); }
void NetworkModel::SetReach(Reach reach) { loop_->AskReach(reach); }
void NetworkModel::BreakConnections() { loop_->AskBreak(); }
NetworkStatistics NetworkModel::Statistics() const { return loop_->statistics(); }
void NetworkModel::ResetStatistics() { loop_->AskResetStatistics(); }

}  // namespace layerfs
