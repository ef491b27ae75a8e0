// SPDX-License-Identifier: Apache-2.0
#include "fs/readahead_window.h"

#include <fcntl.h>

#include <charconv>
#include <sstream>

#include "index/base/bytes.h"
#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxMountTable = uint64_t{64} << 20;

// proc(5), /proc/pid/mountinfo: spaces and the like are octal in it.
std::string Unescape(const std::string& text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      path.push_back(static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 |
                                       (text[i + 3] - '0')));
      i += 3;
    } else {
      path.push_back(text[i]);
    }
  }
  return path;
}

}  // namespace

Result<ReadaheadWindow> ReadaheadWindow::Find(const std::string& mount_point) {
  LAYERFS_TRY(table, ReadFile("/proc/self/mountinfo", kMaxMountTable));
  std::istringstream lines{std::string(AsText(table))};
  std::string device;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id;
    std::string parent;
    std::string numbers;
    std::string root;
    std::string target;
    fields >> id >> parent >> numbers >> root >> target;
    if (Unescape(target) == mount_point) device = numbers;  // The last one lies on top.
  }
  if (device.empty()) {
    return Fail(ErrorCode::kNotFound, mount_point + ": nothing is mounted there");
  }
  return ReadaheadWindow("/sys/class/bdi/" + device + "/read_ahead_kb");
}

Status ReadaheadWindow::Set(unsigned kib) const {
  LAYERFS_TRY(file, OpenFile(path_, O_WRONLY));
  LAYERFS_CHECK_OK_IN(WriteFull(file.get(), AsBytes(std::to_string(kib))), path_);
  return {};
}

Result<unsigned> ReadaheadWindow::Get() const {
  LAYERFS_TRY(text, ReadFile(path_, 64));
  const std::string_view digits = AsText(text);
  unsigned kib = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), kib);
  if (error != std::errc()) return Fail(ErrorCode::kIo, path_ + ": is no number");
  return kib;
}

}  // namespace layerfs
