// SPDX-License-Identifier: Apache-2.0
// The words of a Dockerfile instruction: quotes, backslashes and variables as Docker's parser has
// them.
// Functions of values; thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

// The value of a variable; empty where it is not set.
using GetVariable = std::function<std::string(std::string_view name)>;

// The instructions of a text, one a line: a line that ends in one backslash goes on in the next.
// Lines of white space alone and comments are none, wherever they are.
std::vector<std::string> SplitDockerfileLines(std::string_view text);

// Split at white space outside quotes; quotes are taken away, $NAME, ${NAME}, ${NAME:-WORD} and
// ${NAME:+WORD} replaced outside single quotes. kInvalidArgument for a quote or a brace that does
// not end.
Result<std::vector<std::string>> SplitDockerfileWords(std::string_view text,
                                                      const GetVariable& get);

// Likewise, all of it as one word.
Result<std::string> ExpandDockerfileText(std::string_view text, const GetVariable& get);

// A JSON array of strings (the exec form); nothing where the text is no such array.
std::optional<std::vector<std::string>> ParseExecForm(std::string_view text);

}  // namespace layerfs
