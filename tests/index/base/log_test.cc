// SPDX-License-Identifier: Apache-2.0
#include "index/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "index/base/file.h"
#include "index/base/json.h"

namespace layerfs {
namespace {

class LogTest : public testing::Test {
 protected:
  void TearDown() override {
    ASSERT_TRUE(ConfigureLog({}).has_value());
    ::unlink(path_.c_str());
  }
  std::string Text() const {
    const Result<Bytes> contents = ReadFile(path_, 1 << 20);
    return contents.has_value() ? std::string(AsText(*contents)) : contents.error().context;
  }
  const std::string path_ =
      testing::TempDir() + "layerfs-log-test." + std::to_string(::getpid()) + ".log";
};

TEST_F(LogTest, WritesToTheFileFromItsLevelOn) {
  ASSERT_TRUE(ConfigureLog({.level = LogLevel::kInfo, .path = path_}).has_value());
  EXPECT_TRUE(LogEnabled(LogLevel::kInfo));
  EXPECT_FALSE(LogEnabled(LogLevel::kDebug));
  LogInfo("kept {} %s");  // not a format
  LogDebug("left out");
  LogError("also kept", {{"blob", "not shown in text"}});
  const std::string text = Text();
  EXPECT_THAT(text, testing::HasSubstr("info kept {} %s\n"));
  EXPECT_THAT(text, testing::HasSubstr("error also kept\n"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("left out")));
}

TEST_F(LogTest, ALineOfJsonHasTheMessageAndTheFieldsWhateverTheirBytes) {
  ASSERT_TRUE(ConfigureLog({.format = LogFormat::kJson, .path = path_}).has_value());
  LogWarning("a \"quoted\"\nline", {{"image", "docker://a/b"}, {"reader", "file caf\xe9"}});
  LogInfo("left out");
  std::string text = Text();
  ASSERT_THAT(text, testing::EndsWith("\n"));
  text.pop_back();
  const Result<Json> line = ParseJson(AsBytes(text), text.size());
  ASSERT_TRUE(line.has_value()) << line.error().context << ": " << text;
  EXPECT_EQ((*line)["level"], "warning");
  EXPECT_EQ((*line)["message"], "a \"quoted\"\nline");
  EXPECT_EQ((*line)["image"], "docker://a/b");
  EXPECT_EQ((*line)["reader"], "file caf\xef\xbf\xbd");
  EXPECT_THAT((*line)["time"].get<std::string>(),
              testing::MatchesRegex("20..-..-..T..:..:..\\....Z"));
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsAnError) {
  const Status status = ConfigureLog({.path = "/proc/no/such/file"});
  ASSERT_FALSE(status.has_value());
  EXPECT_THAT(status.error().context, testing::HasSubstr("/proc/no/such/file"));
}

}  // namespace
}  // namespace layerfs
