// SPDX-License-Identifier: Apache-2.0
#include "fs/read_streams.h"

#include <algorithm>

namespace layerfs {
namespace {

constexpr size_t kStreamsKept = 128;
// How many of the link's windows a reader's may hold: it reads in bursts, and waits for none.
constexpr uint64_t kWindowsAhead = 8;
constexpr uint64_t kMostMaxWindow = uint64_t{32} << 20;
// Headers, links and directories between two files, small files that the reader has no use for,
// pages that a program does not touch.
constexpr uint64_t kStepBytes = 64 * 1024;
// This many steps make a stream; the first may be a read of a file's beginning.
constexpr uint32_t kLeastSteps = 2;

}  // namespace

bool ReadStreams::Follows(const Stream& stream, const StreamRead& read) {
  if (stream.space != read.space || read.begin < stream.next) return false;
  const bool crosses = read.file_end != stream.file_end;
  // From one file to another: from its beginning, wherever the last one was left.
  const uint64_t from = crosses ? std::max(stream.next, stream.file_end) : stream.next;
  return (!crosses || read.begin == read.file_begin) && read.begin - from <= kStepBytes;
}

ReadStreams::Stream& ReadStreams::FindOrMake(State& state, const StreamRead& read) {
  Stream* found = nullptr;
  Stream* oldest = nullptr;
  for (Stream& stream : state.streams) {
    const bool again =
        stream.space == read.space && stream.begin <= read.begin && read.end <= stream.next;
    const bool better = found == nullptr || stream.steps > found->steps;
    if ((again || Follows(stream, read)) && better) found = &stream;
    if (oldest == nullptr || stream.used < oldest->used) oldest = &stream;
  }
  if (found != nullptr) return *found;
  if (state.streams.size() < kStreamsKept) {
    oldest = &state.streams.emplace_back();
  } else {
    *oldest = Stream();
  }
  oldest->space = read.space;
  oldest->begin = oldest->next = read.begin;
  oldest->file_end = read.file_end;
  // Whoever begins in the middle has to show more.
  if (read.begin != read.file_begin) return *oldest;
  oldest->steps = 1;
  return *oldest;
}

StreamRun ReadStreams::Advance(Stream& stream, const StreamRead& read, uint64_t max_window) {
  const bool is_new = stream.next == stream.begin;
  const bool again = !is_new && read.end <= stream.next;
  if (again) return {};
  if (read.file_end != stream.file_end) ++stream.crossings;
  if (!is_new) ++stream.steps;
  stream.begin = read.begin;
  stream.next = read.end;
  stream.file_end = read.file_end;
  if (stream.steps < kLeastSteps) return {};
  stream.window = std::min(std::max(2 * stream.window, read.end - read.begin), max_window);
  const uint64_t limit = stream.crossings < kCrossings ? read.file_end : UINT64_MAX;
  const uint64_t begin = std::max(stream.next, stream.ahead_until);
  const uint64_t end = std::min(stream.next + stream.window, limit);
  // Again when half of the window has been read, so that requests stay large.
  if (end <= begin || (end - begin < stream.window / 2 && end < limit)) return {};
  stream.ahead_until = end;
  return {begin, end};
}

void ReadStreams::SetLinkWindow(uint64_t link_window) {
  max_window_ = std::clamp(kWindowsAhead * link_window, kLeastMaxWindow, kMostMaxWindow);
}

StreamRun ReadStreams::OnRead(const StreamRead& read) {
  const uint64_t max_window = max_window_.load();
  return state_.With([&](State& state) {
    Stream& stream = FindOrMake(state, read);
    stream.used = ++state.reads;
    return Advance(stream, read, max_window);
  });
}

}  // namespace layerfs
