// SPDX-License-Identifier: Apache-2.0
// RegistryEndpoint: one place that a repository can be read from, the registry
// itself or a mirror of it, as the configuration of containerd
// (certs.d/HOST/hosts.toml) or of Podman (registries.conf) describes it. A
// value.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace layerfs {

struct EndpointTls {
  std::vector<std::string> ca_files;  // besides the system's
  std::string client_cert;
  std::string client_key;
  bool skip_verify = false;
  bool operator==(const EndpointTls&) const = default;
  // What another one trusts as well, and shows of itself where this one shows nothing.
  void AddCertificates(const EndpointTls& other) {
    ca_files.insert(ca_files.end(), other.ca_files.begin(), other.ca_files.end());
    if (!client_cert.empty()) return;
    client_cert = other.client_cert;
    client_key = other.client_key;
  }
};

struct RegistryEndpoint {
  std::string host;               // "mirror.example.com:5000": whose credentials
  std::string api_root;           // "https://mirror.example.com:5000/v2"; empty: the
                                  // registry's own
  bool plain_unless_tls = false;  // its http is a guess, from nothing but the name of a loopback
  std::string repository;         // as it is called there
  std::string name_space;         // which registry a mirror of several is asked for
                                  // ("ns="); or empty
  bool resolves_tags = true;
  bool serves_digests = true;
  bool is_registry = false;  // not a mirror: asked last, and pushed to
  bool is_own_host = false;  // the registry's own name, with the right to push, among the hosts
  // What no mirror is asked for goes here: pushes, referrers, lists of tags.
  bool takes_pushes() const { return is_registry || is_own_host; }
  EndpointTls tls;
  std::vector<std::pair<std::string, std::string>> headers;
  std::chrono::milliseconds dial_timeout{0};  // 0: the usual
  std::string unix_socket;
  bool operator==(const RegistryEndpoint&) const = default;
};

}  // namespace layerfs
