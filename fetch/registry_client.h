// SPDX-License-Identifier: Apache-2.0
// RegistryClient: one repository of a registry, as the distribution specification describes it.
// Calls block, and retry what may succeed later until the timeout has passed without progress.
// Thread-safe. Never on the HTTP loop thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fetch/backoff.h"
#include "fetch/image_store.h"
#include "fetch/registry_context.h"
#include "fetch/registry_members.h"

namespace layerfs {

class RegistryClient {
 public:
  struct Options {
    std::string registry;
    std::string repository;
    bool push = false;  // whether tokens must allow it
  };
  // `members`: at least the registry; what can be read from them is read from the others too.
  RegistryClient(std::shared_ptr<RegistryContext> context, Options options,
                 std::shared_ptr<RegistryMembers> members);

  struct Answer {
    HttpHead head;
    std::string body;
  };
  // One request with its retries; `what` names it in errors: "manifest v1". At most `max_body`
  // bytes are taken (kTooLarge).
  Result<Answer> Do(const RegistryCall& call, uint64_t max_body, const std::string& what);
  // The same once, without a retry.
  struct Attempt {
    Result<Answer> answer;
    int status = 0;  // of the answer; 0: none came
    std::optional<std::chrono::milliseconds> retry_after;
  };
  Attempt DoOnce(RegistryCall call, uint64_t max_body, std::chrono::milliseconds timeout,
                 const std::function<void(uint64_t)>& on_sent = nullptr) {
    return DoOnceAt(members_->host(Registry()), std::move(call), max_body, timeout, on_sent);
  }
  static Attempt DoOnceAt(RegistryHost& host, RegistryCall call, uint64_t max_body,
                          std::chrono::milliseconds timeout,
                          const std::function<void(uint64_t)>& on_sent = nullptr);

  // `name`: a tag or a digest.
  Result<RawDocument> GetManifest(const std::string& name, const std::optional<Digest>& pin);
  Status PutManifest(const std::string& name, const RawDocument& document);
  // The same, with the registry's answer.
  Result<Answer> PutManifestForAnswer(const std::string& name, const RawDocument& document);
  Result<bool> HasBlob(const Digest& digest, uint64_t size);
  Status ReadBlob(const Descriptor& descriptor, const std::function<Status(ByteSpan)>& on_data);
  // Manifests whose subject is `digest`, by the referrers API or, without it, the referrers tag.
  // An empty `artifact_type` takes all.
  Result<std::vector<Descriptor>> Referrers(const Digest& digest, const std::string& artifact_type);
  // Puts a manifest with a subject, and lists it under the referrers tag where the registry does
  // not say that it has listed it (distribution-spec, "Pushing Manifests with Subject").
  Status PutReferrer(const RawDocument& document, const Descriptor& entry, const Digest& subject);
  Result<std::vector<std::string>> ListTags(size_t limit);

  // A call of this repository, at `path` below it ("manifests/v1"), to the registry itself.
  RegistryCall Call(const std::string& method, const std::string& path) const;
  Backoff NewBackoff() const;
  // As backoff.WaitAfter. A user who waits for more than a moment is told why, once a client.
  bool WaitToRetry(Backoff& backoff, const Error& error,
                   std::optional<std::chrono::milliseconds> retry_after, const std::string& what);
  Error Named(Error error, const std::string& what) const;
  const std::string& repository() const { return options_.repository; }
  std::shared_ptr<BlobSource> MakeBlobSource() const;

 private:
  Status ListReferrer(const Descriptor& entry, const std::string& tag);
  Result<ImageIndex> ReadReferrersTag(const std::string& tag);
  Status PutIntoReferrersTag(const Descriptor& entry, const std::string& tag);
  static constexpr size_t kUnknown = SIZE_MAX;
  const std::shared_ptr<RegistryContext> context_;
  // A manifest, from the members in turn; `accept` says whether it is right.
  using Accept = std::function<Status(const Answer&)>;
  Result<Answer> Read(RegistryMembers::Purpose purpose, const std::string& path,
                      const std::string& what, const Accept& accept);
  RegistryCall CallTo(size_t member, const std::string& method, const std::string& path) const;
  // The member that is the registry; where there are two ways to it, the first that answers.
  size_t Registry() const;

  const Options options_;
  const std::shared_ptr<RegistryMembers> members_;  // at least the registry
  mutable std::atomic<size_t> registry_{kUnknown};
  std::atomic<bool> told_of_waiting_{false};
};

}  // namespace layerfs
