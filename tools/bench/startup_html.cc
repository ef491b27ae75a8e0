// SPDX-License-Identifier: Apache-2.0
// The report of `layerfs bench startup` as one page of HTML with inline SVG: a summary, then for
// each image and link a bar a way, and for layerfs a timeline of reads against arrivals.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <span>

#include "tools/bench/report_text.h"
#include "tools/bench/startup_samples.h"

namespace layerfs {
namespace {

constexpr double kWidth = 900;
constexpr double kLeft = 110;
constexpr double kRight = 150;  // for the words behind a bar
constexpr double kBarHeight = 20;
constexpr double kBarStep = 27;
constexpr double kTimelineHeight = 240;
constexpr double kTimelineTop = 18;
constexpr double kAxisHeight = 30;
// A read that took longer than this has stalled its reader.
constexpr double kStallSeconds = 0.005;
// Reads that did not wait are drawn up to this number: a page of a million would not open.
constexpr size_t kMaxQuietReads = 4000;
constexpr size_t kMaxListedStalls = 20;
// Bars of the short ways are drawn again, larger, where the longest leaves them no room.
constexpr double kEnlargeRatio = 3;

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
constexpr Phase kMountPhases[] = {{"resolve", "#4e79a7", &StartSample::resolved},
                                  {"metadata", "#76b7b2", &StartSample::opened},
                                  {"mount", "#59a14f", &StartSample::mounted},
                                  {"first byte", "#edc948", &StartSample::first_byte},
                                  {"to ready", "#f28e2b", &StartSample::ready}};
constexpr Phase kPullPhases[] = {{"pull", "#b07aa1", &StartSample::opened},
                                 {"container to ready", "#f1b27a", &StartSample::ready}};

// What is mounted has been mounted at some time; all else was pulled, or there from the start.
std::span<const Phase> PhasesOf(const StartSample& sample) {
  if (sample.mounted > 0) return kMountPhases;
  return kPullPhases;
}

std::string Legend() {
  std::string legend = "<p class=\"legend\">";
  const auto add = [&](const char* colour, const char* name) {
    legend += Format("<span style=\"background:%s\"></span>%s", colour, name);
  };
  for (const Phase& phase : kMountPhases) add(phase.colour, phase.name);
  for (const Phase& phase : kPullPhases) add(phase.colour, phase.name);
  return legend + "</p>";
}

// A round number of seconds that divides `longest` into a few parts.
double TickSeconds(double longest) {
  const double rough = std::max(longest, 1e-3) / 6;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

// Lines and words for the seconds, from `top` to `bottom`.
std::string Axis(double seconds, double scale, double top, double bottom) {
  std::string svg;
  const double tick = TickSeconds(seconds);
  const auto ticks = static_cast<int>(seconds * 1.0001 / tick);
  for (int i = 0; i <= ticks; ++i) {
    const double at = i * tick;
    const double x = kLeft + at * scale;
    svg += Format(
        "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text "
        "class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g s</text>",
        x, x, top, bottom, x, bottom + 14, at);
  }
  return svg;
}

std::string Bar(const WaySamples& way, const ImageResult& result, double y, double scale) {
  const StartSample& sample = MedianSample(way);
  std::string svg = Format("<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%s</text>", kLeft - 8,
                           y + 15, Escape(way.way).c_str());
  if (way.samples.empty()) {
    return svg +
           Format("<text class=\"failed\" x=\"%.0f\" y=\"%.0f\">failed</text>", kLeft + 6, y + 15);
  }
  double before = 0;
  for (const Phase& phase : PhasesOf(sample)) {
    const double end = std::max(before, sample.*(phase.end));
    svg += Format(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" fill=\"%s\"><title>%s: %.3f s"
        "</title></rect>",
        kLeft + before * scale, y, (end - before) * scale, kBarHeight, phase.colour, phase.name,
        end - before);
    before = end;
  }
  const Spread ready = ReadySpread(way);
  const double middle = y + kBarHeight / 2;
  svg += Format(
      "<line class=\"spread\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"><title>%.3f to %.3f "
      "s in %zu runs</title></line>",
      kLeft + ready.least * scale, kLeft + ready.greatest * scale, middle, middle, ready.least,
      ready.greatest, way.samples.size());
  return svg + Format("<text x=\"%.1f\" y=\"%.0f\">%.2f s, %.2f x limit</text>",
                      kLeft + std::max(before, ready.greatest) * scale + 8, y + 15, ready.median,
                      ready.median / result.LimitSeconds());
}

// A bar a way, its phases one after the other, and the limit as a line through all.
std::string PhaseBars(const ImageResult& result, std::span<const WaySamples* const> ways,
                      double longest) {
  const double scale = (kWidth - kLeft - kRight) / longest;
  const double bottom = 22 + static_cast<double>(ways.size()) * kBarStep;
  std::string svg = Format("<svg viewBox=\"0 0 %.0f %.0f\">", kWidth, bottom + kAxisHeight);
  svg += Axis(longest, scale, 18, bottom);
  double y = 24;
  for (const WaySamples* way : ways) {
    svg += Bar(*way, result, y, scale);
    y += kBarStep;
  }
  const double limit = kLeft + result.LimitSeconds() * scale;
  return svg + Format(
                   "<line class=\"limit\" x1=\"%.1f\" x2=\"%.1f\" y1=\"14\" y2=\"%.1f\"/><text "
                   "class=\"limit\" x=\"%.1f\" y=\"11\">limit %.2f s</text></svg>",
                   limit, limit, bottom, limit - 4, result.LimitSeconds());
}

double Longest(const ImageResult& result, std::span<const WaySamples* const> ways) {
  double longest = result.LimitSeconds();
  for (const WaySamples* way : ways) longest = std::max(longest, ReadySpread(*way).greatest);
  return longest;
}

std::string AllBars(const ImageResult& result) {
  std::vector<const WaySamples*> all;
  for (const WaySamples& way : result.ways) all.push_back(&way);
  const double longest = Longest(result, all);
  std::string html = PhaseBars(result, all, longest);
  std::vector<const WaySamples*> quick;
  for (const WaySamples* way : all) {
    const bool is_quick = ReadySpread(*way).greatest * kEnlargeRatio < longest;
    if (!way->samples.empty() && is_quick) quick.push_back(way);
  }
  if (quick.empty()) return html;
  return html + "<h3>The quick ones, enlarged</h3>" +
         PhaseBars(result, quick, Longest(result, quick));
}

// The bytes that were there at a time: pages of the startup pack where there is one, else what
// reads waited for.
struct Arrival {
  double at = 0;
  double bytes = 0;
};
std::vector<Arrival> ArrivalsOf(const StartSample& sample) {
  std::vector<Arrival> pages;
  std::vector<Arrival> waited;
  for (const LoggedEvent& event : sample.events) {
    const auto bytes = static_cast<double>(event.bytes);
    if (event.event == "pages" && event.at <= sample.ready) pages.push_back({event.at, bytes});
    const double answered = event.at + event.took;
    if (event.event == "read" && event.waited && answered <= sample.ready) {
      waited.push_back({answered, bytes});
    }
  }
  if (!pages.empty()) return pages;
  std::ranges::sort(waited, {}, &Arrival::at);
  double sum = 0;
  for (Arrival& arrival : waited) arrival.bytes = sum += arrival.bytes;
  return waited;
}

bool IsStall(const LoggedEvent& event) { return event.waited && event.took > kStallSeconds; }

std::vector<LoggedEvent> ReadsOf(const StartSample& sample) {
  std::vector<LoggedEvent> reads;
  for (const LoggedEvent& event : sample.events) {
    if (event.event == "read" && event.at <= sample.ready) reads.push_back(event);
  }
  std::ranges::sort(reads, {}, &LoggedEvent::at);
  return reads;
}

class TimelineDrawing {
 public:
  explicit TimelineDrawing(const StartSample& sample)
      : sample_(sample), reads_(ReadsOf(sample)), arrivals_(ArrivalsOf(sample)) {
    double read_bytes = 0;
    for (const LoggedEvent& read : reads_) read_bytes += static_cast<double>(read.bytes);
    total_ = std::max({1.0, read_bytes, arrivals_.empty() ? 0.0 : arrivals_.back().bytes});
    scale_ = (kWidth - kLeft - kRight) / std::max(sample.ready, 1e-3);
  }

  std::string Draw() {
    std::string svg =
        Format("<svg viewBox=\"0 0 %.0f %.0f\">", kWidth, kTimelineHeight + kAxisHeight);
    svg += Bands() + Axis(sample_.ready, scale_, kTimelineTop, kTimelineHeight);
    svg += Format(
        "<text class=\"tick\" x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%.1f MiB</text><text "
        "class=\"tick\" x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">0</text>",
        kLeft - 8, Y(total_) + 4, total_ / kMebi, kLeft - 8, kTimelineHeight);
    svg += Arrivals() + Reads();
    return svg + "</svg>" + Words() + LongestStalls();
  }

 private:
  double X(double at) const { return kLeft + std::clamp(at, 0.0, sample_.ready) * scale_; }
  double Y(double bytes) const {
    return kTimelineHeight - bytes / total_ * (kTimelineHeight - kTimelineTop - 12);
  }

  // The phases, as the ground on which the rest is drawn.
  std::string Bands() const {
    std::string svg;
    double before = 0;
    for (const Phase& phase : PhasesOf(sample_)) {
      const double end = std::max(before, sample_.*(phase.end));
      svg += Format(
          "<rect x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"%.0f\" fill=\"%s\" "
          "opacity=\"0.13\"/>",
          X(before), kTimelineTop, X(end) - X(before), kTimelineHeight - kTimelineTop,
          phase.colour);
      svg += Format("<rect x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"6\" fill=\"%s\"/>",
                    X(before), kTimelineTop - 6, X(end) - X(before), phase.colour);
      before = end;
    }
    return svg;
  }

  std::string Arrivals() const {
    std::string points = Format("%.1f,%.1f ", X(0), Y(0));
    double last = 0;
    for (const Arrival& arrival : arrivals_) {
      points +=
          Format("%.1f,%.1f %.1f,%.1f ", X(arrival.at), Y(last), X(arrival.at), Y(arrival.bytes));
      last = arrival.bytes;
    }
    points += Format("%.1f,%.1f", X(sample_.ready), Y(last));
    return "<polyline class=\"arrivals\" points=\"" + points + "\"/>";
  }

  // Each from its begin to its answer, at the height of the bytes that were read until then.
  std::string Reads() {
    std::string quiet;
    std::string stalled;
    double so_far = 0;
    size_t drawn = 0;
    for (const LoggedEvent& read : reads_) {
      so_far += static_cast<double>(read.bytes);
      const bool stall = IsStall(read);
      if (stall) {
        ++stalls_;
        stalled_seconds_ += read.took;
        longest_ = std::max(longest_, read.took);
      } else if (++drawn > kMaxQuietReads) {
        continue;
      }
      const double begin = X(read.at);
      (stall ? stalled : quiet) += Format(
          "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"><title>%s: %lu bytes "
          "at %lu, %.3f s: %.1f ms</title></line>",
          stall ? "stall" : "read", begin, std::max(X(read.at + read.took), begin + 2), Y(so_far),
          Y(so_far), Escape(read.path).c_str(), static_cast<unsigned long>(read.bytes),
          static_cast<unsigned long>(read.offset), read.at, 1000 * read.took);
    }
    return quiet + stalled;
  }

  std::string Words() const {
    return Format(
               "<p class=\"words\"><span style=\"background:#1f4e8c\"></span>%s "
               "<span style=\"background:#777\"></span>reads that reached the daemon (%zu)"
               "<span style=\"background:#c00\"></span>stalls of more than %.0f ms: %zu",
               HasPages() ? "pages of the startup pack that are there"
                          : "what reads had waited for and got",
               reads_.size(), 1000 * kStallSeconds, stalls_) +
           (stalls_ > 0 ? Format(", %.2f s together, the longest %.0f ms", stalled_seconds_,
                                 1000 * longest_)
                        : std::string()) +
           "</p>";
  }

  // What to look at first.
  std::string LongestStalls() const {
    std::vector<const LoggedEvent*> stalls;
    for (const LoggedEvent& read : reads_) {
      if (IsStall(read)) stalls.push_back(&read);
    }
    if (stalls.empty()) return "";
    std::ranges::stable_sort(stalls, std::greater(), &LoggedEvent::took);
    if (stalls.size() > kMaxListedStalls) stalls.resize(kMaxListedStalls);
    std::ranges::sort(stalls, {}, &LoggedEvent::at);
    std::string rows;
    for (const LoggedEvent* const stall : stalls) {
      rows += Format(
          "<tr><td class=\"number\">%.3f s</td><td class=\"number\">%.0f ms</td><td>%s "
          "<small>%lu bytes at %lu</small></td></tr>",
          stall->at, 1000 * stall->took, Escape(stall->path).c_str(),
          static_cast<unsigned long>(stall->bytes), static_cast<unsigned long>(stall->offset));
    }
    return Format("<details><summary>The longest stalls (%zu)</summary>", stalls.size()) +
           "<table><tr><th>at</th><th>for</th><th>a read of</th></tr>" + rows +
           "</table></details>";
  }

  bool HasPages() const {
    return std::ranges::any_of(sample_.events,
                               [](const LoggedEvent& event) { return event.event == "pages"; });
  }

  const StartSample& sample_;
  const std::vector<LoggedEvent> reads_;
  const std::vector<Arrival> arrivals_;
  double total_ = 1;
  double scale_ = 1;
  size_t stalls_ = 0;
  double stalled_seconds_ = 0;
  double longest_ = 0;
};

std::string SummaryRow(const ImageResult& result, const std::vector<std::string>& ways) {
  std::string row = "<tr><td>" + Escape(result.image) + "</td>";
  if (!result.failure.empty()) {
    return row + Format("<td class=\"failed\" colspan=\"%zu\">", ways.size() + 2) +
           Escape(result.failure) + "</td></tr>";
  }
  row += "<td>" + Escape(result.profile) + "</td>" +
         Format("<td class=\"number\">%.2f</td>", result.LimitSeconds());
  for (const std::string& name : ways) {
    const auto way = std::ranges::find(result.ways, name, &WaySamples::way);
    if (way == result.ways.end()) {
      row += "<td></td>";
    } else if (way->samples.empty()) {
      row += "<td class=\"failed\">failed</td>";
    } else {
      const double ready = ReadySpread(*way).median;
      row += Format("<td class=\"number\">%.2f <small>%.2f x</small></td>", ready,
                    ready / result.LimitSeconds());
    }
  }
  return row + "</tr>";
}

std::string Summary(const std::vector<ImageResult>& results) {
  std::vector<std::string> ways;
  for (const ImageResult& result : results) {
    for (const WaySamples& way : result.ways) {
      if (std::ranges::find(ways, way.way) == ways.end()) ways.push_back(way.way);
    }
  }
  std::string html = "<table><tr><th>image</th><th>link</th><th>limit</th>";
  for (const std::string& way : ways) html += "<th>" + Escape(way) + "</th>";
  html += "</tr>";
  for (const ImageResult& result : results) html += SummaryRow(result, ways);
  return html +
         "</table><p class=\"words\">Seconds from nothing to ready, the median of all runs, and "
         "its "
         "ratio to the limit: T_run + (set-up + 2 rounds) x round trip + pages that start-up reads "
         "/ "
         "bandwidth.</p>";
}

constexpr char kHead[] =
    "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>layerfs bench startup"
    "</title><style>body{font:14px/1.4 sans-serif;color:#222;max-width:960px;margin:2em auto;"
    "padding:0 1em}h1{margin-bottom:0}h2{margin-top:2em;border-top:1px solid #ddd;padding-top:.7em}"
    "h3{margin:1em 0 0;font-size:14px}svg{display:block;width:100%}svg text{font:12px "
    "sans-serif;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    "svg .tick{fill:#666;font-size:11px}svg .grid{stroke:#ddd}svg .limit{stroke:#c00;"
    "stroke-dasharray:4 3}svg "
    "text.limit{stroke:#fff;stroke-dasharray:none;fill:#c00;text-anchor:end}svg .spread{"
    "stroke:#222;stroke-width:2}svg .arrivals{fill:none;stroke:#1f4e8c;stroke-width:2}svg .read{"
    "stroke:#777;stroke-width:2}svg .stall{stroke:#c00;stroke-width:3}.failed{color:#c00;fill:#c00}"
    "table{border-collapse:collapse}td,th{padding:3px 12px 3px 0;text-align:left;"
    "border-bottom:1px solid #eee}.number{text-align:right;font-variant-numeric:tabular-nums}"
    "small{color:#777}pre{background:#f6f6f6;padding:8px;overflow-x:auto;font-size:12px}"
    ".legend span,.words span{display:inline-block;width:12px;height:12px;margin:0 5px 0 14px}"
    ".words,.machine{color:#555;font-size:12.5px}</style></head><body><h1>Time to ready</h1>";

}  // namespace

std::string ResultsToHtml(const std::vector<ImageResult>& results, const std::string& machine) {
  std::string html = kHead;
  html += "<p class=\"machine\">" + Escape(machine) + "</p>" + Summary(results) + Legend();
  for (const ImageResult& result : results) {
    if (!result.failure.empty()) continue;
    html += "<h2>" + Escape(result.image) + " over " + Escape(result.profile) + "</h2>" +
            AllBars(result);
    for (const WaySamples& way : result.ways) {
      const StartSample& sample = MedianSample(way);
      if (sample.events.empty()) continue;
      html += "<h3>" + Escape(way.way) + ": reads against arrivals</h3>" +
              TimelineDrawing(sample).Draw();
    }
    html += "<pre>" + Escape(FormatTable({result})) + "</pre>";
  }
  return html + "</body></html>\n";
}

}  // namespace layerfs
