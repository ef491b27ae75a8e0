// SPDX-License-Identifier: Apache-2.0
// The network model with real sockets and in real time, so with generous bounds; the exact
// arithmetic is link_shaper_test's.
#include "tools/netmodel/network_model.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "index/base/file.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// Answers each eight bytes, a number, with so many bytes.
class ByteServer {
 public:
  ByteServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_.get(), 64), 0);
    EXPECT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    target_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~ByteServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
  }
  const std::string& target() const { return target_; }

 private:
  void Accept() {
    while (true) {
      const int fd = accept(listener_.get(), nullptr, nullptr);
      if (fd < 0) return;
      threads_.emplace_back([fd = UniqueFd(fd)] { Serve(fd.get()); });
    }
  }
  static void Serve(int fd) {
    const std::string bytes(1 << 20, 'x');
    uint64_t wanted = 0;
    while (recv(fd, &wanted, sizeof wanted, MSG_WAITALL) == sizeof wanted) {
      while (wanted > 0) {
        const ssize_t sent =
            send(fd, bytes.data(), std::min<uint64_t>(wanted, bytes.size()), MSG_NOSIGNAL);
        if (sent <= 0) return;
        wanted -= static_cast<uint64_t>(sent);
      }
    }
  }
  UniqueFd listener_;
  std::string target_;
  std::thread acceptor_;
  std::vector<std::thread> threads_;
};

