// SPDX-License-Identifier: Apache-2.0
#include "tests/fs/test_image.h"

#include <sys/xattr.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "fetch/oci_layout.h"
#include "index/base/file.h"
#include "tools/convert/convert_image.h"

namespace layerfs {
namespace {

constexpr char kLowerLayer[] = R"sh(
set -eu
umask 022
mkdir -p lower/etc lower/dir/sub lower/opaque/old lower/many lower/special lower/private lower/bin
cd lower
seq 1 100 >etc/small; seq 1 10 >etc/gone; : >etc/empty; echo replaced >etc/replaced
seq 1 300000 >dir/big                          # more than one chunk, an object of its own
head -c 4096 dir/big >dir/page; head -c 4095 dir/big >dir/less; head -c 4097 dir/big >dir/more
echo hidden >opaque/old/file
for i in $(seq 1 600); do echo $i >many/file-$i; done
truncate -s 5G special/sparse
printf 'in the middle' | dd of=special/sparse bs=1 seek=1048576 conv=notrunc status=none
printf 'past four GiB' | dd of=special/sparse bs=1 seek=4563402752 conv=notrunc status=none
truncate -s 100000 special/hole
ln etc/small dir/hard; ln -s ../etc/small dir/soft; ln -s nowhere dir/dangling; ln -s loop dir/loop
mkfifo special/fifo; mknod special/null c 1 3; mknod special/disk b 259 70000
cp /usr/bin/true bin/true; chmod 4755 bin/true
echo secret >private/key; chmod 0600 private/key; chmod 0700 private; mkdir dir/sticky; chmod 1777 dir/sticky
touch "$(printf 'n%.0s' $(seq 1 255))"; touch "$(printf 'dir/\377\376 not text')"
chown 1000:1001 etc/small; chown -h 7:8 dir/dangling
touch -d '2001-02-03 04:05:06.123456789' etc/small; touch -d '1969-12-31 23:59:58.5' etc/empty
)sh";

constexpr char kUpperLayer[] = R"sh(
set -eu
mkdir -p upper/etc upper/opaque upper/dir
cd upper
: >etc/.wh.gone; echo 'by the upper layer' >etc/replaced; : >opaque/.wh..wh..opq; echo new >opaque/new
seq 1 200000 >dir/upper
touch -d '2020-01-01 00:00:00.5' etc opaque dir .
)sh";

constexpr char kArchive[] = R"sh(
set -eu
for layer in lower upper; do
  tar --format=posix --sparse --xattrs --xattrs-include='*' --acls --numeric-owner --sort=name \
    -C $layer -cf $layer.tar .
done
mkdir tree
tar --xattrs --xattrs-include='*' --acls --numeric-owner -C tree -xpf lower.tar
rm -rf tree/etc/gone tree/opaque/old
tar --xattrs --xattrs-include='*' --acls --numeric-owner --exclude='.wh.*' -C tree -xpf upper.tar
)sh";

// POSIX ACL "user::rw-,user:1000:rwx,group::r--,mask::rwx,other::r--" (linux/posix_acl_xattr.h).
constexpr unsigned char kAcl[] = {2,    0,   0,   0,  //
                                  1,    0,   6,   0,   255, 255, 255, 255, 2,   0,   7,   0,
                                  0xE8, 3,   0,   0,  //
                                  4,    0,   4,   0,   255, 255, 255, 255, 16,  0,   7,   0,
                                  255,  255, 255, 255, 32,  0,   4,   0,   255, 255, 255, 255};
// cap_net_raw+ep (linux/capability.h, VFS_CAP_REVISION_2, with the effective bit).
constexpr unsigned char kCapability[] = {1, 0, 0, 2, 0, 32, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0,  0, 0, 0, 0};

Status SetXattrs(const std::string& layer) {
  struct Wanted {
    const char* file;
    const char* name;
    const void* value;
    size_t size;
  };
  const Wanted wanted[] = {
      {"/etc/replaced", "user.lost", "with the file", 13},
      {"/dir/page", "user.empty", "", 0},
      {"/dir/page", "user.binary", "a\0b", 3},
      {"/dir/less", "system.posix_acl_access", kAcl, sizeof kAcl},
      {"/bin/true", "security.capability", kCapability, sizeof kCapability},
      {"/dir/more", "trusted.ours", "root only", 9},
      {"/dir/sub", "user.directory", "too", 3},
  };
  for (const Wanted& xattr : wanted) {
    const std::string path = layer + xattr.file;
    if (::lsetxattr(path.c_str(), xattr.name, xattr.value, xattr.size, 0) != 0) {
      return FailErrno(path + ": " + xattr.name, errno);
    }
  }
  return {};
}

