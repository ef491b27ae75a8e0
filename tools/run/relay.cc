// SPDX-License-Identifier: Apache-2.0
#include "tools/run/relay.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace layerfs {
namespace {

constexpr size_t kReadBytes = size_t{32} << 10;

// What can be written to a pipe without waiting once poll says that it is writable (pipe(7)). The
// descriptors are shared with other programs, so that they cannot be made non-blocking.
constexpr size_t kWriteBytes = PIPE_BUF;

// How long a stream may be silent before Drain believes that nothing more comes.
constexpr int kDrainMs = 500;

}  // namespace

void RelaySet::Add(int from, UniqueFd to) {
  Stream stream;
  stream.from = from;
  stream.to = to.get();
  stream.owned = std::move(to);
  streams_.push_back(std::move(stream));
}

void RelaySet::AddBorrowed(int from, int to) {
  Stream stream;
  stream.from = from;
  stream.to = to;
  streams_.push_back(std::move(stream));
}

pollfd RelaySet::WaitFor(const Stream& stream) {
  if (!stream.waiting.empty()) return {stream.to, POLLOUT, 0};
  return {stream.from, POLLIN, 0};  // poll passes over negative descriptors.
}

void RelaySet::AppendTo(std::vector<pollfd>& polled) const {
  for (const Stream& stream : streams_) polled.push_back(WaitFor(stream));
}

void RelaySet::Handle(std::span<const pollfd> polled) {
  for (size_t i = 0; i < polled.size() && i < streams_.size(); ++i) {
    if (polled[i].revents == 0) continue;
    if (streams_[i].waiting.empty()) {
      Read(streams_[i]);
    } else {
      Write(streams_[i]);
    }
  }
}

void RelaySet::Read(Stream& stream) {
  stream.waiting.resize(kReadBytes);
  const ssize_t got = ::read(stream.from, stream.waiting.data(), stream.waiting.size());
  const int error = errno;
  stream.waiting.resize(got > 0 ? static_cast<size_t>(got) : 0);
  // EIO is how a terminal says that its other side is gone.
  if (got == 0 || (got < 0 && error != EINTR && error != EAGAIN)) End(stream);
}

void RelaySet::Write(Stream& stream) {
  const ssize_t put =
      ::write(stream.to, stream.waiting.data(), std::min(stream.waiting.size(), kWriteBytes));
  if (put > 0) {
    stream.waiting.erase(stream.waiting.begin(), stream.waiting.begin() + put);
  } else if (errno != EINTR && errno != EAGAIN) {
    End(stream);
  }
}

void RelaySet::End(Stream& stream) {
  stream.from = -1;
  stream.waiting.clear();
  stream.owned.Reset();
}

void RelaySet::Drain(const std::vector<int>& sources) {
  std::erase_if(streams_, [&](const Stream& stream) {
    return stream.from < 0 || std::ranges::find(sources, stream.from) == sources.end();
  });
  while (true) {
    std::vector<pollfd> polled;
    AppendTo(polled);
    const bool all_ended = std::ranges::all_of(
        streams_, [](const Stream& s) { return s.from < 0 && s.waiting.empty(); });
    if (all_ended) return;
    const int ready = ::poll(polled.data(), polled.size(), kDrainMs);
    if (ready == 0 || (ready < 0 && errno != EINTR)) return;
    if (ready > 0) Handle(polled);
  }
}

}  // namespace layerfs
