// SPDX-License-Identifier: Apache-2.0
#include "tests/fetch/fake_registry.h"

#include "fetch/base64.h"
#include "index/base/json.h"

namespace layerfs {
namespace {

FakeResponse ErrorAnswer(int status, const std::string& code, const std::string& message) {
  const Json body = {{"errors", {{{"code", code}, {"message", message}}}}};
  return {.status = status, .headers = {{"Content-Type", "application/json"}}, .body = body.dump()};
}

std::string QueryValue(const std::string& target, const std::string& key) {
  const size_t question = target.find('?');
  if (question == std::string::npos) return "";
  const std::string query = "&" + target.substr(question + 1);
  const size_t at = query.find("&" + key + "=");
  if (at == std::string::npos) return "";
  const size_t start = at + key.size() + 2;
  std::string value = query.substr(start, query.find('&', start) - start);
  for (size_t percent; (percent = value.find('%')) != std::string::npos;) {
    value.replace(percent, 3, 1,
                  static_cast<char>(std::stoi(value.substr(percent + 1, 2), nullptr, 16)));
  }
  return value;
}

}  // namespace

FakeResponse ServeContent(const FakeRequest& request, const std::string& content) {
  const std::string range(request.headers.Get("Range"));
  if (range.empty()) return {.body = content};
  const size_t dash = range.find('-');
  const uint64_t first = std::stoull(range.substr(6, dash - 6));
  const uint64_t last = std::min<uint64_t>(std::stoull(range.substr(dash + 1)), content.size() - 1);
  if (first >= content.size()) return {.status = 416};
  return {
      .status = 206,
      .headers = {{"Content-Range", "bytes " + std::to_string(first) + "-" + std::to_string(last) +
                                        "/" + std::to_string(content.size())}},
      .body = content.substr(first, last - first + 1)};
}

FakeRegistry::FakeRegistry(FakeServer::Options options)
    : server_([this](const FakeRequest& request) { return Handle(request); }, std::move(options)) {}

Digest FakeRegistry::AddBlob(const std::string& content) {
  const Digest digest = Digest::Of(AsBytes(content));
  state_.With([&](State& state) { state.blobs[digest.ToString()] = content; });
  return digest;
}

Digest FakeRegistry::AddManifest(const std::string& tag, const std::string& raw,
                                 const std::string& type) {
  const Digest digest = Digest::Of(AsBytes(raw));
  state_.With([&](State& state) {
    state.manifests[tag] = {raw, type};
    state.manifests[digest.ToString()] = {raw, type};
  });
  return digest;
}

bool FakeRegistry::HasBlob(const Digest& digest) const {
  return state_.With([&](const State& state) { return state.blobs.contains(digest.ToString()); });
}
std::string FakeRegistry::Blob(const Digest& digest) const {
  return state_.With([&](const State& state) { return state.blobs.at(digest.ToString()); });
}
std::string FakeRegistry::ManifestOf(const std::string& name) const {
  return state_.With([&](const State& state) { return state.manifests.at(name).first; });
}

void FakeRegistry::Script(const std::string& method, const std::string& target,
                          std::vector<FakeResponse> answers) {
  state_.With([&](State& state) {
    auto& script = state.scripts[method + " " + target];
    script.insert(script.end(), answers.begin(), answers.end());
  });
}
void FakeRegistry::RequireBasic(const std::string& user, const std::string& password) {
  state_.With(
      [&](State& state) { state.basic = "Basic " + Base64Encode(AsBytes(user + ":" + password)); });
}
void FakeRegistry::RequireBearer(const Bearer& bearer) {
  state_.With([&](State& state) { state.bearer = bearer; });
}
void FakeRegistry::RevokeTokens() {
  state_.With([](State& state) { state.tokens.clear(); });
}
void FakeRegistry::RedirectBlobs(const std::string& base) {
  state_.With([&](State& state) { state.redirect_base = base; });
}
void FakeRegistry::IgnoreRanges() {
  state_.With([](State& state) { state.ignore_ranges = true; });
}
void FakeRegistry::RefuseMonolithic(int status) {
  state_.With([&](State& state) { state.refuse_monolithic = status; });
}
void FakeRegistry::AbsoluteLocations() {
  state_.With([](State& state) { state.absolute_locations = true; });
}

FakeResponse FakeRegistry::Handle(const FakeRequest& request) {
  return state_.With([&](State& state) -> FakeResponse {
    const std::string line = request.method + " " + request.target;
    for (auto& [prefix, answers] : state.scripts) {
      if (answers.empty() || !line.starts_with(prefix)) continue;
      FakeResponse answer = answers.front();
      answers.pop_front();
      return answer;
    }
    if (request.target.starts_with("/token")) return Token(state, request);
    const std::string authorization(request.headers.Get("Authorization"));
    const bool denied = (!state.basic.empty() && authorization != state.basic) ||
                        (state.bearer && !state.tokens.contains(authorization));
    return denied ? Challenge(state) : Route(state, request);
  });
}

FakeResponse FakeRegistry::Challenge(const State& state) const {
  FakeResponse answer = ErrorAnswer(401, "UNAUTHORIZED", "authentication required");
  if (!state.bearer) {
    answer.headers.emplace_back("WWW-Authenticate", "Basic realm=\"the registry\"");
    return answer;
  }
  const Bearer& bearer = *state.bearer;
  const std::string realm = bearer.realm.empty() ? server_.url() + "/token" : bearer.realm;
  if (!bearer.extra.empty()) answer.headers.emplace_back("WWW-Authenticate", bearer.extra);
  answer.headers.emplace_back("WWW-Authenticate",
                              "Bearer realm=\"" + realm + "\",service=\"fake\"" +
                                  (bearer.scope.empty() ? "" : ",scope=\"" + bearer.scope + "\""));
  return answer;
}

FakeResponse FakeRegistry::Token(State& state, const FakeRequest& request) const {
  if (!state.bearer) return {.status = 404};
  const Bearer& bearer = *state.bearer;
  const std::string wanted =
      bearer.user.empty() ? ""
                          : "Basic " + Base64Encode(AsBytes(bearer.user + ":" + bearer.password));
  bool allowed = request.headers.Get("Authorization") == wanted && bearer.refresh_token.empty();
  if (!bearer.refresh_token.empty()) {
    allowed = request.method == "POST" &&
              request.body.find("refresh_token=" + bearer.refresh_token) != std::string::npos;
  }
  if (!allowed) return {.status = 401, .body = R"({"details":"incorrect username or password"})"};
  const std::string token = "token-" + std::to_string(state.next_number++);
  state.tokens.insert("Bearer " + token);
  return {.body = Json({{"token", token}, {"expires_in", bearer.expires_in}}).dump()};
}

FakeResponse FakeRegistry::Route(State& state, const FakeRequest& request) const {
  const std::string path = request.target.substr(0, request.target.find('?'));
  if (path.find("/blobs/uploads/") != std::string::npos) return Upload(state, request);
  if (const size_t at = path.find("/blobs/"); at != std::string::npos) {
    return ServeBlob(state, request, path.substr(at + 7));
  }
  const size_t at = path.find("/manifests/");
  if (at == std::string::npos) return ErrorAnswer(404, "NAME_UNKNOWN", "no such thing");
  const std::string name = path.substr(at + 11);
  if (request.method == "PUT") {
    const std::string digest = Digest::Of(AsBytes(request.body)).ToString();
    const std::string type(request.headers.Get("Content-Type"));
    state.manifests[name] = state.manifests[digest] = {request.body, type};
    return {.status = 201, .headers = {{"Docker-Content-Digest", digest}}};
  }
  const auto it = state.manifests.find(name);
  if (it == state.manifests.end()) return ErrorAnswer(404, "MANIFEST_UNKNOWN", "manifest unknown");
  return {.headers = {{"Content-Type", it->second.second}}, .body = it->second.first};
}

FakeResponse FakeRegistry::ServeBlob(State& state, const FakeRequest& request,
                                     const std::string& digest) const {
  const auto it = state.blobs.find(digest);
  if (it == state.blobs.end()) return ErrorAnswer(404, "BLOB_UNKNOWN", "blob unknown");
  if (!state.redirect_base.empty()) {
    return {.status = 307, .headers = {{"Location", state.redirect_base + "/" + digest}}};
  }
  return state.ignore_ranges ? FakeResponse{.body = it->second} : ServeContent(request, it->second);
}

FakeResponse FakeRegistry::Upload(State& state, const FakeRequest& request) const {
  const size_t at = request.target.find("/blobs/uploads/");
  const std::string base = request.target.substr(0, at) + "/blobs/uploads/";
  const std::string id = request.target.substr(base.size(), request.target.find('?') - base.size());
  const auto location = [&](const std::string& upload) {
    return (state.absolute_locations ? server_.url() : "") + base + upload + "?_state=a%3D";
  };
  if (request.method == "POST") {
    const std::string mount = QueryValue(request.target, "mount");
    if (!mount.empty() && QueryValue(request.target, "from") == "from" &&
        state.blobs.contains(mount)) {
      return {.status = 201};
    }
    const std::string fresh = "u" + std::to_string(state.next_number++);
    state.uploads[fresh] = "";
    return {.status = 202, .headers = {{"Location", location(fresh)}}};
  }
  const auto it = state.uploads.find(id);
  const bool state_kept = QueryValue(request.target, "_state") == "a=";
  if (it == state.uploads.end() || !state_kept) {
    return ErrorAnswer(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
  }
  if (request.method == "DELETE") {
    state.uploads.erase(it);
    return {.status = 204};
  }
  if (request.method == "PATCH") {
    const std::string range(request.headers.Get("Content-Range"));
    if (!range.starts_with(std::to_string(it->second.size()) + "-")) {
      return ErrorAnswer(416, "BLOB_UPLOAD_INVALID", "out of order");
    }
    it->second += request.body;
    return {.status = 202, .headers = {{"Location", location(id)}}};
  }
  if (!request.body.empty() && state.refuse_monolithic != 0) {
    return {.status = state.refuse_monolithic};
  }
  const std::string content = it->second + request.body;
  const std::string digest = QueryValue(request.target, "digest");
  if (Digest::Of(AsBytes(content)).ToString() != digest) {
    return ErrorAnswer(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
  }
  state.uploads.erase(it);
  state.blobs[digest] = content;
  return {.status = 201, .headers = {{"Docker-Content-Digest", digest}}};
}

}  // namespace layerfs
