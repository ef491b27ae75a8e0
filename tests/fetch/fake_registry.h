// SPDX-License-Identifier: Apache-2.0
// FakeRegistry: a registry on a loopback socket (the distribution specification's part that layerfs
// uses, and a token server) that a test scripts: the next answers to a path can be anything.
// Thread-safe.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "index/base/digest.h"
#include "index/base/synchronized.h"
#include "tests/fetch/fake_server.h"

namespace layerfs {

class FakeRegistry {
 public:
  explicit FakeRegistry(FakeServer::Options options = {});

  FakeServer& server() { return server_; }
  std::string authority() const { return server_.authority(); }

  Digest AddBlob(const std::string& content);
  // Under its digest and under `tag`.
  Digest AddManifest(const std::string& tag, const std::string& raw, const std::string& type);
  bool HasBlob(const Digest& digest) const;
  std::string Blob(const Digest& digest) const;
  std::string ManifestOf(const std::string& name) const;

  // The next requests of the method whose target begins so get these answers, in order; then all is
  // as usual again.
  void Script(const std::string& method, const std::string& target,
              std::vector<FakeResponse> answers);
  void RequireBasic(const std::string& user, const std::string& password);
  struct Bearer {
    std::string user;  // empty: anonymous tokens
    std::string password;
    std::string refresh_token;  // OAuth2, by POST, in place of the two above
    int expires_in = 300;
    std::string realm;  // empty: /token of this server
    std::string scope;  // in the challenge; empty: none
    std::string extra;  // more challenges, before the Bearer one
  };
  void RequireBearer(const Bearer& bearer);
  // The tokens given out so far are no longer taken.
  void RevokeTokens();
  // Blobs are answered with 307 to "BASE/DIGEST".
  void RedirectBlobs(const std::string& base);
  void IgnoreRanges();
  // Uploads: whether a PUT with a body is refused, so with which status.
  void RefuseMonolithic(int status);
  void AbsoluteLocations();

 private:
  struct State {
    std::map<std::string, std::string> blobs;                              // by digest
    std::map<std::string, std::pair<std::string, std::string>> manifests;  // raw, media type
    std::map<std::string, std::string> uploads;                            // by id
    std::map<std::string, std::deque<FakeResponse>> scripts;  // by "METHOD target-prefix"
    std::string basic;                                        // the header that is taken
    std::optional<Bearer> bearer;
    std::set<std::string> tokens;
    int next_number = 1;
    std::string redirect_base;
    bool ignore_ranges = false;
    int refuse_monolithic = 0;
    bool absolute_locations = false;
  };
  FakeResponse Handle(const FakeRequest& request);
  FakeResponse Token(State& state, const FakeRequest& request) const;
  FakeResponse Route(State& state, const FakeRequest& request) const;
  FakeResponse Upload(State& state, const FakeRequest& request) const;
  FakeResponse ServeBlob(State& state, const FakeRequest& request, const std::string& digest) const;
  FakeResponse Challenge(const State& state) const;

  mutable Synchronized<State> state_;
  FakeServer server_;  // last: its threads use the state
};

// Serves `content` as an object store does; "Range" is honoured.
FakeResponse ServeContent(const FakeRequest& request, const std::string& content);

}  // namespace layerfs
