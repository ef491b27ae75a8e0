// SPDX-License-Identifier: Apache-2.0
#define FUSE_USE_VERSION 314
#include "fs/fuse_session.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <utility>

#include "fs/fuse_operations.h"
#include "index/base/file.h"
#include "index/base/log.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

// libfuse tells why a mount failed only through its log. The last line is kept for our error.
struct FuseMessages {
  std::string line;  // what has come of the line that is being written: libfuse does it in pieces
  std::string last;
};

Synchronized<FuseMessages>& LastFuseMessage() {
  static Synchronized<FuseMessages> messages;
  return messages;
}

void OnFuseLog(fuse_log_level /*level*/, const char* format, va_list arguments) {
  char text[1024];
  std::vsnprintf(text, sizeof text, format, arguments);
  std::string line = LastFuseMessage().With([&](FuseMessages& messages) -> std::string {
    messages.line += text;
    if (!messages.line.ends_with('\n')) return {};
    while (messages.line.ends_with('\n')) messages.line.pop_back();
    if (messages.line.starts_with("fuse: ")) messages.line.erase(0, 6);
    messages.last = std::exchange(messages.line, {});
    return messages.last;
  });
  if (line.empty()) return;
  LogDebug("libfuse: " + line);
}

bool IoUringIsEnabled() {
  const auto text = ReadFile("/sys/module/fuse/parameters/enable_uring", 16);
  return text.has_value() && !text->empty() && (text->front() == 'Y' || text->front() == '1');
}

// linux/fuse.h, FUSE_DEV_IOC_BACKING_OPEN and _CLOSE (kernel 6.9); Debian 12's headers are older.
// libfuse's own call wants a request, but the ioctl belongs to the connection.
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
constexpr unsigned kFuseDeviceMagic = 229;
const unsigned long kBackingOpen = _IOW(kFuseDeviceMagic, 1, BackingMap);
const unsigned long kBackingClose = _IOW(kFuseDeviceMagic, 2, uint32_t);

class SessionNotifier final : public Notifier {
 public:
  void SetSession(fuse_session* session) { session_ = session; }

  void InvalidateEntry(NodeId parent, std::string_view name) override {
    fuse_lowlevel_notify_inval_entry(session_, parent, name.data(), name.size());
  }
  void InvalidateNode(NodeId node, int64_t offset, int64_t size) override {
    fuse_lowlevel_notify_inval_inode(session_, node, offset, size);
  }
  bool Store(NodeId node, uint64_t offset, ByteSpan bytes) override {
    // libfuse would splice it through a pipe, and print what the kernel says of a node that it has
    // forgotten. The message is the kernel's (linux/fuse.h, FUSE_NOTIFY_STORE).
    fuse_notify_store_out store{};
    store.nodeid = node;
    store.offset = offset;
    store.size = static_cast<uint32_t>(bytes.size());
    fuse_out_header header{};
    header.len = static_cast<uint32_t>(sizeof header + sizeof store + bytes.size());
    header.error = FUSE_NOTIFY_STORE;
    const iovec parts[] = {{&header, sizeof header},
                           {&store, sizeof store},
                           {const_cast<uint8_t*>(bytes.data()), bytes.size()}};
    return ::writev(fuse_session_fd(session_), parts, 3) >= 0 || errno != ENOENT;
  }
  int RegisterBackingFile(int fd) override {
    BackingMap map{fd, 0, 0};
    const int id = ::ioctl(fuse_session_fd(session_), kBackingOpen, &map);
    return id > 0 ? id : (id < 0 ? -errno : -EIO);
  }
  void UnregisterBackingFile(int backing_id) override {
    auto id = static_cast<uint32_t>(backing_id);
    ::ioctl(fuse_session_fd(session_), kBackingClose, &id);
  }

 private:
  fuse_session* session_ = nullptr;
};

