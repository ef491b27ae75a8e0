// SPDX-License-Identifier: Apache-2.0
#include "fs/fill.h"

#include <pthread.h>

#include <algorithm>
#include <thread>
#include <unordered_set>

#include "fetch/clock.h"
#include "fetch/image_record.h"
#include "fs/fill_count.h"
#include "fs/fill_order.h"
#include "fs/image_chunks.h"
#include "fs/image_objects.h"
#include "fs/recent_files.h"
#include "index/base/descriptors.h"
#include "index/base/log.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

// Chunks that are asked for at a time: enough for the scheduler to join them into large ranges and
// to keep a fast link full, and few enough for their descriptors, which those of files that are
// there in part have from the beginning.
constexpr size_t kMaxChunksAhead = 1024;
constexpr size_t kLeastChunksAhead = 8;
constexpr uint64_t kMaxBytesAhead = uint64_t{32} << 20;
constexpr uint64_t kMaxIdleBytesAhead = uint64_t{2} << 20;
// So long after a reader had to wait, the link counts as idle.
constexpr std::chrono::milliseconds kIdleAfter{1000};
constexpr std::chrono::milliseconds kIdleLook{200};
// Segments of the chunk table that are fetched ahead of their use.
constexpr size_t kSegmentsAhead = 8;
constexpr size_t kMaxReadsNoted = 256;
// A cache that has not kept this many chunks in a row keeps none.
constexpr int kMaxUnkept = 16;

uint64_t RoomOf(const ChunkRef& chunk) { return AlignUp(chunk.size, kCachePageBytes); }

Error Stopped() { return {ErrorCode::kCancelled, "the fill was stopped"}; }

}  // namespace

const char* FillStateName(FillState state) {
  switch (state) {
    case FillState::kWaiting:
      return "waiting";
    case FillState::kRunning:
      return "running";
    case FillState::kComplete:
      return "complete";
    case FillState::kIncomplete:
      return "incomplete";
  }
  return "";
}

// Lives as long as the thread and the completions of what it has asked for.
struct Fill::Worker : std::enable_shared_from_this<Fill::Worker> {
  struct State {
    bool stopping = false;
    size_t chunks_ahead = 0;
    uint64_t bytes_ahead = 0;
    uint64_t room_ahead = 0;  // what those take in the cache
    int unkept = 0;
    RecentFiles reads{kMaxReadsNoted};
    TimePoint last_wait{};
    FillProgress progress;
  };

  Worker(std::shared_ptr<Image> image_in, const ImageContext& context, InodePaths* paths_in,
         Options options_in)
      : image(std::move(image_in)),
        scheduler(context.scheduler),
        cache(context.cache),
        paths(paths_in),
        options(options_in),
        chunks(image, [this](ChunkRequest request) { return FetchTable(std::move(request)); }) {
    for (const Descriptor& layer : image->manifest().layers) image_bytes += layer.size;
    state.With([&](State& s) { s.progress.total_bytes = image_bytes; });
  }

  void Run();
  bool IsThereAlready();
  Status FillAll();
  Status FillFiles();
  Status RecordComplete();
  void FinishObjects(const ImageRecord& record, const std::unordered_set<Digest>& there);
  void End(const Status& status);
  void CountAnew();

  Status WantPiece(const ReadPiece& piece);
  Status Want(ChunkRequest request);
  Status WaitForTurn(const ChunkRef& chunk);
  Status MakeRoom(uint64_t bytes);
  bool HasRoom(uint64_t bytes);
  Status KeepOwn();
  Status WaitForIdle();
  Status WaitForRate(uint64_t bytes);
  Result<SharedBytes> FetchTable(ChunkRequest request);
  Result<SharedBytes> WaitForTable(ChunkRequest request);
  Status WantTables(size_t until);
  void OnFetched(const ChunkRequest& request, const Result<SharedBytes>& result);
  void NoteError(const Error& error);
  // What has ended the fill, while it runs.
  std::optional<Error> Ended() const;
  bool stopping() const {
    return state.With([](const State& s) { return s.stopping; });
  }

