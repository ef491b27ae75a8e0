// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_upload.h"

#include <algorithm>

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kSessionTimeout{30'000};
constexpr std::chrono::milliseconds kNoTimeout{0};  // the stall limit holds
// Below what proxies in front of registries let through (100 MB is a usual one).
constexpr uint64_t kChunkBytes = uint64_t{32} << 20;
constexpr uint64_t kMaxAnswerBytes = 1 << 20;

// What the registry wants in place of a monolithic PUT.
bool WantsChunks(int status) {
  return status == 400 || status == 404 || status == 405 || status == 411 || status == 413 ||
         status == 415 || status == 416 || status == 501;
}

// One attempt at one blob. One thread at a time.
class Upload {
 public:
  Upload(RegistryClient& client, const Digest& digest, uint64_t size, int fd,
         const std::function<void(uint64_t)>& on_progress)
      : client_(client), digest_(digest), size_(size), fd_(fd), on_progress_(on_progress) {}

  Status Run(bool chunked) {
    LAYERFS_CHECK_OK(Begin());
    Status sent = chunked ? SendChunks() : SendWhole();
    if (!sent) Abort();
    return sent;
  }
  // Of the request that failed.
  int status() const { return status_; }
  std::optional<std::chrono::milliseconds> retry_after() const { return retry_after_; }

 private:
  Result<RegistryClient::Answer> Send(const RegistryCall& call, std::chrono::milliseconds timeout,
                                      const std::function<void(uint64_t)>& on_sent = nullptr) {
    auto attempt = client_.DoOnce(call, kMaxAnswerBytes, timeout, on_sent);
    status_ = attempt.status;
    retry_after_ = attempt.retry_after;
    return std::move(attempt.answer);
  }

  // Where the next request of the session goes: relative or absolute, with a query of its own.
  Status TakeLocation(const std::string& asked, const HttpHead& head) {
    auto location = ResolveLocation(asked, head.headers.Get("Location"));
    if (!location) {
      return Fail(ErrorCode::kNetwork, "the registry gives no place for the upload", true);
    }
    location_ = *location;
    return {};
  }

  Status Begin() {
    const RegistryCall call = client_.Call("POST", "blobs/uploads/");
    LAYERFS_TRY(answer, Send(call, kSessionTimeout));
    const auto minimum = ParseDecimal(answer.head.headers.Get("OCI-Chunk-Min-Length"));
    if (minimum) chunk_bytes_ = std::max(chunk_bytes_, *minimum);
    return TakeLocation(call.url, answer.head);
  }

  RegistryCall SessionCall(const std::string& method) const {
    RegistryCall call = client_.Call(method, "");
    call.url = location_;
    return call;
  }

  Status SendWhole() {
    RegistryCall call = SessionCall("PUT");
    call.url = AppendQuery(location_, "digest", digest_.ToString());
    call.headers.emplace_back("Content-Type", "application/octet-stream");
    call.body = {.fd = fd_, .offset = 0, .size = size_};
    LAYERFS_TRY(answer, Send(call, kNoTimeout, on_progress_));
    return CheckStored(answer.head);
  }

  Status SendChunks() {
    for (uint64_t offset = 0; offset < size_;) {
      const uint64_t size = std::min(chunk_bytes_, size_ - offset);
      RegistryCall call = SessionCall("PATCH");
      call.headers.emplace_back("Content-Type", "application/octet-stream");
      call.headers.emplace_back("Content-Range",
                                std::to_string(offset) + "-" + std::to_string(offset + size - 1));
      call.body = {.fd = fd_, .offset = offset, .size = size};
      const auto on_sent = [&](uint64_t sent) {
        if (on_progress_) on_progress_(offset + sent);
      };
      LAYERFS_TRY(answer, Send(call, kNoTimeout, on_sent));
      LAYERFS_CHECK_OK(TakeLocation(call.url, answer.head));
      offset += size;
    }
    RegistryCall call = SessionCall("PUT");
    call.url = AppendQuery(location_, "digest", digest_.ToString());
    LAYERFS_TRY(answer, Send(call, kNoTimeout));
    return CheckStored(answer.head);
  }

  Status CheckStored(const HttpHead& head) const {
    const std::string_view stored = head.headers.Get("Docker-Content-Digest");
    if (stored.empty() || stored == digest_.ToString()) return {};
    return Fail(ErrorCode::kDigestMismatch,
                "the registry has stored it as " + std::string(stored.substr(0, 100)));
  }

  // Tells the registry to forget the session; it would by itself, some day.
  void Abort() { (void)client_.DoOnce(SessionCall("DELETE"), kMaxAnswerBytes, kSessionTimeout); }

  RegistryClient& client_;
  const Digest digest_;
  const uint64_t size_;
  const int fd_;
  const std::function<void(uint64_t)>& on_progress_;
  std::string location_;
  uint64_t chunk_bytes_ = kChunkBytes;
  int status_ = 0;
  std::optional<std::chrono::milliseconds> retry_after_;
};

// Tells the registry to forget the upload that `head` answers `asked` with. It would by itself,
// some day.
void DropSession(RegistryClient& client, const std::string& asked, const HttpHead& head) {
  const auto location = ResolveLocation(asked, head.headers.Get("Location"));
  if (!location.has_value()) return;
  RegistryCall call = client.Call("DELETE", "");
  call.url = *location;
  (void)client.DoOnce(call, kMaxAnswerBytes, kSessionTimeout);
}

}  // namespace

