// SPDX-License-Identifier: Apache-2.0
#include "index/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "index/base/file.h"

namespace layerfs {
namespace {

TEST(Log, WritesToTheFileFromItsLevelOn) {
  const std::string path =
      testing::TempDir() + "layerfs-log-test." + std::to_string(::getpid()) + ".log";
  ASSERT_TRUE(ConfigureLog(LogLevel::kInfo, path).has_value());
  EXPECT_TRUE(LogEnabled(LogLevel::kInfo));
  EXPECT_FALSE(LogEnabled(LogLevel::kDebug));
  LogInfo("kept {} %s");  // not a format
  LogDebug("left out");
  LogError("also kept");
  const Result<Bytes> contents = ReadFile(path, 1 << 20);
  ::unlink(path.c_str());
  ASSERT_TRUE(contents.has_value());
  const std::string text(AsText(*contents));
  EXPECT_THAT(text, testing::HasSubstr("info kept {} %s\n"));
  EXPECT_THAT(text, testing::HasSubstr("error also kept\n"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("left out")));
}

TEST(Log, AFileThatCannotBeOpenedIsAnError) {
  const Status status = ConfigureLog(LogLevel::kInfo, "/proc/no/such/file");
  ASSERT_FALSE(status.has_value());
  EXPECT_THAT(status.error().context, testing::HasSubstr("/proc/no/such/file"));
}

}  // namespace
}  // namespace layerfs