  const std::shared_ptr<Image> image;
  Scheduler& scheduler;
  const std::shared_ptr<ObjectCache> cache;
  InodePaths* const paths;
  const Options options;
  const size_t max_chunks_ahead = DescriptorShare(8, kLeastChunksAhead, kMaxChunksAhead);
  Synchronized<State> state;
  WakeSignal wake;  // ends a wait for a time
  std::thread thread;
  // The thread's own.
  ImageChunks chunks;
  ImageObjects objects;
  std::unordered_set<Digest> whole;
  std::unordered_set<Digest> asked;  // of the chunks that small files share
  std::vector<ChunkRequest> tables;
  size_t tables_wanted = 0;
  TimePoint next_turn{};
  int64_t began_ns = 0;  // on the cache's clock
  std::optional<Error> gave_up;
  bool counting = false;     // it has ended, and fetches nothing more
  bool keeps_own = false;    // the cache was full, and evicts for the fill
  uint64_t image_bytes = 0;  // constant
};

void Fill::Worker::Run() {
  pthread_setname_np(pthread_self(), "lf-fill");
  began_ns = cache->UseTimeNs();
  if (IsThereAlready()) return End({});
  Status filled = FillAll();
  if (filled.has_value()) filled = RecordComplete();
  End(filled);
}

// From the record of an earlier fill: without opening, or even listing, the image's files.
bool Fill::Worker::IsThereAlready() {
  auto found = cache->WholeObjects();
  if (found.has_value()) whole = std::move(*found);
  const auto record = ReadImageRecord(*cache, image->manifest_digest());
  if (record.has_value()) return PresenceOf(*record, whole).complete;
  ImageRecord begun;
  begun.name = image->reference().ToString();
  begun.manifest = image->manifest_digest();
  begun.layer_bytes = image_bytes;
  // For `cache stat`; a cache that does not take it takes nothing else either.
  static_cast<void>(WriteImageRecord(*cache, begun));
  return false;
}

Status Fill::Worker::FillAll() {
  tables = chunks.TableChunks();
  for (const ChunkRequest& table : tables) objects.AddChunk(table.chunk);
  // The indexes come first: with them the image can be mounted again.
  LAYERFS_CHECK_OK(WantTables(image->tree().layers().size() + kSegmentsAhead));
  LAYERFS_CHECK_OK(FillFiles());
  LAYERFS_CHECK_OK(WantTables(tables.size()));
  state.WaitThen([](State& s) { return s.stopping || s.chunks_ahead == 0; }, [](State&) {});
  if (auto ended = Ended()) return Fail(std::move(*ended));
  const auto error = state.With([](State& s) { return s.progress.error; });
  if (error.has_value()) return Fail(*error);
  return {};
}

Status Fill::Worker::FillFiles() {
  FillOrder order(image->tree(), chunks.FilesInBlobOrder(), paths);
  while (true) {
    for (const InodeNumber file : state.With([](State& s) { return s.reads.Take(); })) {
      order.Prefer(file);
    }
    const InodeNumber file = order.Next();
    if (file == kNoInode) return {};
    objects.BeginFile();
    const Status filled = chunks.ForEachChunk(file, [this](const ReadPiece& piece) {
      objects.AddPiece(piece);
      return WantPiece(piece);
    });
    objects.EndFile();
    if (filled.has_value()) continue;
    if (auto ended = Ended()) return Fail(std::move(*ended));
    NoteError(filled.error());
  }
}

// kNoSpace where some of it has gone again: others use the cache too.
Status Fill::Worker::RecordComplete() {
  ImageRecord record;
  record.name = image->reference().ToString();
  record.manifest = image->manifest_digest();
  record.layer_bytes = image_bytes;
  record.objects = std::move(objects).Take();
  const Status written = WriteImageRecord(*cache, record);
  if (!written.has_value()) LogDebug("image record: " + written.error().context);
  auto there = cache->WholeObjects();
  if (!there.has_value() || PresenceOf(record, *there).complete) return {};
  FinishObjects(record, *there);
  if (stopping()) return Fail(Stopped());
  there = cache->WholeObjects();
  if (!there.has_value() || PresenceOf(record, *there).complete) return {};
  return Fail(ErrorCode::kNoSpace,
              "some of it has been evicted again; all that is in use takes a larger --cache-size "
              "or disk");
}

