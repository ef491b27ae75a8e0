// SPDX-License-Identifier: Apache-2.0
#include "index/tar_xattr.h"

#include <gtest/gtest.h>

#include <cstdio>
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

// "u:rwx u1000:r-x g:… m:… o:…", as the value has it.
std::string DescribeAcl(const std::optional<std::string>& acl) {
  if (!acl.has_value()) return "none";
  const auto number = [&](size_t at, size_t size) {
    uint32_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>((*acl)[at + i]);
    return value;
  };
  EXPECT_EQ(number(0, 4), 2U);
  EXPECT_EQ((acl->size() - 4) % 8, 0U);
  std::string text;
  for (size_t at = 4; at + 8 <= acl->size(); at += 8) {
    const uint32_t id = number(at + 4, 4);
    text += (text.empty() ? "" : " ") + std::to_string(number(at, 2)) + ":" +
            std::to_string(number(at + 2, 2)) + (id == UINT32_MAX ? "" : "@" + std::to_string(id));
  }
  return text;
}

struct AclCase {
  std::string name;
  std::string text;
  std::string expected;
};

TEST(TarXattr, EncodesAccessAcls) {
  const std::vector<AclCase> cases = {
      {"by-number", "user::rwx,user:7:r-x,group::r--,mask::r-x,other::---",
       "1:7 2:5@7 4:4 16:5 32:0"},
      {"fourth-field", "user::rw-,user:lisa:rw-:7,group::r--,mask::rw-,other::r--",
       "1:6 2:6@7 4:4 16:6 32:4"},
      {"root-by-name", "user::rw-,group:root:r--,group::r--,mask::rw-,other::r--",
       "1:6 4:4 8:4@0 16:6 32:4"},
      {"lines-with-comments",
       "# file: f\nuser::rw-\nuser:7:rwx\t#effective:r--\ngroup::r--\nmask::r--\nother::---\n",
       "1:6 2:7@7 4:4 16:4 32:0"},
      {"unsorted", "other::---,mask::r--,user:9:r--,user:7:r--,group::r--,user::rw-",
       "1:6 2:4@7 2:4@9 4:4 16:4 32:0"},
      {"short-tags-and-fields", "u::rw-,g::r--,g:5:r--,m:rw-,o:r--", "1:6 4:4 8:4@5 16:6 32:4"},
      {"no-more-than-the-mode", "user::rw-,group::r--,other::r--", "none"},
      {"mask-alone", "user::rw-,group::r--,mask::r--,other::r--", "1:6 4:4 16:4 32:4"},
      {"should-fail-empty", "", "none"},
      {"should-fail-name-that-nobody-knows",
       "user::rw-,user:lisa:rw-,group::r--,mask::rw-,other::r--", "none"},
      {"should-fail-no-mask", "user::rw-,user:7:rw-,group::r--,other::r--", "none"},
      {"should-fail-no-other", "user::rw-,user:7:rw-,group::r--,mask::rw-", "none"},
      {"should-fail-twice", "user::rw-,user:7:rw-,user:7:r--,group::r--,mask::rw-,other::r--",
       "none"},
      {"should-fail-tag", "user::rw-,king::rwx,group::r--,mask::rw-,other::r--", "none"},
      {"should-fail-permissions", "user::rwq,user:7:r--,group::r--,mask::rw-,other::r--", "none"},
      {"should-fail-id-minus-one", "user::rw-,user:4294967295:r--,group::r--,mask::rw-,other::r--",
       "none"},
      {"should-fail-too-many-fields", "user::rw-:1:2,group::r--,mask::rw-,other::r--", "none"},
  };
  for (const AclCase& row : cases) {
    EXPECT_EQ(DescribeAcl(EncodePosixAcl(row.text, true)), row.expected) << row.name;
  }
}

TEST(TarXattr, ADefaultAclIsKeptEvenIfItNamesNobody) {
  EXPECT_EQ(DescribeAcl(EncodePosixAcl("user::rw-,group::r--,other::r--", false)), "1:6 4:4 32:4");
}

TEST(TarXattr, TheMaskOfAnAclIsTheGroupsPermission) {
  const std::optional<std::string> acl =
      EncodePosixAcl("user::rw-,user:7:rwx,group::r--,mask::rwx,other::--x", true);
  ASSERT_TRUE(acl.has_value());
  EXPECT_EQ(PermissionsUnderAcl(04000, *acl), 04671U);
}

}  // namespace
}  // namespace layerfs
