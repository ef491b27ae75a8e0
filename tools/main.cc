// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <csignal>

#include "tools/cli.h"
#include "tools/mount_helper.h"

// libcurl's helpers for LDAP and RTMP bring GnuTLS along, which nothing here calls: it need not
// parse its tables in every process (gnutls.h, GNUTLS_SKIP_GLOBAL_INIT). 150 KB of each mount's
// memory.
extern "C" int
_gnutls_global_init_skip() {  // NOLINT(bugprone-reserved-identifier): its name for it
  return 1;
}

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // A closed pipe or socket is an error code, not an end.
  layerfs::CommandIo io;
  io.out_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  io.err_is_terminal = ::isatty(STDERR_FILENO) == 1;
  std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (argc > 0 && layerfs::IsMountHelper(argv[0])) {
    arguments = layerfs::MountHelperArguments(arguments);
  }
  return layerfs::RunCli(std::move(arguments), io);
}