// Large files, whose last chunks have just come, or came to a process that was killed then.
void Fill::Worker::FinishObjects(const ImageRecord& record,
                                 const std::unordered_set<Digest>& there) {
  for (const ObjectId& id : record.objects) {
    if (there.contains(id.digest) || stopping()) continue;
    const auto object = cache->OpenObject(id);
    if (!object.has_value()) continue;
    const Status finished = (*object)->Finish();
    if (!finished.has_value()) LogWarning("cache: " + finished.error().context);
  }
}

void Fill::Worker::End(const Status& status) {
  const bool complete = status.has_value();
  const std::string name = image->reference().ToString();
  if (complete) {
    LogInfo("image " + name + ": all of it is in the cache; the registry is not needed any more");
  } else if (status.error().code != ErrorCode::kCancelled) {
    LogWarning("image " + name + ": is not all in the cache: " + status.error().context);
  }
  if (!complete) CountAnew();
  state.WithNotify([&](State& s) {
    s.progress.state = complete ? FillState::kComplete : FillState::kIncomplete;
    if (complete) s.progress.done_bytes = s.progress.total_bytes;
    if (!complete && !s.progress.error.has_value()) s.progress.error = status.error();
  });
}

// Some of what was there may have gone again.
void Fill::Worker::CountAnew() {
  if (stopping()) return;
  counting = true;
  const uint64_t there = CountCachedBytes(chunks, *cache, [this] { return stopping(); });
  state.With([&](State& s) {
    if (!s.stopping) s.progress.done_bytes = there;
  });
}

std::optional<Error> Fill::Worker::Ended() const {
  if (gave_up.has_value()) return gave_up;
  return state.With([&](const State& s) -> std::optional<Error> {
    if (s.stopping) return Stopped();
    if (s.unkept >= kMaxUnkept) {
      return Error{ErrorCode::kNoSpace, "the cache does not keep what is fetched"};
    }
    if (options.stop_at_error && s.progress.error.has_value()) return s.progress.error;
    return std::nullopt;
  });
}

void Fill::Worker::NoteError(const Error& error) {
  state.WithNotify([&](State& s) {
    ++s.progress.failed_chunks;
    if (!s.progress.error.has_value()) s.progress.error = error;
  });
}

Status Fill::Worker::WantPiece(const ReadPiece& piece) {
  // A chunk of many small files counts once: as on its way, as room and as done.
  if (piece.object.scope.is_zero() && !asked.insert(piece.object.digest).second) return {};
  if (whole.contains(piece.object.digest)) {
    state.With([&](State& s) { s.progress.done_bytes += piece.chunk.stored_size; });
    return {};
  }
  ChunkRequest request;
  request.blob = image->layer_blob(piece.layer);
  request.chunk = piece.chunk;
  request.object_offset = piece.object_offset;
  LAYERFS_TRY(object, cache->OpenObject(piece.object));
  request.object = std::move(object);
  return Want(std::move(request));
}

Status Fill::Worker::WantTables(size_t until) {
  for (; tables_wanted < std::min(until, tables.size()); ++tables_wanted) {
    ChunkRequest request = tables[tables_wanted];
    if (whole.contains(request.chunk.digest)) continue;
    LAYERFS_TRY(object, cache->OpenObject({request.chunk.digest, request.chunk.size, {}}));
    request.object = std::move(object);
    LAYERFS_CHECK_OK(Want(std::move(request)));
  }
  return {};
}

// Asks for the chunk where it is not there, once it is its turn.
Status Fill::Worker::Want(ChunkRequest request) {
  const ChunkRef chunk = request.chunk;
  if (request.object->Contains(request.object_offset, chunk.size)) {
    state.With([&](State& s) { s.progress.done_bytes += chunk.stored_size; });
    return {};
  }
  LAYERFS_CHECK_OK(WaitForTurn(chunk));
  request.fetch_class = FetchClass::kFill;
  request.timeout = options.timeout;
  if (request.reason.empty()) request.reason = "fill";
  ChunkRequest asked = request;
  scheduler.Fetch(std::move(request),
                  [self = shared_from_this(), asked = std::move(asked)](
                      const Result<SharedBytes>& result) { self->OnFetched(asked, result); });
  return {};
}

