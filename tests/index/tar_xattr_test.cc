// SPDX-License-Identifier: Apache-2.0
#include "index/tar_xattr.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace layerfs {
namespace {

TEST(TarXattr, DecodeUrl) {
  EXPECT_EQ(DecodeUrl(""), "");
  EXPECT_EQ(DecodeUrl("user.plain"), "user.plain");
  EXPECT_EQ(DecodeUrl("a%20b%3d%3D%00"), std::string("a b==\0", 6));
  for (const std::string bad : {"%", "a%4", "%zz", "%4g", "a%"}) {
    EXPECT_EQ(DecodeUrl(bad), std::nullopt) << bad;
  }
}

TEST(TarXattr, DecodeBase64) {
  EXPECT_EQ(DecodeBase64(""), "");
  EXPECT_EQ(DecodeBase64("Zg"), "f");
  EXPECT_EQ(DecodeBase64("Zg=="), "f");
  EXPECT_EQ(DecodeBase64("Zm8="), "fo");
  EXPECT_EQ(DecodeBase64("Zm9v"), "foo");
  EXPECT_EQ(DecodeBase64("AP/+"), std::string("\0\xff\xfe", 3));
  for (const std::string bad : {"Z", "Zm9vY", "Zm9-", "Zm 9v", "Z=g", "Zm9v\n"}) {
    EXPECT_EQ(DecodeBase64(bad), std::nullopt) << bad;
  }
}

TEST(TarXattr, OnlyNamesThatLinuxHas) {
  for (const std::string good :
       {"user.a", "trusted.overlay.opaque", "security.capability", "system.posix_acl_access"}) {
    EXPECT_TRUE(IsLinuxXattrName(good)) << good;
  }
  EXPECT_FALSE(IsLinuxXattrName(std::string("user.a\0b", 8)));
  for (const std::string bad : {"", "user", "user.", "com.apple.quarantine", "USER.a"}) {
    EXPECT_FALSE(IsLinuxXattrName(bad)) << bad;
  }
}

}  // namespace
}  // namespace layerfs
