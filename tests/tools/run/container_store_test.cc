// SPDX-License-Identifier: Apache-2.0
#include "tools/run/container_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/fetch/temp_dir.h"

namespace layerfs {
namespace {

class ContainerStoreTest : public testing::Test {
 protected:
  static ContainerRecord Record(const std::string& name) {
    ContainerRecord record;
    record.name = name;
    record.id = std::string(64, 'a');
    record.image = "oci:/images/app";
    record.created = 1000;
    record.command = {"sh", "-c", "true"};
    record.options = Json{{"network", "none"}};
    return record;
  }
  ContainerStore Open() { return ContainerStore::Open(directory_.path() + "/state").value(); }
  bool Exists(const std::string& path) const {
    struct stat attributes;
    return ::stat((directory_.path() + "/state/" + path).c_str(), &attributes) == 0;
  }

  TempDir directory_;
};

TEST_F(ContainerStoreTest, NameInUseIsAnErrorUntilItIsRemoved) {
  const ContainerStore store = Open();
  {
    auto first = store.Create(Record("web"));
    ASSERT_TRUE(first.has_value()) << first.error().context;
    const auto second = store.Create(Record("web"));
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, ErrorCode::kExists);
  }
  EXPECT_EQ(store.Create(Record("web")).error().code, ErrorCode::kExists);
  ASSERT_TRUE(store.Lock("web")->Remove().has_value());
  EXPECT_TRUE(store.Create(Record("web")).has_value());
}

TEST_F(ContainerStoreTest, RecordIsReadBackAsItWasSaved) {
  const ContainerStore store = Open();
  ASSERT_TRUE(store.Create(Record("web")).has_value());
  const auto container = store.Lock("web");
  ASSERT_TRUE(container.has_value());
  EXPECT_EQ(container->record().layer, store.directory() + "/containers/web/layer");
  EXPECT_EQ(container->record().command, Record("web").command);
  EXPECT_EQ(container->record().options, Record("web").options);
  EXPECT_FALSE(container->record().exit_status.has_value());
}

TEST_F(ContainerStoreTest, RunningContainerIsBusyAndListedAsRunning) {
  const ContainerStore store = Open();
  const auto running = store.Create(Record("busy"));
  ASSERT_TRUE(running.has_value());
  ASSERT_TRUE(store.Create(Record("ended")).has_value());
  EXPECT_EQ(store.Lock("busy").error().code, ErrorCode::kBusy);
  const auto list = store.List();
  ASSERT_TRUE(list.has_value());
  ASSERT_EQ(list->size(), 2U);
  EXPECT_TRUE((*list)[0].running);
  EXPECT_FALSE((*list)[1].running);
}

TEST_F(ContainerStoreTest, CleanUpEndsWhatAKillHasLeftAndLeavesTheRest) {
  const ContainerStore store = Open();
  const auto running = store.Create(Record("running"));
  ASSERT_TRUE(running->MakeRunDirectories().has_value());
  ASSERT_TRUE(store.Create(Record("killed"))->MakeRunDirectories().has_value());
  ContainerRecord temporary = Record("temporary");
  temporary.remove = true;
  ASSERT_TRUE(store.Create(temporary).has_value());
  ::mkdir((store.directory() + "/containers/unborn").c_str(), 0700);

  store.CleanUp();
  EXPECT_TRUE(Exists("containers/running/run/root"));
  EXPECT_TRUE(Exists("containers/killed/container.json"));
  EXPECT_FALSE(Exists("containers/killed/run"));
  EXPECT_FALSE(Exists("containers/temporary"));
  EXPECT_FALSE(Exists("containers/unborn"));
}

TEST_F(ContainerStoreTest, NamesThatWouldLeaveTheDirectoryAreRefused) {
  const ContainerStore store = Open();
  for (const char* name : {"", "..", "a/b", "../x"}) {
    EXPECT_EQ(store.Create(Record(name)).error().code, ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(store.Lock(name).error().code, ErrorCode::kNotFound) << name;
  }
}

TEST_F(ContainerStoreTest, BrokenRecordIsKeptForAPersonToLookAt) {
  const ContainerStore store = Open();
  ASSERT_TRUE(store.Create(Record("web")).has_value());
  const std::string path = store.directory() + "/containers/web/container.json";
  ASSERT_TRUE(WriteFileAtomically(path, AsBytes("{")).has_value());
  store.CleanUp();
  EXPECT_TRUE(Exists("containers/web/container.json"));
}

}  // namespace
}  // namespace layerfs
