// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/scratch_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "fs/container_layer.h"

namespace layerfs {
namespace {

constexpr std::string_view kUnique = ".XXXXXX";
// Somebody else's sweep may take one before it is locked, but hardly so often.
constexpr int kAttempts = 100;

// The directory where it is ours, and nobody uses it.
Result<UniqueFd> Lock(int parent, const std::string& name) {
  LAYERFS_TRY(directory, OpenFileAt(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  struct stat opened{};
  if (::fstat(directory.get(), &opened) != 0) return FailErrno(name, errno);
  if (opened.st_uid != ::geteuid()) return Fail(ErrorCode::kPermission, name + ": not ours");
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) return FailErrno(name, errno);
  struct stat named{};
  if (::fstatat(parent, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      named.st_ino != opened.st_ino || named.st_dev != opened.st_dev) {
    return Fail(ErrorCode::kNotFound, name + ": was removed");
  }
  return directory;
}

Status RemoveContent(const UniqueFd& directory) {
  LAYERFS_TRY(listed, OpenFileAt(directory.get(), ".", O_RDONLY | O_DIRECTORY));
  LAYERFS_TRY(names, NamesInDirectory(std::move(listed)));
  Status all;
  for (const std::string& name : names) {
    Status removed = RemoveTree(directory.get(), name);
    if (!removed.has_value()) all = std::move(removed);
  }
  return all;
}

std::vector<std::string> Sweep(const std::string& prefix, const std::string& parent) {
  std::vector<std::string> swept;
  const auto directory = OpenFile(parent, O_RDONLY | O_DIRECTORY);
  if (!directory.has_value()) return swept;
  auto listed = OpenFileAt(directory->get(), ".", O_RDONLY | O_DIRECTORY);
  if (!listed.has_value()) return swept;
  const auto names = NamesInDirectory(std::move(*listed));
  if (!names.has_value()) return swept;
  for (const std::string& name : *names) {
    if (!name.starts_with(prefix + ".") || name.size() != prefix.size() + kUnique.size()) continue;
    const auto locked = Lock(directory->get(), name);
    if (!locked.has_value()) continue;
    (void)RemoveContent(*locked);
    if (::unlinkat(directory->get(), name.c_str(), AT_REMOVEDIR) == 0) swept.push_back(name);
  }
  return swept;
}

}  // namespace

Result<ScratchDirectory> ScratchDirectory::Make(const std::string& prefix,
                                                const std::string& parent) {
  std::vector<std::string> swept = Sweep(prefix, parent);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::string path = parent + "/" + prefix + std::string(kUnique);
    if (::mkdtemp(path.data()) == nullptr) return FailErrno(path, errno);
    auto lock = Lock(AT_FDCWD, path);
    if (!lock.has_value()) continue;
    ScratchDirectory made(path, std::move(*lock));
    made.swept_ = std::move(swept);
    return made;
  }
  return Fail(ErrorCode::kBusy, parent + "/" + prefix + ": cannot be locked");
}

ScratchDirectory::~ScratchDirectory() {
  if (path_.empty()) return;
  (void)RemoveContent(lock_);
  ::rmdir(path_.c_str());
}

}  // namespace layerfs
