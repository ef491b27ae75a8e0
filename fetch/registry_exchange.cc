// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_exchange.h"

#include "fetch/registry_error.h"

namespace layerfs {
namespace {

constexpr int kMaxHops = 10;
// One for a token that is missing, one for a token that has run out.
constexpr int kMaxChallenges = 2;
constexpr size_t kMaxErrorBodyBytes = 8 * 1024;
// Reading a little more keeps the connection.
constexpr size_t kMaxDrainedBytes = 64 * 1024;
constexpr size_t kMaxRedirects = 4096;  // remembered a host

}  // namespace

RegistryExchange::RegistryExchange(RegistryHost& host, RegistryHost::CallId id, RegistryCall call,
                                   RegistrySink sink)
    : host_(host), id_(id), call_(std::move(call)), sink_(std::move(sink)) {}

void RegistryExchange::Begin() {
  const auto known = host_.redirects_.find(call_.redirect_key);
  if (call_.redirect_key.empty() || known == host_.redirects_.end()) return AskOrigin();
  from_memory_ = true;
  Send(known->second, Secret());
}

bool RegistryExchange::AtOrigin(const std::string& url) const {
  const auto parsed = Url::Parse(url);
  return parsed && parsed->SameOrigin(host_.base_);
}

void RegistryExchange::AskOrigin() {
  from_memory_ = false;
  request_ = 0;
  if (!AtOrigin(call_.url)) return Send(call_.url, Secret());
  host_.authenticator_.Authorize(call_.scopes, call_.repository,
                                 [self = shared_from_this()](Result<Secret> secret) {
                                   if (self->finished_) return;
                                   if (!secret) return self->FinishError(std::move(secret).error());
                                   self->Send(self->call_.url, *std::move(secret));
                                 });
}

void RegistryExchange::Send(const std::string& url, Secret authorization) {
  url_ = url;
  authorization_ = std::move(authorization);
  success_ = false;
  error_body_.clear();
  HttpRequest request;
  request.method = call_.method;
  request.url = url_;
  request.headers = call_.headers;
  request.authorization = authorization_;
  request.body = call_.body;
  request.fetch_class = call_.fetch_class;
  request.timeout = call_.timeout;
  request.silence_timeout = call_.silence_timeout;
  if (AtOrigin(url_)) {
    const RegistryHost::Options& host = host_.options_;
    request.unix_socket = host.unix_socket;
    request.tls = host.tls;
    request.connect_timeout = host.connect_timeout;
    request.headers.insert(request.headers.end(), host.headers.begin(), host.headers.end());
  }
  HttpSink sink;
  const auto self = shared_from_this();
  sink.on_head = [self](const HttpHead& head) {
    self->success_ = head.status >= 200 && head.status < 300;
    return !self->success_ || !self->sink_.on_head || self->sink_.on_head(head);
  };
  sink.on_data = [self](ByteSpan data) {
    if (!self->success_) return self->TakeErrorBody(data);
    return self->sink_.on_data ? self->sink_.on_data(data) : BodyFlow::kTaken;
  };
  sink.on_sent = call_.body.fd >= 0 ? sink_.on_sent : nullptr;
  sink.on_done = [self](const HttpResult& result) { self->OnAnswer(result); };
  request_ = host_.http_->Start(std::move(request), std::move(sink));
}

BodyFlow RegistryExchange::TakeErrorBody(ByteSpan data) {
  error_body_ += AsText(data);
  return error_body_.size() > kMaxDrainedBytes ? BodyFlow::kStop : BodyFlow::kTaken;
}

void RegistryExchange::Cancel() {
  if (finished_) return;
  // The request may have been answered already, its answer not yet seen.
  cancelled_ = true;
  if (request_ != 0) return host_.http_->Cancel(request_);
  FinishError({ErrorCode::kCancelled, "the request was cancelled"});
}

void RegistryExchange::Resume() {
  if (!finished_ && request_ != 0) host_.http_->Resume(request_);
}

void RegistryExchange::OnAnswer(const HttpResult& result) {
  request_ = 0;
  if (finished_) return;
  if (cancelled_ && !success_) return Cancel();
  const bool answered = result.head.status >= 300 &&
                        (result.status || result.status.error().code != ErrorCode::kCancelled ||
                         error_body_.size() > kMaxDrainedBytes);
  if (!answered) {
    // A 2xx, or a transfer that failed. An object store that cannot be reached may have moved.
    if (!result.status && from_memory_) host_.redirects_.erase(call_.redirect_key);
    const bool away = !call_.redirect_key.empty() && hops_ > 0 && !AtOrigin(url_);
    if (result.status && away && host_.redirects_.size() < kMaxRedirects) {
      host_.redirects_[call_.redirect_key] = url_;
    }
    return Finish({.http = result});
  }
  if (FollowRedirect(result) || AnswerChallenge(result) || LeaveStaleRedirect(result)) return;
  FinishWithStatus(result);
}

bool RegistryExchange::FollowRedirect(const HttpResult& result) {
  if (!IsRedirect(result.head.status) || !result.head.headers.Has("Location")) return false;
  // 301, 302 and 303 change the method of what sends a body; nothing here means that.
  const bool resend = result.head.status == 307 || result.head.status == 308;
  if (call_.method != "GET" && call_.method != "HEAD" && !resend) return false;
  if (++hops_ > kMaxHops) {
    FinishError({ErrorCode::kNetwork, "more than " + std::to_string(kMaxHops) + " redirects"});
    return true;
  }
  auto target = ResolveLocation(url_, result.head.headers.Get("Location"));
  if (!target) {
    FinishError({ErrorCode::kNetwork, "a redirect that leads nowhere: " + target.error().context});
    return true;
  }
  Send(*target, AtOrigin(*target) ? authorization_ : Secret());
  return true;
}

bool RegistryExchange::AnswerChallenge(const HttpResult& result) {
  if (result.head.status != 401 || !AtOrigin(url_) || ++challenges_ > kMaxChallenges) return false;
  std::vector<AuthChallenge> challenges;
  for (const std::string_view value : result.head.headers.All("WWW-Authenticate")) {
    for (AuthChallenge& challenge : ParseChallenges(value)) {
      challenges.push_back(std::move(challenge));
    }
  }
  host_.authenticator_.AnswerChallenge(call_.scopes, call_.repository, challenges, authorization_,
                                       [self = shared_from_this()](Result<Secret> secret) {
                                         if (self->finished_) return;
                                         if (!secret)
                                           return self->FinishError(std::move(secret).error());
                                         self->Send(self->url_, *std::move(secret));
                                       });
  return true;
}

// A signed URL that has run out is answered with 400, 401, 403 or 404, as each object store likes.
bool RegistryExchange::LeaveStaleRedirect(const HttpResult& result) {
  const int status = result.head.status;
  const bool refused =
      status >= 400 && status < 500 && status != 408 && status != 416 && status != 429;
  const bool away = from_memory_ || (hops_ > 0 && !AtOrigin(url_));
  // One that has trouble is left at the next try, and asked again if that leads to it.
  if (away && (status == 429 || status >= 500)) host_.redirects_.erase(call_.redirect_key);
  if (!refused || !away) return false;
  host_.redirects_.erase(call_.redirect_key);
  if (asked_anew_) return false;
  asked_anew_ = true;
  hops_ = 0;
  AskOrigin();
  return true;
}

void RegistryExchange::FinishWithStatus(const HttpResult& result) {
  Error error = RegistryError(result.head.status,
                              std::string_view(error_body_).substr(0, kMaxErrorBodyBytes));
  if (!AtOrigin(url_)) {
    error.context = UrlForMessages(url_) + ": " + error.context;
    // The object store's no is not the registry's: a login would not help.
    const bool refused =
        error.code == ErrorCode::kUnauthorized || error.code == ErrorCode::kPermission;
    if (refused) error = {ErrorCode::kNetwork, error.context, true};
  } else if (error.code == ErrorCode::kUnauthorized || error.code == ErrorCode::kPermission) {
    error = host_.authenticator_.WithHint(std::move(error));
  }
  RegistryResult answer{.http = result, .error_body = error_body_.substr(0, kMaxErrorBodyBytes)};
  answer.retry_after =
      ParseRetryAfter(result.head.headers.Get("Retry-After"), std::chrono::system_clock::now());
  answer.http.status = Fail(std::move(error));
  Finish(answer);
}

void RegistryExchange::FinishError(Error error) {
  RegistryResult result;
  result.http.status = Fail(std::move(error));
  Finish(result);
}

void RegistryExchange::Finish(const RegistryResult& result) {
  const auto self = shared_from_this();
  finished_ = true;
  host_.calls_.erase(id_);
  sink_.on_done(result);
}

}  // namespace layerfs
