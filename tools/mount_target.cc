// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_target.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace layerfs {
namespace {

Result<std::string> ResolvePath(const std::string& path) {
  char* const resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return FailErrno(path, errno);
  std::string absolute = resolved;
  std::free(resolved);
  return absolute;
}

Result<std::string> CheckMountPoint(const std::string& path) {
  // A dead mount still answers a stat, from the kernel's memory, but never a statfs.
  struct statvfs statistics;
  if (::statvfs(path.c_str(), &statistics) != 0 && errno == ENOTCONN) {
    return Fail(ErrorCode::kBusy, path +
                                      ": a dead mount lies there; remove it first: "
                                      "layerfs umount " +
                                      path);
  }
  struct stat attributes;
  if (::stat(path.c_str(), &attributes) != 0) return FailErrno(path, errno);
  if (!S_ISDIR(attributes.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument,
                path + ": is not a directory, and images are mounted on one");
  }
  return ResolvePath(path);
}

Status TakeDirectories(MountWords& words, const std::vector<std::string>& options,
                       MountTarget& target) {
  if (!words.container_layer.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "--container-layer goes with an image; with -o lowerdir= give upperdir= and "
                "workdir=");
  }
  // mount(8) gives a source, which is not one.
  if (words.directory.empty()) words.directory = std::exchange(words.image, "");
  LAYERFS_TRY(overlay, ParseOverlayOptions(options));
  target.overlay = std::move(overlay);
  for (std::string& lower : target.overlay.lower_directories) {
    LAYERFS_CHECK_OK(MakeAbsolute(lower));
  }
  LAYERFS_CHECK_OK(MakeAbsolute(target.overlay.upper_directory));
  return MakeAbsolute(target.overlay.work_directory);
}

// What a Dockerfile calls it when nothing lies below a layer.
constexpr char kScratch[] = "scratch";

Status TakeImage(const MountWords& words, std::vector<std::string> options, MountTarget& target) {
  if (words.image.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "IMAGE is required; or -o lowerdir=");
  }
  if (words.image != kScratch || words.container_layer.empty()) {
    LAYERFS_TRY(reference, ImageReference::Parse(words.image));
    if (reference.transport != ImageTransport::kRegistry) {
      LAYERFS_TRY(path, ResolvePath(reference.path));
      reference.path = std::move(path);
    }
    target.image = std::move(reference);
  }
  target.container_layer = words.container_layer;
  target.overlay.others = std::move(options);
  return MakeAbsolute(target.container_layer);
}

// Words that would make a mount which is not what it says.
Status RefuseOption(const std::string& word, bool writable) {
  std::string_view why;
  if (word == "rw" && !writable) why = "without --container-layer the mount is read-only";
  if (word.starts_with("subtype=")) why = "layerfs knows its mounts by it";
  if (word.starts_with("max_read=")) why = "the size of reads is agreed with the kernel";
  if (why.empty()) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "-o " + word + ": " + std::string(why) + "; leave it out");
}

// A request keeps its ring entry until it is answered: with a hundred reads that waited for a
// registry, `ls` waited as well. No depth rules that out, so such a mount does without the rings.
Status RefuseIoUring(const MountTarget& target) {
  if (!target.image.has_value() || target.image->transport != ImageTransport::kRegistry) return {};
  return Fail(ErrorCode::kUnsupported,
              "-o io_uring: is for images in a local layout (oci:); reads that wait for a "
              "registry would hold up all others; leave it out");
}

Result<FuseOptions> MakeFuseOptions(const MountTarget& target, const MountWords& words) {
  FuseOptions fuse;
  fuse.mount_point = target.mount_point;
  fuse.source = target.image.has_value() ? target.image->ToString() : "layerfs";
  fuse.max_threads = target.overlay.one_thread ? 1 : words.threads;
  fuse.debug = words.fuse_debug;
  const bool writable = !target.container_layer.empty() || !target.overlay.upper_directory.empty();
  bool has_allow = false;
  for (const std::string& word : target.overlay.others) {
    LAYERFS_CHECK_OK(RefuseOption(word, writable || !target.image.has_value()));
    has_allow |= word == "allow_other" || word == "allow_root";
    if (word == "io_uring") {
      LAYERFS_CHECK_OK(RefuseIoUring(target));
      fuse.io_uring = true;
    } else if (word != "rw" && (word != "ro" || writable)) {
      fuse.options.push_back(word);
    }
  }
  // A container has more users than the one who started it.
  if (!has_allow && ::geteuid() == 0 && (writable || !target.image.has_value())) {
    fuse.options.push_back("allow_other");
  }
  return fuse;
}

}  // namespace

Status MakeAbsolute(std::string& path) {
  if (path.empty() || path.front() == '/') return {};
  char* const here = ::getcwd(nullptr, 0);
  if (here == nullptr) return FailErrno("working directory", errno);
  path = std::string(here) + "/" + path;
  std::free(here);
  return {};
}

Result<MountTarget> MakeMountTarget(MountWords words) {
  std::vector<std::string> options = SplitMountWords(words.options);
  MountTarget target;
  if (NamesDirectories(options)) {
    LAYERFS_CHECK_OK(TakeDirectories(words, options, target));
  } else {
    LAYERFS_CHECK_OK(TakeImage(words, std::move(options), target));
  }
  if (words.directory.empty()) return Fail(ErrorCode::kInvalidArgument, "DIRECTORY is required");
  LAYERFS_TRY(mount_point, CheckMountPoint(words.directory));
  target.mount_point = std::move(mount_point);
  LAYERFS_TRY(fuse, MakeFuseOptions(target, words));
  target.fuse = std::move(fuse);
  return target;
}

}  // namespace layerfs
