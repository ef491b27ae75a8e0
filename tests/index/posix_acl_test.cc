// SPDX-License-Identifier: Apache-2.0
#include "index/posix_acl.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "index/base/bytes.h"

namespace layerfs {
namespace {

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

TEST(PosixAcl, EncodesAccessAcls) {
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

TEST(PosixAcl, ADefaultAclIsKeptEvenIfItNamesNobody) {
  EXPECT_EQ(DescribeAcl(EncodePosixAcl("user::rw-,group::r--,other::r--", false)), "1:6 4:4 32:4");
}

TEST(PosixAcl, TheMaskOfAnAclIsTheGroupsPermission) {
  const std::optional<std::string> acl =
      EncodePosixAcl("user::rw-,user:7:rwx,group::r--,mask::rwx,other::--x", true);
  ASSERT_TRUE(acl.has_value());
  EXPECT_EQ(PermissionsUnderAcl(04000, *acl), 04671U);
}

struct Entry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id = UINT32_MAX;
};

std::string Attribute(uint32_t version, const std::vector<Entry>& entries) {
  ByteWriter writer;
  writer.Write(version);
  for (const Entry& entry : entries) {
    writer.Write(entry.tag);
    writer.Write(entry.permissions);
    writer.Write(entry.id);
  }
  return std::string(AsText(writer.bytes()));
}

std::string Kept(const std::string& acl, std::optional<uint32_t> permissions) {
  const auto kept = KeptPosixAcl(acl, permissions);
  return kept.has_value() ? DescribeAcl(*kept) : "refused";
}

// What setxattr(2) and chmod(2) make of it on ext4.
TEST(PosixAcl, AnAttributeIsKeptAsLinuxWould) {
  const std::vector<Entry> named = {{1, 7}, {2, 7, 7}, {4, 5}, {16, 7}, {32, 4}};
  struct Case {
    const char* name;
    std::string acl;
    std::string expected;
  };
  const Case cases[] = {
      {"the-mode-narrows-it", Attribute(2, named), "1:6 2:7@7 4:5 16:0 32:0"},
      {"no-more-than-the-mode", Attribute(2, {{1, 7}, {4, 5}, {32, 4}}), "none"},
      {"empty", "", "none"},
      {"no-entries", Attribute(2, {}), "none"},
      {"another-version", Attribute(1, named), "none"},
      {"the-same-user-twice",
       Attribute(2, {{1, 7}, {2, 7, 7}, {2, 4, 7}, {4, 5}, {16, 7}, {32, 4}}),
       "1:6 2:7@7 2:4@7 4:5 16:0 32:0"},
      {"numbers-where-nobody-is-named",
       Attribute(2, {{1, 7, 0}, {2, 7, 7}, {4, 5, 0}, {16, 7, 0}, {32, 4, 0}}),
       "1:6 2:7@7 4:5 16:0 32:0"},
      {"should-fail-three-bytes", std::string("\x01\xff\x00", 3), "refused"},
      {"should-fail-half-an-entry", Attribute(2, named) + "1234", "refused"},
      {"should-fail-unsorted", Attribute(2, {{1, 7}, {4, 5}, {2, 7, 7}, {16, 7}, {32, 4}}),
       "refused"},
      {"should-fail-no-mask", Attribute(2, {{1, 7}, {2, 7, 7}, {4, 5}, {32, 4}}), "refused"},
      {"should-fail-two-owners", Attribute(2, {{1, 7}, {1, 7}, {4, 5}, {16, 7}, {32, 4}}),
       "refused"},
      {"should-fail-tag", Attribute(2, {{1, 7}, {3, 5}, {4, 5}, {16, 7}, {32, 4}}), "refused"},
      {"should-fail-permissions", Attribute(2, {{1, 8}, {4, 5}, {16, 7}, {32, 4}}), "refused"},
      {"should-fail-user-minus-one", Attribute(2, {{1, 7}, {2, 7}, {4, 5}, {16, 7}, {32, 4}}),
       "refused"},
  };
  for (const Case& row : cases) EXPECT_EQ(Kept(row.acl, 0600), row.expected) << row.name;
}

TEST(PosixAcl, ADefaultAclIsNoMatterOfTheMode) {
  EXPECT_EQ(Kept(Attribute(2, {{1, 7}, {4, 5}, {32, 4}}), std::nullopt), "1:7 4:5 32:4");
}

}  // namespace
}  // namespace layerfs
