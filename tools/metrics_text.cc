// SPDX-License-Identifier: Apache-2.0
#include "tools/metrics_text.h"

#include <charconv>

namespace layerfs {
namespace {

std::string Escape(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '\\' || c == '"') escaped.push_back('\\');
    if (c == '\n') {
      escaped += "\\n";
    } else {
      escaped.push_back(c);
    }
  }
  return escaped;
}

// The shortest that reads back as the same number, without an exponent: counts look like counts.
std::string Decimal(double value) {
  char number[400];  // The largest has 309 digits, the smallest 324 behind the point and some.
  const auto end = std::to_chars(number, number + sizeof number, value, std::chars_format::fixed);
  return {number, end.ptr};
}

}  // namespace

MetricsText::MetricsText(const std::string& image) : labels_("image=\"" + Escape(image) + "\"") {}

void MetricsText::Add(const char* name, const char* type, const char* help, double value,
                      const std::string& more_labels) {
  Describe(name, type, help);
  Sample(name, value, more_labels);
}

void MetricsText::AddHistogram(const char* name, const char* help, const Histogram& histogram) {
  using Seconds = std::chrono::duration<double>;
  Describe(name, "histogram", help);
  const std::string base = name;
  uint64_t counted = 0;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    counted += histogram.counts[i];
    const bool last = i >= histogram.bounds.size();
    const std::string bound = last ? "+Inf" : Decimal(Seconds(histogram.bounds[i]).count());
    Sample(base + "_bucket", static_cast<double>(counted), ",le=\"" + bound + "\"");
  }
  Sample(base + "_sum", Seconds(histogram.sum).count(), "");
  Sample(base + "_count", static_cast<double>(counted), "");
}

void MetricsText::Describe(const char* name, const char* type, const char* help) {
  if (last_ == name) return;
  text_ += "# HELP " + std::string(name) + " " + help + "\n# TYPE " + name + " " + type + "\n";
  last_ = name;
}

void MetricsText::Sample(const std::string& name, double value, const std::string& more_labels) {
  text_ += name + "{" + labels_ + more_labels + "} " + Decimal(value) + "\n";
}

}  // namespace layerfs