void Fill::Worker::OnFetched(const ChunkRequest& request, const Result<SharedBytes>& result) {
  const bool kept =
      result.has_value() && request.object->Contains(request.object_offset, request.chunk.size);
  if (!result.has_value()) {
    NoteError(result.error());
  } else if (!kept) {
    NoteError({ErrorCode::kNoSpace, "the cache has not kept what was fetched"});
  }
  state.WithNotify([&](State& s) {
    --s.chunks_ahead;
    s.bytes_ahead -= request.chunk.stored_size;
    s.room_ahead -= RoomOf(request.chunk);
    if (!result.has_value()) return;
    s.unkept = kept ? 0 : s.unkept + 1;
    if (!kept) return;
    s.progress.done_bytes += request.chunk.stored_size;
    s.progress.fetched_bytes += request.chunk.stored_size;
  });
}

Status Fill::Worker::WaitForTurn(const ChunkRef& chunk) {
  const uint64_t bytes = chunk.stored_size;
  Status room = MakeRoom(RoomOf(chunk));
  if (!room.has_value()) {
    gave_up = room.error();
    return room;
  }
  if (options.mode == FillMode::kIdle) LAYERFS_CHECK_OK(WaitForIdle());
  if (options.bytes_per_second > 0) LAYERFS_CHECK_OK(WaitForRate(bytes));
  const uint64_t most = options.mode == FillMode::kIdle ? kMaxIdleBytesAhead : kMaxBytesAhead;
  state.WaitThen(
      [&](State& s) {
        const bool room = s.chunks_ahead < max_chunks_ahead && s.bytes_ahead + bytes <= most;
        return s.stopping || s.chunks_ahead == 0 || room;
      },
      [](State&) {});
  if (auto ended = Ended()) return Fail(std::move(*ended));
  state.With([&](State& s) {
    ++s.chunks_ahead;
    s.bytes_ahead += bytes;
    s.room_ahead += RoomOf(chunk);
  });
  return {};
}

// In a full cache, or on a full disk, what was last used before the fill began makes room for it.
Status Fill::Worker::MakeRoom(uint64_t bytes) {
  if (HasRoom(bytes)) return {};
  // What is being written counts for a moment both as used and as on its way, or as neither.
  state.WaitThen([](State& s) { return s.stopping || s.chunks_ahead == 0; }, [](State&) {});
  if (auto ended = Ended()) return Fail(std::move(*ended));
  if (HasRoom(bytes)) return {};
  if (!keeps_own) {
    LAYERFS_CHECK_OK(KeepOwn());
    if (HasRoom(bytes)) return {};
  }
  return Fail(ErrorCode::kNoSpace,
              "the cache is at its limit or its disk is full, and all that is in it is in use or "
              "pinned; it takes a larger --cache-size or disk");
}

bool Fill::Worker::HasRoom(uint64_t bytes) {
  const uint64_t room = bytes + state.With([](const State& s) { return s.room_ahead; });
  return keeps_own ? cache->MakeRoomFor(room, began_ns) : cache->HasRoomFor(room);
}

// Before anything is evicted: what the image is made of and the cache has, also from images of
// before, counts as used now. An image that can never fit evicts nothing.
Status Fill::Worker::KeepOwn() {
  ImageChunks listed(image, [this](ChunkRequest request) -> Result<SharedBytes> {
    LAYERFS_TRY(object, cache->OpenObject({request.chunk.digest, request.chunk.size, {}}));
    // What is not there is not kept either: that would have to evict.
    if (object->whole()) request.object = std::move(object);
    return WaitForTable(std::move(request));
  });
  LAYERFS_TRY(own, GatherObjects(listed));
  uint64_t room = 0;
  for (const ObjectId& id : own) room += AlignUp(id.size, kCachePageBytes);
  LAYERFS_TRY(most, cache->MostBytes());
  if (room > most) {
    const bool limit = most == cache->limit_bytes();
    const std::string bytes = std::to_string(most);
    return Fail(
        ErrorCode::kNoSpace,
        "its " + std::to_string(room) + " bytes are more than the " +
            (limit ? "cache's limit of " + bytes + "; it takes a larger --cache-size"
                   : bytes + " that the cache's disk has for them; it takes a larger disk"));
  }
  cache->NoteUse(own);
  // Of what was passed over as being there, this has stayed.
  LAYERFS_TRY(there, cache->WholeObjects());
  whole = std::move(there);
  keeps_own = true;
  return {};
}

