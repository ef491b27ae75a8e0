// SPDX-License-Identifier: Apache-2.0
// Lifeline: a pipe by which a process learns that its starter is gone, however that ended: the
// starter alone has the end that is held. (PR_SET_PDEATHSIG goes by threads, and another user's
// program loses it.)
// One thread at a time.
#pragma once

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

struct Lifeline {
  UniqueFd held;     // closed by every process that is forked and does not become another program
  UniqueFd watched;  // readable, at its end, when nobody holds the other one any more

  static Result<Lifeline> Make();
};

// From here on the end of the lifeline is a SIGTERM for this process.
Status EndWithLifeline(int watched);

}  // namespace layerfs
