// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_helper.h"

#include <algorithm>

#include "tools/overlay_options.h"

namespace layerfs {
namespace {

// What mount(8) adds of its own, for programs that set these flags themselves; "fuse3" and its like
// do so from the options that they know.
bool IsMountsOwn(std::string_view word) {
  constexpr std::string_view kWords[] = {"defaults", "auto",  "noauto", "user",    "nouser",
                                         "users",    "owner", "group",  "_netdev", "nofail"};
  return std::ranges::find(kWords, word) != std::end(kWords) || word.starts_with("x-");
}

}  // namespace

bool IsMountHelper(std::string_view program) {
  const size_t slash = program.rfind('/');
  if (slash != std::string_view::npos) program.remove_prefix(slash + 1);
  return program == "mount.fuse.layerfs" || program == "mount.fuse3.layerfs" ||
         program == "mount.layerfs";
}

std::vector<std::string> MountHelperArguments(const std::vector<std::string>& arguments) {
  std::vector<std::string> mount = {"mount"};
  std::vector<std::string> places;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const bool has_value = i + 1 < arguments.size();
    if ((argument == "-o" || argument == "-t" || argument == "-N") && has_value) {
      ++i;
      if (argument != "-o") continue;
      for (const std::string& word : SplitMountWords({arguments[i]})) {
        if (IsMountsOwn(word)) continue;
        mount.insert(mount.end(), {"-o", word});
      }
    } else if (argument.starts_with("-") &&
               argument.find_first_not_of("-sfnv") == std::string::npos) {
      continue;  // sloppy, fake, no mtab, verbose: nothing that concerns a daemon
    } else if (argument.starts_with("-")) {
      mount.push_back(argument);
    } else {
      places.push_back(argument);
    }
  }
  mount.insert(mount.end(), places.begin(), places.end());
  return mount;
}

std::vector<std::string> RemountCommand(const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  std::string directory;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-o" && i + 1 < arguments.size()) {
      words.push_back(arguments[++i]);
    } else if ((argument == "-t" || argument == "-N") && i + 1 < arguments.size()) {
      ++i;
    } else if (!argument.starts_with("-")) {
      directory = argument;
    }
  }
  const std::vector<std::string> options = SplitMountWords(words);
  if (std::ranges::find(options, "remount") == options.end()) return {};
  std::vector<std::string> command = {"mount", "-i"};
  for (const std::string& word : words) command.insert(command.end(), {"-o", word});
  command.push_back(directory);
  return command;
}

}  // namespace layerfs
