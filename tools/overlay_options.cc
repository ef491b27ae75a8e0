// SPDX-License-Identifier: Apache-2.0
#include "tools/overlay_options.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

namespace layerfs {
namespace {

template <typename T>
Result<T> ParseNumber(std::string_view word, std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return value;
  return Fail(ErrorCode::kInvalidArgument,
              "-o " + std::string(word) + ": \"" + std::string(text) + "\" is not a number");
}

// A backslash makes the next character an ordinary one.
std::vector<std::string> SplitEscaped(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      parts.back() += text[++i];
    } else if (text[i] == separator) {
      parts.emplace_back();
    } else {
      parts.back() += text[i];
    }
  }
  return parts;
}

std::string Unescaped(std::string_view text) { return SplitEscaped(text, '\0').front(); }

Result<IdMap> ParseIdMap(std::string_view word, std::string_view text) {
  std::vector<uint32_t> numbers;
  for (const std::string& part : SplitEscaped(text, ':')) {
    if (part.empty()) continue;  // Podman begins with a colon; fuse-overlayfs passes them over.
    LAYERFS_TRY(number, ParseNumber<uint32_t>(word, part));
    numbers.push_back(number);
  }
  if (numbers.size() % 3 != 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "-o " + std::string(word) + ": takes ID:SHOWN-ID:COUNT, several after one another");
  }
  std::vector<IdMap::Range> ranges;
  for (size_t i = 0; i < numbers.size(); i += 3) {
    ranges.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
  }
  return IdMap(std::move(ranges));
}

// Known to overlayfs or fuse-overlayfs, and why they are not here.
std::string_view WhyRefused(std::string_view key, std::string_view value) {
  const bool on = value != "0" && value != "off" && value != "no";
  if (key == "metacopy" && on) return "files of directories are copied up whole";
  if (key == "nfs_export" && on) return "a file handle holds while the kernel keeps its file";
  if (key == "writeback" && on) return "times would be the kernel's instead of the disk's";
  if (key == "xattr_permissions" && on && value != "2") {
    return "owners and modes are kept in user.containers.override_stat only, which is 2";
  }
  if (key == "plugins") return "there are none";
  if (key == "noxattrs" && on) return "the layer's marks are extended attributes";
  if (key == "verity" && on) return "metacopy files are not read";
  if (key.ends_with("context")) return "labels are those of the layers";
  if (key == "ino32_t" && on) return "inode numbers have 64 bits";
  return {};
}

bool HasNoEffect(std::string_view key) {
  constexpr std::string_view kKeys[] = {"xino",   // numbers are always kept apart by device
                                        "index",  // on, always: nobody misses links that break
                                        "metacopy", "nfs_export", "writeback",  "noxattrs",
                                        "verity",   "ino32_t",    "fast_ino",
                                        "clone_fd",  // always
                                        "uuid",     "lazytime",   "nolazytime", "strictatime"};
  return std::ranges::find(kKeys, key) != std::end(kKeys);
}

