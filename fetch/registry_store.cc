// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_store.h"

#include "fetch/raw_document.h"
#include "fetch/registry_client.h"
#include "fetch/registry_upload.h"

namespace layerfs {
namespace {

class RegistryReader : public ImageReader {
 public:
  RegistryReader(std::shared_ptr<RegistryContext> context, std::shared_ptr<RegistryMembers> members,
                 ImageReference reference)
      : reference_(std::move(reference)),
        client_(std::move(context),
                {.registry = reference_.registry, .repository = reference_.repository},
                std::move(members)),
        source_(client_.MakeBlobSource()) {}

  Result<RawDocument> ReadRoot() override {
    // The digest pins; a tag beside it is for the reader of the command line.
    const std::string name = reference_.digest ? reference_.digest->ToString() : reference_.tag;
    return client_.GetManifest(name, reference_.digest);
  }
  Result<RawDocument> ReadManifest(const Descriptor& descriptor) override {
    LAYERFS_CHECK_OK_IN(CheckManifestSize(descriptor), name());
    if (auto embedded = EmbeddedDocument(descriptor)) return std::move(*embedded);
    LAYERFS_TRY(document, client_.GetManifest(descriptor.digest.ToString(), descriptor.digest));
    LAYERFS_TRY_IN(checked, MakeDescribedDocument(std::move(document.raw), descriptor),
                   name() + ": manifest " + descriptor.digest.ToString());
    return checked;
  }
  Status ReadBlob(const Descriptor& descriptor,
                  const std::function<Status(ByteSpan)>& on_data) override {
    if (descriptor.data) return on_data(*descriptor.data);
    return client_.ReadBlob(descriptor, on_data);
  }
  std::shared_ptr<BlobSource> blob_source() override { return source_; }
  Result<std::vector<Descriptor>> ReadReferrers(const Digest& subject,
                                                const std::string& artifact_type) override {
    return client_.Referrers(subject, artifact_type);
  }
  Result<std::vector<std::string>> ListTags(size_t limit) override {
    return client_.ListTags(limit);
  }
  std::string name() const override { return reference_.ToString(); }

 private:
  const ImageReference reference_;
  RegistryClient client_;
  const std::shared_ptr<BlobSource> source_;
};

class RegistryWriter : public ImageWriter {
 public:
  RegistryWriter(const std::shared_ptr<RegistryContext>& context,
                 std::shared_ptr<RegistryMembers> members, ImageReference reference)
      : reference_(std::move(reference)),
        client_(
            context,
            {.registry = reference_.registry, .repository = reference_.repository, .push = true},
            std::move(members)) {}

  Status CheckAccess() override { return CheckUpload(client_); }
  Result<bool> HasBlob(const Digest& digest, uint64_t size) override {
    return client_.HasBlob(digest, size);
  }
  Result<bool> MountBlob(const Digest& digest, const std::string& from_repository) override {
    if (from_repository == reference_.repository) return false;
    return layerfs::MountBlob(client_, digest, from_repository);
  }
  Status WriteBlob(const Digest& digest, uint64_t size, int fd,
                   const std::function<void(uint64_t)>& on_progress) override {
    return UploadBlob(client_, digest, size, fd, on_progress);
  }
  Status WriteManifest(const RawDocument& document) override {
    return client_.PutManifest(document.digest.ToString(), document);
  }
  Status WriteRoot(const RawDocument& document) override {
    if (reference_.digest && *reference_.digest != document.digest) {
      return Fail(ErrorCode::kDigestMismatch,
                  name() + ": the image to write is " + document.digest.ToString());
    }
    return client_.PutManifest(reference_.tag.empty() ? document.digest.ToString() : reference_.tag,
                               document);
  }
  Status WriteReferrer(const RawDocument& document, const Descriptor& entry,
                       const Descriptor& subject) override {
    return client_.PutReferrer(document, entry, subject.digest);
  }
  std::string name() const override { return reference_.ToString(); }

 private:
  const ImageReference reference_;
  RegistryClient client_;
};

}  // namespace

Result<std::shared_ptr<ImageReader>> MakeRegistryReader(std::shared_ptr<RegistryContext> context,
                                                        const ImageReference& reference) {
  LAYERFS_TRY(members, context->MembersOf(reference.registry, reference.repository,
                                          RegistryContext::Use::kRead));
  return std::shared_ptr<ImageReader>(std::make_shared<RegistryReader>(
      std::move(context), std::make_shared<RegistryMembers>(std::move(members)), reference));
}

Result<std::shared_ptr<ImageWriter>> MakeRegistryWriter(
    const std::shared_ptr<RegistryContext>& context, const ImageReference& reference) {
  LAYERFS_TRY(members, context->MembersOf(reference.registry, reference.repository,
                                          RegistryContext::Use::kPush));
  return std::shared_ptr<ImageWriter>(std::make_shared<RegistryWriter>(
      context, std::make_shared<RegistryMembers>(std::move(members)), reference));
}

}  // namespace layerfs
