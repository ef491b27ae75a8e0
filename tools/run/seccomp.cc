// SPDX-License-Identifier: Apache-2.0
#include "tools/run/seccomp.h"

#include <unistd.h>

#include <algorithm>

namespace layerfs {
namespace {

constexpr const char* kPlaces[] = {"/etc/containers/seccomp.json",
                                   "/usr/share/containers/seccomp.json"};

Result<std::vector<std::string>> Words(const Json& object, const char* key) {
  std::vector<std::string> words;
  LAYERFS_TRY(array, JsonOptionalArray(object, key));
  if (array == nullptr) return words;
  for (const Json& word : *array) {
    if (!word.is_string()) {
      return Fail(ErrorCode::kCorrupt, std::string(key) + ": holds something that is no string");
    }
    words.push_back(word.get<std::string>());
  }
  return words;
}

bool Holds(const std::vector<std::string>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

// All capabilities that a rule is for, any of those that it is not for.
Result<bool> Applies(const Json& rule, const SeccompFacts& facts) {
  LAYERFS_TRY(includes, JsonOptionalObject(rule, "includes"));
  if (includes != nullptr) {
    LAYERFS_TRY(architectures, Words(*includes, "arches"));
    LAYERFS_TRY(capabilities, Words(*includes, "caps"));
    if (!architectures.empty() && !Holds(architectures, facts.architecture)) return false;
    for (const std::string& word : capabilities) {
      if (!Holds(facts.capabilities, word)) return false;
    }
  }
  LAYERFS_TRY(excludes, JsonOptionalObject(rule, "excludes"));
  if (excludes != nullptr) {
    LAYERFS_TRY(architectures, Words(*excludes, "arches"));
    LAYERFS_TRY(capabilities, Words(*excludes, "caps"));
    if (Holds(architectures, facts.architecture)) return false;
    for (const std::string& word : capabilities) {
      if (Holds(facts.capabilities, word)) return false;
    }
  }
  return true;
}

// The runtime's names for an architecture and those that its kernel runs as well.
Result<Json> Architectures(const Json& profile, const SeccompFacts& facts) {
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"amd64", "SCMP_ARCH_X86_64"},    {"arm64", "SCMP_ARCH_AARCH64"},
      {"arm", "SCMP_ARCH_ARM"},         {"386", "SCMP_ARCH_X86"},
      {"ppc64le", "SCMP_ARCH_PPC64LE"}, {"s390x", "SCMP_ARCH_S390X"}};
  LAYERFS_TRY(map, JsonOptionalArray(profile, "archMap"));
  Json list = Json::array();
  if (map == nullptr) return list;
  for (const Json& entry : *map) {
    LAYERFS_TRY(name, JsonString(entry, "architecture"));
    const bool is_ours = std::ranges::any_of(kNames, [&](const auto& known) {
      return facts.architecture == known.first && name == known.second;
    });
    if (!is_ours) continue;
    list.push_back(name);
    LAYERFS_TRY(others, Words(entry, "subArchitectures"));
    for (const std::string& other : others) list.push_back(other);
  }
  return list;
}

Result<Json> MakeRule(const Json& rule) {
  LAYERFS_TRY(names, Words(rule, "names"));
  LAYERFS_TRY(name, JsonOptionalString(rule, "name"));
  if (!name.empty()) names.push_back(name);
  LAYERFS_TRY(action, JsonString(rule, "action"));
  Json made = {{"names", names}, {"action", action}};
  LAYERFS_TRY(arguments, JsonOptionalArray(rule, "args"));
  if (arguments != nullptr && !arguments->empty()) made["args"] = *arguments;
  if (rule.contains("errnoRet")) made["errnoRet"] = rule["errnoRet"];
  return made;
}

}  // namespace

Result<Json> MakeSeccomp(const Json& profile, const SeccompFacts& facts) {
  LAYERFS_TRY(action, JsonString(profile, "defaultAction"));
  if (!profile.contains("archMap") && profile.contains("architectures")) return profile;
  Json made = {{"defaultAction", action}};
  if (profile.contains("defaultErrnoRet")) made["defaultErrnoRet"] = profile["defaultErrnoRet"];
  LAYERFS_TRY(architectures, Architectures(profile, facts));
  if (!architectures.empty()) made["architectures"] = architectures;
  made["syscalls"] = Json::array();
  LAYERFS_TRY(rules, JsonOptionalArray(profile, "syscalls"));
  if (rules == nullptr) return made;
  for (const Json& rule : *rules) {
    LAYERFS_TRY(applies, Applies(rule, facts));
    if (!applies) continue;
    LAYERFS_TRY(call, MakeRule(rule));
    made["syscalls"].push_back(std::move(call));
  }
  return made;
}

Result<std::string> FindSeccompProfile() {
  for (const char* place : kPlaces) {
    if (::access(place, R_OK) == 0) return std::string(place);
  }
  return Fail(
      ErrorCode::kNotFound,
      std::string(kPlaces[1]) +
          ": is not there, so that system calls are not filtered; "
          "install golang-github-containers-common, or say --security-opt seccomp=unconfined");
}

}  // namespace layerfs
