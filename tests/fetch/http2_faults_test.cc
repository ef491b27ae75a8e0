// SPDX-License-Identifier: Apache-2.0
// Registries that speak HTTP/2 (those of the large clouds do), and how its connections and streams
// end: through everything that a read goes through, as in registry_faults_test.
#include <gmock/gmock.h>

#include "tests/fetch/registry_faults.h"
#include "tests/fetch/test_tls.h"

namespace layerfs {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

using Change = std::function<void(FakeResponse&)>;
using End = FakeResponse::Http2End;

Change Cut(size_t part, End end) {
  return [part, end](FakeResponse& answer) {
    answer.cut_after = answer.body.size() * part / 4;
    answer.http2_end = end;
  };
}
// In place of an answer.
Change Frame(const std::string& bytes) {
  return [bytes](FakeResponse& answer) { answer = {.status = 0, .preamble = bytes}; };
}

struct Fault {
  const char* name;
  Change change;
  int answers = 3;
};
std::ostream& operator<<(std::ostream& out, const Fault& fault) { return out << fault.name; }

class Http2Test : public RegistryFaultTest, public testing::WithParamInterface<Fault> {
 protected:
  void Start() {
    MakeRegistry({.tls = &tls_, .http2 = true});
    // Saying something about its TLS is what makes a loopback registry one with TLS.
    Connect("", {.tls = {.ca_file = tls_.ca_file()}});
  }

  TestTls tls_;
};

TEST_P(Http2Test, EveryByteIsRight) {
  Start();
  registry_->spoil = [](int n, const FakeRequest&, FakeResponse right) {
    if (n <= GetParam().answers) GetParam().change(right);
    return right;
  };
  ExpectAllRight();
  ExpectManners();
  scheduler_.reset();
  context_->Shutdown();
  registry_->server().Stop();
}

constexpr int kForEver = 1 << 30;
// Length, type, flags, stream.
const std::string kUnknownFrame("\0\0\4\xee\0\0\0\0\1abcd", 13);
const std::string kDataOfNoStream("\0\0\4\0\0\0\0\0\0abcd", 13);
const std::string kFrameBeyondTheLimit("\xff\xff\xff\0\0\0\0\0\1", 9);
const std::string kHeadersThatAreNone("\0\0\4\1\4\0\0\0\1\xff\xff\xff\xff", 13);

INSTANTIATE_TEST_SUITE_P(
    Table, Http2Test,
    testing::Values(
        Fault{"None", [](FakeResponse&) {}}, Fault{"StreamIsReset", Cut(2, End::kReset)},
        Fault{"StreamIsResetBeforeItsFirstByte", Cut(0, End::kReset)},
        Fault{"StreamEndsEarly", Cut(2, End::kStream)},
        Fault{"ConnectionBreaks", Cut(1, End::kConnection)}, Fault{"GoAway", Cut(2, End::kGoAway)},
        Fault{"GoAwayBeforeTheFirstByte", Cut(0, End::kGoAway)},
        Fault{"GoAwayAfterEachAnswer", Cut(3, End::kGoAwayGently), kForEver},
        Fault{"FrameOfAnUnknownType", [](FakeResponse& answer) { answer.preamble = kUnknownFrame; },
              kForEver},
        Fault{"DataOfNoStream", Frame(kDataOfNoStream)},
        Fault{"FrameBeyondTheLimit", Frame(kFrameBeyondTheLimit)},
        Fault{"HeadersThatAreNone", Frame(kHeadersThatAreNone)},
        Fault{"AnotherProtocol", Frame("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")},
        Fault{"NoAnswerAtAll", Frame("")},
        Fault{"LengthLongerThanTheBody",
              [](FakeResponse& answer) { answer.claimed_length = 1 << 20; }},
        Fault{"LengthShorterThanTheBody",
              [](FakeResponse& answer) { answer.claimed_length = 100; }},
        Fault{"NoLength", [](FakeResponse& answer) { answer.until_close = true; }, kForEver},
        Fault{"Status503", [](FakeResponse& answer) { answer = {.status = 503}; }}),
    [](const auto& info) { return info.param.name; });

class Http2ForEverTest : public Http2Test {};

TEST_P(Http2ForEverTest, IsAClearErrorByTheDeadline) {
  Start();
  registry_->spoil = [](int, const FakeRequest&, FakeResponse right) {
    GetParam().change(right);
    return right;
  };
  const auto start = std::chrono::steady_clock::now();
  const auto error = ReadAll(seconds(2));
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(8));
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->context, HasSubstr(blob_->digest.ToString()));
}

INSTANTIATE_TEST_SUITE_P(Table, Http2ForEverTest,
                         testing::Values(Fault{"StreamsAreReset", Cut(0, End::kReset)},
                                         Fault{"GoAway", Cut(0, End::kGoAway)},
                                         Fault{"NoAnswerAtAll", Frame("")}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs
