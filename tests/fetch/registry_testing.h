// SPDX-License-Identifier: Apache-2.0
// What tests of the registry client share: a client of a FakeRegistry whose waits take no time.
// One thread at a time.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fetch/registry_client.h"
#include "fetch/registry_upload.h"
#include "tests/fetch/fake_registry.h"
#include "tests/fetch/temp_dir.h"
#include "tests/fetch/transfer_log.h"

namespace layerfs {

// Waiting moves it to the time that is waited for, at once.
class JumpingClock final : public Clock {
 public:
  TimePoint Now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void WaitUntil(std::unique_lock<std::mutex>&, std::condition_variable&,
                 TimePoint until) override {
    Advance(until - Now());
  }
  void Advance(Duration duration) {
    const std::lock_guard lock(mutex_);
    if (duration > Duration::zero()) now_ += duration;
  }

 private:
  mutable std::mutex mutex_;
  TimePoint now_ = TimePoint() + std::chrono::hours(1);
};

// The registry itself, as pushes go to it.
inline std::shared_ptr<RegistryMembers> RegistryAlone(RegistryContext& context,
                                                      const std::string& registry,
                                                      const std::string& repository) {
  auto members = context.MembersOf(registry, repository, RegistryContext::Use::kPush);
  EXPECT_TRUE(members.has_value()) << members.error().context;
  return std::make_shared<RegistryMembers>(*std::move(members));
}

class RegistryTest : public testing::Test {
 protected:
  void TearDown() override {
    if (context_ != nullptr) context_->Shutdown();
  }

  RegistryContext& context() {
    if (context_ == nullptr) {
      if (!auth_text_.empty()) directory_.Write("auth.json", auth_text_);
      StoreOptions options{.auth_file = directory_.Write("auth.json", auth_text_)};
      auto made =
          RegistryContext::Create(options, {.stall_timeout = stall_timeout_, .clock = &clock_});
      EXPECT_TRUE(made.has_value());
      context_ = *made;
    }
    return *context_;
  }
  RegistryClient Client(bool push = false, const std::string& repository = "app") {
    context();
    return {context_,
            {.registry = registry_.authority(), .repository = repository, .push = push},
            RegistryAlone(*context_, registry_.authority(), repository)};
  }
  std::shared_ptr<BlobSource> Source() { return Client().MakeBlobSource(); }
  // For the registry of the test.
  void LogIn(const std::string& user, const std::string& password);
  void UseIdentityToken(const std::string& token);

  // A whole blob by ReadBlob.
  Status ReadBlob(const Digest& digest, uint64_t size, std::string* got) {
    Descriptor descriptor;
    descriptor.digest = digest;
    descriptor.size = size;
    RegistryClient client = Client();
    return client.ReadBlob(descriptor, [&](ByteSpan data) {
      *got += AsText(data);
      return Status();
    });
  }

  TempDir directory_;
  FakeRegistry registry_;
  JumpingClock clock_;
  // Real time: short only where a test has the server stall, so that a busy machine fails nothing.
  std::chrono::milliseconds stall_timeout_{20'000};
  std::string auth_text_ = "{}";
  std::shared_ptr<RegistryContext> context_;
};

inline void RegistryTest::LogIn(const std::string& user, const std::string& password) {
  Json config;
  config["auths"][registry_.authority()] = {{"username", user}, {"password", password}};
  auth_text_ = config.dump();
  directory_.Write("auth.json", auth_text_);
}
inline void RegistryTest::UseIdentityToken(const std::string& token) {
  Json config;
  config["auths"][registry_.authority()] = {{"identitytoken", token}};
  auth_text_ = config.dump();
  directory_.Write("auth.json", auth_text_);
}

}  // namespace layerfs
