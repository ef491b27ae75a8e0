// SPDX-License-Identifier: Apache-2.0
// RegistryExchange: one call of a RegistryHost on its way through tokens and redirects.
// HTTP loop thread only.
#pragma once

#include <memory>
#include <string>

#include "fetch/registry_host.h"

namespace layerfs {

class RegistryExchange : public std::enable_shared_from_this<RegistryExchange> {
 public:
  RegistryExchange(RegistryHost& host, RegistryHost::CallId id, RegistryCall call,
                   RegistrySink sink);

  void Begin();
  void Cancel();
  void Resume();

 private:
  void AskOrigin();
  void Send(const std::string& url, Secret authorization);
  BodyFlow TakeErrorBody(ByteSpan data);
  void OnAnswer(const HttpResult& result);
  // Each returns whether it has taken the answer on: sent something anew, or ended the call.
  bool FollowRedirect(const HttpResult& result);
  bool AnswerChallenge(const HttpResult& result);
  bool LeaveStaleRedirect(const HttpResult& result);
  void FinishWithStatus(const HttpResult& result);
  void Finish(const RegistryResult& result);
  void FinishError(Error error);
  bool AtOrigin(const std::string& url) const;

  RegistryHost& host_;
  const RegistryHost::CallId id_;
  const RegistryCall call_;
  const RegistrySink sink_;

  std::string url_;                    // of the HTTP request under way
  Secret authorization_;               // that it carries
  HttpClient::RequestId request_ = 0;  // 0: none is under way
  bool success_ = false;               // its answer is a 2xx, and goes to the sink
  bool from_memory_ = false;           // it went to a remembered redirect
  bool asked_anew_ = false;            // after a redirect had failed
  int hops_ = 0;
  int challenges_ = 0;
  bool cancelled_ = false;
  bool finished_ = false;
  std::string error_body_;
};

}  // namespace layerfs
