// SPDX-License-Identifier: Apache-2.0
#include "tools/status_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace layerfs {
namespace {

using std::chrono::milliseconds;

bool HappensWithin(milliseconds patience, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

UniqueFd ConnectTo(const std::string& path) {
  UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  return client;
}

class StatusServerTest : public testing::Test {
 protected:
  const std::string socket_ = testing::TempDir() + "status." + std::to_string(::getpid());
  std::atomic<int> chores_{0};
  StatusServer server_{[](std::string_view) -> std::optional<StatusPage> {
    return StatusPage{"text/plain", "page"};
  }};
};

TEST_F(StatusServerTest, ChoreIsDoneInTimeWhilePagesAreAskedForAllTheTime) {
  server_.SetChore([this]() -> std::optional<milliseconds> {
    ++chores_;
    return milliseconds(100);
  });
  ASSERT_TRUE(server_.Listen("unix:" + socket_).has_value());
  ASSERT_TRUE(server_.Start().has_value());
  EXPECT_TRUE(HappensWithin(milliseconds(10'000), [this] {
    EXPECT_TRUE(FetchStatusPage(socket_, "/").has_value());
    return chores_ >= 4;
  }));
}

TEST_F(StatusServerTest, AnswersWhereThereIsNoDescriptorToSpare) {
  ASSERT_TRUE(server_.Listen("unix:" + socket_).has_value());
  ASSERT_TRUE(server_.Start().has_value());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // What is open stays open, and nothing more can be opened but by who has one to give up.
  const UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  std::vector<UniqueFd> all;
  rlimit few = before;
  few.rlim_cur = 64;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  for (int fd = ::dup(client.get()); fd >= 0; fd = ::dup(client.get())) all.emplace_back(fd);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_.copy(address.sun_path, socket_.size());
  EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  const timeval patience{5, 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  EXPECT_EQ(::send(client.get(), "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
  char answer[64] = {};
  EXPECT_GT(::recv(client.get(), answer, sizeof answer - 1, 0), 0);
  EXPECT_TRUE(std::string_view(answer).starts_with("HTTP/1.0 200")) << answer;
  all.clear();
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(StatusServerTest, EndsAtOnceWhileAClientIsStillAsking) {
  std::optional<StatusServer> server;
  std::atomic<int> asked{0};
  server.emplace([&asked](std::string_view) -> std::optional<StatusPage> {
    ++asked;
    return StatusPage{"text/plain", std::string(size_t{8} << 20, 'x')};
  });
  ASSERT_TRUE(server->Listen("unix:" + socket_).has_value());
  ASSERT_TRUE(server->Start().has_value());
  // Asks, and does not take the answer: the server is sending it when it is told to end.
  const UniqueFd client = ConnectTo(socket_);
  ASSERT_EQ(::send(client.get(), "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
  ASSERT_TRUE(HappensWithin(milliseconds(10'000), [&] { return asked == 1; }));
  const auto begin = std::chrono::steady_clock::now();
  server.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(700));
}

TEST_F(StatusServerTest, ClientThatDribblesItsRequestIsLetGo) {
  ASSERT_TRUE(server_.Listen("unix:" + socket_).has_value());
  ASSERT_TRUE(server_.Start().has_value());
  const UniqueFd client = ConnectTo(socket_);
  std::atomic<bool> done{false};
  std::thread dribble([&] {
    while (!done && ::send(client.get(), "G", 1, MSG_NOSIGNAL) == 1) {
      std::this_thread::sleep_for(milliseconds(50));
    }
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(FetchStatusPage(socket_, "/").has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(4'000));
  done = true;
  dribble.join();
}

// A daemon leaves the directory that its words are from.
TEST_F(StatusServerTest, RelativeSocketIsRemovedFromAnotherDirectory) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(testing::TempDir());
  const std::string name = std::filesystem::path(socket_).filename();
  std::optional<StatusServer> server;
  server.emplace([](std::string_view) { return std::nullopt; });
  EXPECT_TRUE(server->Listen("unix:" + name).has_value());
  EXPECT_TRUE(std::filesystem::exists(socket_));
  std::filesystem::current_path("/");
  server.reset();
  EXPECT_FALSE(std::filesystem::exists(socket_));
  std::filesystem::current_path(before);
}

TEST_F(StatusServerTest, ChoreThatNamesNoTimeIsDoneAgainWhenNudged) {
  server_.SetChore([this]() -> std::optional<milliseconds> {
    ++chores_;
    return std::nullopt;
  });
  ASSERT_TRUE(server_.Start().has_value());
  EXPECT_TRUE(HappensWithin(milliseconds(10'000), [this] { return chores_ == 1; }));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(chores_, 1);
  server_.Nudge();
  EXPECT_TRUE(HappensWithin(milliseconds(10'000), [this] { return chores_ == 2; }));
}

}  // namespace
}  // namespace layerfs