Result<Descriptor> AddLayer(const OciLayout& layout, const std::string& path) {
  LAYERFS_TRY(bytes, ReadFile(path, uint64_t{1} << 30));
  Descriptor layer;
  layer.media_type = media_type::kOciLayerTar;
  layer.digest = Digest::Of(bytes);
  layer.size = bytes.size();
  LAYERFS_CHECK_OK(layout.WriteBlobBytes(layer.digest, bytes));
  return layer;
}

Result<Descriptor> AddDocument(const OciLayout& layout, const std::string& type, ByteSpan bytes) {
  Descriptor document;
  document.media_type = type;
  document.digest = Digest::Of(bytes);
  document.size = bytes.size();
  LAYERFS_CHECK_OK(layout.WriteBlobBytes(document.digest, bytes));
  return document;
}

Status MakePlainImage(const std::string& directory) {
  const OciLayout layout(directory + "/plain");
  LAYERFS_CHECK_OK(layout.Create());
  Manifest manifest;
  manifest.media_type = media_type::kOciManifest;
  Json diff_ids = Json::array();
  for (const char* name : {"/lower.tar", "/upper.tar"}) {
    LAYERFS_TRY(layer, AddLayer(layout, directory + name));
    diff_ids.push_back(layer.digest.ToString());
    manifest.layers.push_back(std::move(layer));
  }
  const Platform platform = Platform::Host();
  const Json config = {{"architecture", platform.architecture},
                       {"os", platform.os},
                       {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}};
  LAYERFS_TRY(config_blob, AddDocument(layout, media_type::kOciConfig, AsBytes(config.dump())));
  manifest.config = std::move(config_blob);
  LAYERFS_TRY(document, AddDocument(layout, media_type::kOciManifest, manifest.Encode()));
  return layout.SetTag("latest", document);
}

class NoProgress final : public ConvertProgress {
 public:
  void OnLayers(size_t) override {}
  void OnProgress(const LayerProgress&) override {}
};

Status Convert(const std::string& from, const std::string& to) {
  ImageStores stores{StoreOptions{}};
  ConvertOptions options;
  LAYERFS_TRY(source, ImageReference::Parse(from));
  LAYERFS_TRY(destination, ImageReference::Parse(to));
  options.source = source;
  options.destination = destination;
  NoProgress progress;
  LAYERFS_CHECK_OK(ConvertImage(options, stores, progress));
  return {};
}

Status Fill(const TestImage& image, const std::string& more) {
  const std::string enter = "cd '" + image.directory() + "'\n";
  LAYERFS_CHECK_OK(RunShell(enter + kLowerLayer + more));
  LAYERFS_CHECK_OK(SetXattrs(image.directory() + "/lower"));
  LAYERFS_CHECK_OK(RunShell(enter + kUpperLayer));
  LAYERFS_CHECK_OK(RunShell(enter + kArchive));
  LAYERFS_CHECK_OK(MakePlainImage(image.directory()));
  return Convert(image.plain_reference(), image.reference());
}

}  // namespace

Status RunShell(const std::string& command) {
  const int status = std::system(command.c_str());
  if (status == 0) return {};
  return Fail(ErrorCode::kIo, "status " + std::to_string(status) + " of: " + command);
}

Result<TestImage> TestImage::Make(const std::string& more) {
  char name[] = "/var/tmp/layerfs-test-image.XXXXXX";
  if (::mkdtemp(name) == nullptr) return FailErrno(name, errno);
  TestImage image{std::string(name)};
  LAYERFS_CHECK_OK(Fill(image, more));
  return image;
}

TestImage::TestImage(TestImage&& other) noexcept
    : directory_(std::exchange(other.directory_, std::string())) {}

TestImage::~TestImage() {
  if (directory_.empty()) return;
  [[maybe_unused]] const Status removed = RunShell("rm -rf --one-file-system '" + directory_ + "'");
}

}  // namespace layerfs