class Parser {
 public:
  Result<OverlayOptions> Parse(const std::vector<std::string>& words) {
    for (const std::string& word : words) LAYERFS_CHECK_OK(ParseWord(word));
    if (options_.lower_directories.empty()) {
      return Fail(ErrorCode::kInvalidArgument, "-o upperdir= goes with lowerdir=; add it");
    }
    if (std::ranges::find(options_.lower_directories, "") != options_.lower_directories.end()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "-o lowerdir=: one of its directories has no name; write \\: for a colon in one");
    }
    if (options_.upper_directory.empty() != options_.work_directory.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "-o upperdir= and workdir= go together; workdir= names an empty directory on the "
                  "file system of upperdir=");
    }
    if (squash_root_) {
      auto& file_system = options_.file_system;
      if (!file_system.squash_uid.has_value()) file_system.squash_uid = 0;
      if (!file_system.squash_gid.has_value()) file_system.squash_gid = 0;
    }
    return std::move(options_);
  }

 private:
  Status ParseWord(const std::string& word) {
    const size_t equals = std::min(word.find('='), word.size());
    const std::string key = word.substr(0, equals);
    const std::string value = equals < word.size() ? word.substr(equals + 1) : "";
    const std::string_view refused = WhyRefused(key, value);
    if (!refused.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "-o " + word + ": " + std::string(refused) + "; leave it out");
    }
    if (ParsePlace(key, value)) return {};
    LAYERFS_TRY(known, ParseBehaviour(key, value));
    if (known || HasNoEffect(key)) return {};
    options_.others.push_back(word);
    return {};
  }

  bool ParsePlace(std::string_view key, const std::string& value) {
    if (key == "lowerdir") {
      options_.lower_directories = SplitEscaped(value, ':');
    } else if (key == "lowerdir+") {
      options_.lower_directories.push_back(Unescaped(value));
    } else if (key == "upperdir") {
      options_.upper_directory = Unescaped(value);
    } else if (key == "workdir") {
      options_.work_directory = Unescaped(value);
    } else {
      return false;
    }
    return true;
  }

  Result<bool> ParseBehaviour(const std::string& key, const std::string& value) {
    LayeredFileSystem::Options& file_system = options_.file_system;
    const bool on = value != "0" && value != "off";
    if (key == "redirect_dir") {
      LAYERFS_CHECK_OK(ParseRedirectDir(value));
    } else if (key == "volatile") {
      file_system.sync = false;
    } else if (key == "fsync") {
      file_system.sync = on;
    } else if (key == "static_nlink") {
      file_system.static_nlink = true;
    } else if (key == "noacl") {
      file_system.posix_acl = false;
    } else if (key == "userxattr") {
      options_.marks.user = true;
    } else if (key == "xattr_permissions") {
      options_.marks.override_stat = value == "2";
    } else if (key == "threaded") {
      options_.one_thread = !on;
    } else if (key == "squash_to_root") {
      squash_root_ = true;
    } else if (key == "squash_to_uid") {
      LAYERFS_TRY(uid, ParseNumber<uid_t>(key, value));
      file_system.squash_uid = uid;
    } else if (key == "squash_to_gid") {
      LAYERFS_TRY(gid, ParseNumber<gid_t>(key, value));
      file_system.squash_gid = gid;
    } else if (key == "uidmapping") {
      LAYERFS_TRY(map, ParseIdMap(key, value));
      file_system.uids = std::move(map);
    } else if (key == "gidmapping") {
      LAYERFS_TRY(map, ParseIdMap(key, value));
      file_system.gids = std::move(map);
    } else if (key == "timeout") {
      LAYERFS_TRY(seconds, ParseNumber<double>(key, value));
      file_system.timeout_seconds = seconds;
    } else {
      return false;
    }
    return true;
  }

  // overlayfs's words: off follows redirects as follow does, for they may be there already.
  Status ParseRedirectDir(std::string_view value) {
    options_.file_system.redirect_dir = value == "on" || value == "1";
    options_.file_system.follow_redirects = value != "nofollow";
    for (const std::string_view word : {"on", "1", "off", "0", "follow", "nofollow"}) {
      if (value == word) return {};
    }
    return Fail(ErrorCode::kInvalidArgument, "-o redirect_dir=" + std::string(value) +
                                                 ": is none of on, off, follow and nofollow");
  }

  OverlayOptions options_;
  bool squash_root_ = false;
};

}  // namespace

std::vector<std::string> SplitMountWords(const std::vector<std::string>& lists) {
  std::vector<std::string> words;
  for (const std::string& list : lists) {
    std::string word;
    for (size_t i = 0; i <= list.size(); ++i) {
      if (i == list.size() || list[i] == ',') {
        if (!word.empty()) words.push_back(word);
        word.clear();
      } else {
        // The backslash stays: a value may escape other characters.
        if (list[i] == '\\' && i + 1 < list.size()) word.push_back(list[i++]);
        word.push_back(list[i]);
      }
    }
  }
  return words;
}

bool NamesDirectories(const std::vector<std::string>& words) {
  return std::ranges::any_of(words, [](const std::string& word) {
    return word.starts_with("lowerdir=") || word.starts_with("lowerdir+=") ||
           word.starts_with("upperdir=") || word.starts_with("workdir=");
  });
}

Result<OverlayOptions> ParseOverlayOptions(const std::vector<std::string>& words) {
  return Parser().Parse(words);
}

}  // namespace layerfs
