// SPDX-License-Identifier: Apache-2.0
#include "fetch/toml.h"

#include <toml++/toml.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxTomlBytes = uint64_t{1} << 20;
constexpr int kMaxDepth = 32;

Json ToJson(const toml::node& node, int depth);

// toml++ sorts tables by name; the order of a file's mirrors is their order of
// preference.
Json TableToJson(const toml::table& table, int depth) {
  struct Entry {
    std::string_view key;
    const toml::node* node;
  };
  std::vector<Entry> entries;
  for (const auto& [key, node] : table) entries.push_back({key.str(), &node});
  const auto place = [](const Entry& entry) {
    const toml::source_position begin = entry.node->source().begin;
    return std::pair(begin.line, begin.column);
  };
  std::stable_sort(entries.begin(), entries.end(),
                   [&](const Entry& a, const Entry& b) { return place(a) < place(b); });
  Json json = Json::object();
  for (const Entry& entry : entries) json[std::string(entry.key)] = ToJson(*entry.node, depth + 1);
  return json;
}

Json ToJson(const toml::node& node, int depth) {
  if (depth > kMaxDepth) return nullptr;
  if (const toml::table* table = node.as_table()) return TableToJson(*table, depth);
  if (const toml::array* array = node.as_array()) {
    Json json = Json::array();
    for (const toml::node& element : *array) json.push_back(ToJson(element, depth + 1));
    return json;
  }
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return number->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  std::ostringstream text;
  node.visit([&](const auto& value) {
    if constexpr (toml::is_value<decltype(value)>) text << value;
  });
  return text.str();
}

}  // namespace

Result<Json> ParseToml(std::string_view text, const std::string& name_for_errors) {
  // Debian's library is built to throw; nothing of that leaves this function.
  try {
    return TableToJson(toml::parse(text), 0);
  } catch (const toml::parse_error& error) {
    return Fail(ErrorCode::kInvalidArgument, name_for_errors + ": line " +
                                                 std::to_string(error.source().begin.line) + ": " +
                                                 std::string(error.description()));
  }
}

Result<Json> ReadTomlFile(const std::string& path) {
  LAYERFS_TRY(bytes, ReadFile(path, kMaxTomlBytes));
  return ParseToml(AsText(bytes), path);
}

std::string TomlText(const Json& table, const char* key) {
  const auto it = table.find(key);
  return it != table.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool TomlTruth(const Json& table, const char* key) {
  const auto it = table.find(key);
  return it != table.end() && it->is_boolean() && it->get<bool>();
}

}  // namespace layerfs
