// SPDX-License-Identifier: Apache-2.0
#include "fs/chunk_wait.h"

#include <memory>
#include <optional>

#include "index/base/synchronized.h"

namespace layerfs {
namespace {

struct Answers {
  std::vector<SharedBytes> bytes;
  std::optional<Error> first_error;
  size_t missing = 0;
};

}  // namespace

Result<std::vector<SharedBytes>> FetchAllAndWait(Scheduler& scheduler,
                                                 std::vector<ChunkRequest> requests) {
  auto answers = std::make_shared<Synchronized<Answers>>();
  answers->With([&](Answers& all) {
    all.bytes.resize(requests.size());
    all.missing = requests.size();
  });
  for (size_t i = 0; i < requests.size(); ++i) {
    scheduler.Fetch(std::move(requests[i]), [answers, i](Result<SharedBytes> bytes) {
      answers->WithNotify([&](Answers& all) {
        if (bytes.has_value()) {
          all.bytes[i] = std::move(*bytes);
        } else if (!all.first_error.has_value()) {
          all.first_error = std::move(bytes).error();
        }
        --all.missing;
      });
    });
  }
  return answers->WaitThen([](Answers& all) { return all.missing == 0; },
                           [](Answers& all) -> Result<std::vector<SharedBytes>> {
                             if (all.first_error.has_value()) return Fail(*all.first_error);
                             return std::move(all.bytes);
                           });
}

}  // namespace layerfs
