// SPDX-License-Identifier: Apache-2.0
// ls, cat and stat: an image's files without a mount, and how a mount is doing.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "index/base/json.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/mount_status.h"
#include "tools/text.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxStatusBytes = uint64_t{16} << 20;
constexpr size_t kCopyBytes = size_t{4} << 20;

std::string ModeText(uint32_t mode) {
  static constexpr std::string_view kTypes = "?pc?d?b?-?l?s???";
  std::string text(1, kTypes[(mode & S_IFMT) >> 12]);
  static constexpr std::string_view kBits = "rwxrwxrwx";
  for (size_t i = 0; i < kBits.size(); ++i) {
    text.push_back((mode & (0400U >> i)) != 0 ? kBits[i] : '-');
  }
  const auto special = [&](uint32_t bit, size_t at, char with_x, char without_x) {
    if ((mode & bit) != 0) text[at] = text[at] == 'x' ? with_x : without_x;
  };
  special(S_ISUID, 3, 's', 'S');
  special(S_ISGID, 6, 's', 'S');
  special(S_ISVTX, 9, 't', 'T');
  return text;
}

std::string TimeText(const Timestamp& time, bool with_nanoseconds) {
  const auto seconds = static_cast<time_t>(time.seconds);
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return std::to_string(time.seconds);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  std::string result = text.data();
  if (with_nanoseconds) {
    std::array<char, 16> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%09u", time.nanoseconds);
    result += fraction.data();
  }
  return result + "Z";
}

std::string TypeName(const Inode& inode) {
  switch (inode.mode & S_IFMT) {
    case S_IFREG:
      return "regular file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symbolic link";
    case S_IFCHR:
      return "character device";
    case S_IFBLK:
      return "block device";
    case S_IFIFO:
      return "FIFO";
    case S_IFSOCK:
      return "socket";
    default:
      return "unknown";
  }
}

// Names go to a terminal escaped and to a program as they are.
std::string Shown(std::string_view name, const CommandIo& io) {
  return io.out_is_terminal ? EscapeForTerminal(name) : std::string(name);
}

class LsCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("ls", "list a directory of an image");
    image_.Declare(*app);
    app->add_option("PATH", path_, "A path in the image; the root by default");
    app->add_flag("-l,--long", long_, "Modes, owners, sizes and times as well");
    app->add_flag("-R,--recursive", recursive_, "Everything below, by full path");
    Document(*app,
             {"  Lists without mounting. Symbolic links on the way are followed inside the image.",
              {"layerfs ls -l oci:/images/app:1 /usr/bin"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(image, image_.Open());
    const Index& tree = image->tree();
    LAYERFS_TRY(inode, ResolvePath(tree, path_, true));
    if (!tree.Get(inode).is_directory()) {
      Print(tree, path_, inode, io);
    } else {
      List(tree, inode, recursive_ ? TrimSlashes(path_) : "", io);
    }
    return ExitStatus::kSuccess;
  }

 private:
  static std::string TrimSlashes(std::string path) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    return path + "/";
  }

  void List(const Index& tree, InodeNumber directory, const std::string& prefix,
            CommandIo& io) const {
    for (uint32_t i = 0; i < tree.Get(directory).entry_count; ++i) {
      const Dirent entry = tree.EntryAt(directory, i);
      const std::string name = prefix + std::string(entry.name);
      Print(tree, name, entry.inode, io);
      if (recursive_ && tree.Get(entry.inode).is_directory()) {
        List(tree, entry.inode, name + "/", io);
      }
    }
  }

  void Print(const Index& tree, const std::string& name, InodeNumber number, CommandIo& io) const {
    if (!long_) {
      std::fprintf(io.out, "%s\n", Shown(name, io).c_str());
      return;
    }
    const Inode inode = tree.Get(number);
    const bool device = S_ISCHR(inode.mode) || S_ISBLK(inode.mode);
    const std::string size =
        device ? std::to_string(major(inode.rdev)) + "," + std::to_string(minor(inode.rdev))
               : std::to_string(inode.size);
    std::fprintf(io.out, "%s %3u %5u %5u %10s %s %s", ModeText(inode.mode).c_str(), inode.nlink,
                 inode.uid, inode.gid, size.c_str(), TimeText(inode.mtime, false).c_str(),
                 Shown(name, io).c_str());
    if (inode.is_symlink()) std::fprintf(io.out, " -> %s", Shown(tree.Target(number), io).c_str());
    std::fputc('\n', io.out);
  }

  ImageArgument image_;
  std::string path_ = "/";
  bool long_ = false;
  bool recursive_ = false;
};

class CatCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("cat", "write files of an image to standard output");
    image_.Declare(*app);
    app->add_option("PATH", paths_, "Paths in the image")->required();
    Document(*app, {"  Fetches only what the files are made of. A path that cannot be read is "
                    "told, the others\n"
                    "  are written all the same, and the exit status is the first one's.",
                    {"layerfs cat oci:/images/app:1 /etc/os-release"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(image, image_.Open());
    LAYERFS_TRY(reader, image_.Reader());
    ExitStatus status = ExitStatus::kSuccess;
    for (const std::string& path : paths_) {
      const Status written = Write(image->tree(), *reader, path, io);
      if (written.has_value()) continue;
      if (std::ferror(io.out) != 0) return Fail(written.error());
      std::fprintf(io.err, "layerfs cat: %s\n", EscapeForTerminal(written.error().context).c_str());
      if (status == ExitStatus::kSuccess) status = ExitStatusOf(written.error().code);
    }
    return status;
  }

 private:
  static Status Write(const Index& tree, FileReader& reader, const std::string& path,
                      CommandIo& io) {
    LAYERFS_TRY(number, ResolvePath(tree, path, true));
    const Inode inode = tree.Get(number);
    if (!inode.is_regular()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "path " + path + ": is a " + TypeName(inode) + ", which has no content");
    }
    for (uint64_t offset = 0; offset < inode.size;) {
      LAYERFS_TRY(bytes, reader.ReadAndWait(number, offset, kCopyBytes));
      if (std::fwrite(bytes.data(), 1, bytes.size(), io.out) != bytes.size()) {
        return FlushOutput(io);
      }
      offset += bytes.size();
    }
    return {};
  }

  ImageArgument image_;
  std::vector<std::string> paths_;
};

class StatCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app =
        parent.add_subcommand("stat", "show how a mount is doing, or what an image says of a file");
    image_.Declare(*app);
    app->get_option("IMAGE")->description("A mount's directory; or, with PATH, an image");
    app->add_option("PATH", path_, "A path in the image");
    app->add_flag("-L,--dereference", follow_, "Follow a symbolic link at the end");
    app->add_flag("--json", json_, "Print JSON");
    app->add_option("--watch", watch_seconds_, "Of a mount: again every so many seconds")
        ->type_name("SECONDS")
        ->expected(0, 1)
        ->default_str("1")
        ->check(CLI::Range(0.1, 86400.0));
    Document(
        *app,
        {"  Of a mount's directory: how much of the image is cached, what was fetched and why, "
         "the\n"
         "  link as it is estimated, how long readers waited for which files, retries and "
         "errors.\n"
         "  Of a path in an image: type, mode, owner, time, size, links, extended attributes, "
         "and\n"
         "  where the data are.",
         {"layerfs stat /mnt/app", "layerfs stat --json --watch 5 /mnt/app",
          "layerfs stat oci:/images/app:1 /usr/bin/ping"}});
    watch_ = app->get_option("--watch");
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    if (path_.empty()) return StatMount(io);
    LAYERFS_TRY(image, image_.Open());
    LAYERFS_TRY(number, ResolvePath(image->tree(), path_, follow_));
    if (json_) {
      PrintJson(image->tree(), number, io);
    } else {
      Print(image->tree(), number, io);
    }
    return ExitStatus::kSuccess;
  }

 private:
  Result<ExitStatus> StatMount(CommandIo& io) const {
    const std::string& directory = image_.word();
    char* const resolved = ::realpath(directory.c_str(), nullptr);
    if (resolved == nullptr) {
      return Fail(ErrorCode::kNotFound,
                  directory + ": is no directory; of an image, name a path in it too");
    }
    const std::string mount_point = resolved;
    std::free(resolved);
    while (true) {
      const auto socket = ControlSocketPath(mount_point, false);
      auto page = socket.has_value() ? FetchStatusPage(*socket, "/stat") : Fail(socket.error());
      if (!page.has_value()) {
        return Fail(page.error().code == ErrorCode::kPermission ? ErrorCode::kPermission
                                                                : ErrorCode::kNotFound,
                    mount_point + ": no image is mounted there by this user (" +
                        page.error().context + ")");
      }
      LAYERFS_TRY(status, ParseJson(AsBytes(*page), kMaxStatusBytes));
      if (json_) {
        std::fprintf(io.out, "%s\n", status.dump(watch_->count() > 0 ? -1 : 2).c_str());
      } else {
        PrintMountStatus(status, io.out);
      }
      if (watch_->count() == 0) return ExitStatus::kSuccess;
      LAYERFS_CHECK_OK(FlushOutput(io));
      std::this_thread::sleep_for(std::chrono::duration<double>(watch_seconds_));
      if (!json_) std::fputs("\n", io.out);
    }
  }

  void Print(const Index& tree, InodeNumber number, CommandIo& io) const {
    const Inode inode = tree.Get(number);
    std::fprintf(io.out, "path:  %s\n", EscapeForTerminal(path_).c_str());
    std::fprintf(io.out, "type:  %s\n", TypeName(inode).c_str());
    std::fprintf(io.out, "mode:  %04o %s\n", inode.mode & 07777, ModeText(inode.mode).c_str());
    std::fprintf(io.out, "owner: %u:%u\n", inode.uid, inode.gid);
    std::fprintf(io.out, "mtime: %s\n", TimeText(inode.mtime, true).c_str());
    std::fprintf(io.out, "links: %u\n", inode.nlink);
    std::fprintf(io.out, "inode: %u\n", ToUint(number));
    if (inode.is_regular()) {
      std::fprintf(io.out, "size:  %llu\n", static_cast<unsigned long long>(inode.size));
      if (inode.size > 0) {
        std::fprintf(io.out, "layer: %u, tar offset %llu%s\n", ToUint(inode.layer) + 1U,
                     static_cast<unsigned long long>(inode.data_offset),
                     tree.IsSparse(number) ? ", sparse" : "");
      }
    }
    if (inode.is_symlink()) {
      std::fprintf(io.out, "link:  %s\n", EscapeForTerminal(tree.Target(number)).c_str());
    }
    if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
      std::fprintf(io.out, "rdev:  %u,%u\n", major(inode.rdev), minor(inode.rdev));
    }
    for (const Xattr& xattr : tree.Xattrs(number)) {
      std::fprintf(io.out, "xattr: %s = %s\n", EscapeForTerminal(xattr.name).c_str(),
                   EscapeForTerminal(xattr.value).c_str());
    }
  }

  // Where the data lie: the layer, and in its tar the content or, of a sparse file, its extents.
  static void AddPlace(const Index& tree, InodeNumber number, Json& document) {
    const Inode inode = tree.Get(number);
    const LayerInfo& layer = tree.layers()[ToUint(inode.layer)];
    document["layer"] = {{"number", ToUint(inode.layer) + 1U},
                         {"digest", layer.blob.ToString()},
                         {"diffId", layer.diff_id.ToString()}};
    if (!tree.IsSparse(number)) {
      document["tarOffset"] = inode.data_offset;
      return;
    }
    Json extents = Json::array();
    for (const DataExtent& extent : tree.DataExtents(number, 0, inode.size)) {
      extents.push_back({{"offset", extent.file_offset},
                         {"tarOffset", extent.tar_offset},
                         {"size", extent.size}});
    }
    document["extents"] = extents;
  }

  void PrintJson(const Index& tree, InodeNumber number, CommandIo& io) const {
    const Inode inode = tree.Get(number);
    Json document = {{"path", EscapeForTerminal(path_)},
                     {"type", TypeName(inode)},
                     {"mode", inode.mode & 07777U},
                     {"uid", inode.uid},
                     {"gid", inode.gid},
                     {"mtimeSeconds", inode.mtime.seconds},
                     {"mtimeNanoseconds", inode.mtime.nanoseconds},
                     {"links", inode.nlink},
                     {"inode", ToUint(number)},
                     {"size", inode.size}};
    if (inode.is_regular() && inode.size > 0) AddPlace(tree, number, document);
    if (inode.is_symlink()) document["target"] = EscapeForTerminal(tree.Target(number));
    Json xattrs = Json::object();
    for (const Xattr& xattr : tree.Xattrs(number)) {
      xattrs[EscapeForTerminal(xattr.name)] = EscapeForTerminal(xattr.value);
    }
    document["xattrs"] = xattrs;
    std::fprintf(io.out, "%s\n", document.dump(2).c_str());
  }

  ImageArgument image_;
  std::string path_;
  bool follow_ = false;
  CLI::Option* watch_ = nullptr;
  double watch_seconds_ = 1;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeLsCommand() { return std::make_unique<LsCommand>(); }
std::unique_ptr<Command> MakeCatCommand() { return std::make_unique<CatCommand>(); }
std::unique_ptr<Command> MakeStatCommand() { return std::make_unique<StatCommand>(); }

}  // namespace layerfs
