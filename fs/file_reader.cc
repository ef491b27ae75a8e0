// SPDX-License-Identifier: Apache-2.0
#include "fs/file_reader.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "fetch/clock.h"
#include "fs/chunk_map.h"
#include "fs/read_streams.h"
#include "fs/recent_failures.h"
#include "index/base/log.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

// A request each, most of some 10 KiB.
constexpr uint32_t kMaxTablesAhead = 16;
// Set in the space of a sparse file's stream, whose positions are the file's own.
constexpr uint64_t kSparseSpace = uint64_t{1} << 32;

std::unexpected<Error> Cancelled() {
  return Fail(ErrorCode::kCancelled, "the reader was interrupted");
}

}  // namespace

// One read until it is answered. The buffer's parts are filled by different threads; the last one
// answers. A cancelled read is answered early and its buffer lives on until the last part came.
class ReadOperation {
 public:
  ReadOperation(FileReader::ReadId id, InodeNumber inode, uint64_t offset, size_t size,
                FileReader::Done done)
      : id(id), inode(inode), offset(offset), buffer(size), done_(std::move(done)) {}

  // Answers once: true for the caller that did.
  bool Answer(Result<ByteSpan> result) {
    if (answered_.exchange(true)) return false;
    const FileReader::Done done = std::move(done_);
    done(std::move(result));
    return true;
  }

  bool answered() const { return answered_.load(); }

  const FileReader::ReadId id;
  const InodeNumber inode;
  const uint64_t offset;
  const TimePoint started = SteadyClock().Now();
  Bytes buffer;
  std::atomic<bool> waited{false};
  std::atomic<size_t> parts_missing{0};
  Synchronized<std::optional<Error>> first_error;

 private:
  std::atomic<bool> answered_{false};
  FileReader::Done done_;
};

using OperationPtr = std::shared_ptr<ReadOperation>;

// A read from NewReadId on.
struct Announced {
  OperationPtr operation;  // null before Read
  bool cancelled = false;  // before Read
};

// Shared with the completions, which may run while the reader is being destroyed.
struct FileReader::Impl : std::enable_shared_from_this<FileReader::Impl> {
  Impl(std::shared_ptr<Image> image_in, const ImageContext& context, Options options_in)
      : image(image_in),
        scheduler(context.scheduler),
        cache(context.cache),
        options(options_in),
        paths(image_in->tree()),
        map(std::move(image_in)) {}

  std::shared_ptr<Image> image;
  Scheduler& scheduler;
  std::shared_ptr<ObjectCache> cache;
  const Options options;
  InodePaths paths;
  std::vector<Observer> observers;
  OnWait on_wait;
  std::function<void()> on_whole_object;
  ChunkMap map;
  ReadStreams streams;
  Synchronized<std::unordered_map<ReadId, Announced>> waiting;
  RecentFailures recent_failures;
  std::once_flag tables_ahead;
  std::once_flag warned_uncached;

  // Null where the cache cannot take it: then it is read without being kept.
  std::shared_ptr<CachedObject> OpenObject(const ObjectId& id) {
    auto opened = cache->OpenKept(id);
    if (!opened.has_value()) {
      std::call_once(warned_uncached, [&] {
        LogWarning("cache: reading without keeping: " + opened.error().context);
      });
      return nullptr;
    }
    return *opened;
  }

  std::string Describe(InodeNumber inode) { return "file " + paths.PathOf(inode); }

  // An error for the kernel's own retry of a read that has just run out of time.
  std::optional<Error> RecentFailure(const ReadOperation& operation) {
    return recent_failures.Find(operation.inode, operation.offset, operation.buffer.size(),
                                SteadyClock().Now());
  }

  void NoteWait(ReadOperation& operation) const {
    if (!operation.waited.exchange(true) && on_wait) on_wait(operation.inode, operation.offset);
  }

  void FailOperation(const OperationPtr& operation, Error error) {
    // An errno would be about a file of ours (a blob of a layout, say), not about the one that is
    // read, which is there.
    error.system_errno = 0;
    if (error.code == ErrorCode::kTimeout && operation->waited.load()) {
      recent_failures.Note(operation->inode, operation->offset, operation->buffer.size(), error,
                           SteadyClock().Now());
    }
    Finish(operation, Fail(std::move(error).In(image->reference().ToString() + ": inode " +
                                               std::to_string(ToUint(operation->inode)))));
  }

