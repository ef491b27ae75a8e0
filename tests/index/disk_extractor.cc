// SPDX-License-Identifier: Apache-2.0
#include "tests/index/disk_extractor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <deque>
#include <fstream>
#include <optional>
#include <utility>

namespace layerfs {
namespace {

namespace fs = std::filesystem;

std::string Join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string NameOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

// By the letters, ending at the root.
std::string Clean(const std::string& path) {
  const std::string cleaned = fs::path("/" + path).lexically_normal().string();
  const size_t end = cleaned.find_last_not_of('/');
  return end == std::string::npos ? "" : cleaned.substr(1, end);
}

std::deque<std::string> Split(const std::string& path) {
  std::deque<std::string> parts;
  for (const fs::path& part : fs::path(path).relative_path()) parts.push_back(part.string());
  return parts;
}

std::optional<struct stat> Lstat(const fs::path& path) {
  struct stat result;
  if (::lstat(path.c_str(), &result) != 0) return std::nullopt;
  return result;
}

}  // namespace

ExtractOutcome DiskExtractor::Apply(const std::vector<TarEntry>& layer,
                                    const std::map<uint64_t, std::string>& content_by_offset) {
  touched_.clear();
  parents_.clear();
  names_.clear();
  link_names_.clear();
  for (const TarEntry& entry : layer) {
    const auto content = content_by_offset.find(entry.header_offset);
    const ExtractOutcome outcome =
        ApplyEntry(entry, content == content_by_offset.end() ? "" : content->second);
    if (outcome != ExtractOutcome::kDone) return outcome;
  }
  return CheckOrder();
}

ExtractOutcome DiskExtractor::ApplyEntry(const TarEntry& entry, const std::string& content) {
  const std::string cleaned = Clean(entry.path);
  const std::string parent = DirectoryOf(cleaned);
  const std::string name = NameOf(cleaned);
  Path directory;
  const ExtractOutcome outcome = Resolve(parent, &directory);
  if (outcome != ExtractOutcome::kDone) return outcome;
  parents_[parent] = directory;
  if (!MakeDirectories(directory)) return ExtractOutcome::kRefused;
  if (name.starts_with(".wh.")) {
    WhiteOut(directory, name);
    return ExtractOutcome::kDone;
  }
  const Path path = Join(directory, name);
  names_[path].insert(cleaned);
  const auto existing = Lstat(Real(path));
  const bool keep =
      existing.has_value() && S_ISDIR(existing->st_mode) && entry.type == TarEntryType::kDirectory;
  if (!keep) RemoveAll(path);
  Touch(path);
  if (entry.type == TarEntryType::kHardLink) return Link(entry, path);
  return Create(entry, path, content) ? ExtractOutcome::kDone : ExtractOutcome::kRefused;
}

bool DiskExtractor::Create(const TarEntry& entry, const Path& path, const std::string& content) {
  const std::string real = Real(path).string();
  switch (entry.type) {
    case TarEntryType::kRegular:
      std::ofstream(real, std::ios::binary) << content;
      break;
    case TarEntryType::kDirectory:
      if (!fs::is_directory(real) && ::mkdir(real.c_str(), 0755) != 0) return false;
      break;
    case TarEntryType::kSymlink:
      return ::symlink(entry.link_target.c_str(), real.c_str()) == 0;
    case TarEntryType::kFifo:
      if (::mkfifo(real.c_str(), 0644) != 0) return false;
      break;
    default:
      return false;
  }
  return ::chmod(real.c_str(), entry.permissions) == 0;
}

ExtractOutcome DiskExtractor::Link(const TarEntry& entry, const Path& path) {
  const std::string cleaned = Clean(entry.link_target);
  Path directory;
  const ExtractOutcome outcome = Resolve(DirectoryOf(cleaned), &directory);
  if (outcome != ExtractOutcome::kDone) return outcome;
  const Path target = Join(directory, NameOf(cleaned));
  link_names_[target].insert(cleaned);
  return ::link(Real(target).c_str(), Real(path).c_str()) == 0 ? ExtractOutcome::kDone
                                                               : ExtractOutcome::kRefused;
}

void DiskExtractor::WhiteOut(const Path& directory, const std::string& marker) {
  if (marker == ".wh..wh..opq") return RemoveUntouched(directory, true);
  RemoveUntouched(Join(directory, marker.substr(4)), false);
}

// Lower entries go, those of this layer stay.
void DiskExtractor::RemoveUntouched(const Path& path, bool keep_itself) {
  const auto status = Lstat(Real(path));
  if (!status.has_value()) return;
  if (!keep_itself && !touched_.contains(path)) return RemoveAll(path);
  if (!S_ISDIR(status->st_mode)) return;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(Real(path))) {
    names.push_back(entry.path().filename().string());
  }
  for (const std::string& name : names) RemoveUntouched(Join(path, name), false);
}

