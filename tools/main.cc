// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "tools/cli.h"
#include "tools/mount_helper.h"

// libcurl's helpers for LDAP and RTMP bring GnuTLS along, which nothing here calls: it need not
// parse its tables in every process (gnutls.h, GNUTLS_SKIP_GLOBAL_INIT). 150 KB of each mount's
// memory.
extern "C" int
_gnutls_global_init_skip() {  // NOLINT(bugprone-reserved-identifier): its name for it
  return 1;
}

namespace {

// Only comes back where the program cannot be run.
int Become(const std::vector<std::string>& command) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  std::perror(words[0]);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // A closed pipe or socket is an error code, not an end.
  layerfs::CommandIo io;
  io.out_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  io.err_is_terminal = ::isatty(STDERR_FILENO) == 1;
  std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (argc > 0 && layerfs::IsMountHelper(argv[0])) {
    const std::vector<std::string> remount = layerfs::RemountCommand(arguments);
    if (!remount.empty()) return Become(remount);
    arguments = layerfs::MountHelperArguments(arguments);
  }
  return layerfs::RunCli(std::move(arguments), io);
}
