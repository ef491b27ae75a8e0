// SPDX-License-Identifier: Apache-2.0
#include "fetch/auth_challenge.h"

#include <cctype>
#include <optional>

namespace layerfs {
namespace {

bool IsTokenLetter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  bool done() const { return at_ == text_.size(); }
  size_t position() const { return at_; }
  void Rewind(size_t position) { at_ = position; }
  void SkipBlanks() {
    while (!done() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  void SkipSeparators() {
    while (!done() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == ',')) ++at_;
  }
  bool Take(char c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string TakeToken() {
    const size_t start = at_;
    while (!done() && IsTokenLetter(text_[at_])) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }
  // After the opening quote; nothing where the closing one is missing.
  std::optional<std::string> TakeQuoted() {
    std::string value;
    while (!done()) {
      char c = text_[at_++];
      if (c == '"') return value;
      if (c == '\\' && !done()) c = text_[at_++];
      value.push_back(c);
    }
    return std::nullopt;
  }
  // Anything up to a comma: servers write URLs without quotes too.
  std::string TakeBare() {
    const size_t start = at_;
    while (!done() && text_[at_] != ',' && text_[at_] != ' ') ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

std::string Lowercase(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

std::string AuthChallenge::Parameter(const std::string& name) const {
  const auto it = parameters.find(name);
  return it == parameters.end() ? "" : it->second;
}

std::vector<AuthChallenge> ParseChallenges(std::string_view text) {
  std::vector<AuthChallenge> challenges;
  Cursor cursor(text);
  while (true) {
    cursor.SkipSeparators();
    if (cursor.done()) return challenges;
    const std::string name = Lowercase(cursor.TakeToken());
    if (name.empty()) return challenges;
    const size_t after_name = cursor.position();
    cursor.SkipBlanks();
    if (!cursor.Take('=')) {
      // A word without a value begins the next challenge.
      cursor.Rewind(after_name);
      challenges.push_back({.scheme = name, .parameters = {}});
      continue;
    }
    cursor.SkipBlanks();
    std::optional<std::string> value;
    if (cursor.Take('"')) {
      value = cursor.TakeQuoted();
    } else {
      value = cursor.TakeBare();
    }
    if (!value || challenges.empty()) return challenges;
    challenges.back().parameters.emplace(name, *std::move(value));
  }
}

}  // namespace layerfs
