// SPDX-License-Identifier: Apache-2.0
#include "fetch/reference.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

constexpr char kDigest[] =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Good {
  const char* name;
  std::string text;
  std::string canonical;  // what ToString gives
};
std::ostream& operator<<(std::ostream& out, const Good& row) { return out << row.name; }

class GoodReference : public testing::TestWithParam<Good> {};

TEST_P(GoodReference, ParsesToItsCanonicalFormAndBack) {
  const auto reference = ImageReference::Parse(GetParam().text);
  ASSERT_TRUE(reference.has_value()) << reference.error().context;
  EXPECT_EQ(reference->ToString(), GetParam().canonical);
  const auto again = ImageReference::Parse(reference->ToString());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, *reference);
}

INSTANTIATE_TEST_SUITE_P(
    Table, GoodReference,
    testing::Values(
        Good{"Port", "docker://127.0.0.1:5000/app:v1", "docker://127.0.0.1:5000/app:v1"},
        Good{"ImplicitLatest", "docker://h.example/a/b", "docker://h.example/a/b:latest"},
        Good{"DigestOnly", std::string("docker://h.example/a@") + kDigest,
             std::string("docker://h.example/a@") + kDigest},
        Good{"TagAndDigest", std::string("docker://h.example/a:t@") + kDigest,
             std::string("docker://h.example/a:t@") + kDigest},
        Good{"BareWord", "debian:12", "docker://docker.io/library/debian:12"},
        Good{"BareUserWord", "user/app", "docker://docker.io/user/app:latest"},
        Good{"HubByAnotherName", "index.docker.io/debian",
             "docker://docker.io/library/debian:latest"},
        Good{"TransportWithoutRegistry", "docker://debian",
             "docker://docker.io/library/debian:latest"},
        Good{"WordThatLooksLikeATransport", "docker:dind",
             "docker://docker.io/library/docker:dind"},
        Good{"LocalhostWithoutPort", "localhost/a", "docker://localhost/a:latest"},
        Good{"Ipv6", "docker://[::1]:5000/a:b", "docker://[::1]:5000/a:b"},
        Good{"Separators", "h.example/a-b/c__d/e.f/g--h_i:A_b.C-1",
             "docker://h.example/a-b/c__d/e.f/g--h_i:A_b.C-1"},
        Good{"LayoutWithoutTag", "oci:/images/app", "oci:/images/app"},
        Good{"LayoutWithTag", "oci:dir:latest", "oci:dir:latest"},
        Good{"LayoutTagWithColon", "oci:dir:name:tag", "oci:dir:name:tag"},
        Good{"LayoutPinned", std::string("oci:dir@") + kDigest, std::string("oci:dir@") + kDigest},
        Good{"LayoutDirectoryWithAt", "oci:/a@b/c:t", "oci:/a@b/c:t"},
        Good{"Archive", "docker-archive:/a/b.tar", "docker-archive:/a/b.tar"},
        Good{"ArchiveWithName", "docker-archive:b.tar:app:v1", "docker-archive:b.tar:app:v1"}),
    [](const auto& info) { return info.param.name; });

struct Bad {
  const char* name;
  std::string text;
  const char* says;
};
std::ostream& operator<<(std::ostream& out, const Bad& row) { return out << row.name; }

class BadReference : public testing::TestWithParam<Bad> {};

TEST_P(BadReference, IsRefusedSayingWhy) {
  const auto reference = ImageReference::Parse(GetParam().text);
  ASSERT_FALSE(reference.has_value()) << reference->ToString();
  EXPECT_TRUE(reference.error().code == ErrorCode::kInvalidArgument ||
              reference.error().code == ErrorCode::kUnsupported);
  EXPECT_NE(reference.error().context.find(GetParam().says), std::string::npos)
      << reference.error().context;
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadReference,
    testing::Values(
        Bad{"Empty", "", "repository's name"},
        Bad{"OnlyTransport", "docker://", "repository's name"},
        Bad{"OnlyRegistry", "docker://h.example/", "repository's name"},
        Bad{"UpperCaseRepository", "h.example/App", "lowercase"},
        Bad{"EmptyTag", "h.example/a:", "tag"}, Bad{"TagWithSlash", "h.example/a:b/c", "tag"},
        Bad{"TagTooLong", "h.example/a:" + std::string(129, 'x'), "tag"},
        Bad{"RepositoryTooLong", "h.example/" + std::string(256, 'x'), "repository's name"},
        Bad{"PortTooLarge", "h.example:65536/a", "registry's name"},
        Bad{"PortNotANumber", "h.example:http/a", "registry's name"},
        Bad{"BracketsNotClosed", "[::1/a", "registry's name"},
        Bad{"SpaceInRegistry", "h example.com/a", "registry's name"},
        Bad{"CredentialsInRegistry", "docker://user:pass@h.example/a", "registry's name"},
        Bad{"DotDot", "h.example/../a", "repository's name"},
        Bad{"TripleUnderscore", "h.example/a___b", "repository's name"},
        Bad{"DigestTooShort", "h.example/a@sha256:ab", "64 hexadecimal"},
        Bad{"AnotherAlgorithm", "h.example/a@sha512:ab", "only sha256"},
        Bad{"LayoutWithoutDirectory", "oci::tag", "no directory"},
        Bad{"LayoutEmptyTag", "oci:dir:", "tag is empty"},
        Bad{"ArchiveWithoutFile", "docker-archive:", "no file"},
        Bad{"OtherTransport", "containers-storage:x", "not a transport"},
        Bad{"Url", "https://h.example/a", "not a transport"},
        Bad{"NulByte", std::string("h.example/a\0b", 13), "NUL"}),
    [](const auto& info) { return info.param.name; });

TEST(ImageReference, LoopbackIsByAddressNotByPrefixOfAName) {
  const auto loopback = [](const char* text) { return ImageReference::Parse(text)->is_loopback(); };
  EXPECT_TRUE(loopback("docker://127.0.0.1:5000/a"));
  EXPECT_TRUE(loopback("docker://127.1.2.3/a"));
  EXPECT_TRUE(loopback("docker://localhost:5000/a"));
  EXPECT_TRUE(loopback("docker://[::1]:5000/a"));
  EXPECT_FALSE(loopback("docker://127.0.0.1.example.com/a"));
  EXPECT_FALSE(loopback("docker://localhost.example.com/a"));
  EXPECT_FALSE(loopback("debian"));
  EXPECT_FALSE(loopback("oci:/127.0.0.1"));
}

}  // namespace
}  // namespace layerfs
