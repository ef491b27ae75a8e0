// SPDX-License-Identifier: Apache-2.0
// The report of `layerfs bench startup` as one page of HTML with inline SVG.
#include <algorithm>
#include <cstdio>

#include "tools/bench/startup_samples.h"

namespace layerfs {
namespace {

constexpr double kWidth = 860;
constexpr double kLeft = 170;
constexpr double kBarHeight = 22;
constexpr double kTimelineHeight = 220;
// A read that took longer than this has stalled its reader.
constexpr double kStallSeconds = 0.005;

template <typename... Values>
std::string Format(const char* format, Values... values) {
  char buffer[1024];
  const int size = std::snprintf(buffer, sizeof buffer, format, values...);
  return {buffer, static_cast<size_t>(std::clamp(size, 0, static_cast<int>(sizeof buffer) - 1))};
}

std::string Escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped.push_back(c);
    }
  }
  return escaped;
}

struct Phase {
  const char* name;
  const char* colour;
  double StartSample::* end;
};
constexpr Phase kPhases[] = {{"resolve", "#4e79a7", &StartSample::resolved},
                             {"metadata", "#76b7b2", &StartSample::opened},
                             {"mount", "#59a14f", &StartSample::mounted},
                             {"first byte", "#edc948", &StartSample::first_byte},
                             {"to ready", "#f28e2b", &StartSample::ready}};

double Longest(const ImageResult& result) {
  double longest = result.LimitSeconds();
  for (const WaySamples& way : result.ways) longest = std::max(longest, MedianSample(way).ready);
  return longest;
}

// A bar a way: its phases one after the other, and the limit as a line through all.
std::string PhaseBars(const ImageResult& result) {
  const double scale = (kWidth - kLeft - 70) / Longest(result);
  const double height = static_cast<double>(result.ways.size()) * (kBarHeight + 8) + 26;
  std::string svg = Format("<svg width=\"%.0f\" height=\"%.0f\">", kWidth, height);
  double y = 4;
  for (const WaySamples& way : result.ways) {
    const StartSample& sample = MedianSample(way);
    svg += Format("<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%s</text>", kLeft - 8, y + 15,
                  Escape(way.way).c_str());
    double before = 0;
    for (const Phase& phase : kPhases) {
      const double end = std::max(before, sample.*(phase.end));
      svg += Format(
          "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" fill=\"%s\"><title>%s: %.3f s"
          "</title></rect>",
          kLeft + before * scale, y, (end - before) * scale, kBarHeight, phase.colour, phase.name,
          end - before);
      before = end;
    }
    svg += Format("<text x=\"%.1f\" y=\"%.0f\">%.2f s</text>", kLeft + before * scale + 6, y + 15,
                  sample.ready);
    y += kBarHeight + 8;
  }
  const double limit = kLeft + result.LimitSeconds() * scale;
  svg += Format(
      "<line x1=\"%.1f\" y1=\"0\" x2=\"%.1f\" y2=\"%.0f\" stroke=\"#c00\" stroke-dasharray=\"4 "
      "3\"/><text x=\"%.1f\" y=\"%.0f\" fill=\"#c00\">limit %.2f s</text></svg>",
      limit, limit, y + 4, limit + 4, y + 14, result.LimitSeconds());
  return svg;
}

std::string Legend() {
  std::string legend = "<p class=\"legend\">";
  for (const Phase& phase : kPhases) {
    legend += Format("<span style=\"background:%s\"></span>%s ", phase.colour, phase.name);
  }
  return legend + "</p>";
}

// Arrivals as a rising line (bytes of pages that are there), each read as a bar from its begin to
// its answer at the height of the bytes read so far; those that waited are red.
std::string Timeline(const StartSample& sample) {
  double total = 1;
  double read_bytes = 0;
  for (const LoggedEvent& event : sample.events) {
    if (event.event == "read") read_bytes += static_cast<double>(event.bytes);
    if (event.event == "pages") total = std::max(total, static_cast<double>(event.bytes));
  }
  total = std::max(total, read_bytes);
  const double x_scale = (kWidth - kLeft - 70) / std::max(sample.ready, 1e-3);
  const auto x = [&](double at) { return kLeft + std::clamp(at, 0.0, sample.ready) * x_scale; };
  const auto y = [&](double bytes) {
    return kTimelineHeight - bytes / total * (kTimelineHeight - 12);
  };
  std::string arrivals;
  std::string reads;
  double so_far = 0;
  size_t stalls = 0;
  double last = 0;
  for (const LoggedEvent& event : sample.events) {
    if (event.event == "pages") {
      arrivals += Format("%.1f,%.1f %.1f,%.1f ", x(event.at), y(last), x(event.at),
                         y(static_cast<double>(event.bytes)));
      last = static_cast<double>(event.bytes);
    }
    if (event.event != "read" || event.at > sample.ready) continue;
    so_far += static_cast<double>(event.bytes);
    const bool stalled = event.waited && event.took > kStallSeconds;
    stalls += stalled ? 1 : 0;
    reads += Format(
        "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
        "stroke-width=\"2\"><title>read of %lu bytes at %.3f s: %.1f ms</title></line>",
        x(event.at), std::max(x(event.at + event.took), x(event.at) + 1), y(so_far), y(so_far),
        stalled ? "#c00" : "#999", static_cast<unsigned long>(event.bytes), event.at,
        1000 * event.took);
  }
  return Format("<svg width=\"%.0f\" height=\"%.0f\">", kWidth, kTimelineHeight + 24) + reads +
         "<polyline fill=\"none\" stroke=\"#4e79a7\" stroke-width=\"2\" points=\"" + arrivals +
         "\"/>" +
         Format(
             "<text x=\"%.0f\" y=\"%.0f\">0 s</text><text x=\"%.0f\" y=\"%.0f\">%.2f s: ready"
             "</text><text x=\"4\" y=\"20\">%.1f MiB</text></svg>",
             kLeft, kTimelineHeight + 18, kWidth - 120, kTimelineHeight + 18, sample.ready,
             total / 1048576.0) +
         Format(
             "<p>Blue: pages of the startup pack that are there. Grey: reads that reached the "
             "daemon; red: the %lu that stalled longer than %.0f ms.</p>",
             static_cast<unsigned long>(stalls), 1000 * kStallSeconds);
}

}  // namespace

std::string ResultsToHtml(const std::vector<ImageResult>& results) {
  std::string html =
      "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>layerfs bench startup"
      "</title><style>body{font:14px sans-serif;max-width:900px;margin:2em auto}svg text{font:12px "
      "sans-serif}pre{background:#f4f4f4;padding:8px;overflow-x:auto}.legend span{display:inline-"
      "block;width:12px;height:12px;margin:0 4px 0 12px}</style><h1>Time to ready</h1>";
  html += Legend();
  for (const ImageResult& result : results) {
    html += "<h2>" + Escape(result.image) + " over " + Escape(result.profile) + "</h2>";
    html += PhaseBars(result);
    for (const WaySamples& way : result.ways) {
      const StartSample& sample = MedianSample(way);
      if (sample.events.empty()) continue;
      html += "<h3>" + Escape(way.way) + ": reads and arrivals</h3>" + Timeline(sample);
    }
    html += "<pre>" + Escape(FormatTable({result})) + "</pre>";
  }
  return html + "</html>\n";
}

}  // namespace layerfs
