// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/pack_run_plan.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "index/base/bytes.h"

namespace layerfs {
namespace {

// Pages that are not read, between two that are: another start, with other arguments, addresses or
// hash seeds, may well touch them, and would wait a round trip or two for each.
constexpr uint32_t kMaxGapPages = 4;
// Of the pages that are read, so many more at most: 0.5 %, and 0.6 to 0.8 % of the stream.
constexpr uint32_t kPagesPerGapPage = 200;

class RunPlanner {
 public:
  RunPlanner(uint64_t max_pages, const FindPackFile& find) : max_pages_(max_pages), find_(find) {}

  PackRunPlan Plan(const Trace& trace) {
    for (const TraceEntry& entry : trace.entries) {
      if (entry.pages > 0) Add(entry);
    }
    if (planned_.bare.empty()) AddGaps();
    return std::move(planned_);
  }

 private:
  void Add(const TraceEntry& entry) {
    const auto [known, is_new] = files_.try_emplace(entry.path);
    if (is_new) {
      known->second = find_(entry.path);
      if (!known->second.has_value()) ++planned_.missing_paths;
    }
    if (!known->second.has_value()) return;
    const uint64_t pages = AlignUp(known->second->size, kPackPageBytes) / kPackPageBytes;
    const uint64_t end = std::min<uint64_t>(uint64_t{entry.first_page} + entry.pages, pages);
    for (uint64_t page = entry.first_page; page < end; ++page) {
      AddPage(known->second->inode, static_cast<uint32_t>(page));
    }
  }

  void AddPage(InodeNumber inode, uint32_t page) {
    if (!seen_[ToUint(inode)].insert(page).second) return;
    const bool fits = planned_.page_count < max_pages_;
    auto& runs = fits ? planned_.packed : planned_.bare;
    if (!fits && runs.size() >= kMaxPackRuns) return;
    if (fits) ++planned_.page_count;
    PackRun* const last = runs.empty() ? nullptr : &runs.back();
    if (last != nullptr && last->inode == inode && last->first_page + last->pages == page) {
      ++last->pages;
    } else {
      runs.push_back({inode, page, 1});
    }
  }

  struct Gap {
    PackRun run;
    uint32_t beside = 0;  // pages of the runs before and behind it
  };

  // The shortest first, and of these the ones within the longest runs; behind all that is known to
  // be read: nobody waits for them.
  void AddGaps() {
    std::vector<Gap> gaps;
    for (const auto& [inode, pages] : seen_) AddGapsBetween(InodeNumber{inode}, pages, gaps);
    std::ranges::sort(gaps, {}, [](const Gap& gap) {
      return std::tuple(gap.run.pages, ~gap.beside, gap.run.inode, gap.run.first_page);
    });
    uint64_t left = std::min<uint64_t>(planned_.page_count / kPagesPerGapPage,
                                       max_pages_ - planned_.page_count);
    for (const Gap& gap : gaps) {
      if (gap.run.pages > left) break;
      left -= gap.run.pages;
      planned_.gap_pages += gap.run.pages;
      for (uint32_t i = 0; i < gap.run.pages; ++i) AddPage(gap.run.inode, gap.run.first_page + i);
    }
  }

  static void AddGapsBetween(InodeNumber inode, const std::set<uint32_t>& pages,
                             std::vector<Gap>& gaps) {
    uint32_t run = 0;  // pages of the run that the last page is in
    bool behind_gap = false;
    for (auto page = pages.begin(); page != pages.end(); ++page) {
      if (page != pages.begin() && *page != *std::prev(page) + 1) {
        const uint32_t from = *std::prev(page) + 1;
        behind_gap = *page - from <= kMaxGapPages;
        if (behind_gap) gaps.push_back({{inode, from, *page - from}, run});
        run = 0;
      }
      ++run;
      if (behind_gap) ++gaps.back().beside;
    }
  }

  const uint64_t max_pages_;
  const FindPackFile& find_;
  std::unordered_map<std::string, std::optional<PackFile>> files_;  // by path
  std::unordered_map<uint32_t, std::set<uint32_t>> seen_;
  PackRunPlan planned_;
};

}  // namespace

PackRunPlan PlanPackRuns(const Trace& trace, uint64_t max_pages, const FindPackFile& find) {
  return RunPlanner(max_pages, find).Plan(trace);
}

}  // namespace layerfs
