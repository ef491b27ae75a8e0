// SPDX-License-Identifier: Apache-2.0
#include "fs/image_source.h"

#include <utility>

#include "fs/image_attributes.h"
#include "fs/lower_file.h"
#include "fs/overlay_marks.h"

namespace layerfs {
namespace {

class ImageSource final : public LowerSource {
 public:
  ImageSource(std::shared_ptr<Image> image, FileReader& reader)
      : image_(std::move(image)), tree_(image_->tree()), reader_(reader) {}

  LowerObject Root() const override { return {ToUint(kRootInode), {}}; }

  Result<LowerObject> FileWithNumber(uint64_t number) const override {
    if (!Contains(number) || !tree_.Get(InodeNumber{static_cast<uint32_t>(number)}).is_regular()) {
      return Fail(ErrorCode::kCorrupt,
                  "the image has no file with the inode number " + std::to_string(number));
    }
    return LowerObject{number, {}};
  }

  Result<std::optional<LowerEntry>> Lookup(const LowerObject& directory,
                                           std::string_view name) const override {
    const std::optional<Dirent> found = tree_.Lookup(Number(directory), name);
    if (!found.has_value()) return std::nullopt;
    return Entry(found->inode);
  }

  Status List(const LowerObject& directory, const EachEntry& each) const override {
    const uint32_t count = tree_.Get(Number(directory)).entry_count;
    for (uint32_t i = 0; i < count; ++i) {
      const Dirent entry = tree_.EntryAt(Number(directory), i);
      if (!each(entry.name, Entry(entry.inode))) break;
    }
    return {};
  }

  Result<struct stat> Attributes(const LowerObject& object) const override {
    return ImageAttributes(tree_, Number(object));
  }
  Result<LowerMarks> Marks(const LowerObject& /*directory*/) const override {
    return LowerMarks{};  // The tree is merged already.
  }

  std::string Identity(const LowerObject& /*object*/) const override { return ""; }
  std::optional<bool> HasIdentity(const std::string& /*identity*/) const override { return true; }

  std::string PathOf(const LowerObject& directory) const override {
    std::string path;
    for (InodeNumber at = Number(directory); at != kRootInode;) {
      const InodeNumber parent = tree_.Get(at).parent;
      const uint32_t count = tree_.Get(parent).entry_count;
      for (uint32_t i = 0; i < count; ++i) {
        const Dirent entry = tree_.EntryAt(parent, i);
        if (entry.inode != at) continue;
        path.insert(0, "/" + std::string(entry.name));
        break;
      }
      at = parent;
    }
    return path.empty() ? "/" : path;
  }

  std::optional<std::string> PathOfNumber(uint64_t number) const override {
    if (!Contains(number)) return std::nullopt;
    return reader_.paths().PathOf(InodeNumber{static_cast<uint32_t>(number)});
  }

  Result<std::string> ReadLink(const LowerObject& symlink) const override {
    return std::string(tree_.Target(Number(symlink)));
  }

  Result<std::optional<std::string>> GetXattr(const LowerObject& object,
                                              std::string_view name) const override {
    if (IsPrivateXattr(name)) return std::nullopt;
    const auto value = tree_.FindXattr(Number(object), name);
    if (!value.has_value()) return std::nullopt;
    return std::string(*value);
  }

  Result<std::vector<std::string>> ListXattrs(const LowerObject& object) const override {
    std::vector<std::string> names;
    for (const Xattr& xattr : tree_.Xattrs(Number(object))) {
      if (!IsPrivateXattr(xattr.name)) names.emplace_back(xattr.name);
    }
    return names;
  }

  Result<std::shared_ptr<LowerFile>> Open(const LowerObject& file) const override {
    return MakeImageLowerFile(reader_, Number(file));
  }
  bool allows_partial() const override { return true; }

 private:
  static InodeNumber Number(const LowerObject& object) {
    return InodeNumber{static_cast<uint32_t>(object.number)};
  }
  bool Contains(uint64_t number) const {
    return number <= UINT32_MAX && tree_.Contains(InodeNumber{static_cast<uint32_t>(number)});
  }
  LowerEntry Entry(InodeNumber inode) const {
    const Inode found = tree_.Get(inode);
    LowerEntry entry;
    entry.object = {ToUint(inode), {}};
    entry.type = found.mode & S_IFMT;
    entry.inode = ToUint(inode);
    entry.links = found.nlink;
    return entry;
  }

  std::shared_ptr<Image> image_;
  const Index& tree_;
  FileReader& reader_;
};

}  // namespace

std::unique_ptr<LowerSource> MakeImageSource(std::shared_ptr<Image> image, FileReader& reader) {
  return std::make_unique<ImageSource>(std::move(image), reader);
}

}  // namespace layerfs
