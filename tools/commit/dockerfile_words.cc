// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/dockerfile_words.h"

#include <algorithm>

#include "index/base/json.h"

namespace layerfs {
namespace {

constexpr int kMaxDepth = 16;
constexpr uint64_t kMaxInstructionBytes = uint64_t{1} << 20;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Takes the backslash at a line's end away, and white space behind it; whether there was one. Two
// of them are no such end (buildkit frontend/dockerfile/parser, "lineContinuationRegex").
bool TakeContinuation(std::string_view& line) {
  const size_t last = line.find_last_not_of(" \t");
  if (last == std::string_view::npos || line[last] != '\\') return false;
  if (last > 0 && line[last - 1] == '\\') return false;
  line = line.substr(0, last);
  return true;
}

class WordSplitter {
 public:
  // `depth`: how many variables' defaults it stands in; only the outermost text is split.
  WordSplitter(std::string_view text, const GetVariable& get, bool splits, int depth = 0)
      : text_(text), get_(get), splits_(splits), depth_(depth) {}

  Result<std::vector<std::string>> Run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (splits_ && quote_ == '\0' && IsSpace(c)) {
        EndWord();
        ++at_;
      } else if (c == '\\' && quote_ != '\'' && at_ + 1 < text_.size()) {
        // In double quotes it is taken away before what it has a meaning for only.
        const char next = text_[at_ + 1];
        if (quote_ == '"' && next != '"' && next != '\\' && next != '$') Put(c);
        Put(next);
        at_ += 2;
      } else if (quote_ == '\0' ? c == '"' || c == '\'' : c == quote_) {
        quote_ = quote_ == '\0' ? c : '\0';
        in_word_ = true;
        ++at_;
      } else if (c == '$' && quote_ != '\'') {
        LAYERFS_CHECK_OK(PutVariable());
      } else {
        Put(c);
        ++at_;
      }
    }
    if (quote_ != '\0') {
      return Fail(ErrorCode::kInvalidArgument, std::string("a ") + quote_ + " has no end");
    }
    EndWord();
    return std::move(words_);
  }

  Result<std::string> RunAsOne() {
    LAYERFS_TRY(words, Run());
    return words.empty() ? std::string() : std::move(words.front());
  }

 private:
  void Put(char c) {
    word_.push_back(c);
    in_word_ = true;
  }
  void EndWord() {
    if (in_word_) words_.push_back(std::move(word_));
    word_.clear();
    in_word_ = false;
  }
  Status PutVariable() {
    ++at_;
    const bool braces = at_ < text_.size() && text_[at_] == '{';
    if (braces) ++at_;
    const size_t begin = at_;
    while (at_ < text_.size() && IsNameChar(text_[at_])) ++at_;
    const std::string_view name = text_.substr(begin, at_ - begin);
    std::string value = get_(name);
    if (braces) {
      LAYERFS_TRY(chosen, EndBraces(name, std::move(value)));
      value = std::move(chosen);
    } else if (name.empty()) {
      Put('$');
      return {};
    }
    word_ += value;
    in_word_ = true;
    return {};
  }

  // Behind "${NAME": "}", ":-WORD}" or ":+WORD}", where the word has variables of its own.
  Result<std::string> EndBraces(std::string_view name, std::string value) {
    const std::string_view rest = text_.substr(at_);
    if (!name.empty() && rest.starts_with('}')) {
      ++at_;
      return value;
    }
    size_t depth = 1;
    size_t end = 0;
    while (end < rest.size() && depth > 0) {
      if (rest[end] == '{') ++depth;
      if (rest[end] == '}') --depth;
      ++end;
    }
    const bool has_choice = rest.starts_with(":-") || rest.starts_with(":+");
    if (name.empty() || !has_choice || depth > 0) {
      return Fail(ErrorCode::kInvalidArgument,
                  "a ${ is not followed by a name and }, :-WORD} or :+WORD}");
    }
    if (depth_ == kMaxDepth) {
      return Fail(ErrorCode::kInvalidArgument, "variables stand in variables too many times");
    }
    at_ += end;
    const bool takes_word = rest[1] == '-' ? value.empty() : !value.empty();
    if (takes_word) {
      return WordSplitter(rest.substr(2, end - 3), get_, false, depth_ + 1).RunAsOne();
    }
    return rest[1] == '-' ? value : std::string();
  }

  const std::string_view text_;
  const GetVariable& get_;
  const bool splits_;
  const int depth_;
  size_t at_ = 0;
  char quote_ = '\0';
  bool in_word_ = false;
  std::string word_;
  std::vector<std::string> words_;
};

}  // namespace

std::vector<std::string> SplitDockerfileLines(std::string_view text) {
  std::vector<std::string> instructions;
  bool goes_on = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!goes_on) instructions.emplace_back();
    goes_on = TakeContinuation(line);
    instructions.back() += line;
  }
  return instructions;
}

Result<std::vector<std::string>> SplitDockerfileWords(std::string_view text,
                                                      const GetVariable& get) {
  return WordSplitter(text, get, true).Run();
}

Result<std::string> ExpandDockerfileText(std::string_view text, const GetVariable& get) {
  return WordSplitter(text, get, false).RunAsOne();
}

std::optional<std::vector<std::string>> ParseExecForm(std::string_view text) {
  const auto json = ParseJson(AsBytes(text), kMaxInstructionBytes);
  if (!json.has_value() || !json->is_array()) return std::nullopt;
  std::vector<std::string> words;
  for (const Json& item : *json) {
    if (!item.is_string()) return std::nullopt;
    words.push_back(item.get<std::string>());
  }
  return words;
}

}  // namespace layerfs
