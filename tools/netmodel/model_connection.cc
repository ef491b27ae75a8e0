// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/model_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

namespace layerfs {
namespace {

void AnswerAtOnce(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // no-op for a unix socket
}

void CloseByReset(UniqueFd& socket) {
  if (!socket.valid()) return;
  const linger at_once{1, 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  socket.Reset();
}

}  // namespace

ModelConnection::ModelConnection(UniqueFd client, UniqueFd server, Options options)
    : client_(std::move(client)), server_(std::move(server)), options_(options) {}

Result<std::unique_ptr<ModelConnection>> ModelConnection::Create(UniqueFd client, UniqueFd server,
                                                                 TimePoint now, Options options) {
  LAYERFS_TRY(pipe, PipeStore::Create(options.window_bytes));
  AnswerAtOnce(client.get());
  AnswerAtOnce(server.get());
  std::unique_ptr<ModelConnection> connection(
      new ModelConnection(std::move(client), std::move(server), options));
  auto up = std::make_unique<BufferStore>(options.window_bytes);
  connection->up_store_ = up.get();
  connection->lanes_[kUp].store = std::move(up);
  connection->lanes_[kDown].store = std::make_unique<PipeStore>(std::move(pipe));
  for (Lane& lane : connection->lanes_) lane.not_before = now + options.round_trip;
  return connection;
}

void ModelConnection::OnEvents(Side side, uint32_t events) {
  Lane& from = lanes_[side == kClient ? kUp : kDown];
  Lane& to = lanes_[side == kClient ? kDown : kUp];
  // An error is found out by reading.
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) from.readable = true;
  if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) to.writable = true;
}

TimePoint ModelConnection::SendsAt(Direction direction) const {
  const Lane& lane = lanes_[direction];
  const bool sends = !over_ && lane.readable && !lane.full && !lane.ended;
  return sends ? lane.not_before : TimePoint::max();
}

TimePoint ModelConnection::DeliversAt(Direction direction) const {
  const Lane& lane = lanes_[direction];
  const bool delivers = !over_ && !lane.segments.empty() && (lane.writable || lane.discard);
  return delivers ? lane.segments.front().arrives : TimePoint::max();
}

void ModelConnection::BeginExchange() {
  server_spoke_ = false;
  ++options_.statistics->exchanges;
  std::optional<PlannedFault> fault = options_.faults->NextExchange();
  if (fault.has_value() && !fault_.has_value()) fault_ = fault;
}

size_t ModelConnection::SendLimit(Direction direction, const LinkShaper& link) const {
  const size_t quantum = link.quantum_bytes();
  if (direction == kUp || !fault_.has_value()) return quantum;
  // The fault comes after at least one byte: before it there is no exchange to be hit.
  const uint64_t until_fault = std::max<uint64_t>(1, fault_->after_bytes);
  return static_cast<size_t>(std::min<uint64_t>(quantum, until_fault));
}

void ModelConnection::Account(Direction direction, size_t bytes) {
  if (direction == kUp) {
    if (server_spoke_) BeginExchange();
    options_.statistics->requests += requests_.Feed(up_store_->last());
    return;
  }
  server_spoke_ = true;
  if (fault_.has_value()) fault_->after_bytes -= std::min<uint64_t>(bytes, fault_->after_bytes);
}

void ModelConnection::Send(Direction direction, LinkShaper& link, TimePoint now) {
  Lane& lane = lanes_[direction];
  const int from = direction == kUp ? client_.get() : server_.get();
  const Moved moved = lane.store->Fill(from, SendLimit(direction, link));
  if (moved.bytes > 0) {
    const TimePoint arrives = link.Send(moved.bytes, now);
    lane.segments.push_back({arrives, moved.bytes, Then::kNothing});
    Account(direction, moved.bytes);
  }
  switch (moved.state) {
    case Moved::State::kMore:
      break;
    case Moved::State::kAgain:
      lane.readable = false;
      break;
    case Moved::State::kFull:
      lane.full = true;
      break;
    case Moved::State::kEnd:
      EndLane(direction, Then::kEnd, link, now);
      break;
    case Moved::State::kError:
      EndLane(direction, Then::kReset, link, now);
      break;
  }
  if (direction == kDown && fault_.has_value() && fault_->after_bytes == 0 && moved.bytes > 0) {
    CarryOutFault(link, now);
  }
}

