// SPDX-License-Identifier: Apache-2.0
#include "fs/lower_fetch.h"

#include <algorithm>
#include <utility>

namespace layerfs {

LowerFetch::LowerFetch(std::shared_ptr<LowerFile> file, const std::vector<Extent>& extents)
    : file_(std::move(file)) {
  for (const Extent& extent : extents) parts_.push_back({extent, file_->NewReadId()});
}

void LowerFetch::Start(Done done) {
  done_ = std::move(done);
  // One more than the parts, so that none of them ends it before all are under way.
  missing_ = parts_.size() + 1;
  for (const Part& part : parts_) {
    const Extent extent = part.extent;
    file_->Read(part.id, extent.offset, extent.target.size(),
                [self = shared_from_this(), extent](Result<ByteSpan> bytes) {
                  if (bytes.has_value() && bytes->size() != extent.target.size())
                    bytes = Fail(ErrorCode::kCorrupt, "the lower file is shorter than it was");
                  if (bytes.has_value()) {
                    std::ranges::copy(*bytes, extent.target.begin());
                  } else {
                    self->first_error_.With([&](std::optional<Error>& first) {
                      if (!first.has_value()) first = std::move(bytes).error();
                    });
                  }
                  self->PartIsDone();
                });
  }
  PartIsDone();
}

void LowerFetch::Cancel() {
  for (const Part& part : parts_) file_->Cancel(part.id);
}

void LowerFetch::PartIsDone() {
  if (missing_.fetch_sub(1) != 1) return;
  const Done done = std::exchange(done_, nullptr);
  const auto error = first_error_.With([](auto& first) { return first; });
  if (error.has_value()) return done(Fail(*error));
  done(Status());
}

}  // namespace layerfs
