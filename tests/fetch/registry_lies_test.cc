// SPDX-License-Identifier: Apache-2.0
// Servers that break HTTP itself, that lead elsewhere, or that never come to an end: through
// everything that a read goes through, as in registry_faults_test. The outcome is every byte or a
// clear error by the deadline, in bounded memory.
#include <gmock/gmock.h>

#include "tests/fetch/registry_faults.h"
#include "tests/fetch/test_tls.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

using Change = std::function<void(FakeResponse&)>;

FaultyRegistry::Spoil First(int count, const Change& change) {
  return [count, change](int n, const FakeRequest&, FakeResponse right) {
    if (n <= count) change(right);
    return right;
  };
}
Change Raw(const std::string& bytes) {
  return [bytes](FakeResponse& answer) { answer = {.status = 0, .preamble = bytes}; };
}
Change Header(const std::string& name, const std::string& value) {
  return [name, value](FakeResponse& answer) { answer.headers.emplace_back(name, value); };
}
Change Status(int status) {
  return [status](FakeResponse& answer) { answer = {.status = status}; };
}

// What memory the process has had at most, in bytes.
uint64_t PeakMemory() {
  const std::string status = TempDir::Read("/proc/self/status");
  const size_t at = status.find("VmHWM:");
  return at == std::string::npos ? 0 : std::stoull(status.substr(at + 6)) << 10;
}

// The first answers are spoilt so, the others are right.
struct Lie {
  const char* name;
  Change change;
  int answers = 3;
};
std::ostream& operator<<(std::ostream& out, const Lie& lie) { return out << lie.name; }

class PassingLieTest : public RegistryFaultTest, public testing::WithParamInterface<Lie> {};

TEST_P(PassingLieTest, EveryByteIsRight) {
  const uint64_t before = PeakMemory();
  registry_->spoil = First(GetParam().answers, GetParam().change);
  Connect();
  ExpectAllRight();
  ExpectManners();
  EXPECT_LT(PeakMemory() - before, uint64_t{256} << 20);
  scheduler_.reset();
  context_->Shutdown();
  registry_->server().Stop();
}

constexpr const char* kHints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
constexpr int kForEver = 1 << 30;