  void Finish(const OperationPtr& operation, const Result<ByteSpan>& result) {
    // Listed until it has been answered, so that CancelAll knows when that is over.
    if (!operation->Answer(result)) return;
    Report(*operation, result);
    waiting.WithNotify([&](auto& reads) { reads.erase(operation->id); });
  }

  void Report(const ReadOperation& operation, const Result<ByteSpan>& result) const {
    if (observers.empty()) return;
    ReadReport report;
    report.inode = operation.inode;
    report.offset = operation.offset;
    report.size = operation.buffer.size();
    report.waited = operation.waited.load();
    report.took = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock().Now() -
                                                                        operation.started);
    if (!result.has_value()) report.error = &result.error();
    for (const Observer& observer : observers) observer(report);
  }

  ChunkRequest Request(std::shared_ptr<const SourceBlob> blob, const ChunkRef& chunk,
                       FetchClass fetch_class) const {
    ChunkRequest request;
    request.blob = std::move(blob);
    request.chunk = chunk;
    request.fetch_class = fetch_class;
    request.timeout = options.timeout;
    return request;
  }

  // By part: from the startup pack what it has, the rest from the layers.
  void Start(const OperationPtr& operation) {
    // One more than the parts, so that none of them answers before all are under way.
    operation->parts_missing = 1;
    const auto startup = image->startup();
    if (startup == nullptr) {
      StartRange(operation, operation->offset, operation->buffer.size());
    } else {
      for (const StartupPack::Part& part :
           startup->Find(operation->inode, operation->offset, operation->buffer.size())) {
        StartPart(operation, *startup, part);
      }
    }
    PartIsDone(operation);
  }

  void StartPart(const OperationPtr& operation, StartupPack& startup,
                 const StartupPack::Part& part) {
    if (!part.position.has_value()) return StartRange(operation, part.offset, part.size);
    operation->parts_missing.fetch_add(1);
    const auto wait = startup.WhenThere(*part.position, part.size,
                                        [self = shared_from_this(), operation, part](bool there) {
                                          self->FinishPart(operation, part, there);
                                        });
    if (wait == StartupPack::Wait::kWaiting) {
      NoteWait(*operation);
    } else {
      FinishPart(operation, part, wait == StartupPack::Wait::kReady);
    }
  }

  void FinishPart(const OperationPtr& operation, const StartupPack::Part& part, bool there) {
    const MutableByteSpan target =
        MutableByteSpan(operation->buffer).subspan(part.offset - operation->offset, part.size);
    // Nobody waits for it any more, and what it would be fetched with may be gone.
    if (operation->answered()) return PartIsDone(operation);
    if (!there || !image->startup()->Read(*part.position, target).has_value()) {
      StartRange(operation, part.offset, part.size);
    }
    PartIsDone(operation);
  }

  // First the segments of the chunk table, then the chunks.
  void StartRange(const OperationPtr& operation, uint64_t offset, uint64_t size) {
    operation->parts_missing.fetch_add(1);
    ChunkMap::SegmentSet held;
    auto missing = map.FindSegments(operation->inode, offset, size, held);
    if (!missing.has_value()) return FailPart(operation, missing.error());
    if (!missing->empty()) {
      if (const auto failure = RecentFailure(*operation)) return FailPart(operation, *failure);
      NoteWait(*operation);
      map.JoinMissing(*missing, held);
    }
    FetchSegments(
        operation->inode, *missing, std::move(held), options.fetch_class,
        [self = shared_from_this(), operation, offset, size](Result<ChunkMap::SegmentSet> got) {
          if (!got.has_value()) return self->FailPart(operation, got.error());
          self->ReadPieces(operation, offset, size, *got);
        });
    if (!missing->empty()) {
      std::call_once(tables_ahead, [&] { FetchTablesAhead(operation->inode); });
    }
  }

  // With the first read that waits for a chunk table: the others', so that the first file of each
  // layer does not take one round trip more. A startup pack brings them.
  void FetchTablesAhead(InodeNumber reader) {
    if (image->startup() != nullptr || !cache->keeps()) return;
    const uint32_t count = image->tree().segment_count();
    if (count > kMaxTablesAhead) return;
    std::vector<uint32_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0U);
    FetchSegments(reader, numbers, {}, FetchClass::kReadahead,
                  [](const Result<ChunkMap::SegmentSet>&) {});
  }

  using SegmentsDone = std::function<void(Result<ChunkMap::SegmentSet>)>;
  struct SegmentWait {
    std::atomic<size_t> missing{0};
    Synchronized<Result<ChunkMap::SegmentSet>> held;
    SegmentsDone done;
  };

  // Adds the segments `numbers` to `held`; inline where there are none.
  void FetchSegments(InodeNumber inode, const std::vector<uint32_t>& numbers,
                     ChunkMap::SegmentSet held, FetchClass fetch_class, SegmentsDone done) {
    if (numbers.empty()) return done(std::move(held));
    auto wait = std::make_shared<SegmentWait>();
    wait->missing = numbers.size();
    wait->held.With([&](auto& all) { all = std::move(held); });
    wait->done = std::move(done);
    std::vector<Scheduler::Wanted> wanted;
    for (const uint32_t number : numbers) {
      ChunkRequest request = map.SegmentRequest(number);
      request.fetch_class = fetch_class;
      request.timeout = options.timeout;
      request.object = OpenObject(ObjectId{request.chunk.digest, request.chunk.size, {}});
      request.reader = [self = shared_from_this(), inode] {
        return self->Describe(inode) + ": its chunk table";
      };
      wanted.push_back({std::move(request),
                        [self = shared_from_this(), number, wait](Result<SharedBytes> bytes) {
                          self->AddSegment(number, std::move(bytes), *wait);
                        }});
    }
    scheduler.FetchTogether(std::move(wanted));
  }

  void AddSegment(uint32_t number, Result<SharedBytes> bytes, SegmentWait& wait) {
    Result<ChunkMap::SegmentPtr> added =
        bytes.has_value() ? map.AddSegment(number, **bytes) : Fail(std::move(bytes).error());
    wait.held.With([&](auto& all) {
      if (!added.has_value()) {
        all = Fail(std::move(added).error());
      } else if (all.has_value()) {
        (*all)[number] = std::move(*added);
      }
    });
    if (wait.missing.fetch_sub(1) != 1) return;
    wait.done(wait.held.With([](auto& all) { return std::move(all); }));
  }

  void ReadPieces(const OperationPtr& operation, uint64_t offset, uint64_t size,
                  const ChunkMap::SegmentSet& held) {
    auto mapped = map.Map(operation->inode, offset, size, held);
    if (!mapped.has_value()) return FailPart(operation, mapped.error());
    operation->parts_missing.fetch_add(mapped->size());
    const MutableByteSpan range =
        MutableByteSpan(operation->buffer).subspan(offset - operation->offset, size);
    for (const ReadPiece& piece : *mapped) {
      ReadOnePiece(operation, piece, range.subspan(piece.buffer_offset, piece.size));
    }
    PartIsDone(operation);
  }

  void ReadOnePiece(const OperationPtr& operation, const ReadPiece& piece, MutableByteSpan target) {
    std::shared_ptr<CachedObject> object = OpenObject(piece.object);
    const uint64_t in_object = piece.object_offset + piece.chunk_offset;
    if (object != nullptr && object->Contains(in_object, piece.size) &&
        object->Read(in_object, target).has_value()) {
      return PartIsDone(operation);
    }
    if (auto failure = RecentFailure(*operation)) {
      return FailPart(operation, *failure);
    }
    ChunkRequest request =
        Request(image->layer_blob(piece.layer), piece.chunk, options.fetch_class);
    request.object = std::move(object);
    request.object_offset = piece.object_offset;
    NoteWait(*operation);
    request.reader = [self = shared_from_this(), inode = operation->inode] {
      return self->Describe(inode);
    };
    scheduler.Fetch(std::move(request), [self = shared_from_this(), operation, piece,
                                         target](Result<SharedBytes> bytes) {
      if (!bytes.has_value()) return self->FailPart(operation, bytes.error());
      std::memcpy(target.data(), (*bytes)->data() + piece.chunk_offset, piece.size);
      self->PartIsDone(operation);
    });
  }

  void FailPart(const OperationPtr& operation, const Error& error) {
    operation->first_error.With([&](std::optional<Error>& first) {
      if (!first.has_value()) first = error;
    });
    PartIsDone(operation);
  }

  void PartIsDone(const OperationPtr& operation) {
    if (operation->parts_missing.fetch_sub(1) != 1) return;
    const auto error = operation->first_error.With([](auto& first) { return first; });
    if (error.has_value()) return FailOperation(operation, *error);
    Finish(operation, ByteSpan(operation->buffer));
  }

  // What a reader that goes on in order, in the file or from file to file, will want next.
  void FollowReader(InodeNumber number, uint64_t offset, uint64_t size) {
    // What start-up reads comes anyway, and the link is its. What it goes on to in a file's order
    // says nothing of what the pack has left out.
    const auto startup = image->startup();
    if (startup != nullptr && (!startup->ended() || startup->HasAll(number, offset, size))) return;
    if (!cache->keeps()) return;
    const Inode inode = image->tree().Get(number);
    const bool sparse = image->tree().IsSparse(number);
    const uint64_t space = sparse ? kSparseSpace | ToUint(number) : ToUint(inode.layer);
    const uint64_t file = sparse ? 0 : inode.data_offset;
    const uint64_t file_end = file + inode.size;
    const StreamRun ahead =
        streams.OnRead({space, file + offset, file + offset + size, file, file_end});
    if (ahead.empty()) return;
    const SchedulerStatistics link = scheduler.Statistics();
    streams.SetLinkWindow(static_cast<uint64_t>(link.bytes_per_second * link.round_trip_ms / 1000));
    if (ahead.begin < file_end) {
      ReadAhead(number, ahead.begin - file, std::min(ahead.end, file_end) - ahead.begin,
                FetchClass::kReadahead);
    }
    if (ahead.end > file_end) {
      ReadAheadOfTar(number, inode.layer, {std::max(ahead.begin, file_end), ahead.end});
    }
  }

  // Of the files behind `reader` in its layer.
  void ReadAheadOfTar(InodeNumber reader, LayerNumber layer, StreamRun run) {
    ChunkMap::SegmentSet held;
    auto missing = map.FindSegmentsOfTar(layer, run.begin, run.end, held);
    if (!missing.has_value()) return;
    FetchSegments(reader, *missing, std::move(held), FetchClass::kReadahead,
                  [self = shared_from_this(), layer, run](const Result<ChunkMap::SegmentSet>& got) {
                    if (!got.has_value()) return;
                    self->FetchAhead(self->map.ChunksOfTar(layer, run.begin, run.end, *got),
                                     FetchClass::kReadahead);
                  });
  }

  void ReadAhead(InodeNumber inode, uint64_t offset, uint64_t size, FetchClass fetch_class) {
    ChunkMap::SegmentSet held;
    auto missing = map.FindSegments(inode, offset, size, held);
    if (!missing.has_value()) return;
    FetchSegments(inode, *missing, std::move(held), fetch_class,
                  [self = shared_from_this(), inode, offset, size,
                   fetch_class](const Result<ChunkMap::SegmentSet>& got) {
                    if (!got.has_value()) return;
                    const auto mapped = self->map.Map(inode, offset, size, *got);
                    if (mapped.has_value()) self->FetchAhead(*mapped, fetch_class);
                  });
  }

  void FetchAhead(const std::vector<ReadPiece>& pieces, FetchClass fetch_class) {
    for (const ReadPiece& piece : pieces) {
      std::shared_ptr<CachedObject> object = OpenObject(piece.object);
      if (object == nullptr || object->Contains(piece.object_offset, piece.chunk.size)) continue;
      ChunkRequest request = Request(image->layer_blob(piece.layer), piece.chunk, fetch_class);
      request.object = std::move(object);
      request.object_offset = piece.object_offset;
      scheduler.Fetch(std::move(request), [](const Result<SharedBytes>&) {});
    }
  }
};