// The argument vector that libfuse parses; it owns its copies.
class FuseArguments {
 public:
  FuseArguments() { Add("layerfs"); }
  ~FuseArguments() { fuse_opt_free_args(&arguments_); }
  FuseArguments(const FuseArguments&) = delete;
  FuseArguments& operator=(const FuseArguments&) = delete;
  void Add(const std::string& argument) { fuse_opt_add_arg(&arguments_, argument.c_str()); }
  void AddOption(const std::string& option) {
    Add("-o");
    Add(option);
  }
  fuse_args* get() { return &arguments_; }

 private:
  fuse_args arguments_ = FUSE_ARGS_INIT(0, nullptr);
};

// A comma or backslash in a value would end it (mount.fuse3(8)).
std::string EscapeOptionValue(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == ',' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

// What to do about a mount that failed; empty where libfuse's message has to do.
std::string_view MountRemedy() {
  constexpr char kDevice[] = "/dev/fuse";
  constexpr char kHelper[] = "/usr/bin/fusermount3";  // where libfuse looks for it first
  if (::access(kDevice, F_OK) != 0) {
    return ": load the module with 'modprobe fuse', or give the device to the container "
           "(--device /dev/fuse)";
  }
  if (::faccessat(AT_FDCWD, kDevice, R_OK | W_OK, AT_EACCESS) != 0) {
    return ": let this user open it ('chmod 0666 /dev/fuse', which is what udev sets), or mount as "
           "root";
  }
  if (::geteuid() != 0 && ::access(kHelper, X_OK) != 0) {
    return ": users mount by the setuid program fusermount3: install the package fuse3";
  }
  return "";
}

// Its own words are on standard error by then.
constexpr char kHelperRefused[] =
    "fusermount3 refused it, for the reason above: a user must be able to write to the mount "
    "point, and -o allow_other takes the line user_allow_other in /etc/fuse.conf";

bool HasOption(const FuseOptions& options, std::string_view wanted) {
  for (const std::string& given : options.options) {
    for (size_t begin = 0; begin <= given.size();) {
      const size_t end = std::min(given.find(',', begin), given.size());
      if (std::string_view(given).substr(begin, end - begin) == wanted) return true;
      begin = end + 1;
    }
  }
  return false;
}

// A user's mount that only he sees: owners in an image are not this machine's users, and modes
// would keep him out of what he could unpack and read. Everywhere else the kernel checks as on any
// disk.
bool KernelChecks(const FuseOptions& options) {
  return ::geteuid() == 0 || HasOption(options, "allow_other") ||
         HasOption(options, "allow_root") || HasOption(options, "default_permissions");
}

void AddMountOptions(const FuseOptions& options, bool writable, FuseArguments& arguments) {
  bool has_source = false;
  bool has_subtype = false;
  for (const std::string& option : options.options) {
    has_source |= option.starts_with("fsname=");
    has_subtype |= option.starts_with("subtype=");
    arguments.AddOption(option);
  }
  if (!has_source) arguments.AddOption("fsname=" + EscapeOptionValue(options.source));
  if (!has_subtype) arguments.AddOption("subtype=layerfs");
  if (KernelChecks(options)) arguments.AddOption("default_permissions");
  if (!writable) arguments.AddOption("ro");
  if (::geteuid() == 0) {
    // A container's root needs its devices and setuid programs; mount(8) would say the same.
    if (!HasOption(options, "nodev")) arguments.AddOption("dev");
    if (!HasOption(options, "nosuid")) arguments.AddOption("suid");
  }
  if (options.debug) arguments.Add("-d");
}

// What else would kill the process and leave a dead mount: from a terminal, or from who takes it
// for a program that heeds them. libfuse sees to SIGTERM, SIGINT and SIGHUP.
constexpr int kMoreEndSignals[] = {SIGQUIT, SIGUSR1, SIGUSR2};

// They end the session as SIGTERM does.
void HandleMoreSignals() {
  struct sigaction end{};
  if (::sigaction(SIGTERM, nullptr, &end) != 0) return;
  for (const int signal : kMoreEndSignals) ::sigaction(signal, &end, nullptr);
}

void UnhandleMoreSignals() {
  for (const int signal : kMoreEndSignals) ::signal(signal, SIG_DFL);
}

}  // namespace