INSTANTIATE_TEST_SUITE_P(
    Table, PassingLieTest,
    testing::Values(
        Lie{"HintsBeforeTheAnswer",
            [](FakeResponse& answer) {
              for (int i = 0; i < 20; ++i) answer.preamble += kHints;
            },
            kForEver},
        Lie{"ContinueThatNobodyAskedFor",
            [](FakeResponse& answer) { answer.preamble = "HTTP/1.1 100 Continue\r\n\r\n"; },
            kForEver},
        Lie{"HintsWithoutEnd",
            [](FakeResponse& answer) {
              answer.preamble = kHints;
              answer.preamble_without_end = true;
            }},
        Lie{"HeaderWithoutEnd",
            [](FakeResponse& answer) {
              answer.preamble = "HTTP/1.1 206 Status\r\nX-Padding: " + std::string(1 << 20, 'x');
              answer.preamble_without_end = true;
            }},
        Lie{"HeadThatTrickles",
            [](FakeResponse& answer) { answer.head_byte_delay = milliseconds(50); }, 2},
        Lie{"BodyWithoutEnd",
            [](FakeResponse& answer) {
              answer.without_end = true;
              answer.until_close = true;
            },
            kForEver},
        Lie{"ChunksWithoutEnd",
            [](FakeResponse& answer) {
              answer.without_end = true;
              answer.chunked = true;
            },
            kForEver},
        Lie{"ChunkExtensionWithoutEnd",
            [](FakeResponse& answer) {
              answer.preamble = "HTTP/1.1 206 Status\r\nContent-Range: bytes 0-9/" +
                                std::to_string(Blob().bytes.size()) +
                                "\r\nTransfer-Encoding: chunked\r\n\r\n5;" +
                                std::string(1 << 20, 'x');
              answer.preamble_without_end = true;
            },
            2},
        Lie{"AnotherProtocol", Raw("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")},
        Lie{"OldestProtocol", Raw("<html>It works!</html>")},
        Lie{"NothingButZeros", Raw(std::string(100'000, '\0'))},
        Lie{"LengthBelowNothing", Raw("HTTP/1.1 206 Status\r\nContent-Length: -5\r\n\r\nabc")},
        Lie{"LengthBeyondAllNumbers",
            Raw("HTTP/1.1 206 Status\r\nContent-Length: 99999999999999999999999\r\n\r\nabc")},
        Lie{"TwoLengths", Header("Content-Length", "7")},
        Lie{"ZeroInAHeader", Header("X-Zero", std::string("a\0b", 3))},
        Lie{"ChunkSizeThatIsNone",
            Raw("HTTP/1.1 206 Status\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nabcde\r\n")},
        Lie{"AnswerBeforeTheNextQuestion",
            [](FakeResponse& answer) { answer.body += "HTTP/1.1 200 OK\r\n\r\nsurplus"; },
            kForEver},
        Lie{"EncodingThatIsNone", Header("Content-Encoding", "rot13")},
        Lie{"Status599", Status(599)}, Lie{"Status999", Status(999)}),
    [](const auto& info) { return info.param.name; });

// For ever so, and no way around it.
struct LastingLie {
  const char* name;
  Change change;
  const char* says = "";
};
std::ostream& operator<<(std::ostream& out, const LastingLie& lie) { return out << lie.name; }

class LastingLieTest : public RegistryFaultTest, public testing::WithParamInterface<LastingLie> {};

TEST_P(LastingLieTest, IsAClearErrorByTheDeadlineAndPassesWithTheLie) {
  const uint64_t before = PeakMemory();
  std::atomic<bool> lies{true};
  registry_->spoil = [&](int, const FakeRequest&, FakeResponse right) {
    if (lies) GetParam().change(right);
    return right;
  };
  Connect();
  background_ = FetchClass::kDemand;  // the fill waits for as long as it is told
  const auto start = std::chrono::steady_clock::now();
  const auto error = ReadAll(seconds(2));
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(8));
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->context, HasSubstr("file /bin/app"));
  EXPECT_THAT(error->context, HasSubstr(blob_->digest.ToString()));
  EXPECT_THAT(error->context, HasSubstr(GetParam().says));
  EXPECT_LT(PeakMemory() - before, uint64_t{256} << 20);
  lies = false;
  ExpectAllRight();
  scheduler_.reset();
  context_->Shutdown();
  registry_->server().Stop();
}

INSTANTIATE_TEST_SUITE_P(
    Table, LastingLieTest,
    testing::Values(LastingLie{"RangeThatCannotBe", Status(416), "416"},
                    LastingLie{"NotModified", Status(304), "304"},
                    LastingLie{"NoContent", Status(204), "204"},
                    LastingLie{"AnotherProtocolFromNowOn", Status(101)},
                    LastingLie{"PaymentRequired", Status(402), "402"},
                    LastingLie{"BusyForHours",
                               [](FakeResponse& answer) {
                                 answer = {.status = 429, .headers = {{"Retry-After", "7200"}}};
                               },
                               "429"},
                    LastingLie{"HintsWithoutEnd",
                               [](FakeResponse& answer) {
                                 answer.preamble = kHints;
                                 answer.preamble_without_end = true;
                               }},
                    LastingLie{
                        "HeadThatTrickles",
                        [](FakeResponse& answer) { answer.head_byte_delay = milliseconds(50); }},
                    LastingLie{"RedirectWithoutALocation", Status(307), "307"}),
    [](const auto& info) { return info.param.name; });

struct BadRedirect {
  const char* name;
  const char* location;
  const char* says;
};
std::ostream& operator<<(std::ostream& out, const BadRedirect& row) { return out << row.name; }
class BadRedirectTest : public RegistryFaultTest,
                        public testing::WithParamInterface<BadRedirect> {};

TEST_P(BadRedirectTest, IsAClearErrorByTheDeadline) {
  registry_->SetRedirect(GetParam().location);
  Connect();
  const auto start = std::chrono::steady_clock::now();
  const auto error = ReadAll(seconds(2));
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(8));
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->context, HasSubstr(GetParam().says));
  registry_->SetRedirect("");
  ExpectAllRight();
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadRedirectTest,
    testing::Values(BadRedirect{"ToAFile", "file:///etc/passwd", "neither http nor https"},
                    BadRedirect{"ToAnotherProtocol", "gopher://127.0.0.1/", "neither http"},
                    BadRedirect{"ToAUser", "http://me:it@127.0.0.1/", "a user name"},
                    BadRedirect{"ToNoHost", "http:///x", "no host"},
                    BadRedirect{"ToNobody", "http://127.0.0.1:1/x", "127.0.0.1"},
                    BadRedirect{"ToANameThatIsNone", "http://store.invalid/x", "store.invalid"}),
    [](const auto& info) { return info.param.name; });

TEST_F(RegistryFaultTest, RedirectToAStoreWithAStrangersCertificateIsAClearErrorAtOnce) {
  TestTls strangers;
  FakeServer store([](const FakeRequest& request) { return ServeContent(request, "not asked"); },
                   {.tls = &strangers});
  registry_->SetRedirect(store.url() + "/x");
  Connect();
  const auto error = ReadAll(seconds(60));
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, ErrorCode::kNetwork) << "asked again and again: " << error->context;
  EXPECT_THAT(error->context, HasSubstr("--ca"));
  EXPECT_TRUE(store.requests().empty());
  registry_->SetRedirect("");
  ExpectAllRight();
}

// Lives of tokens that no clock can count.
class TokenLifeTest : public RegistryFaultTest, public testing::WithParamInterface<const char*> {};

TEST_P(TokenLifeTest, IsReadOnWith) {
  registry_->wants_tokens = true;
  registry_->token_fields = std::string(", \"expires_in\": ") + GetParam();
  Connect();
  ExpectAllRight();
}

INSTANTIATE_TEST_SUITE_P(Lives, TokenLifeTest,
                         testing::Values("0", "-5", "1", "99999999999999999999", "1e300", "\"60\"",
                                         "null", "[]"));

TEST_F(RegistryFaultTest, TokenServerThatAnswersJunkIsAClearErrorByTheDeadlineAndIsAskedAgain) {
  registry_->wants_tokens = true;
  registry_->token_fields = "<html>";
  Connect();
  const auto start = std::chrono::steady_clock::now();
  const auto error = ReadAll(seconds(2));
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(8));
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->context, HasSubstr("token server"));
  registry_->token_fields = "";
  ExpectAllRight();
}

}  // namespace
}  // namespace layerfs
