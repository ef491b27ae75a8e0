// SPDX-License-Identifier: Apache-2.0
#include "tools/run/run_bundle.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "index/base/file.h"
#include "index/base/log.h"
#include "tools/run/child_process.h"
#include "tools/run/relay.h"
#include "tools/run/terminal.h"

namespace layerfs {
namespace {

constexpr std::array kForwarded = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

// The signals as a descriptor, for as long as this lives.
class SignalQueue {
 public:
  SignalQueue() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : kForwarded) ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    fd_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~SignalQueue() {
    // What came too late is nobody's: it would end this process before it has cleaned up.
    while (Take().has_value()) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  int fd() const { return fd_.get(); }
  std::optional<int> Take() {
    signalfd_siginfo info;
    if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  UniqueFd fd_;
  sigset_t before_{};
};

// Orphans of our descendants come to us while this lives.
class Subreaper {
 public:
  Subreaper() {
    ::prctl(PR_GET_CHILD_SUBREAPER, &before_);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  ~Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, before_); }
  Subreaper(const Subreaper&) = delete;
  Subreaper& operator=(const Subreaper&) = delete;

 private:
  int before_ = 0;
};

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
  static Result<Pipe> Make() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno("pipe", errno);
    return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
};

class ForegroundContainer {
 public:
  ForegroundContainer(const Runtime& runtime, const BundleRun& run, const RunHooks& hooks)
      : runtime_(runtime), run_(run), hooks_(hooks) {
    if (run.forward_signals) signals_.emplace();
  }

  Result<BundleEnd> Run() {
    LAYERFS_CHECK_OK(OpenStreams());
    const Result<pid_t> created = Create();
    if (!created.has_value()) return NotStarted(created.error());
    pid_ = *created;
    pid_fd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    if (!pid_fd_.valid()) return FailErrno("container process", errno);
    LAYERFS_CHECK_OK(ConnectTerminal());
    const Status started = runtime_.Start(run_.id, LogFile());
    if (!started.has_value()) return NotStarted(started.error());
    if (hooks_.on_started) hooks_.on_started(pid_);
    const RawTerminal raw(master_.valid() && run_.interactive ? STDIN_FILENO : -1);
    Serve();
    LAYERFS_TRY(status, WaitForProcess(pid_, "container process"));
    relays_.Drain(outputs_);
    return BundleEnd{status, std::nullopt};
  }

 private:
  std::string LogFile() const { return run_.directory + "/runtime.log"; }

  BundleEnd NotStarted(const Error& error) {
    const Status deleted = runtime_.Delete(run_.id);
    if (!deleted.has_value()) LogWarning(deleted.error().context);
    if (deleted.has_value() && pid_ > 0) (void)WaitForProcess(pid_, "container process");
    return BundleEnd{StartFailureStatus(error.context), error.context};
  }

  // A terminal of ours is not lent to a container that is to have none: it would see one.
  Status OpenStreams() {
    LAYERFS_TRY(null, OpenFile("/dev/null", O_RDWR));
    null_ = std::move(null);
    stdio_ = {null_.get(), null_.get(), null_.get()};
    if (run_.terminal) {
      LAYERFS_TRY(console, ConsoleSocket::Listen(run_.directory));
      console_ = std::make_unique<ConsoleSocket>(std::move(console));
      return {};
    }
    if (run_.interactive) LAYERFS_CHECK_OK(OpenInput());
    if (::isatty(STDOUT_FILENO) != 0) {
      LAYERFS_TRY(end, OpenOutput(STDOUT_FILENO));
      stdio_.out = end;
    } else {
      stdio_.out = STDOUT_FILENO;
    }
    // Always a pipe: the runtime writes there as well, what is reported otherwise.
    LAYERFS_TRY(end, OpenOutput(STDERR_FILENO));
    stdio_.err = end;
    return {};
  }

  Status OpenInput() {
    if (::isatty(STDIN_FILENO) == 0) {
      stdio_.in = STDIN_FILENO;
      return {};
    }
    LAYERFS_TRY(pipe, Pipe::Make());
    stdio_.in = pipe.read_end.get();
    given_.push_back(std::move(pipe.read_end));
    relays_.Add(STDIN_FILENO, std::move(pipe.write_end));
    return {};
  }