FileReader::FileReader(std::shared_ptr<Image> image, const ImageContext& context, Options options)
    : image_(image), impl_(std::make_shared<Impl>(std::move(image), context, options)) {}

FileReader::~FileReader() {
  CancelAll();
  // So that what nobody reads any more can be evicted.
  impl_->cache->CloseKept();
}

void FileReader::CancelAll() {
  const auto left = impl_->waiting.With([](auto& reads) { return reads; });
  for (const auto& [id, read] : left) {
    if (read.operation == nullptr) continue;
    impl_->Finish(read.operation,
                  Fail(ErrorCode::kCancelled, "the file system is being unmounted"));
  }
  impl_->waiting.WaitThen([](auto& reads) { return reads.empty(); }, [](auto&) {});
  // Whoever waits there holds the reader, and with it the image.
  if (const auto startup = image_->startup()) startup->End();
}

FileReader::ReadId FileReader::NewReadId() {
  const ReadId id = next_read_.fetch_add(1);
  impl_->waiting.With([&](auto& reads) { reads.try_emplace(id); });
  return id;
}

void FileReader::Read(ReadId id, InodeNumber inode, uint64_t offset, size_t size, Done done) {
  const uint64_t file_size = image_->tree().Get(inode).size;
  const size_t clipped =
      static_cast<size_t>(offset < file_size ? std::min<uint64_t>(size, file_size - offset) : 0);
  auto operation = std::make_shared<ReadOperation>(id, inode, offset, clipped, std::move(done));
  const bool cancelled = impl_->waiting.With([&](auto& reads) {
    Announced& read = reads[id];
    read.operation = operation;
    return read.cancelled;
  });
  if (cancelled) return impl_->Finish(operation, Cancelled());
  if (clipped == 0) return impl_->Finish(operation, ByteSpan());
  impl_->Start(operation);
  impl_->FollowReader(inode, offset, clipped);
}

