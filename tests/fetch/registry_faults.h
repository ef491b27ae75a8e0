// SPDX-License-Identifier: Apache-2.0
// What the tests of registries' faults share: a registry whose answers a test can spoil, and reads
// that go through everything: registry client, scheduler, verification, cache.
// One thread at a time; the registry answers on threads of its own.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fetch/registry_client.h"
#include "fetch/scheduler.h"
#include "index/base/log.h"
#include "tests/fetch/fake_registry.h"
#include "tests/fetch/fake_source.h"
#include "tests/fetch/registry_testing.h"
#include "tests/fetch/temp_dir.h"

namespace layerfs {

inline constexpr size_t kChunks = 12;
inline constexpr size_t kChunkBytes = 16 * kCachePageBytes;
inline constexpr std::chrono::milliseconds kStall{400};
// What must never be logged, and would be if one of these were.
inline constexpr const char* kSecrets[] = {"hush-password", "hush-token", "hush-signature"};

inline const TestBlob& Blob() {
  static const TestBlob blob = TestBlob::OfChunks(kChunks, kChunkBytes);
  return blob;
}

// A registry with one blob whose answers a row can spoil.
class FaultyRegistry {
 public:
  // The n-th blob request (from 1) and its right answer; returns what is answered.
  using Spoil = std::function<FakeResponse(int n, const FakeRequest&, FakeResponse right)>;
  explicit FaultyRegistry(FakeServer::Options options = {})
      : server_([this](const FakeRequest& request) { return Handle(request); },
                std::move(options)) {}

  FakeServer& server() { return server_; }
  Spoil spoil = [](int, const FakeRequest&, FakeResponse right) { return right; };
  bool wants_tokens = false;
  // From inside `spoil`: the tokens given out so far are no longer taken.
  void RevokeTokens() { tokens_.clear(); }
  // Blobs are elsewhere; at any time.
  void SetRedirect(const std::string& base) {
    redirect_.With([&](std::string& url) { url = base; });
  }
  int token_requests = 0;
  std::string token_fields;  // more of the token server's answer, from a comma on

 private:
  FakeResponse Handle(const FakeRequest& request) {
    if (request.target.starts_with("/token")) {
      const std::string token = "hush-token-" + std::to_string(++token_requests);
      tokens_.insert("Bearer " + token);
      return {.body = R"({"token": ")" + token + "\"" + token_fields + "}",
              .delay = std::chrono::milliseconds(20)};
    }
    if (wants_tokens && !tokens_.contains(std::string(request.headers.Get("Authorization")))) {
      return {.status = 401,
              .headers = {{"WWW-Authenticate",
                           "Bearer realm=\"" + server_.url() + "/token\",service=\"x\""}}};
    }
    const std::string redirect = redirect_.With([](const std::string& url) { return url; });
    if (!redirect.empty()) {
      return {.status = 307, .headers = {{"Location", redirect + "?sig=hush-signature"}}};
    }
    return spoil(++answers_, request, ServeContent(request, std::string(AsText(Blob().bytes))));
  }
  Synchronized<std::string> redirect_;
  std::set<std::string> tokens_;
  int answers_ = 0;
  FakeServer server_;
};

class RegistryFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ConfigureLog({.level = LogLevel::kDebug, .path = LogPath()}).has_value());
    MakeRegistry({});
  }
  void TearDown() override {
    scheduler_.reset();
    if (context_ != nullptr) context_->Shutdown();
    registry_.reset();
    // An error's text ends up in logs, too.
    const std::string said = TempDir::Read(LogPath()) + said_;
    for (const char* secret : kSecrets) EXPECT_EQ(said.find(secret), std::string::npos) << secret;
    ASSERT_TRUE(ConfigureLog({}).has_value());
  }
  std::string LogPath() const { return directory_ / "log"; }

  void MakeRegistry(FakeServer::Options options) {
    registry_ = std::make_unique<FaultyRegistry>(std::move(options));
  }
  // Reads go to `authority`, the registry's own by default.
  void Connect(std::string authority = "", StoreOptions options = {}) {
    if (authority.empty()) authority = registry_->server().authority();
    const std::string login =
        "{\"auths\": {\"" + authority + R"(": {"username": "me", "password": "hush-password"}}})";
    options.auth_file = directory_.Write("auth.json", login);
    context_ = *RegistryContext::Create(options, {.stall_timeout = kStall});
    RegistryClient client(context_, {.registry = authority, .repository = "app"},
                          RegistryAlone(*context_, authority, "app"));
    const Digest digest = Digest::Of(Blob().bytes);
    blob_ = std::make_shared<SourceBlob>(
        SourceBlob{client.MakeBlobSource(), digest, Blob().bytes.size(), "example/app:1"});
    content_.clear();
    for (const Bytes& chunk : Blob().contents) {
      content_.insert(content_.end(), chunk.begin(), chunk.end());
    }
    cache_ = OpenCache(cache_directory_ / "cache");
    object_ = OpenObject(*cache_, IdOf(content_));
    scheduler_ = std::make_unique<Scheduler>(Scheduler::Options{});
  }

  // Every chunk, as several readers and the fill would ask for them. Nothing, or the first error.
  std::optional<Error> ReadAll(std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    std::vector<Answer> answers(kChunks);
    for (size_t i = 0; i < kChunks; ++i) {
      ChunkRequest request;
      request.blob = blob_;
      request.chunk = Blob().chunks[i];
      request.object = object_;
      request.object_offset = i * kChunkBytes;
      request.fetch_class = i % 3 == 0 ? FetchClass::kDemand : background_;
      request.timeout = timeout;
      request.reason = "file /bin/app";
      scheduler_->Fetch(std::move(request), answers[i].Done());
    }
    std::optional<Error> first;
    for (size_t i = 0; i < kChunks; ++i) {
      const Result<SharedBytes> result = answers[i].Wait();
      if (!result.has_value()) {
        said_ += result.error().context + "\n";
        if (!first.has_value()) first = result.error();
      } else {
        EXPECT_EQ(**result, Blob().contents[i]) << "wrong bytes in chunk " << i;
      }
    }
    return first;
  }
  void ExpectAllRight() {
    const auto start = std::chrono::steady_clock::now();
    const std::optional<Error> error = ReadAll();
    EXPECT_FALSE(error.has_value()) << error->context;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(25));
    if (!error.has_value()) {
      EXPECT_EQ(ReadRange(*object_, 0, content_.size()), content_);
    }
  }
  void ExpectManners() {
    for (const FakeRequest& request : registry_->server().requests()) {
      EXPECT_EQ(request.headers.Get("Range").find(','), std::string_view::npos)
          << "several ranges in one request";
      EXPECT_NE(request.method, "HEAD") << "not every registry answers that";
    }
  }

  FetchClass background_ = FetchClass::kFill;
  TempDir directory_;
  TemporaryDirectory cache_directory_;
  std::unique_ptr<FaultyRegistry> registry_;
  std::shared_ptr<RegistryContext> context_;
  std::shared_ptr<SourceBlob> blob_;
  Bytes content_;
  std::shared_ptr<ObjectCache> cache_;
  std::shared_ptr<CachedObject> object_;
  std::unique_ptr<Scheduler> scheduler_;
  std::string said_;
};

}  // namespace layerfs