  Result<int> OpenOutput(int to) {
    LAYERFS_TRY(pipe, Pipe::Make());
    const int end = pipe.write_end.get();
    outputs_.push_back(pipe.read_end.get());
    relays_.AddBorrowed(pipe.read_end.get(), to);
    kept_.push_back(std::move(pipe.read_end));
    given_.push_back(std::move(pipe.write_end));
    return end;
  }

  Result<pid_t> Create() {
    const Result<pid_t> pid =
        runtime_.Create({run_.directory, run_.id, run_.directory + "/pid", LogFile(),
                         console_ != nullptr ? console_->path() : std::string(), stdio_});
    given_.clear();  // The container's ends are its alone, so that theirs is the end.
    return pid;
  }

  Status ConnectTerminal() {
    if (console_ == nullptr) return {};
    LAYERFS_TRY(master, console_->Receive());
    master_ = std::move(master);
    console_.reset();
    CopyWindowSize(master_.get());
    relays_.AddBorrowed(master_.get(), STDOUT_FILENO);
    outputs_.push_back(master_.get());
    if (run_.interactive) relays_.AddBorrowed(STDIN_FILENO, master_.get());
    return {};
  }

  // Until the first process has ended.
  void Serve() {
    while (true) {
      std::vector<pollfd> polled = {{pid_fd_.get(), POLLIN, 0},
                                    {signals_.has_value() ? signals_->fd() : -1, POLLIN, 0}};
      const size_t fixed = polled.size();
      relays_.AppendTo(polled);
      const int wait = hooks_.on_poll ? static_cast<int>(hooks_.poll_interval.count()) : -1;
      const int ready = ::poll(polled.data(), polled.size(), wait);
      if (ready < 0 && errno != EINTR) return;
      if (ready > 0) relays_.Handle(std::span(polled).subspan(fixed));
      if (ready > 0 && polled[1].revents != 0) ForwardSignals();
      if (ready > 0 && polled[0].revents != 0) return;
      if (hooks_.on_poll) {
        if (const auto signal = hooks_.on_poll()) Send(*signal);
      }
    }
  }

  void ForwardSignals() {
    while (const auto signal = signals_->Take()) {
      if (*signal == SIGWINCH && master_.valid()) {
        CopyWindowSize(master_.get());
      } else if (*signal == SIGTERM) {
        Send(asked_to_stop_ ? SIGKILL : run_.stop_signal);
        asked_to_stop_ = true;
      } else {
        Send(*signal);
      }
    }
  }

  void Send(int signal) {
    if (::syscall(SYS_pidfd_send_signal, pid_fd_.get(), signal, nullptr, 0) != 0 &&
        errno != ESRCH) {
      LogWarning(
          ErrnoError("signal " + std::to_string(signal) + " for the container", errno).context);
    }
  }

  const Runtime& runtime_;
  const BundleRun& run_;
  const RunHooks& hooks_;
  std::optional<SignalQueue> signals_;
  const Subreaper subreaper_;
  UniqueFd null_;
  Runtime::Stdio stdio_;
  std::vector<UniqueFd> given_;  // the container's ends of pipes
  std::vector<UniqueFd> kept_;   // our ends that the relays read
  std::unique_ptr<ConsoleSocket> console_;
  UniqueFd master_;
  RelaySet relays_;
  std::vector<int> outputs_;
  pid_t pid_ = 0;
  UniqueFd pid_fd_;
  bool asked_to_stop_ = false;
};

}  // namespace

Result<BundleEnd> RunBundle(const Runtime& runtime, const BundleRun& run, const RunHooks& hooks) {
  Result<BundleEnd> end = ForegroundContainer(runtime, run, hooks).Run();
  const Status deleted = runtime.Delete(run.id);
  if (!deleted.has_value()) LogWarning(deleted.error().context);
  return end;
}

}  // namespace layerfs
