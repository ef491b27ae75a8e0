// SPDX-License-Identifier: Apache-2.0
// LayerFile against a vector of bytes: random changes and reads whose lower reads end in random
// order, some of them badly, with reopening in between.
#include <linux/falloc.h>

#include <functional>
#include <random>

#include "tests/fs/layer_file_fixture.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxFileBytes = 24 * kPage;

// A change as the model makes it. Changes that overlap are made in the order in which they came.
struct ModelChange {
  std::function<void(Bytes&)> apply;
  AnswerPtr<size_t> answer;
  bool failed() const { return answer->done() && !answer->ok(); }
};

struct ModelRead {
  uint64_t offset = 0;
  AnswerPtr<Bytes> answer;
  std::vector<bool> seen;  // of the changes so far: answered well before the read was asked for
  bool checked = false;
};

class Model {
 public:
  explicit Model(uint64_t seed)
      : random_(seed), t_(LowerContent(seed)), settled_(t_.lower->content()) {
    t_.lower->SetHole(4 * kPage, 6 * kPage);
    t_.CopyUp();
    t_.Open();
  }

  void Step() {
    switch (Pick(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return Write();
      case 4:
        return Append();
      case 5:
        return Truncate();
      case 6:
        return Allocate();
      case 7:
      case 8:
      case 9:
        return Read();
      case 10:
      case 11:
      case 12:
        return EndOneRead();
      case 13:
        t_.lower->Hold(Pick(4) != 0);
        return;
      case 14:
        if (Pick(8) == 0) (void)t_.MakeWhole();
        return;
      default:
        if (Pick(6) == 0) Settle();
    }
  }

  // Everything is answered, then compared: read, seek, reopened.
  void Settle() {
    t_.lower->Hold(false);
    t_.lower->ReleaseAll();
    CheckReads();
    for (const ModelChange& change : changes_) {
      ASSERT_TRUE(change.answer->done());
      if (change.answer->ok()) change.apply(settled_);
    }
    changes_.clear();
    reads_.clear();
    ASSERT_EQ(t_.Content(), settled_);
    CheckSeek();
    if (Pick(2) == 0) {
      if (Pick(2) == 0) {
        ASSERT_TRUE(t_.file->Sync(Pick(2) == 0).has_value());
      }
      t_.Open();
      ASSERT_EQ(t_.Content(), settled_);
    }
    // Begin anew now and then: long runs end with a whole file.
    if (t_.file->whole() && Pick(4) == 0) Renew();
  }

 private:
  static Bytes LowerContent(uint64_t seed) {
    Bytes content = Pattern(10 * kPage + seed % 5000, static_cast<uint8_t>(seed));
    std::fill(content.begin() + 4 * kPage, content.begin() + 6 * kPage, uint8_t{0});
    return content;
  }
  void Renew() {
    t_.file.reset();
    std::filesystem::remove(t_.upper_path());
    std::filesystem::remove_all(t_.directory + "/partial");
    std::filesystem::create_directory(t_.directory + "/partial");
    t_.CopyUp();
    t_.Open();
    settled_ = t_.lower->content();
  }

  uint64_t Pick(uint64_t below) { return random_() % below; }
  // Often at or near a page's border.
  uint64_t Place() {
    const uint64_t page = Pick(kMaxFileBytes / kPage - 4) * kPage;
    switch (Pick(4)) {
      case 0:
        return page;
      case 1:
        return page + Pick(3) + 1;
      case 2:
        return page + kPage - 1 - Pick(3);
      default:
        return page + Pick(kPage);
    }
  }
  uint64_t Length() {
    return Pick(3) == 0 ? kPage * (1 + Pick(3)) : 1 + Pick(Pick(2) == 0 ? 100 : 3 * kPage);
  }
  Bytes Data() { return Pattern(Length(), static_cast<uint8_t>(Pick(255))); }

  static void Put(Bytes& bytes, uint64_t offset, const Bytes& data) {
    if (bytes.size() < offset + data.size()) bytes.resize(offset + data.size());
    std::ranges::copy(data, bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void Add(std::function<void(Bytes&)> apply, AnswerPtr<size_t> answer) {
    changes_.push_back({std::move(apply), std::move(answer)});
  }

  void Write() {
    const uint64_t offset = Place();
    Bytes data = Data();
    auto answer = t_.Write(offset, data);
    Add([offset, data](Bytes& bytes) { Put(bytes, offset, data); }, answer);
  }
  void Append() {
    // Where that is depends on how the changes before it end: alone.
    Settle();
    if (settled_.size() > kMaxFileBytes) return;
    const Bytes data = Pattern(1 + Pick(200), static_cast<uint8_t>(Pick(255)));
    auto answer = t_.Write(0, data, true);
    Add([data](Bytes& bytes) { Put(bytes, bytes.size(), data); }, answer);
  }
  void Truncate() {
    if (Pick(3) != 0) return;
    const uint64_t size = Pick(10) == 0 ? 0 : Place();
    auto answer = t_.Truncate(size);
    Add([size](Bytes& bytes) { bytes.resize(size); }, answer);
  }
  void Allocate() {
    constexpr int kModes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    const int mode = kModes[Pick(std::size(kModes))];
    const uint64_t offset = Place();
    const uint64_t size = Length();
    auto answer = t_.Allocate(mode, offset, size);
    Add(
        [=](Bytes& bytes) {
          if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && bytes.size() < offset + size)
            bytes.resize(offset + size);
          if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) return;
          for (uint64_t i = offset; i < std::min<uint64_t>(offset + size, bytes.size()); ++i)
            bytes[i] = 0;
        },
        answer);
  }
  void Read() {
    ModelRead read;
    read.offset = Place();
    for (const ModelChange& change : changes_) read.seen.push_back(change.answer->ok());
    read.answer = t_.Read(read.offset, Length());
    reads_.push_back(std::move(read));
    CheckReads();
  }
  void EndOneRead() {
    const size_t held = t_.lower->held();
    if (held == 0) return;
    if (Pick(12) == 0) {
      t_.lower->FailRead(ErrorCode::kNetwork, Pick(held));
    } else {
      t_.lower->Release(Pick(held));
    }
    CheckReads();
  }

  void CheckReads() {
    for (ModelRead& read : reads_) {
      if (read.checked || !read.answer->done()) continue;
      read.checked = true;
      if (read.answer->ok()) CheckRead(read);
    }
  }

  // Each byte is what the changes that were through before the read made it, or what one that was
  // under way made it.
  void CheckRead(const ModelRead& read) {
    const Bytes& got = **read.answer->result;
    Bytes now = settled_;
    std::vector<std::vector<uint8_t>> allowed(got.size());
    const auto at = [&](const Bytes& bytes, uint64_t i) {
      const uint64_t place = read.offset + i;
      return place < bytes.size() ? bytes[place] : uint8_t{0};
    };
    for (uint64_t i = 0; i < got.size(); ++i) allowed[i].push_back(at(now, i));
    for (size_t c = 0; c < changes_.size(); ++c) {
      if (changes_[c].failed()) continue;
      const bool seen = c < read.seen.size() && read.seen[c];
      // Once as it is, once inverted: what it sets is the same both times.
      Bytes inverted = now;
      for (uint8_t& byte : inverted) byte = static_cast<uint8_t>(~byte);
      changes_[c].apply(now);
      changes_[c].apply(inverted);
      for (uint64_t i = 0; i < got.size(); ++i) {
        const bool sets = at(now, i) == at(inverted, i);
        if (!sets) continue;
        if (seen) allowed[i].clear();
        allowed[i].push_back(at(now, i));
      }
    }
    for (uint64_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(std::ranges::count(allowed[i], got[i]) > 0)
          << "byte " << read.offset + i << " is " << int{got[i]};
    }
  }

  void CheckSeek() {
    uint64_t at = 0;
    while (at < settled_.size()) {
      const auto data = t_.file->Seek(at, SEEK_DATA);
      const uint64_t data_at = data.has_value() ? *data : settled_.size();
      ASSERT_GE(data_at, at);
      for (uint64_t i = at; i < data_at; ++i) ASSERT_EQ(settled_[i], 0) << "in a hole at " << i;
      if (data_at >= settled_.size()) break;
      const auto hole = t_.file->Seek(data_at, SEEK_HOLE);
      ASSERT_TRUE(hole.has_value());
      ASSERT_GT(*hole, data_at);
      ASSERT_LE(*hole, settled_.size());
      at = *hole;
    }
  }

  std::mt19937_64 random_;
  LayerFileFixture t_;
  Bytes settled_;  // without changes_
  std::vector<ModelChange> changes_;
  std::vector<ModelRead> reads_;
};

class LayerFileModelTest : public testing::TestWithParam<uint64_t> {};

TEST_P(LayerFileModelTest, BehavesAsAVectorOfBytes) {
  Model model(GetParam());
  constexpr int kSteps = 2000;
  for (int step = 0; step < kSteps; ++step) {
    model.Step();
    if (HasFatalFailure()) FAIL() << "seed " << GetParam() << ", step " << step;
  }
  model.Settle();
}

INSTANTIATE_TEST_SUITE_P(Seeds, LayerFileModelTest, testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace layerfs