class Client {
 public:
  explicit Client(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    const sockaddr_in address = Loopback(port);
    connected_ =
        connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  // What came, and 0 or the errno of its end.
  struct Got {
    uint64_t bytes = 0;
    int error = 0;
    double seconds = 0;
  };
  Got Get(uint64_t wanted) {
    const auto start = std::chrono::steady_clock::now();
    Got got;
    if (send(fd_.get(), &wanted, sizeof wanted, MSG_NOSIGNAL) < 0) got.error = errno;
    std::string buffer(1 << 18, 0);
    while (got.error == 0 && got.bytes < wanted) {
      const ssize_t size = recv(fd_.get(), buffer.data(), buffer.size(), 0);
      if (size == 0) break;
      if (size < 0) got.error = errno;
      if (size > 0) got.bytes += static_cast<uint64_t>(size);
    }
    got.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return got;
  }
  bool HasSomething(milliseconds within) const {
    pollfd wait{fd_.get(), POLLIN, 0};
    return poll(&wait, 1, static_cast<int>(within.count())) == 1;
  }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  bool connected_ = false;
};

class NetworkModelTest : public ::testing::Test {
 protected:
  void Start(const std::string& profile) {
    auto model = NetworkModel::Start(*ParseNetworkProfile(profile));
    ASSERT_TRUE(model.has_value()) << model.error().context;
    model_ = std::move(*model);
    port_ = *model_->AddUpstream(server_.target());
  }
  // Statistics are published by the model's thread a moment after the bytes.
  template <typename Holds>
  bool Eventually(Holds holds) const {
    for (int i = 0; i < 200; ++i) {
      if (holds(model_->Statistics())) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
  ByteServer server_;
  std::unique_ptr<NetworkModel> model_;
  int port_ = 0;
};

TEST_F(NetworkModelTest, FirstExchangeTakesTwoRoundTripsTheNextOne) {
  Start("40ms,unshaped");
  Client client(port_);
  const double first = client.Get(1).seconds;
  EXPECT_GE(first, 0.078);
  EXPECT_LT(first, 0.2);
  const double next = client.Get(1).seconds;
  EXPECT_GE(next, 0.039);
  EXPECT_LT(next, 0.1);
}

TEST_F(NetworkModelTest, AllConnectionsShareTheRateEqually) {
  Start("2ms,80Mbit");
  constexpr uint64_t kEach = 1'250'000;
  std::vector<std::thread> threads;
  std::array<double, 4> seconds{};
  for (double& own : seconds) {
    threads.emplace_back([&own, this] { own = Client(port_).Get(kEach).seconds; });
  }
  for (std::thread& thread : threads) thread.join();
  // 5 MB at 10 MB/s; each takes about the whole time, since none is preferred.
  for (const double own : seconds) {
    EXPECT_GT(own, 0.4);
    EXPECT_LT(own, 0.75);
  }
  EXPECT_GE(*std::max_element(seconds.begin(), seconds.end()), 0.495);
}

TEST_F(NetworkModelTest, UnshapedLinkIsFast) {
  Start("lan");
  Client client(port_);
  const auto got = client.Get(256 << 20);
  EXPECT_EQ(got.bytes, 256U << 20);
  EXPECT_LT(got.seconds, 4);  // half a gigabit: sanitizers, a busy machine
}

TEST_F(NetworkModelTest, BreakIsAResetInTheMiddle) {
  Start("1ms,unshaped,break@2+5000");
  Client first(port_);
  EXPECT_EQ(first.Get(10'000).bytes, 10'000U);
  const auto broken = first.Get(100'000);
  EXPECT_LE(broken.bytes, 5000U);
  EXPECT_EQ(broken.error, ECONNRESET);
  EXPECT_EQ(Client(port_).Get(10'000).bytes, 10'000U);
  EXPECT_EQ(model_->Statistics().broken, 1U);
}

TEST_F(NetworkModelTest, TruncationEndsInOrderAndTooEarly) {
  Start("1ms,unshaped,truncate@1+5000");
  Client client(port_);
  const auto cut = client.Get(100'000);
  EXPECT_EQ(cut.bytes, 5000U);
  EXPECT_EQ(cut.error, 0);
}

TEST_F(NetworkModelTest, StallPausesAndGoesOn) {
  Start("1ms,unshaped,stall@1+5000:150ms");
  Client client(port_);
  const auto got = client.Get(100'000);
  EXPECT_EQ(got.bytes, 100'000U);
  EXPECT_GE(got.seconds, 0.15);
  EXPECT_EQ(model_->Statistics().stalled, 1U);
}

TEST_F(NetworkModelTest, RefusesBreaksAndComesBackAtTheSamePort) {
  Start("1ms,unshaped");
  Client before(port_);
  EXPECT_EQ(before.Get(10).bytes, 10U);
  model_->SetReach(NetworkModel::Reach::kRefused);
  ASSERT_TRUE(Eventually([](const NetworkStatistics& now) { return now.open == 0; }));
  EXPECT_NE(before.Get(10).error, 0);
  EXPECT_FALSE(Client(port_).connected());
  model_->SetReach(NetworkModel::Reach::kUp);
  Client after(port_);
  for (int i = 0; i < 200 && !after.connected(); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    after = Client(port_);
  }
  EXPECT_EQ(after.Get(10).bytes, 10U);
}

TEST_F(NetworkModelTest, SilenceHoldsWhatIsUnderWayAndLetsItGo) {
  Start("1ms,unshaped");
  Client client(port_);
  EXPECT_EQ(client.Get(10).bytes, 10U);
  model_->SetReach(NetworkModel::Reach::kSilent);
  const uint64_t wanted = 10;
  ASSERT_EQ(send(client.fd(), &wanted, sizeof wanted, 0), 8);
  EXPECT_FALSE(client.HasSomething(milliseconds(100)));
  model_->SetReach(NetworkModel::Reach::kUp);
  EXPECT_TRUE(client.HasSomething(milliseconds(5000)));
}

TEST_F(NetworkModelTest, ClientThatLeavesIsForgotten) {
  Start("20ms,8Mbit");
  {
    Client client(port_);
    const uint64_t wanted = 100 << 20;
    ASSERT_EQ(send(client.fd(), &wanted, sizeof wanted, 0), 8);
    ASSERT_TRUE(client.HasSomething(milliseconds(5000)));
  }
  EXPECT_TRUE(Eventually([](const NetworkStatistics& now) { return now.open == 0; }));
  EXPECT_EQ(Client(port_).Get(10).bytes, 10U);
}

TEST_F(NetworkModelTest, ServerThatIsNotThereEndsTheConnection) {
  auto model = NetworkModel::Start(*ParseNetworkProfile("1ms,unshaped"));
  const int port = *(*model)->AddUpstream("127.0.0.1:1");
  const auto got = Client(port).Get(10);
  EXPECT_EQ(got.bytes, 0U);
}

TEST_F(NetworkModelTest, TargetsThatMakeNoSenseAreNamed) {
  Start("1ms,unshaped");
  for (const char* target : {"nowhere", "unix:", "127.0.0.1:port"}) {
    EXPECT_FALSE(model_->AddUpstream(target).has_value()) << target;
  }
}

TEST_F(NetworkModelTest, CountsWhatPassed) {
  Start("1ms,unshaped");
  Client client(port_);
  client.Get(1000);
  client.Get(2000);
  EXPECT_TRUE(Eventually([](const NetworkStatistics& now) {
    return now.down_bytes == 3000 && now.up_bytes == 16 && now.exchanges == 2 &&
           now.connections == 1 && now.open == 1 && now.last_byte >= now.first_byte &&
           now.first_byte > TimePoint{};
  }));
}

}  // namespace
}  // namespace layerfs