void ModelConnection::CarryOutFault(LinkShaper& link, TimePoint now) {
  const PlannedFault fault = *fault_;
  fault_.reset();
  if (fault.kind == FaultRule::Kind::kStall) {
    ++options_.statistics->stalled;
    lanes_[kDown].not_before = now + fault.pause;
    return;
  }
  ++options_.statistics->broken;
  const bool reset = fault.kind == FaultRule::Kind::kBreak;
  EndLane(kDown, reset ? Then::kReset : Then::kEnd, link, now);
  CloseByReset(server_);
  lanes_[kUp].discard = true;
  lanes_[kUp].ended = true;
}

// The end travels like a byte, behind all others.
void ModelConnection::EndLane(Direction direction, Then then, LinkShaper& link, TimePoint now) {
  Lane& lane = lanes_[direction];
  lane.ended = true;
  lane.segments.push_back({link.Send(0, now), 0, then});
}

void ModelConnection::Deliver(Direction direction, TimePoint now) {
  Lane& lane = lanes_[direction];
  while (!over_ && !lane.segments.empty() && lane.segments.front().arrives <= now) {
    if (!lane.writable && !lane.discard) return;
    // Segments that are due together go out together.
    Segment due = lane.segments.front();
    lane.segments.pop_front();
    while (due.then == Then::kNothing && !lane.segments.empty() &&
           lane.segments.front().arrives <= now) {
      due.bytes += lane.segments.front().bytes;
      due.then = lane.segments.front().then;
      lane.segments.pop_front();
    }
    if (!HandOn(direction, due, now)) {
      lane.segments.push_front(due);
      return;
    }
    if (due.then != Then::kNothing) HandOnEnd(direction, due.then);
  }
}

bool ModelConnection::HandOn(Direction direction, Segment& segment, TimePoint now) {
  Lane& lane = lanes_[direction];
  lane.full = false;
  NetworkStatistics& statistics = *options_.statistics;
  while (segment.bytes > 0 && !lane.discard) {
    const Moved moved =
        lane.store->Drain(direction == kUp ? server_.get() : client_.get(), segment.bytes);
    segment.bytes -= moved.bytes;
    (direction == kUp ? statistics.up_bytes : statistics.down_bytes) += moved.bytes;
    if (direction == kDown && moved.bytes > 0) {
      if (statistics.first_byte == TimePoint{}) statistics.first_byte = now;
      statistics.last_byte = now;
    }
    if (moved.state == Moved::State::kAgain) {
      lane.writable = false;
      return segment.bytes == 0;
    }
    if (moved.state == Moved::State::kError) LoseReceiver(direction, now);
  }
  lane.store->Discard(segment.bytes);
  segment.bytes = 0;
  return true;
}

// Nobody takes what is on its way any more. The other lane finds that out by reading; where it had
// ended in order before, its end is followed by the news.
void ModelConnection::LoseReceiver(Direction direction, TimePoint now) {
  lanes_[direction].discard = true;
  Lane& back = lanes_[direction == kUp ? kDown : kUp];
  back.readable = true;
  if (back.ended) back.segments.push_back({now + options_.round_trip / 2, 0, Then::kReset});
}

void ModelConnection::HandOnEnd(Direction direction, Then then) {
  Lane& lane = lanes_[direction];
  lane.over = true;
  if (then == Then::kReset) return Reset();
  const UniqueFd& to = direction == kUp ? server_ : client_;
  if (to.valid()) shutdown(to.get(), SHUT_WR);
  const Lane& back = lanes_[direction == kUp ? kDown : kUp];
  // Where the server was cut off, nothing comes from there that would end the other lane.
  if (back.over || !server_.valid()) over_ = true;
}

void ModelConnection::Reset() {
  CloseByReset(client_);
  CloseByReset(server_);
  over_ = true;
}

}  // namespace layerfs