void DiskExtractor::RemoveAll(const Path& path) {
  fs::remove_all(Real(path));
  std::erase_if(touched_, [&](const Path& touched) {
    return touched == path || touched.starts_with(path + "/");
  });
}

ExtractOutcome DiskExtractor::Resolve(const std::string& directory, Path* resolved) const {
  std::deque<std::string> pending = Split(directory);
  Path at;
  bool through_lower = false;
  for (int links = 0; !pending.empty();) {
    const std::string name = pending.front();
    pending.pop_front();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      at = DirectoryOf(at);
      continue;
    }
    const Path next = Join(at, name);
    const auto status = Lstat(Real(next));
    if (!status.has_value() || S_ISDIR(status->st_mode)) {
      at = next;
      continue;
    }
    if (!S_ISLNK(status->st_mode) || ++links > 255) return ExtractOutcome::kRefused;
    // A layer index cannot tell where a relative symlink of its own leads that it put somewhere by
    // way of a lower symlink, nor that a name which it linked to a lower symlink is one.
    const bool own = touched_.contains(next);
    if (own && (through_lower || status->st_nlink > 1)) return ExtractOutcome::kAmbiguous;
    through_lower |= !own;
    const std::string target = fs::read_symlink(Real(next)).string();
    if (target.starts_with("/")) at.clear();
    const std::deque<std::string> parts = Split(target);
    pending.insert(pending.begin(), parts.begin(), parts.end());
  }
  *resolved = at;
  return ExtractOutcome::kDone;
}

bool DiskExtractor::MakeDirectories(const Path& path) {
  if (path.empty()) return true;
  if (const auto status = Lstat(Real(path)); status.has_value()) return S_ISDIR(status->st_mode);
  if (!MakeDirectories(DirectoryOf(path))) return false;
  Touch(path);
  return ::mkdir(Real(path).c_str(), 0755) == 0;
}

void DiskExtractor::Touch(const Path& path) {
  for (Path at = path; !at.empty(); at = DirectoryOf(at)) touched_.insert(at);
}

// Ambiguous where another order of the same entries would have given something else and a layer
// index does not tell the orders apart: a parent that leads elsewhere at the end, or one place that
// was reached by several names.
ExtractOutcome DiskExtractor::CheckOrder() const {
  for (const auto& [named, before] : parents_) {
    Path now;
    if (Resolve(named, &now) != ExtractOutcome::kDone || now != before) {
      return ExtractOutcome::kAmbiguous;
    }
  }
  for (const auto& [path, names] : names_) {
    if (names.size() > 1) return ExtractOutcome::kAmbiguous;
    const auto links = link_names_.find(path);
    if (links != link_names_.end() && links->second != names) return ExtractOutcome::kAmbiguous;
  }
  return ExtractOutcome::kDone;
}

namespace {

std::string Attributes(const struct stat& status, uint32_t usual) {
  char text[16] = "";
  if ((status.st_mode & 07777) != usual) {
    std::snprintf(text, sizeof text, " %04o", status.st_mode & 07777);
  }
  return text;
}

std::string ReadFile(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void DumpDirectory(const fs::path& root, const std::string& prefix,
                   std::map<ino_t, std::string>& first_names, std::string& text) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(root / prefix)) {
    names.insert(entry.path().filename().string());
  }
  for (const std::string& name : names) {
    const std::string path = Join(prefix, name);
    const struct stat status = Lstat(root / path).value();
    if (S_ISDIR(status.st_mode)) {
      text += path + "/" + Attributes(status, 0755) + "\n";
      DumpDirectory(root, path, first_names, text);
      continue;
    }
    const auto [first, is_first] = first_names.try_emplace(status.st_ino, path);
    if (!is_first) {
      text += path + " => " + first->second + "\n";
    } else if (S_ISLNK(status.st_mode)) {
      text += path + " -> " + fs::read_symlink(root / path).string() + "\n";
    } else if (S_ISREG(status.st_mode)) {
      text += path + " = " + ReadFile(root / path) + Attributes(status, 0644) + "\n";
    } else {
      text += path + " p" + Attributes(status, 0644) + "\n";
    }
  }
}

}  // namespace

std::string DiskExtractor::Dump() const {
  std::string text;
  const std::string root = Attributes(Lstat(root_).value(), 0755);
  if (!root.empty()) text += "/" + root + "\n";
  std::map<ino_t, std::string> first_names;
  DumpDirectory(root_, "", first_names, text);
  return text;
}

}  // namespace layerfs
