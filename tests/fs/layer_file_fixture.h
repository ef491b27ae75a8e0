// SPDX-License-Identifier: Apache-2.0
// A partial file in a directory of its own, over a FakeLowerFile, and calls that wait for nothing.
// One thread at a time.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "fs/layer_file.h"
#include "tests/fs/fake_lower_file.h"

namespace layerfs {

inline constexpr uint64_t kPage = kPartialPageBytes;

// Bytes that tell their place: none is zero.
inline Bytes Pattern(uint64_t size, uint8_t seed = 0) {
  Bytes bytes(size);
  for (uint64_t i = 0; i < size; ++i)
    bytes[i] = static_cast<uint8_t>(1 + (i * 7 + i / kPage * 13 + seed) % 255);
  return bytes;
}

// What a call was answered with, when it was.
template <typename T>
struct Answered {
  std::optional<Result<T>> result;
  bool done() const { return result.has_value(); }
  bool ok() const { return done() && result->has_value(); }
  ErrorCode code() const { return result->error().code; }
};
template <typename T>
using AnswerPtr = std::shared_ptr<Answered<T>>;

class LayerFileFixture {
 public:
  explicit LayerFileFixture(Bytes content)
      : lower(std::make_shared<FakeLowerFile>(std::move(content))) {
    // user.* xattrs are not everywhere; the build tree's file system has them.
    std::string name = (std::filesystem::current_path() / "layer-file-XXXXXX").string();
    directory = mkdtemp(name.data());
    std::filesystem::create_directory(directory + "/partial");
  }
  ~LayerFileFixture() {
    file.reset();
    lower->ReleaseAll();
    std::filesystem::remove_all(directory);
  }

  std::shared_ptr<PartialMaps> Maps() const {
    auto fd = OpenFile(directory + "/partial", O_RDONLY | O_DIRECTORY);
    return *PartialMaps::Open(std::move(*fd), {"user.layerfs.partial"});
  }
  LowerIdentity identity() const { return {7, lower->size()}; }
  std::string upper_path() const { return directory + "/upper"; }

  // The upper file as a copy-up leaves it.
  void CopyUp() {
    auto upper = OpenFile(upper_path(), O_RDWR | O_CREAT | O_EXCL);
    ASSERT_TRUE(upper.has_value()) << upper.error().context;
    ASSERT_EQ(ftruncate(upper->get(), static_cast<off_t>(lower->size())), 0);
    ASSERT_TRUE(Maps()->Attach(upper->get(), identity()).has_value());
  }
  Status TryOpen() {
    file.reset();
    LayerFile::Parts parts;
    LAYERFS_TRY(upper, OpenFile(upper_path(), O_RDWR));
    parts.maps = Maps();
    LAYERFS_TRY(map, parts.maps->Load(upper.get(), identity()));
    parts.map = map;
    parts.upper = std::move(upper);
    parts.lower = lower;
    LAYERFS_TRY(opened, LayerFile::Open(std::move(parts), interrupts));
    file = opened;
    return {};
  }
  void Open() {
    const Status opened = TryOpen();
    ASSERT_TRUE(opened.has_value()) << opened.error().context;
  }

  AnswerPtr<Bytes> Read(uint64_t offset, size_t size, uint64_t token = 0) const {
    auto answer = std::make_shared<Answered<Bytes>>();
    file->Read(token, offset, size, [answer](Result<ByteSpan> bytes) {
      EXPECT_FALSE(answer->done());
      if (bytes.has_value()) {
        answer->result = Bytes(bytes->begin(), bytes->end());
      } else {
        answer->result = Fail(bytes.error());
      }
    });
    return answer;
  }
  AnswerPtr<size_t> Write(uint64_t offset, const Bytes& data, bool append = false,
                          uint64_t token = 0) const {
    auto answer = std::make_shared<Answered<size_t>>();
    // The data are valid during the call only: they are gone afterwards.
    auto passing = std::make_unique<Bytes>(data);
    file->Write(token, offset, *passing, {.append = append}, Counting(answer));
    return answer;
  }
  AnswerPtr<size_t> Truncate(uint64_t size, uint64_t token = 0) const {
    auto answer = std::make_shared<Answered<size_t>>();
    file->Truncate(token, size, Plain(answer));
    return answer;
  }
  AnswerPtr<size_t> Allocate(int mode, uint64_t offset, uint64_t size) const {
    auto answer = std::make_shared<Answered<size_t>>();
    file->Allocate(0, mode, offset, size, Plain(answer));
    return answer;
  }
  AnswerPtr<size_t> MakeWhole(uint64_t token = 0) const {
    auto answer = std::make_shared<Answered<size_t>>();
    file->MakeWhole(token, Plain(answer));
    return answer;
  }
  // All of it, as it is when nothing is held.
  Bytes Content() const {
    const auto answer = Read(0, size_t{1} << 30);
    EXPECT_TRUE(answer->ok());
    return answer->ok() ? **answer->result : Bytes();
  }
  // Makes a map, and closes the file.
  void WriteOnePage() {
    Open();
    ASSERT_TRUE(Write(0, Bytes(kPage, 1))->ok());
    file.reset();
  }
  uint64_t Size() const { return *FileSize(file->fd()); }
  size_t MapCount() const {
    const std::filesystem::directory_iterator maps(directory + "/partial");
    return static_cast<size_t>(std::distance(begin(maps), end(maps)));
  }
  bool HasXattr() const {
    return getxattr(upper_path().c_str(), "user.layerfs.partial", nullptr, 0) >= 0;
  }

  static LayerFile::CountDone Counting(const AnswerPtr<size_t>& answer) {
    return [answer](Result<size_t> count) {
      EXPECT_FALSE(answer->done());
      answer->result = std::move(count);
    };
  }
  static LayerFile::Done Plain(const AnswerPtr<size_t>& answer) {
    return [answer](const Status& status) {
      EXPECT_FALSE(answer->done());
      if (status.has_value()) {
        answer->result = Result<size_t>(0);
      } else {
        answer->result = Result<size_t>(Fail(status.error()));
      }
    };
  }

  std::string directory;
  Interrupts interrupts;
  std::shared_ptr<FakeLowerFile> lower;
  std::shared_ptr<LayerFile> file;
};

}  // namespace layerfs
