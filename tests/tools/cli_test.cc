// SPDX-License-Identifier: Apache-2.0
// The command line as a whole: help that fits a terminal, and what is said of wrong usage.
#include "tools/cli.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tools/command.h"
#include "tools/text.h"

namespace layerfs {
namespace {

struct Said {
  int status = 0;
  std::string out;
  std::string err;
};

std::string Take(std::FILE* file) {
  std::string text;
  static_cast<void>(std::fseek(file, 0, SEEK_SET));
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  return text;
}

Said RunLayerfs(std::vector<std::string> arguments) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::tmpfile(), std::fclose);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> err(std::tmpfile(), std::fclose);
  CommandIo io;
  io.out = out.get();
  io.err = err.get();
  const int status = RunCli(std::move(arguments), io);
  return {status, Take(out.get()), Take(err.get())};
}

// The names in the list of commands of a help text.
std::vector<std::string> CommandsIn(const std::string& help) {
  std::vector<std::string> names;
  std::istringstream lines(help);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(' ')) {
      inside = line == "COMMANDS";
    } else if (inside && line.size() > 2 && line[2] != ' ') {
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
    }
  }
  return names;
}

// The help of a command and of all commands below it.
void CollectHelp(const std::vector<std::string>& command, std::vector<std::string>& texts) {
  std::vector<std::string> arguments = command;
  arguments.emplace_back("--help");
  const Said said = RunLayerfs(arguments);
  ASSERT_EQ(said.status, 0) << said.err;
  texts.push_back(said.out);
  for (const std::string& name : CommandsIn(said.out)) {
    std::vector<std::string> below = command;
    below.push_back(name);
    CollectHelp(below, texts);
  }
}

TEST(CliTest, HelpFitsATerminalOfEightyColumns) {
  std::vector<std::string> texts;
  CollectHelp({}, texts);
  EXPECT_GT(texts.size(), 20U);
  for (const std::string& text : texts) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(TextColumns(line), 80U) << line;
  }
}

TEST(CliTest, HelpKeepsEveryWord) {
  const std::string help = FillText(RunLayerfs({"convert", "--help"}).out, 0, SIZE_MAX);
  for (const char* words : {"SOURCE", "--platform OS/ARCH[/VARIANT]", "may be repeated",
                            "a failure leaves nothing", "--record --ready 'listening on' oci:"}) {
    EXPECT_NE(help.find(words), std::string::npos) << words << " in\n" << help;
  }
}

TEST(CliTest, AChunkSizeOutOfBoundsIsMetWithBothBounds) {
  for (const char* size : {"1", "5000", "9M", "16M", "1G"}) {
    const Said said = RunLayerfs({"convert", "--chunk-size", size, "oci:/none:a", "oci:/none:b"});
    EXPECT_EQ(said.status, 2) << size;
    EXPECT_NE(said.err.find("--chunk-size: " + std::string(size) +
                            " is not a multiple of 4K from 4K to 8M"),
              std::string::npos)
        << said.err;
  }
  const std::string help = FillText(RunLayerfs({"convert", "--help"}).out, 0, SIZE_MAX);
  EXPECT_NE(help.find("from 4K to 8M (default 256K)"), std::string::npos) << help;
}

TEST(CliTest, AMissingCommandIsSaidAlikeEverywhere) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"cache"}, {"trace"}, {"bench"}, {"cache", "-v"}}) {
    const Said said = RunLayerfs(arguments);
    EXPECT_EQ(said.status, 2);
    EXPECT_NE(said.err.find(": a command is missing\n"), std::string::npos) << said.err;
  }
}

TEST(CliTest, ATypingErrorIsMetWithTheRightWord) {
  EXPECT_NE(RunLayerfs({"xyzzy"}).err.find("\"xyzzy\" is not known"), std::string::npos);
  EXPECT_NE(RunLayerfs({"cache", "xyzzy"}).err.find("\"xyzzy\" is not known"), std::string::npos);
  EXPECT_NE(RunLayerfs({"-v", "xyzzy"}).err.find("\"xyzzy\" is not known"), std::string::npos);
  EXPECT_NE(RunLayerfs({"--xyzzy", "a"}).err.find("\"--xyzzy\" is not known"), std::string::npos);
  EXPECT_NE(RunLayerfs({"conver"}).err.find("did you mean \"convert\"?"), std::string::npos);
  EXPECT_NE(RunLayerfs({"cache", "sta"}).err.find("did you mean \"stat\"?"), std::string::npos);
}

TEST(CliTest, WordsFillLines) {
  EXPECT_EQ(FillText("  one two\n  three", 2, 9), "one two\n  three");
  EXPECT_EQ(FillText("one two three", 2, 80), "one two three");
  EXPECT_EQ(FillText("… …", 0, 3), "… …");
  EXPECT_EQ(FillText("a overlong b", 0, 4), "a\noverlong\nb");
  EXPECT_EQ(FillText(" \n ", 2, 80), "");
}

}  // namespace
}  // namespace layerfs
