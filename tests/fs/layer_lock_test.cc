// SPDX-License-Identifier: Apache-2.0
#include "fs/layer_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace layerfs {
namespace {

// Who comes second is refused at once.
constexpr LayerLock::Patience kNone{std::chrono::milliseconds(0), std::chrono::milliseconds(0)};

class LayerLockTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "layer-lock-" + std::to_string(::getpid());
    std::filesystem::create_directory(path_);
    fd_ = OpenFile(path_, O_RDONLY | O_DIRECTORY).value();
  }
  void TearDown() override { std::filesystem::remove_all(path_); }

  Result<LayerLock> Take() { return LayerLock::Take(fd_.get(), path_, kNone); }

  std::string path_;
  UniqueFd fd_;
};

TEST_F(LayerLockTest, IsFreeAgainAfterItsHolder) {
  {
    ASSERT_TRUE(Take().has_value());
  }
  EXPECT_TRUE(Take().has_value());
}

TEST_F(LayerLockTest, CommandThatHoldsItIsNotNamed) {
  const auto holder = Take();
  const auto second = Take();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().context.find(path_), std::string::npos);
  EXPECT_NE(second.error().context.find("another mount or command"), std::string::npos);
}

TEST_F(LayerLockTest, HolderWhoseMountIsGoneIsNamedWithWhatKeepsIt) {
  const auto holder = Take();
  ASSERT_TRUE(holder->NoteMount("/mnt/one two").has_value());
  const auto second = Take();
  ASSERT_FALSE(second.has_value());
  const std::string& text = second.error().context;
  EXPECT_NE(text.find("process " + std::to_string(::getpid()) + ", mounted on /mnt/one two"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("another mount namespace"), std::string::npos) << text;
}

TEST_F(LayerLockTest, NextHolderForgetsTheMount) {
  {
    const auto holder = Take();
    ASSERT_TRUE(holder->NoteMount("/mnt/a/longer/path").has_value());
  }
  const auto next = Take();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(std::filesystem::file_size(path_ + "/lock"), 0U);
  const auto second = Take();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().context.find("/mnt/a"), std::string::npos);
}

}  // namespace
}  // namespace layerfs