Status CheckUpload(RegistryClient& client) {
  const RegistryCall call = client.Call("POST", "blobs/uploads/");
  LAYERFS_TRY(answer, client.Do(call, kMaxAnswerBytes, "begin of an upload"));
  DropSession(client, call.url, answer.head);
  return {};
}

Status UploadBlob(RegistryClient& client, const Digest& digest, uint64_t size, int fd,
                  const std::function<void(uint64_t)>& on_progress) {
  Backoff backoff = client.NewBackoff();
  uint64_t furthest = 0;
  const std::function<void(uint64_t)> on_sent = [&](uint64_t sent) {
    if (sent <= furthest) return;  // A second attempt passes the first one's ground again.
    furthest = sent;
    if (on_progress) on_progress(sent);
  };
  bool chunked = false;
  while (true) {
    const uint64_t before = furthest;
    Upload upload(client, digest, size, fd, on_sent);
    const Status sent = upload.Run(chunked);
    if (sent) return sent;
    if (!chunked && WantsChunks(upload.status())) {
      chunked = true;
      continue;
    }
    if (furthest > before) backoff.NoteProgress();
    if (!backoff.WaitAfter(sent.error(), upload.retry_after())) {
      return Fail(client.Named(sent.error(), "upload of blob " + digest.ToString()));
    }
  }
}

Result<bool> MountBlob(RegistryClient& client, const Digest& digest,
                       const std::string& from_repository) {
  RegistryCall call = client.Call("POST", "blobs/uploads/");
  call.url = AppendQuery(call.url, "mount", digest.ToString());
  call.url = AppendQuery(call.url, "from", from_repository);
  call.scopes.push_back(PullScope(from_repository));
  std::ranges::sort(call.scopes);
  auto answer = client.Do(call, kMaxAnswerBytes, "mount of blob " + digest.ToString());
  if (!answer) {
    // Not allowed to read there, or nothing there: not an error, only no mount.
    const ErrorCode code = answer.error().code;
    const bool refused = code == ErrorCode::kNotFound || code == ErrorCode::kPermission ||
                         code == ErrorCode::kUnauthorized || code == ErrorCode::kUnsupported;
    if (refused) return false;
    return Fail(std::move(answer).error());
  }
  if (answer->head.status == 201) return true;
  // 202: an upload session in place of the mount, which nobody wants.
  DropSession(client, call.url, answer->head);
  return false;
}

}  // namespace layerfs
