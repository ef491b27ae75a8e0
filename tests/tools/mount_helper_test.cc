// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_helper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerfs {
namespace {

using testing::ElementsAre;

TEST(MountHelperTest, IsKnownByItsName) {
  for (const char* program : {"mount.fuse.layerfs", "/sbin/mount.fuse.layerfs",
                              "/usr/sbin/mount.fuse3.layerfs", "./mount.layerfs"}) {
    EXPECT_TRUE(IsMountHelper(program)) << program;
  }
  for (const char* program :
       {"layerfs", "/mount.fuse.layerfs/layerfs", "mount.fuse", "mount.fuse.layerfs2", ""}) {
    EXPECT_FALSE(IsMountHelper(program)) << program;
  }
}

TEST(MountHelperTest, ARemountIsTheKernels) {
  EXPECT_THAT(RemountCommand({"src", "/mnt", "-n", "-t", "fuse.layerfs", "-o", "rw,remount,ro"}),
              ElementsAre("mount", "-i", "-o", "rw,remount,ro", "/mnt"));
  EXPECT_THAT(RemountCommand({"src", "/mnt", "-o", "ro,lowerdir=remount"}), ElementsAre());
  EXPECT_THAT(RemountCommand({"/mnt"}), ElementsAre());
}

struct HelperCase {
  std::string name;
  std::vector<std::string> given;
  std::vector<std::string> mount;
};
class MountHelperCase : public testing::TestWithParam<HelperCase> {};

TEST_P(MountHelperCase, BecomesAMount) {
  EXPECT_EQ(MountHelperArguments(GetParam().given), GetParam().mount);
}

INSTANTIATE_TEST_SUITE_P(
    Callers, MountHelperCase,
    testing::Values(
        HelperCase{"Mount8",
                   {"src", "/mnt", "-o", "rw,lowerdir=/a:/b"},
                   {"mount", "-o", "rw", "-o", "lowerdir=/a:/b", "src", "/mnt"}},
        HelperCase{"Mount8WithItsFlags",
                   {"src", "/mnt", "-sfnv", "-t", "fuse.layerfs", "-N", "/ns", "-o", "ro"},
                   {"mount", "-o", "ro", "src", "/mnt"}},
        HelperCase{
            "WhatIsMounts8Own",
            {"src", "/mnt", "-o", "defaults,noauto,user,_netdev,nofail,x-systemd.automount,ro"},
            {"mount", "-o", "ro", "src", "/mnt"}},
        HelperCase{"Podman",
                   {"-o", "lowerdir=/l/A:/l/B,upperdir=/u,workdir=/w,volatile", "/merged"},
                   {"mount", "-o", "lowerdir=/l/A:/l/B", "-o", "upperdir=/u", "-o", "workdir=/w",
                    "-o", "volatile", "/merged"}},
        HelperCase{"EscapedComma",
                   {"-o", R"(lowerdir=/a\,b)", "/m"},
                   {"mount", "-o", R"(lowerdir=/a\,b)", "/m"}},
        HelperCase{"OtherFlagsGoOn", {"-f", "--threads=2", "/m"}, {"mount", "--threads=2", "/m"}},
        HelperCase{"TwoLists",
                   {"-o", "ro", "-o", "noexec", "s", "/m"},
                   {"mount", "-o", "ro", "-o", "noexec", "s", "/m"}},
        HelperCase{"Nothing", {}, {"mount"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs
