// SPDX-License-Identifier: Apache-2.0
#include "tools/run/lifeline.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace layerfs {

Result<Lifeline> Lifeline::Make() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno("pipe", errno);
  return Lifeline{UniqueFd(ends[1]), UniqueFd(ends[0])};
}

Status EndWithLifeline(int watched) {
  if (::fcntl(watched, F_SETFD, FD_CLOEXEC) != 0 || ::fcntl(watched, F_SETOWN, ::getpid()) != 0 ||
      ::fcntl(watched, F_SETSIG, SIGTERM) != 0 || ::fcntl(watched, F_SETFL, O_ASYNC) != 0) {
    return FailErrno("lifeline", errno);
  }
  // It may have ended before anybody was to be told.
  pollfd polled{watched, POLLIN, 0};
  if (::poll(&polled, 1, 0) > 0) ::kill(::getpid(), SIGTERM);
  return {};
}

}  // namespace layerfs