void FileReader::Prefetch(InodeNumber inode, uint64_t offset, uint64_t size,
                          FetchClass fetch_class) {
  if (impl_->cache->keeps()) impl_->ReadAhead(inode, offset, size, fetch_class);
}

void FileReader::Cancel(ReadId id) {
  const OperationPtr operation = impl_->waiting.With([&](auto& reads) -> OperationPtr {
    const auto it = reads.find(id);
    if (it == reads.end()) return nullptr;
    it->second.cancelled = true;
    return it->second.operation;
  });
  if (operation != nullptr) impl_->Finish(operation, Cancelled());
}

void FileReader::AddObserver(Observer observer) { impl_->observers.push_back(std::move(observer)); }

void FileReader::SetOnWait(OnWait waits) { impl_->on_wait = std::move(waits); }

void FileReader::SetOnWholeObject(std::function<void()> asked) {
  impl_->on_whole_object = std::move(asked);
}

InodePaths& FileReader::paths() { return impl_->paths; }

size_t FileReader::waiting_reads() const {
  return impl_->waiting.With([](auto& reads) { return reads.size(); });
}

Result<Bytes> FileReader::ReadAndWait(InodeNumber inode, uint64_t offset, size_t size) {
  auto answer = std::make_shared<Synchronized<std::optional<Result<Bytes>>>>();
  Read(NewReadId(), inode, offset, size, [answer](Result<ByteSpan> bytes) {
    answer->WithNotify([&](std::optional<Result<Bytes>>& slot) {
      if (bytes.has_value()) {
        slot = Bytes(bytes->begin(), bytes->end());
      } else {
        slot = Fail(std::move(bytes).error());
      }
    });
  });
  auto result = answer->WaitThen([](auto& slot) { return slot.has_value(); },
                                 [](auto& slot) { return std::move(*slot); });
  if (result.has_value()) return result;
  return Fail(std::move(result).error().In(impl_->Describe(inode)));
}

std::shared_ptr<CachedObject> FileReader::WholeObject(InodeNumber inode) {
  const auto id = impl_->map.OwnObject(inode);
  if (!id.has_value()) return nullptr;
  if (impl_->on_whole_object) impl_->on_whole_object();
  std::shared_ptr<CachedObject> object = impl_->OpenObject(*id);
  if (object == nullptr || object->whole()) return object;
  impl_->scheduler.Finish(object);
  return nullptr;
}

}  // namespace layerfs
