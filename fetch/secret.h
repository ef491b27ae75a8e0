// SPDX-License-Identifier: Apache-2.0
// Secret: a password, a token, an Authorization header. It has no formatter, so that no log line
// and no error can hold one by accident; Reveal is easy to search for.
// A value; thread-safe as one.
#pragma once

#include <string.h>

#include <string>
#include <utility>

namespace layerfs {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret(Secret&&) noexcept = default;
  Secret& operator=(const Secret&) = default;
  Secret& operator=(Secret&&) noexcept = default;
  ~Secret() { explicit_bzero(value_.data(), value_.size()); }

  const std::string& Reveal() const { return value_; }
  bool empty() const { return value_.empty(); }
  bool operator==(const Secret&) const = default;

 private:
  std::string value_;
};

}  // namespace layerfs
