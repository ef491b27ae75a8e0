// SPDX-License-Identifier: Apache-2.0
// MetricsText: writes Prometheus' text format
// (prometheus.io/docs/instrumenting/exposition_formats), for one image.
// One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

namespace layerfs {

class MetricsText {
 public:
  explicit MetricsText(const std::string& image);

  // Samples of one metric come one after the other. `more_labels`: ",name=\"value\"".
  void Add(const char* name, const char* type, const char* help, double value,
           const std::string& more_labels = "");
  // `counts`: how many were at most each of `bounds` and more than the one before; the last one,
  // beyond them all.
  struct Histogram {
    std::span<const std::chrono::milliseconds> bounds;
    std::span<const uint64_t> counts;
    std::chrono::microseconds sum{0};
  };
  // In seconds.
  void AddHistogram(const char* name, const char* help, const Histogram& histogram);
  std::string Take() && { return std::move(text_); }

 private:
  void Describe(const char* name, const char* type, const char* help);
  void Sample(const std::string& name, double value, const std::string& more_labels);

  const std::string labels_;
  std::string last_;
  std::string text_;
};

}  // namespace layerfs