struct FuseSession::Impl {
  FuseContext context;
  SessionNotifier notifier;
  FuseArguments arguments;
  fuse_session* session = nullptr;
  bool mounted = false;
  bool handles_signals = false;
  int max_threads = 0;

  ~Impl() {
    if (session == nullptr) return;
    if (handles_signals) {
      UnhandleMoreSignals();
      fuse_remove_signal_handlers(session);
    }
    if (mounted) fuse_session_unmount(session);
    fuse_session_destroy(session);
  }
};

FuseSession::FuseSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FuseSession::~FuseSession() = default;

Result<std::unique_ptr<FuseSession>> FuseSession::Mount(FileSystem& file_system,
                                                        const FuseOptions& options) {
  fuse_set_log_func(OnFuseLog);
  auto impl = std::make_unique<Impl>();
  impl->context.file_system = &file_system;
  impl->context.notifier = &impl->notifier;
  impl->context.abilities.user_mount = ::geteuid() != 0;
  impl->context.want_io_uring = options.io_uring && IoUringIsEnabled();
  impl->context.kernel_checks = KernelChecks(options);
  impl->context.no_readahead = options.no_readahead;
  impl->context.on_request = options.on_request;
  impl->max_threads = options.max_threads;
  AddMountOptions(options, file_system.Wishes().writable, impl->arguments);
#ifdef FUSE_CAP_OVER_IO_URING
  if (impl->context.want_io_uring) impl->arguments.AddOption("io_uring");
#endif
  const auto failed = [&](ErrorCode code, std::string_view what) {
    const std::string message = LastFuseMessage().With([](FuseMessages& messages) {
      return messages.line.empty() ? messages.last : messages.line;
    });
    std::string said = message.empty() ? std::string(what) : message;
    if (code != ErrorCode::kInvalidArgument) said.append(MountRemedy());
    return Fail(code, "mount " + options.mount_point + ": " + said);
  };
  impl->session = fuse_session_new(impl->arguments.get(), &kFuseOperations, sizeof kFuseOperations,
                                   &impl->context);
  if (impl->session == nullptr) {
    return failed(ErrorCode::kInvalidArgument, "libfuse refused an option");
  }
  impl->notifier.SetSession(impl->session);
  if (fuse_set_signal_handlers(impl->session) != 0) {
    return failed(ErrorCode::kIo, "signal handlers");
  }
  HandleMoreSignals();
  impl->handles_signals = true;
  if (fuse_session_mount(impl->session, options.mount_point.c_str()) != 0) {
    return failed(ErrorCode::kIo, ::geteuid() == 0 ? "the kernel refused it" : kHelperRefused);
  }
  impl->mounted = true;
  return std::unique_ptr<FuseSession>(new FuseSession(std::move(impl)));
}

Status FuseSession::Run() {
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 1);
  fuse_loop_cfg_set_max_threads(config, static_cast<unsigned>(impl_->max_threads));
  fuse_loop_cfg_set_idle_threads(config, static_cast<unsigned>(impl_->max_threads));
  const int result = fuse_session_loop_mt(impl_->session, config);
  fuse_loop_cfg_destroy(config);
  // 0: unmounted; > 0: a signal that asks for the end; < 0: -errno. ECONNABORTED is how the device
  // may say ENODEV to a thread that is just taking a request when the last user of the mount goes.
  if (result < 0 && result != -ECONNABORTED) return FailErrno("FUSE session", -result);
  return {};
}

SessionAbilities FuseSession::abilities() const {
  return impl_->context.agreed.With([](const SessionAbilities& agreed) { return agreed; });
}

}  // namespace layerfs
