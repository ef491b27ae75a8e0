// SPDX-License-Identifier: Apache-2.0
#include "fs/program_prefetch.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fs/program_needs.h"
#include "fs/startup_pack.h"
#include "index/base/json.h"
#include "index/base/log.h"
#include "index/base/synchronized.h"
#include "index/index.h"

namespace layerfs {
namespace {

constexpr uint64_t kHeadBytes = 4096;
constexpr uint64_t kScriptBytes = uint64_t{64} << 10;
// Of larger programs too little is run to fetch them whole: only what lies around each page that
// somebody waits for, as much as comes in the time of one more round trip.
constexpr uint64_t kMaxWholeBytes = uint64_t{8} << 20;
// What may be executed but is of no kind yet.
constexpr uint64_t kMaxUnseenBytes = uint64_t{1} << 20;
// A loader goes on from a program's head to its end: its data, which is relocated, and says what it
// needs.
constexpr uint64_t kEndBytes = uint64_t{128} << 10;
constexpr uint64_t kMinAroundBytes = uint64_t{512} << 10;
constexpr uint64_t kMaxAroundBytes = uint64_t{4} << 20;
constexpr uint64_t kMaxDataBytes = uint64_t{512} << 10;
constexpr size_t kMaxNoted = 256;
// What nearly every program of an image needs first, wherever the ABI of this machine puts it.
#if defined(__x86_64__)
constexpr const char* kLoaders[] = {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"};
#elif defined(__aarch64__)
constexpr const char* kLoaders[] = {"/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"};
#else
constexpr std::array<const char*, 0> kLoaders;
#endif
// What the C library reads in most programs, wherever they come from: ld.so(8), nsswitch.conf(5),
// tzset(3), iconv(3).
constexpr const char* kCommonFiles[] = {"/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/passwd",
                                        "/etc/group", "/etc/localtime"};
constexpr const char* kConversions = "/gconv/gconv-modules.cache";  // beside the C library
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<std::string> Words(const Json& object, const char* key) {
  std::vector<std::string> words;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return words;
  for (const Json& word : *found) {
    if (word.is_string()) words.push_back(word.get<std::string>());
  }
  return words;
}

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

void ReplaceAll(std::string& text, std::string_view what, const std::string& by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
}

}  // namespace

class ProgramPrefetch::Worker {
 public:
  Worker(std::shared_ptr<Image> image, const ImageContext& context, const std::string& config,
         std::chrono::milliseconds timeout)
      : image_(image),
        config_(config),
        scheduler_(context.scheduler),
        cache_(context.cache),
        reader_(std::move(image), context, FileReader::Options{timeout, FetchClass::kReadahead}),
        seen_(image_->tree().inode_count() + size_t{1}),
        large_(seen_.size()),
        path_(Split(kDefaultPath)),
        library_directories_({"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}),
        thread_([this] {
          ::pthread_setname_np(::pthread_self(), "lf-programs");
          Run();
        }) {}
  ~Worker() {
    queue_->WithNotify([](Queue& queue) { queue.stop = true; });
    thread_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void Begin() {
    queue_->WithNotify([](Queue& queue) { queue.begin = true; });
  }

  void Note(InodeNumber file, uint64_t offset) {
    queue_->WithNotify([&](Queue& queue) {
      if (queue.noted.size() < kMaxNoted) queue.noted.push_back({file, offset});
    });
  }

 private:
  enum class Step { kHead, kScript, kDynamic, kStrings };
  // A part of a file on its way, and what is known of the file by then.
  struct Arrival {
    InodeNumber file = kNoInode;
    bool needed = false;  // it is a program, for somebody needs it as one
    Step step = Step::kHead;
    ElfHead head;
    ElfNeeds needs;
    Bytes bytes;
  };
  struct Noted {
    InodeNumber file = kNoInode;
    uint64_t offset = 0;
  };
  struct Queue {
    std::deque<Noted> noted;
    std::deque<Arrival> arrivals;
    bool begin = false;
    bool stop = false;
  };

  void Run() {
    while (true) {
      Queue work = queue_->WaitThen(
          [](const Queue& queue) {
            return queue.stop || queue.begin || !queue.noted.empty() || !queue.arrivals.empty();
          },
          [](Queue& queue) {
            Queue taken = std::exchange(queue, {});
            queue.stop = taken.stop;
            return taken;
          });
      if (work.stop) return;
      // What it reads it would fetch anew for each step, and for the reader once more.
      if (!cache_->keeps()) continue;
      if (work.begin) NeedConfigured();
      for (const Noted& read : work.noted) Look(read);
      for (Arrival& arrival : work.arrivals) Take(std::move(arrival));
    }
  }

  void Look(const Noted& read) {
    if (read.offset == 0) return Examine(read.file, LooksLikeProgram(read.file));
    if (!large_[ToUint(read.file)]) return;
    const uint64_t around = AroundBytes();
    const uint64_t begin = read.offset / around * around;
    const uint64_t size = image_->tree().Get(read.file).size;
    reader_.Prefetch(read.file, begin, std::min(around, size - begin));
  }

  // By its name or its mode, before anything of it is here: a round trip earlier.
  bool LooksLikeProgram(InodeNumber file) {
    const Inode inode = image_->tree().Get(file);
    if ((inode.mode & 0111) != 0 && inode.size <= kMaxUnseenBytes) return true;
    const std::string path = reader_.paths().PathOf(file);
    const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
    return name.ends_with(".so") || name.contains(".so.");
  }

  uint64_t AroundBytes() const {
    const SchedulerStatistics link = scheduler_.Statistics();
    const auto in_flight = static_cast<uint64_t>(link.bytes_per_second * link.round_trip_ms / 1000);
    return std::clamp(in_flight / kMinAroundBytes * kMinAroundBytes, kMinAroundBytes,
                      kMaxAroundBytes);
  }

  void Examine(InodeNumber file, bool needed) {
    const Inode inode = image_->tree().Get(file);
    if (!inode.is_regular() || inode.size == 0 || seen_[ToUint(file)]) return;
    seen_[ToUint(file)] = true;
    // Of a program that the pack has, it has the pages that are needed.
    const auto startup = image_->startup();
    if (startup != nullptr && startup->Has(file)) return;
    Arrival head;
    head.file = file;
    head.needed = needed;
    if (needed) FetchAll(file, inode.size);
    Read(std::move(head), {0, std::min(inode.size, kHeadBytes)});
  }

  void FetchAll(InodeNumber file, uint64_t size) {
    const uint64_t end = std::min(size, kEndBytes);
    reader_.Prefetch(file, size - end, end, FetchClass::kReadahead);
    if (size <= kMaxWholeBytes) return reader_.Prefetch(file, 0, size);
    large_[ToUint(file)] = true;
  }

  std::optional<InodeNumber> Find(const std::string& path) const {
    const auto found = ResolvePath(image_->tree(), path, true);
    if (!found.has_value() || !image_->tree().Get(*found).is_regular()) return std::nullopt;
    return *found;
  }

  void Need(const std::string& path) {
    if (const auto found = Find(path)) Examine(*found, true);
  }

  // As execvp(3) finds it.
  void NeedCommand(const std::string& word) {
    if (word.starts_with('/')) {
      // Whatever else a script names by its path may be large, and data.
      const auto found = Find(word);
      if (found.has_value() && (image_->tree().Get(*found).mode & 0111) != 0) Examine(*found, true);
      return;
    }
    if (word.contains('/')) return;
    for (const std::string& directory : path_) {
      const auto found = Find(directory + "/" + word);
      if (found.has_value()) return Examine(*found, true);
    }
  }

  // With the first program, which is most often the first word of these or its interpreter.
  void NeedConfigured() {
    if (std::exchange(configured_, true)) return;
    const Json config = ReadConfig();
    for (const std::string& variable : Words(config, "Env")) {
      if (variable.starts_with("PATH=")) path_ = Split(variable.substr(5));
    }
    for (const std::string& word : Words(config, "Entrypoint")) NeedCommand(word);
    for (const std::string& word : Words(config, "Cmd")) NeedCommand(word);
    for (const char* const loader : kLoaders) NeedInterpreter(loader);
    for (const char* const file : kCommonFiles) WantData(file);
    for (const std::string& variable : Words(config, "Env")) {
      for (const char* const name : {"LANG=", "LC_ALL="}) {
        if (!variable.starts_with(name)) continue;
        for (const std::string& file : LocaleFiles(variable.substr(variable.find('=') + 1))) {
          WantData(file);
        }
      }
    }
  }

  // Its "config"; empty where it is not known.
  Json ReadConfig() const {
    if (config_.empty()) return Json::object();
    auto config = ParseJson(AsBytes(config_), config_.size());
    if (!config.has_value()) {
      LogDebug("programs ahead: " + config.error().context);
      return Json::object();
    }
    const auto found = config->find("config");
    if (found == config->end() || !found->is_object()) return Json::object();
    return *found;
  }

  // Of what is no program: of a large one nobody reads all.
  void WantData(const std::string& path) {
    const auto file = Find(path);
    if (!file.has_value()) return;
    reader_.Prefetch(*file, 0, std::min(image_->tree().Get(*file).size, kMaxDataBytes));
  }

  void Read(Arrival next, FilePart part) {
    const uint64_t file_size = image_->tree().Get(next.file).size;
    if (part.size == 0 || !RangeFits(part.offset, part.size, file_size)) return;
    const InodeNumber file = next.file;
    auto waiting = std::make_shared<Arrival>(std::move(next));
    reader_.Read(reader_.NewReadId(), file, part.offset, part.size,
                 [queue = queue_, waiting](Result<ByteSpan> bytes) {
                   if (!bytes.has_value()) return;
                   waiting->bytes.assign(bytes->begin(), bytes->end());
                   queue->WithNotify([&](Queue& q) { q.arrivals.push_back(std::move(*waiting)); });
                 });
  }

  void Take(Arrival arrival) {
    switch (arrival.step) {
      case Step::kHead:
        return TakeHead(std::move(arrival));
      case Step::kScript:
        for (const std::string& word : ProgramsInScript(arrival.bytes)) NeedCommand(word);
        return;
      case Step::kDynamic: {
        const auto needs = ParseElfNeeds(arrival.head, arrival.bytes);
        if (!needs.has_value()) return;
        arrival.needs = *needs;
        arrival.step = Step::kStrings;
        return Read(std::move(arrival), needs->strings);
      }
      case Step::kStrings:
        return TakeNames(arrival);
    }
  }

  void TakeHead(Arrival arrival) {
    const uint64_t size = image_->tree().Get(arrival.file).size;
    if (IsScript(arrival.bytes)) {
      NeedConfigured();
      arrival.step = Step::kScript;
      return Read(std::move(arrival), {0, std::min(size, kScriptBytes)});
    }
    auto head = ParseElfHead(arrival.bytes);
    if (!head.has_value()) return;
    if (!arrival.needed) FetchAll(arrival.file, size);
    NeedConfigured();
    if (!head->interpreter.empty()) NeedInterpreter(head->interpreter);
    arrival.head = std::move(*head);
    arrival.step = Step::kDynamic;
    const FilePart dynamic = arrival.head.dynamic;
    Read(std::move(arrival), dynamic);
  }

  void NeedInterpreter(const std::string& path) {
    const auto interpreter = Find(path);
    if (!interpreter.has_value()) return;
    Examine(*interpreter, true);
    // Where a distribution keeps the loader it keeps the libraries for it, and first the C library.
    const std::string directory = DirectoryOf(*interpreter);
    Need(directory + "/libc.so.6");
    WantData(directory + kConversions);
    if (std::ranges::find(library_directories_, directory) == library_directories_.end()) {
      library_directories_.insert(library_directories_.begin(), directory);
    }
  }

  void TakeNames(const Arrival& arrival) {
    std::vector<std::string> directories;
    if (arrival.needs.run_path.has_value()) {
      directories = Split(ElfString(arrival.bytes, *arrival.needs.run_path));
      for (std::string& directory : directories) {
        ReplaceAll(directory, "${ORIGIN}", DirectoryOf(arrival.file));
        ReplaceAll(directory, "$ORIGIN", DirectoryOf(arrival.file));
      }
    }
    directories.insert(directories.end(), library_directories_.begin(), library_directories_.end());
    for (const uint64_t offset : arrival.needs.libraries) {
      const std::string name = ElfString(arrival.bytes, offset);
      if (name.empty()) continue;
      for (const std::string& directory : directories) {
        const auto found = Find(directory + "/" + name);
        if (!found.has_value()) continue;
        Examine(*found, true);
        break;
      }
    }
  }

  std::string DirectoryOf(InodeNumber file) {
    const std::string path = reader_.paths().PathOf(file);
    return path.substr(0, path.rfind('/'));
  }

  const std::shared_ptr<Image> image_;
  const std::string& config_;
  Scheduler& scheduler_;
  const std::shared_ptr<ObjectCache> cache_;
  const std::shared_ptr<Synchronized<Queue>> queue_ = std::make_shared<Synchronized<Queue>>();
  FileReader reader_;
  // The thread's own.
  std::vector<bool> seen_;   // by inode number
  std::vector<bool> large_;  // likewise: programs that are not fetched whole
  bool configured_ = false;
  std::vector<std::string> path_;
  std::vector<std::string> library_directories_;
  std::jthread thread_;  // last: it uses the others
};

ProgramPrefetch::ProgramPrefetch(std::shared_ptr<Image> image, const ImageContext& context,
                                 std::string config, std::chrono::milliseconds timeout)
    : image_(std::move(image)), context_(context), config_(std::move(config)), timeout_(timeout) {}

ProgramPrefetch::~ProgramPrefetch() = default;

ProgramPrefetch::Worker& ProgramPrefetch::StartedWorker() {
  std::call_once(started_,
                 [&] { worker_ = std::make_unique<Worker>(image_, context_, config_, timeout_); });
  return *worker_;
}

void ProgramPrefetch::Begin() {
  if (image_->startup() == nullptr) StartedWorker().Begin();
}

void ProgramPrefetch::NoteWait(InodeNumber file, uint64_t offset) {
  // The pack is what is needed, and the link is its.
  const auto startup = image_->startup();
  if (startup != nullptr && (!startup->ended() || startup->Has(file))) return;
  StartedWorker().Note(file, offset);
}

}  // namespace layerfs
