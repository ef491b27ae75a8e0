// SPDX-License-Identifier: Apache-2.0
// FakeLowerFile: a lower file in memory whose reads end when the test says so, and how.
// Thread-safe.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "fs/lower_file.h"
#include "index/base/synchronized.h"

namespace layerfs {

class FakeLowerFile final : public LowerFile {
 public:
  explicit FakeLowerFile(Bytes content) : content_(std::move(content)) {}
  ~FakeLowerFile() override {
    for (const auto& [id, read] : state_.With([](State& s) { return std::exchange(s.held, {}); }))
      read.done(Fail(ErrorCode::kCancelled, "the fake goes"));
  }

  // Reads wait for Release or Fail from now on.
  void Hold(bool hold) {
    state_.With([&](State& s) { s.hold = hold; });
  }
  size_t held() const {
    return state_.With([](const State& s) { return s.held.size(); });
  }
  // Ends the n-th read of those that wait, in the order in which they came.
  void Release(size_t n = 0) { End(n, std::nullopt); }
  void FailRead(ErrorCode code, size_t n = 0) { End(n, Error{code, "fake"}); }
  void ReleaseAll() {
    while (held() > 0) Release();
  }
  uint64_t reads() const {
    return state_.With([](const State& s) { return s.reads; });
  }
  uint64_t bytes_read() const {
    return state_.With([](const State& s) { return s.bytes; });
  }
  // [begin, end) are told to be a hole; the content has to be zeros there.
  void SetHole(uint64_t begin, uint64_t end) { hole_ = {begin, end}; }
  const Bytes& content() const { return content_; }

  uint64_t size() const override { return content_.size(); }
  ReadId NewReadId() override {
    return state_.With([](State& s) { return ++s.next; });
  }
  void Read(ReadId id, uint64_t offset, size_t size, Done done) override {
    Held read{offset, size, std::move(done)};
    enum { kNow, kLater, kCancelled } when = kNow;
    state_.With([&](State& s) {
      ++s.reads;
      s.bytes += size;
      if (std::erase(s.cancelled, id) > 0) {
        when = kCancelled;
      } else if (s.hold) {
        when = kLater;
        s.held.emplace(id, std::move(read));
      }
    });
    if (when == kCancelled) return read.done(layerfs::Fail(ErrorCode::kCancelled, "fake"));
    if (when == kNow) Answer(read);
  }
  void Cancel(ReadId id) override {
    std::optional<Held> read;
    state_.With([&](State& s) {
      const auto it = s.held.find(id);
      if (it == s.held.end()) {
        s.cancelled.push_back(id);
        return;
      }
      read = std::move(it->second);
      s.held.erase(it);
    });
    if (read.has_value()) read->done(layerfs::Fail(ErrorCode::kCancelled, "fake"));
  }
  std::optional<uint64_t> Seek(uint64_t offset, int whence) const override {
    if (offset >= content_.size()) return std::nullopt;
    const bool in_hole = offset >= hole_.first && offset < hole_.second;
    if (whence == SEEK_DATA) {
      if (!in_hole) return offset;
      return hole_.second < content_.size() ? std::optional(hole_.second) : std::nullopt;
    }
    if (in_hole) return offset;
    return offset < hole_.first && hole_.first < hole_.second ? hole_.first : content_.size();
  }
  WholeContent Whole() override { return {}; }

 private:
  struct Held {
    uint64_t offset = 0;
    size_t size = 0;
    Done done;
  };
  struct State {
    bool hold = false;
    ReadId next = 0;
    uint64_t reads = 0;
    uint64_t bytes = 0;
    std::map<ReadId, Held> held;
    std::vector<ReadId> cancelled;
  };

  void Answer(const Held& read) const {
    const uint64_t begin = std::min<uint64_t>(read.offset, content_.size());
    const uint64_t size = std::min<uint64_t>(read.size, content_.size() - begin);
    read.done(ByteSpan(content_).subspan(begin, size));
  }
  void End(size_t n, const std::optional<Error>& error) {
    std::optional<Held> read;
    state_.With([&](State& s) {
      if (n >= s.held.size()) return;
      const auto it = std::next(s.held.begin(), static_cast<std::ptrdiff_t>(n));
      read = std::move(it->second);
      s.held.erase(it);
    });
    if (!read.has_value()) return;
    if (error.has_value()) return read->done(layerfs::Fail(*error));
    Answer(*read);
  }

  const Bytes content_;
  std::pair<uint64_t, uint64_t> hole_;
  Synchronized<State> state_;
};

}  // namespace layerfs
