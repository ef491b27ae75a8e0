// SPDX-License-Identifier: Apache-2.0
// layerfs-netmodel: the network model by itself, for scripts. It prints the ports on 127.0.0.1 at
// which the servers are reached, then does what it is told on standard input, a word a line, until
// that ends:
//   profile PROFILE    a different network from now on
//   up, refuse, silent the servers can be reached, refuse, or say nothing
//   break              breaks the connections that are open
//   stats, reset       prints the statistics as JSON in a line; sets them to zero
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "tools/netmodel/network_model.h"

namespace layerfs {
namespace {

double SecondsSinceStart(TimePoint start, TimePoint point) {
  return point == TimePoint{} ? 0 : std::chrono::duration<double>(point - start).count();
}

void PrintStatistics(const NetworkStatistics& statistics, TimePoint start) {
  std::printf(
      "{\"connections\": %lu, \"open\": %lu, \"requests\": %lu, \"exchanges\": %lu, "
      "\"up_bytes\": %lu, \"down_bytes\": %lu, \"broken\": %lu, \"stalled\": %lu, "
      "\"first_byte\": %.6f, \"last_byte\": %.6f}\n",
      statistics.connections, statistics.open, statistics.requests, statistics.exchanges,
      statistics.up_bytes, statistics.down_bytes, statistics.broken, statistics.stalled,
      SecondsSinceStart(start, statistics.first_byte),
      SecondsSinceStart(start, statistics.last_byte));
  std::fflush(stdout);
}

Status Obey(NetworkModel& model, const std::string& line, TimePoint start) {
  static constexpr std::string_view kProfile = "profile ";
  if (line.starts_with(kProfile)) {
    LAYERFS_TRY(profile, ParseNetworkProfile(std::string_view(line).substr(kProfile.size())));
    model.SetProfile(std::move(profile));
  } else if (line == "up") {
    model.SetReach(NetworkModel::Reach::kUp);
  } else if (line == "refuse") {
    model.SetReach(NetworkModel::Reach::kRefused);
  } else if (line == "silent") {
    model.SetReach(NetworkModel::Reach::kSilent);
  } else if (line == "break") {
    model.BreakConnections();
  } else if (line == "stats") {
    PrintStatistics(model.Statistics(), start);
  } else if (line == "reset") {
    model.ResetStatistics();
  } else if (!line.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "\"" + line + "\" is not understood");
  }
  return {};
}

Status Run(const std::string& profile_text, const std::vector<std::string>& upstreams,
           uint64_t seed, TimePoint start) {
  LAYERFS_TRY(profile, ParseNetworkProfile(profile_text));
  LAYERFS_TRY(model, NetworkModel::Start(std::move(profile), seed));
  for (const std::string& upstream : upstreams) {
    LAYERFS_TRY(port, model->AddUpstream(upstream));
    std::printf("%d\n", port);
  }
  std::fflush(stdout);
  std::string line;
  while (std::getline(std::cin, line)) LAYERFS_CHECK_OK(Obey(*model, line, start));
  return {};
}

}  // namespace
}  // namespace layerfs

int main(int argc, char** argv) {
  CLI::App app("A proxy on loopback that behaves like a network.", "layerfs-netmodel");
  std::string profile = "wan";
  uint64_t seed = 1;
  std::vector<std::string> upstreams;
  app.add_option("--profile", profile, "lan, cloud, wan, bad, or RTT,RATE; then faults")
      ->capture_default_str();
  app.add_option("--seed", seed, "of the dice for faults")->capture_default_str();
  app.add_option("UPSTREAM", upstreams, "HOST:PORT or unix:PATH")->required();
  CLI11_PARSE(app, argc, argv);
  const auto status = layerfs::Run(profile, upstreams, seed, std::chrono::steady_clock::now());
  if (status.has_value()) return 0;
  std::fprintf(stderr, "layerfs-netmodel: %s\n", status.error().context.c_str());
  return 1;
}
