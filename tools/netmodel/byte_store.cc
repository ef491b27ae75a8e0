// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/byte_store.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace layerfs {
namespace {

constexpr size_t kPieceBytes = 64 * 1024;

// What a read or write of a socket says, with `size` its return value.
Moved Outcome(ssize_t size, bool reading) {
  if (size > 0) return {static_cast<size_t>(size), Moved::State::kMore};
  if (size == 0) return {0, reading ? Moved::State::kEnd : Moved::State::kAgain};
  const bool again = errno == EAGAIN || errno == EINTR;
  return {0, again ? Moved::State::kAgain : Moved::State::kError};
}

}  // namespace

Result<PipeStore> PipeStore::Create(size_t capacity) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return FailErrno("pipe", errno);
  PipeStore store;
  store.read_end_.Reset(ends[0]);
  store.write_end_.Reset(ends[1]);
  // Without the right to it the pipe stays smaller and the model's window with it.
  if (fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(capacity)) < 0) {
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  }
  return store;
}

Moved PipeStore::Fill(int socket, size_t limit) {
  const ssize_t size =
      splice(socket, nullptr, write_end_.get(), nullptr, limit, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  Moved moved = Outcome(size, true);
  held_ += moved.bytes;
  // EAGAIN is the socket's word or the pipe's.
  int waiting = 0;
  if (moved.state == Moved::State::kAgain && held_ > 0 && ioctl(socket, FIONREAD, &waiting) == 0 &&
      waiting > 0) {
    moved.state = Moved::State::kFull;
  }
  return moved;
}

Moved PipeStore::Drain(int socket, size_t limit) {
  const ssize_t size = splice(read_end_.get(), nullptr, socket, nullptr, std::min(limit, held_),
                              SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  const Moved moved = Outcome(size, false);
  held_ -= moved.bytes;
  return moved;
}

void PipeStore::Discard(size_t bytes) {
  char scratch[kPieceBytes];
  while (bytes > 0) {
    const ssize_t size = read(read_end_.get(), scratch, std::min(bytes, sizeof scratch));
    if (size <= 0) return;
    bytes -= static_cast<size_t>(size);
    held_ -= static_cast<size_t>(size);
  }
}

Moved BufferStore::Fill(int socket, size_t limit) {
  last_ = 0;
  const size_t held = bytes_.size() - drained_;
  if (held >= capacity_) return {0, Moved::State::kFull};
  if (drained_ > capacity_ / 2) bytes_.erase(0, std::exchange(drained_, 0));
  const size_t before = bytes_.size();
  bytes_.resize(before + std::min({limit, capacity_ - held, kPieceBytes}));
  const ssize_t size = recv(socket, bytes_.data() + before, bytes_.size() - before, 0);
  const Moved moved = Outcome(size, true);
  bytes_.resize(before + moved.bytes);
  last_ = moved.bytes;
  return moved;
}

Moved BufferStore::Drain(int socket, size_t limit) {
  const size_t held = bytes_.size() - drained_;
  const ssize_t size = send(socket, bytes_.data() + drained_, std::min(limit, held), MSG_NOSIGNAL);
  const Moved moved = Outcome(size, false);
  Discard(moved.bytes);
  return moved;
}

void BufferStore::Discard(size_t bytes) {
  drained_ += bytes;
  if (drained_ == bytes_.size()) {
    bytes_.clear();
    drained_ = 0;
  }
}

}  // namespace layerfs
