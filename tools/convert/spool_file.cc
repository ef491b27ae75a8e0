// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/spool_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace layerfs {
namespace {

std::string SpoolDirectory(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  const char* temporary = std::getenv("TMPDIR");
  return temporary != nullptr && *temporary != '\0' ? temporary : "/var/tmp";
}

// For file systems without O_TMPFILE: a name that goes at once.
Result<UniqueFd> OpenAndUnlink(const std::string& directory) {
  std::string name = directory + "/layerfs-spool-XXXXXX";
  UniqueFd fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd.valid()) return FailErrno("spool directory " + directory, errno);
  if (::unlink(name.c_str()) != 0) return FailErrno(name, errno);
  return fd;
}

}  // namespace

SpoolFile::SpoolFile(UniqueFd fd, std::string directory)
    : fd_(std::move(fd)), directory_(std::move(directory)) {}

Result<SpoolFile> SpoolFile::Open(const std::string& directory) {
  std::string where = SpoolDirectory(directory);
  Result<UniqueFd> unnamed = OpenFile(where, O_TMPFILE | O_RDWR, 0600);
  if (unnamed.has_value()) return SpoolFile(std::move(*unnamed), std::move(where));
  LAYERFS_TRY(unlinked, OpenAndUnlink(where));
  return SpoolFile(std::move(unlinked), std::move(where));
}

Status SpoolFile::Append(ByteSpan bytes) {
  LAYERFS_CHECK_OK_IN(WriteFullAt(fd_.get(), size_, bytes), "spool file in " + directory_);
  hash_.Update(bytes);
  size_ += bytes.size();
  return {};
}

}  // namespace layerfs
