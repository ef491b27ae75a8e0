// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_client.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "fetch/body_pipe.h"
#include "fetch/range_filter.h"
#include "fetch/raw_document.h"
#include "fetch/registry_blob_source.h"
#include "index/base/log.h"

namespace layerfs {
namespace {

// A document's request; blobs have only the stall limit.
constexpr std::chrono::milliseconds kDocumentTimeout{30'000};
constexpr size_t kPipeBytes = size_t{8} << 20;
constexpr size_t kMaxPingBytes = size_t{64} << 10;
constexpr int kMaxPages = 1000;
constexpr int kFailuresToTell = 4;  // about a second's
constexpr int kMaxReferrersPages = 32;
// Longer than others take from reading a list to writing it.
constexpr std::chrono::milliseconds kLeastListWait{150};
constexpr std::chrono::milliseconds kMostListWait{450};
constexpr int kListAttempts = 20;

constexpr char kAcceptedManifests[] =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

// A tag's bytes have no other witness; who pinned a digest knows better than a header.
Status CheckStatedDigest(const HttpHead& head, const std::optional<Digest>& pin,
                         const Digest& actual) {
  const auto stated = Digest::Parse(head.headers.Get("Docker-Content-Digest"));
  if (pin.has_value() || !stated.has_value() || *stated == actual) return {};
  return Fail(ErrorCode::kDigestMismatch, "the registry says it is " + stated->ToString() +
                                              ", the bytes are " + actual.ToString() +
                                              "; a proxy may have changed them");
}

// Empty: there is none.
Result<std::string> NextPage(const std::string& url, const RegistryClient::Answer& answer) {
  const std::string next = NextLink(answer.head.headers.Get("Link"));
  if (next.empty()) return std::string();
  return ResolveLocation(url, next);
}

bool IsNotFound(const Error& error) { return error.code == ErrorCode::kNotFound; }

}  // namespace

RegistryClient::RegistryClient(std::shared_ptr<RegistryContext> context, Options options,
                               std::shared_ptr<RegistryMembers> members)
    : context_(std::move(context)), options_(std::move(options)), members_(std::move(members)) {}

RegistryCall RegistryClient::Call(const std::string& method, const std::string& path) const {
  return CallTo(Registry(), method, path);
}

size_t RegistryClient::Registry() const {
  if (const size_t known = registry_; known != kUnknown) return known;
  std::vector<size_t> ways;
  for (size_t member = 0; member < members_->size(); ++member) {
    if (members_->takes_pushes(member)) ways.push_back(member);
  }
  for (const size_t way : ways) {
    RegistryCall ping = CallTo(way, "GET", "");
    ping.url = members_->host(way).BaseUrl();
    const bool answers =
        ways.size() == 1 || DoOnceAt(members_->host(way), std::move(ping), kMaxPingBytes,
                                     std::min(kDocumentTimeout, context_->options().timeout))
                                    .status != 0;
    if (!answers) continue;
    registry_ = way;
    return way;
  }
  return ways.front();
}

Backoff RegistryClient::NewBackoff() const {
  return {context_->clock(), {.timeout = context_->options().timeout}};
}

bool RegistryClient::WaitToRetry(Backoff& backoff, const Error& error,
                                 std::optional<std::chrono::milliseconds> retry_after,
                                 const std::string& what) {
  const bool waits = error.retryable && backoff.left().count() > 0;
  if (waits && backoff.failures() == kFailuresToTell && !told_of_waiting_.exchange(true)) {
    const auto left = std::chrono::ceil<std::chrono::seconds>(backoff.left());
    LogWarning(Named(error, what).context + "; trying again for " + std::to_string(left.count()) +
               " s at the most");
  }
  return backoff.WaitAfter(error, retry_after);
}

Error RegistryClient::Named(Error error, const std::string& what) const {
  return std::move(error).In(options_.registry + "/" + options_.repository + ": " + what);
}

std::shared_ptr<BlobSource> RegistryClient::MakeBlobSource() const {
  return std::make_shared<RegistryBlobSource>(context_, members_,
                                              options_.registry + "/" + options_.repository);
}

RegistryCall RegistryClient::CallTo(size_t member, const std::string& method,
                                    const std::string& path) const {
  RegistryCall call;
  call.method = method;
  call.repository = members_->repository(member);
  call.url = members_->host(member).UrlOf(call.repository, path);
  // Mirrors have nothing to be pushed to.
  const bool push = options_.push && members_->takes_pushes(member);
  call.scopes = {push ? PushScope(call.repository) : PullScope(call.repository)};
  return call;
}

Result<RegistryClient::Answer> RegistryClient::Read(RegistryMembers::Purpose purpose,
                                                    const std::string& path,
                                                    const std::string& what, const Accept& accept) {
  Backoff backoff = NewBackoff();
  while (true) {
    Error error{ErrorCode::kNetwork, "nobody to ask", true};
    std::optional<std::chrono::milliseconds> retry_after;
    const std::vector<size_t> order = members_->Order(purpose, context_->clock().Now());
    for (size_t asked = 0; asked < order.size(); ++asked) {
      const size_t member = order[asked];
      // Who does not answer leaves time for those behind it.
      const auto left_to_ask = static_cast<int64_t>(order.size() - asked);
      const auto share = backoff.left() / left_to_ask + std::chrono::milliseconds(1);
      RegistryCall call = CallTo(member, "GET", path);
      call.headers.emplace_back("Accept", kAcceptedManifests);
      if (members_->is_mirror(member)) call.silence_timeout = context_->silence_timeout();
      Attempt attempt = DoOnceAt(members_->host(member), std::move(call), kMaxManifestBytes,
                                 std::min(kDocumentTimeout, share));
      Status accepted =
          attempt.answer.has_value() ? accept(*attempt.answer) : Fail(attempt.answer.error());
      if (accepted.has_value()) {
        members_->NoteSuccess(member);
        return std::move(attempt.answer);
      }
      error = std::move(accepted).error();
      if (error.code == ErrorCode::kDigestMismatch) {
        members_->Distrust(member, context_->clock().Now());
      } else {
        members_->NoteFailure(member, error, context_->clock().Now());
      }
      retry_after = attempt.retry_after;
    }
    if (!WaitToRetry(backoff, error, retry_after, what)) {
      return Fail(Named(std::move(error), what));
    }
  }
}

RegistryClient::Attempt RegistryClient::DoOnceAt(RegistryHost& host, RegistryCall call,
                                                 uint64_t max_body,
                                                 std::chrono::milliseconds timeout,
                                                 const std::function<void(uint64_t)>& on_sent) {
  struct Collected {
    HttpHead head;
    std::string body;
    bool too_large = false;
    std::optional<RegistryResult> result;
  };
  call.timeout = timeout;
  // Everything on the stack outlives the call: on_done is waited for.
  Synchronized<Collected> collected;
  host.Start(std::move(call), {.on_head =
                                   [&](const HttpHead& head) {
                                     collected.With([&](Collected& c) { c.head = head; });
                                     return true;
                                   },
                               .on_data =
                                   [&](ByteSpan data) {
                                     return collected.With([&](Collected& c) {
                                       c.too_large = c.body.size() + data.size() > max_body;
                                       if (c.too_large) return BodyFlow::kStop;
                                       c.body += AsText(data);
                                       return BodyFlow::kTaken;
                                     });
                                   },
                               .on_sent = on_sent,
                               .on_done =
                                   [&](const RegistryResult& result) {
                                     collected.WithNotify([&](Collected& c) { c.result = result; });
                                   }});
  return collected.WaitThen(
      [](Collected& c) { return c.result.has_value(); },
      [&](Collected& c) -> Attempt {
        const int status = c.result->http.head.status;
        if (c.too_large) {
          return {Fail(ErrorCode::kTooLarge,
                       "the answer has more than " + std::to_string(max_body) + " bytes"),
                  status};
        }
        if (!c.result->http.status) {
          return {Fail(c.result->http.status.error()), status, c.result->retry_after};
        }
        return {Answer{std::move(c.head), std::move(c.body)}, status};
      });
}

Result<RegistryClient::Answer> RegistryClient::Do(const RegistryCall& call, uint64_t max_body,
                                                  const std::string& what) {
  Backoff backoff = NewBackoff();
  while (true) {
    Attempt attempt = DoOnce(
        call, max_body, std::min(kDocumentTimeout, backoff.left() + std::chrono::milliseconds(1)));
    if (attempt.answer) return std::move(attempt.answer);
    if (!WaitToRetry(backoff, attempt.answer.error(), attempt.retry_after, what)) {
      return Fail(Named(std::move(attempt.answer).error(), what));
    }
  }
}

Result<RawDocument> RegistryClient::GetManifest(const std::string& name,
                                                const std::optional<Digest>& pin) {
  const std::string what = "manifest " + name;
  Result<RawDocument> document = Fail(ErrorCode::kNotFound, "");
  LAYERFS_CHECK_OK(
      Read(pin.has_value() ? RegistryMembers::Purpose::kDigest : RegistryMembers::Purpose::kTag,
           "manifests/" + name, what, [&](const Answer& answer) -> Status {
             Bytes raw(answer.body.begin(), answer.body.end());
             document = MakeDocument(std::move(raw), answer.head.headers.Get("Content-Type"), pin);
             if (!document.has_value()) return Fail(document.error());
             return CheckStatedDigest(answer.head, pin, document->digest);
           }));
  return document;
}

Status RegistryClient::PutManifest(const std::string& name, const RawDocument& document) {
  LAYERFS_CHECK_OK(PutManifestForAnswer(name, document));
  return {};
}

Result<RegistryClient::Answer> RegistryClient::PutManifestForAnswer(const std::string& name,
                                                                    const RawDocument& document) {
  const std::string what = "manifest " + name;
  RegistryCall call = Call("PUT", "manifests/" + name);
  call.headers.emplace_back("Content-Type", document.media_type);
  call.body.text = std::string(AsText(document.raw));
  LAYERFS_TRY(answer, Do(call, kMaxManifestBytes, what));
  const std::string_view stored = answer.head.headers.Get("Docker-Content-Digest");
  if (!stored.empty() && stored != document.digest.ToString()) {
    return Fail(Named({ErrorCode::kDigestMismatch,
                       "the registry has stored it as " + std::string(stored.substr(0, 100))},
                      what));
  }
  return answer;
}

Status RegistryClient::PutReferrer(const RawDocument& document, const Descriptor& entry,
                                   const Digest& subject) {
  LAYERFS_TRY(answer, PutManifestForAnswer(document.digest.ToString(), document));
  if (!answer.head.headers.Get("OCI-Subject").empty()) return {};
  return ListReferrer(entry, "sha256-" + subject.Hex());
}

// Nothing locks a tag: whoever reads the list before another writes it loses the other's entry.
// Whose entry is not there a moment later puts it there again.
Status RegistryClient::ListReferrer(const Descriptor& entry, const std::string& tag) {
  std::mt19937_64 random{std::random_device()()};
  std::uniform_int_distribution<int64_t> pick(kLeastListWait.count(), kMostListWait.count());
  for (int attempt = 0; attempt < kListAttempts; ++attempt) {
    LAYERFS_CHECK_OK(PutIntoReferrersTag(entry, tag));
    WakeSignal signal;
    signal.WaitUntil(context_->clock(),
                     context_->clock().Now() + std::chrono::milliseconds(pick(random)));
    LAYERFS_TRY(list, ReadReferrersTag(tag));
    if (std::ranges::find(list.manifests, entry.digest, &Descriptor::digest) !=
        list.manifests.end()) {
      return {};
    }
  }
  return Fail(Named({ErrorCode::kBusy, "others keep writing it at the same time; try again"},
                    "referrers tag " + tag));
}

// From the registry itself: a mirror's may be old. Empty where there is none.
Result<ImageIndex> RegistryClient::ReadReferrersTag(const std::string& tag) {
  ImageIndex list;
  list.media_type = media_type::kOciIndex;
  RegistryCall call = Call("GET", "manifests/" + tag);
  call.headers.emplace_back("Accept", kAcceptedManifests);
  const auto known = Do(call, kMaxManifestBytes, "referrers tag " + tag);
  if (!known.has_value() && IsNotFound(known.error())) return list;
  if (!known.has_value()) return Fail(known.error());
  auto parsed = ImageIndex::Parse(AsBytes(known->body));
  if (!parsed) return Fail(Named(std::move(parsed).error(), "referrers tag " + tag));
  return parsed;
}

Status RegistryClient::PutIntoReferrersTag(const Descriptor& entry, const std::string& tag) {
  LAYERFS_TRY(list, ReadReferrersTag(tag));
  // The registry refuses a list of what has been deleted since.
  std::erase_if(list.manifests, [&](const Descriptor& listed) {
    if (listed.digest == entry.digest) return true;
    const auto there = GetManifest(listed.digest.ToString(), listed.digest);
    return !there.has_value() && IsNotFound(there.error());
  });
  list.manifests.push_back(entry);
  RawDocument tagged;
  tagged.raw = list.Encode();
  tagged.media_type = list.media_type;
  tagged.digest = Digest::Of(tagged.raw);
  return PutManifest(tag, tagged);
}

Result<bool> RegistryClient::HasBlob(const Digest& digest, uint64_t size) {
  const std::string what = "blob " + digest.ToString();
  auto answer = Do(Call("HEAD", "blobs/" + digest.ToString()), 0, what);
  if (!answer) {
    if (IsNotFound(answer.error())) return false;
    return Fail(std::move(answer).error());
  }
  const auto length = ParseDecimal(answer->head.headers.Get("Content-Length"));
  return !length || *length == size;
}

Status RegistryClient::ReadBlob(const Descriptor& descriptor,
                                const std::function<Status(ByteSpan)>& on_data) {
  const std::string what = "blob " + descriptor.digest.ToString();
  Backoff backoff = NewBackoff();
  Sha256 hasher;
  uint64_t received = 0;
  while (received < descriptor.size) {
    const std::string path = "blobs/" + descriptor.digest.ToString();
    const size_t member =
        members_->Order(RegistryMembers::Purpose::kDigest, context_->clock().Now()).front();
    RegistryHost& host = members_->host(member);
    RegistryCall call = CallTo(member, "GET", path);
    call.fetch_class = FetchClass::kFill;
    call.redirect_key = members_->repository(member) + "@" + descriptor.digest.ToString();
    RangeFilter filter(received, descriptor.size - received, descriptor.size);
    if (!filter.RangeHeader().empty()) call.headers.emplace_back("Range", filter.RangeHeader());
    Status head_status;
    BodyPipe pipe(kPipeBytes);
    const RegistryHost::CallId id = host.Start(
        std::move(call), {.on_head =
                              [&](const HttpHead& head) {
                                head_status = filter.CheckHead(head);
                                return head_status.has_value();
                              },
                          .on_data = [&](ByteSpan data) { return pipe.Offer(data); },
                          .on_done = [&](const RegistryResult& result) { pipe.Finish(result); }});
    Status consumed;
    while (auto piece = pipe.Next([&] { host.Resume(id); })) {
      if (!consumed) continue;  // Waiting for the end of a transfer that is being cancelled.
      const ByteSpan wanted = filter.Take(*piece);
      hasher.Update(wanted);
      received += wanted.size();
      if (!wanted.empty()) backoff.NoteProgress();
      consumed = on_data(wanted);
      if (!consumed || (filter.complete() && wanted.size() < piece->size())) host.Cancel(id);
    }
    if (!consumed) return consumed;
    if (filter.complete()) break;
    const RegistryResult result = pipe.result();
    Error error = filter.ShortBody();
    if (!result.http.status) error = result.http.status.error();
    if (!head_status) error = head_status.error();
    members_->NoteFailure(member, error, context_->clock().Now());
    if (members_->Order(RegistryMembers::Purpose::kDigest, context_->clock().Now()).front() !=
        member) {
      error.retryable = true;
    }
    if (!WaitToRetry(backoff, error, result.retry_after, what)) {
      return Fail(Named(std::move(error), what));
    }
  }
  if (const Digest actual = hasher.Finish(); actual != descriptor.digest) {
    return Fail(
        Named({ErrorCode::kDigestMismatch, "the bytes that came are " + actual.ToString()}, what));
  }
  return {};
}

Result<std::vector<Descriptor>> RegistryClient::Referrers(const Digest& digest,
                                                          const std::string& artifact_type) {
  const std::string what = "referrers of " + digest.ToString();
  RegistryCall call = Call("GET", "referrers/" + digest.ToString());
  if (!artifact_type.empty()) call.url = AppendQuery(call.url, "artifactType", artifact_type);
  auto answer = Do(call, kMaxManifestBytes, what);
  if (!answer && IsNotFound(answer.error())) {
    // Without the API, the image "sha256-HEX" is the list (distribution-spec, "Referrers Tag
    // Schema").
    RegistryCall fallback = Call("GET", "manifests/sha256-" + digest.Hex());
    fallback.headers.emplace_back("Accept", media_type::kOciIndex);
    answer = Do(fallback, kMaxManifestBytes, what);
    if (!answer && IsNotFound(answer.error())) return std::vector<Descriptor>();
  }
  std::vector<Descriptor> found;
  const TimePoint deadline = context_->clock().Now() + context_->options().timeout;
  for (int page = 1; answer.has_value(); ++page) {
    auto index = ImageIndex::Parse(AsBytes(answer->body));
    if (!index) return Fail(Named(std::move(index).error(), what));
    std::ranges::copy_if(
        index->manifests, std::back_inserter(found), [&](const Descriptor& descriptor) {
          return artifact_type.empty() || descriptor.artifact_type == artifact_type;
        });
    const auto next = NextPage(call.url, *answer);
    if (!next) return Fail(Named(next.error(), what));
    // Lists that lead round in a circle exist, and nobody has so many referrers.
    if (next->empty() || page == kMaxReferrersPages || context_->clock().Now() >= deadline) {
      return found;
    }
    call.url = *next;
    answer = Do(call, kMaxManifestBytes, what);
  }
  return Fail(std::move(answer).error());
}

Result<std::vector<std::string>> RegistryClient::ListTags(size_t limit) {
  std::vector<std::string> tags;
  RegistryCall call = Call("GET", "tags/list");
  for (int page = 0; page < kMaxPages; ++page) {
    LAYERFS_TRY(answer, Do(call, kMaxManifestBytes, "tags"));
    auto json = ParseJson(AsBytes(answer.body), kMaxManifestBytes);
    auto array = json ? JsonOptionalArray(*json, "tags") : Fail(std::move(json).error());
    if (!array) return Fail(Named(std::move(array).error(), "tags"));
    if (*array != nullptr) {
      for (const Json& tag : **array) {
        if (tag.is_string() && tags.size() < limit) tags.push_back(tag.get<std::string>());
      }
    }
    const auto next = NextPage(call.url, answer);
    if (!next) return Fail(Named(next.error(), "tags"));
    if (next->empty() || tags.size() >= limit) break;
    call.url = *next;
  }
  return tags;
}

}  // namespace layerfs
