// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/chunk_pipeline.h"

#include <deque>
#include <utility>

#include "index/base/synchronized.h"

namespace layerfs {
namespace {

// A chunk on its way. One thread at a time has it: the one that added it, the worker that
// compresses it, the one that writes.
struct Job {
  TarChunk chunk;
  uint64_t charge = 0;  // what it counts against the limit
  Bytes frame;
  ChunkCodec codec = ChunkCodec::kStored;
  Digest digest;
  Status status;
  bool done = false;  // under the pipeline's lock
};

}  // namespace

class ChunkPipeline::Impl {
 public:
  Impl(Limits limits, CompressionPool& pool, SpoolFile& spool)
      : limits_(limits), pool_(pool), spool_(spool) {}

  Status Add(TarChunk&& chunk);
  Result<Outcome> Finish();
  void AwaitIdle();

 private:
  struct State {
    std::deque<std::shared_ptr<Job>> jobs;  // in the tar's order, not yet written
    uint64_t in_flight_bytes = 0;
    bool writing = false;  // some thread writes what is due
    Status status;
  };

  void Compress(const std::shared_ptr<Job>& job, ChunkCompressor& compressor);
  void WriteDue();
  Status Write(Job& job);
  void HashContent(const Job& job);
  void Retire(Job& job, Status status);

  const Limits limits_;
  CompressionPool& pool_;
  SpoolFile& spool_;
  Synchronized<State> state_;

  // The writing thread's.
  Outcome outcome_;
  Sha256 tar_hash_;
  Sha256 content_hash_;
  uint64_t content_left_ = 0;  // of the last content, when it has several chunks
};

Status ChunkPipeline::Impl::Add(TarChunk&& chunk) {
  auto job = std::make_shared<Job>();
  job->chunk = std::move(chunk);
  // The frame is hardly ever larger than the chunk.
  job->charge = job->chunk.data.capacity() + job->chunk.data.size();
  const Status status = state_.WaitThen(
      [&](State& state) {
        return state.jobs.empty() ||
               state.in_flight_bytes + job->charge <= limits_.in_flight_bytes ||
               !state.status.has_value();
      },
      [&](State& state) -> Status {
        if (!state.status.has_value()) return state.status;
        state.in_flight_bytes += job->charge;
        state.jobs.push_back(job);
        return {};
      });
  if (!status.has_value()) return status;
  pool_.Submit([this, job](ChunkCompressor& compressor) { Compress(job, compressor); });
  return {};
}

void ChunkPipeline::Impl::Compress(const std::shared_ptr<Job>& job, ChunkCompressor& compressor) {
  const ByteSpan data = job->chunk.data;
  job->digest = Digest::Of(data);
  job->codec = compressor.codec();
  const Result<ByteSpan> frame = compressor.Compress(data);
  if (frame.has_value()) {
    job->frame = pool_.buffers().Take(frame->size());
    job->frame.assign(frame->begin(), frame->end());
  } else {
    job->status = Fail(frame.error());
  }
  const bool write = state_.With([&](State& state) {
    job->done = true;
    return !std::exchange(state.writing, true);
  });
  if (write) WriteDue();
}

// Who set `writing` comes here. The flag goes down under the same lock under which the next chunk
// was seen to be unfinished, so the thread that finishes it sees it down.
void ChunkPipeline::Impl::WriteDue() {
  while (true) {
    const std::shared_ptr<Job> job = state_.WithNotify([](State& state) -> std::shared_ptr<Job> {
      if (!state.jobs.empty() && state.jobs.front()->done) return state.jobs.front();
      state.writing = false;
      return nullptr;
    });
    if (job == nullptr) return;
    Retire(*job, Write(*job));
  }
}

Status ChunkPipeline::Impl::Write(Job& job) {
  LAYERFS_CHECK_OK(job.status);
  const ByteSpan data = job.chunk.data;
  tar_hash_.Update(data);
  HashContent(job);
  const ChunkRef ref{job.digest, spool_.size(), static_cast<uint32_t>(job.frame.size()),
                     static_cast<uint32_t>(data.size()), job.codec};
  outcome_.chunks.push_back({ref, job.chunk.tar_offset});
  outcome_.tar_size += data.size();
  return spool_.Append(job.frame);
}

void ChunkPipeline::Impl::HashContent(const Job& job) {
  const ByteSpan data = job.chunk.data;
  if (job.chunk.content_size.has_value()) {
    outcome_.contents.push_back({job.chunk.tar_offset, *job.chunk.content_size, job.digest});
    // A content of one chunk has that chunk's digest.
    if (*job.chunk.content_size == data.size()) return;
    content_left_ = *job.chunk.content_size;
  }
  if (content_left_ == 0) return;
  content_hash_.Update(data);
  content_left_ -= data.size();
  if (content_left_ == 0) outcome_.contents.back().digest = content_hash_.Finish();
}

void ChunkPipeline::Impl::Retire(Job& job, Status status) {
  pool_.buffers().Give(std::move(job.chunk.data));
  pool_.buffers().Give(std::move(job.frame));
  state_.WithNotify([&](State& state) {
    state.jobs.pop_front();
    state.in_flight_bytes -= job.charge;
    if (!status.has_value() && state.status.has_value()) state.status = std::move(status);
  });
}

void ChunkPipeline::Impl::AwaitIdle() {
  state_.WaitThen([](State& state) { return state.jobs.empty() && !state.writing; }, [](State&) {});
}

Result<ChunkPipeline::Outcome> ChunkPipeline::Impl::Finish() {
  AwaitIdle();
  LAYERFS_CHECK_OK(state_.With([](State& state) { return state.status; }));
  outcome_.tar_digest = tar_hash_.Finish();
  return std::move(outcome_);
}

ChunkPipeline::ChunkPipeline(Limits limits, CompressionPool& pool, SpoolFile& spool)
    : impl_(std::make_unique<Impl>(limits, pool, spool)) {}
ChunkPipeline::~ChunkPipeline() { impl_->AwaitIdle(); }
Status ChunkPipeline::Add(TarChunk&& chunk) { return impl_->Add(std::move(chunk)); }
Result<ChunkPipeline::Outcome> ChunkPipeline::Finish() { return impl_->Finish(); }

}  // namespace layerfs
