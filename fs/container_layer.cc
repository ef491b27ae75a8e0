// SPDX-License-Identifier: Apache-2.0
#include "fs/container_layer.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "fetch/reference.h"
#include "index/base/directory_stream.h"

namespace layerfs {
namespace {

constexpr std::string_view kFormatLine = "layerfs-container-layer 1";
constexpr uint64_t kMaxBindingBytes = 65536;
constexpr mode_t kPrivateMode = 0700;

Result<std::vector<std::string>> NamesIn(int directory_fd) {
  const int fd = ::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FailErrno("directory", errno);
  return NamesInDirectory(UniqueFd(fd));
}

Result<UniqueFd> OpenDirectoryAt(int directory_fd, const std::string& name) {
  return OpenFileAt(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

// Not what is mounted there: that is not ours to look into.
Result<UniqueFd> OpenOnSameMount(int directory_fd, const std::string& name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_NO_XDEV;
  UniqueFd fd(
      static_cast<int>(::syscall(SYS_openat2, directory_fd, name.c_str(), &how, sizeof how)));
  if (!fd.valid()) return FailErrno(name, errno);
  return fd;
}

Result<UniqueFd> MakeAndOpen(int directory_fd, const std::string& name, mode_t mode) {
  if (::mkdirat(directory_fd, name.c_str(), mode) != 0 && errno != EEXIST) {
    return FailErrno(name, errno);
  }
  return OpenDirectoryAt(directory_fd, name);
}

std::string Encode(const LayerBinding& binding) {
  std::string text(kFormatLine);
  text += "\nmanifest " +
          (binding.manifest.has_value() ? binding.manifest->ToString() : std::string("scratch"));
  if (!binding.reference.empty()) text += "\nreference " + binding.reference;
  if (!binding.platform.empty()) text += "\nplatform " + binding.platform;
  return text + "\n";
}

Result<LayerBinding> DecodeBinding(std::string_view text, const std::string& directory) {
  const std::string name = directory + "/image";
  const auto bad = [&](std::string_view why) {
    return Fail(ErrorCode::kCorrupt, name + ": " + std::string(why));
  };
  LayerBinding binding;
  bool first = true;
  bool has_manifest = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return bad("the last line has no end");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (first && line != kFormatLine) {
      return Fail(ErrorCode::kUnsupported, name + ": begins with \"" + std::string(line) +
                                               "\"; this layerfs reads \"" +
                                               std::string(kFormatLine) + "\"");
    }
    if (std::exchange(first, false)) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return bad("a line without a value");
    const std::string_view key = line.substr(0, space);
    const std::string value(line.substr(space + 1));
    if (key == "manifest") {
      has_manifest = true;
      if (value == "scratch") continue;
      LAYERFS_TRY_IN(digest, Digest::Parse(value), name);
      binding.manifest = digest;
    } else if (key == "reference") {
      binding.reference = value;
    } else if (key == "platform") {
      binding.platform = value;
    } else {
      return bad("unknown key \"" + std::string(key) + "\"");
    }
  }
  if (!has_manifest) return bad("names no manifest");
  return binding;
}

// Which marks can be written here is what the file system says to one.
Result<MarkForm> ProbeForm(int work_fd) {
  constexpr char kName[] = "probe";
  ::unlinkat(work_fd, kName, 0);
  LAYERFS_TRY(file, OpenFileAt(work_fd, kName, O_RDWR | O_CREAT | O_EXCL, 0600));
  const ObjectPath path = PathOfDescriptor(file.get());
  MarkForm form;
  form.trusted = WriteXattr(path, form.Overlay("opaque"), "y").has_value();
  if (!form.trusted) {
    LAYERFS_CHECK_OK_IN(WriteXattr(path, form.Overlay("opaque"), "y"),
                        "the container layer needs extended attributes");
  }
  ::unlinkat(work_fd, kName, 0);
  form.devices = ::mknodat(work_fd, kName, S_IFCHR | 0600, 0) == 0;
  ::unlinkat(work_fd, kName, 0);
  // A user who is not root, not even of a name space, cannot give files away.
  form.override_stat = ::geteuid() != 0;
  return form;
}

// Whether the directory `inner` is the one that `outer` tells of, or lies in it.
Result<bool> LiesIn(const std::string& inner, const struct stat& outer) {
  LAYERFS_TRY(at, OpenFile(inner, O_PATH | O_DIRECTORY));
  struct stat now{};
  if (::fstat(at.get(), &now) != 0) return FailErrno(inner, errno);
  for (;;) {
    if (now.st_dev == outer.st_dev && now.st_ino == outer.st_ino) return true;
    LAYERFS_TRY_IN(parent, OpenFileAt(at.get(), "..", O_PATH | O_DIRECTORY), inner);
    struct stat above{};
    if (::fstat(parent.get(), &above) != 0) return FailErrno(inner, errno);
    if (above.st_dev == now.st_dev && above.st_ino == now.st_ino) return false;
    at = std::move(parent);
    now = above;
  }
}

// What is written to `outer`, or cleaned up there, must not be what `inner` holds.
Status CheckApart(std::string_view inner_option, const std::string& inner,
                  std::string_view outer_option, const std::string& outer) {
  struct stat attributes{};
  if (::stat(outer.c_str(), &attributes) != 0) return FailErrno(outer, errno);
  LAYERFS_TRY(lies_in, LiesIn(inner, attributes));
  if (!lies_in) return {};
  return Fail(ErrorCode::kInvalidArgument,
              std::string(inner_option) + "=" + inner + ": is " + std::string(outer_option) + "=" +
                  outer + ", or lies in it; give them directories beside each other");
}

}  // namespace

Result<std::vector<std::string>> NamesInDirectory(UniqueFd directory) {
  const DirectoryStream stream = MakeDirectoryStream(std::move(directory));
  if (stream == nullptr) return FailErrno("directory", errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(stream.get());
    if (entry == nullptr && errno != 0) return FailErrno("directory", errno);
    if (entry == nullptr) return names;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
}

Status RemoveTree(int directory_fd, const std::string& name) {
  // Depth by a stack of open directories would run out of descriptors: children are moved up to
  // the top instead, so that nothing is deeper than one level when it is removed.
  if (::unlinkat(directory_fd, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (::unlinkat(directory_fd, name.c_str(), AT_REMOVEDIR) == 0) return {};
  std::vector<std::string> left = {name};
  for (uint64_t moved = 0; !left.empty();) {
    const std::string current = left.back();
    LAYERFS_TRY(child, OpenOnSameMount(directory_fd, current));
    LAYERFS_TRY_IN(names, NamesIn(child.get()), current);
    for (const std::string& inner : names) {
      if (::unlinkat(child.get(), inner.c_str(), 0) == 0) continue;
      if (::unlinkat(child.get(), inner.c_str(), AT_REMOVEDIR) == 0) continue;
      const std::string up = "rm-" + std::to_string(child.get()) + "-" + std::to_string(moved++) +
                             "-" + std::to_string(::getpid());
      if (::renameat(child.get(), inner.c_str(), directory_fd, up.c_str()) != 0) {
        return FailErrno(inner, errno);
      }
      left.insert(left.begin(), up);
    }
    if (::unlinkat(directory_fd, current.c_str(), AT_REMOVEDIR) != 0) {
      return FailErrno(current, errno);
    }
    left.pop_back();
  }
  return {};
}

std::string PinnedReference(const LayerBinding& binding) {
  auto reference = ImageReference::Parse(binding.reference);
  if (!reference.has_value() || !binding.manifest.has_value()) return binding.reference;
  reference->tag.clear();
  reference->digest = binding.manifest;
  return reference->ToString();
}

Result<LayerBinding> ContainerLayer::ReadBinding(const std::string& directory) {
  auto text = ReadFile(directory + "/image", kMaxBindingBytes);
  if (!text.has_value() && text.error().code == ErrorCode::kNotFound) {
    return Fail(ErrorCode::kNotFound, directory + ": is no container layer (it has no file image)");
  }
  if (!text.has_value()) return Fail(std::move(text).error());
  return DecodeBinding(AsText(*text), directory);
}

Result<ContainerLayer> ContainerLayer::OpenParts(const std::string& upper, const std::string& work,
                                                 bool with_partial) {
  ContainerLayer layer;
  LAYERFS_TRY(base, OpenFile(work, O_RDONLY | O_DIRECTORY));
  LAYERFS_TRY(lock, LayerLock::Take(base.get(), work));
  LAYERFS_TRY(upper_fd, OpenFile(upper, O_RDONLY | O_DIRECTORY));
  LAYERFS_TRY_IN(work_fd, MakeAndOpen(base.get(), "work", kPrivateMode), work);
  LAYERFS_TRY_IN(index_fd, MakeAndOpen(base.get(), "index", kPrivateMode), work);
  if (with_partial) {
    LAYERFS_TRY_IN(partial_fd, MakeAndOpen(base.get(), "partial", kPrivateMode), work);
    layer.partial_ = std::move(partial_fd);
  }
  struct stat upper_stat{};
  struct stat work_stat{};
  if (::fstat(upper_fd.get(), &upper_stat) != 0) return FailErrno(upper, errno);
  if (::fstat(work_fd.get(), &work_stat) != 0) return FailErrno(work, errno);
  if (upper_stat.st_dev != work_stat.st_dev) {
    return Fail(ErrorCode::kInvalidArgument,
                work + ": must be on the same file system as " + upper);
  }
  layer.lock_ = std::move(lock);
  layer.upper_ = std::move(upper_fd);
  layer.work_ = std::move(work_fd);
  layer.index_ = std::move(index_fd);
  LAYERFS_CHECK_OK_IN(layer.CleanUp(), work);
  LAYERFS_TRY_IN(form, ProbeForm(layer.work_.get()), work);
  layer.form_ = form;
  return layer;
}

Result<ContainerLayer> ContainerLayer::Open(const std::string& directory,
                                            const LayerBinding& binding) {
  LAYERFS_CHECK_OK(MakeDirectories(directory, kPrivateMode));
  LAYERFS_TRY(base, OpenFile(directory, O_RDONLY | O_DIRECTORY));
  auto bound = ReadBinding(directory);
  if (!bound.has_value() && bound.error().code != ErrorCode::kNotFound) {
    return Fail(std::move(bound).error());
  }
  if (bound.has_value() && bound->manifest != binding.manifest) {
    const auto name = [](const LayerBinding& one) {
      return one.manifest.has_value() ? PinnedReference(one) : "no image (scratch)";
    };
    return Fail(ErrorCode::kInvalidArgument, directory + ": the container layer belongs to " +
                                                 name(*bound) + ", not to " + name(binding) +
                                                 "; mount the former, or give another directory");
  }
  if (!bound.has_value()) {
    LAYERFS_TRY_IN(names, NamesIn(base.get()), directory);
    for (const std::string& name : names) {
      // What an Open that was killed has made.
      if (name == "upper" || name == "lock" || name == "work" || name == "index" ||
          name == "partial" || name.starts_with("image")) {
        continue;
      }
      return Fail(ErrorCode::kInvalidArgument,
                  directory + ": is not empty and no container layer; give an empty directory");
    }
  }
  LAYERFS_TRY_IN(upper, MakeAndOpen(base.get(), "upper", 0755), directory);
  LAYERFS_TRY(layer, OpenParts(directory + "/upper", directory, true));
  layer.directory_ = directory;
  layer.binding_ = bound.has_value() ? *bound : binding;
  if (!bound.has_value()) {
    const std::string text = Encode(binding);
    LAYERFS_CHECK_OK(WriteFileAtomically(directory + "/image", AsBytes(text), {0600, true}));
  }
  return layer;
}

Result<ContainerLayer> ContainerLayer::OpenExisting(const std::string& directory) {
  LAYERFS_TRY(binding, ReadBinding(directory));
  return Open(directory, binding);
}

Result<ContainerLayer> ContainerLayer::OpenPlain(const std::string& upper, const std::string& work,
                                                 std::span<const std::string> lowers,
                                                 const PlainMarks& marks) {
  LAYERFS_CHECK_OK(CheckApart("workdir", work, "upperdir", upper));
  LAYERFS_CHECK_OK(CheckApart("upperdir", upper, "workdir", work));
  for (const std::string& lower : lowers) {
    LAYERFS_CHECK_OK(CheckApart("lowerdir", lower, "upperdir", upper));
    LAYERFS_CHECK_OK(CheckApart("lowerdir", lower, "workdir", work));
  }
  LAYERFS_TRY(layer, OpenParts(upper, work, false));
  LAYERFS_CHECK_OK(LayerLock::TakeOpen(layer.upper_.get(), upper));
  if (marks.user) layer.form_.trusted = false;
  layer.directory_ = upper;
  if (marks.override_stat) LAYERFS_CHECK_OK_IN(layer.KeepOwnersInXattrs(), upper);
  return layer;
}

Status ContainerLayer::KeepOwnersInXattrs() {
  form_.override_stat = true;
  // By its root others know such a layer.
  const ObjectPath root = PathOfDescriptor(upper_.get());
  LAYERFS_TRY(text, ReadXattr(root, kOverrideStatXattr));
  if (text.has_value()) return {};
  struct stat attributes{};
  if (::fstat(upper_.get(), &attributes) != 0) return FailErrno("upper directory", errno);
  return WriteXattr(root, kOverrideStatXattr, EncodeOverrideStat(attributes));
}

Status ContainerLayer::CleanUp() const {
  LAYERFS_TRY(left, NamesIn(work_.get()));
  for (const std::string& name : left) LAYERFS_CHECK_OK_IN(RemoveTree(work_.get(), name), "work");
  LAYERFS_TRY(indexed, NamesIn(index_.get()));
  for (const std::string& name : indexed) {
    struct stat attributes{};
    if (::fstatat(index_.get(), name.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (attributes.st_nlink > 1) continue;
    const ObjectPath path = PathOfName(index_.get(), name);
    LAYERFS_TRY(text, ReadXattr(path, form_.Own("nlink")));
    const auto count = DecodeLinkCount(text.value_or(""));
    // The one link of the inode is this name: does any other show it?
    if (!count.has_value() || count->value + (count->relative ? 1 : 0) > 0) continue;
    if (::unlinkat(index_.get(), name.c_str(), 0) != 0) return FailErrno("index/" + name, errno);
  }
  return {};
}

}  // namespace layerfs