Status Fill::Worker::WaitForIdle() {
  while (true) {
    if (auto ended = Ended()) return Fail(std::move(*ended));
    const TimePoint now = SteadyClock().Now();
    const TimePoint last = state.With([](State& s) { return s.last_wait; });
    if (last == TimePoint{} || now - last >= kIdleAfter) return {};
    wake.WaitUntil(SteadyClock(), now + kIdleLook);
  }
}

Status Fill::Worker::WaitForRate(uint64_t bytes) {
  const auto cost = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
      static_cast<double>(bytes) / static_cast<double>(options.bytes_per_second)));
  next_turn = std::max(next_turn, SteadyClock().Now());
  const TimePoint turn = next_turn;
  next_turn += cost;
  while (SteadyClock().Now() < turn) {
    if (auto ended = Ended()) return Fail(std::move(*ended));
    wake.WaitUntil(SteadyClock(), turn);
  }
  return {};
}

// A segment that is needed to go on, and those behind it along with it.
Result<SharedBytes> Fill::Worker::FetchTable(ChunkRequest request) {
  if (counting) return ReadCachedTable(*cache, request.chunk);
  LAYERFS_CHECK_OK(WantTables(tables_wanted + kSegmentsAhead));
  LAYERFS_TRY(object, cache->OpenObject({request.chunk.digest, request.chunk.size, {}}));
  request.object = std::move(object);
  return WaitForTable(std::move(request));
}

Result<SharedBytes> Fill::Worker::WaitForTable(ChunkRequest request) {
  request.fetch_class = FetchClass::kFill;
  request.timeout = options.timeout;
  auto answer = std::make_shared<std::optional<Result<SharedBytes>>>();
  const Scheduler::WaiterId waiter = scheduler.Fetch(
      std::move(request), [self = shared_from_this(), answer](Result<SharedBytes> result) {
        self->state.WithNotify([&](State&) { *answer = std::move(result); });
      });
  state.WaitThen([&](State& s) { return s.stopping || answer->has_value(); }, [](State&) {});
  if (stopping()) {
    scheduler.Abandon(waiter);
    return Fail(Stopped());
  }
  return state.With([&](State&) { return std::move(**answer); });
}

Fill::Fill(std::shared_ptr<Image> image, const ImageContext& context, InodePaths* paths,
           Options options)
    : worker_(std::make_shared<Worker>(std::move(image), context, paths, options)) {}

Fill::~Fill() { Stop(); }

void Fill::Start() {
  worker_->state.With([](auto& s) { s.progress.state = FillState::kRunning; });
  worker_->thread = std::thread([worker = worker_.get()] { worker->Run(); });
}

void Fill::Stop() {
  worker_->state.WithNotify([](auto& s) { s.stopping = true; });
  worker_->wake.Notify();
  if (worker_->thread.joinable()) worker_->thread.join();
}

void Fill::NoteRead(InodeNumber file, bool waited) {
  worker_->state.With([&](auto& s) {
    if (waited) s.last_wait = SteadyClock().Now();
    if (!HasEnded(s.progress.state)) s.reads.Note(file);
  });
}

FillProgress Fill::progress() const {
  return worker_->state.With([](const auto& s) { return s.progress; });
}

FillProgress Fill::Wait() {
  return worker_->state.WaitThen([](auto& s) { return s.stopping || HasEnded(s.progress.state); },
                                 [](auto& s) { return s.progress; });
}

}  // namespace layerfs
