// SPDX-License-Identifier: Apache-2.0
// ImageReader and ImageWriter: an image's documents and blobs as the commands use them, whatever
// holds them: a registry, an OCI layout, a docker-archive (reading only).
// Implementations are thread-safe; calls block until done, with retries and the options' deadline.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fetch/blob_source.h"
#include "fetch/manifest.h"
#include "fetch/reference.h"
#include "index/base/error.h"

namespace layerfs {

struct RawDocument {
  Bytes raw;
  std::string media_type;
  Digest digest;  // of raw; verified against the pin or the descriptor where there is one
};

class ImageReader {
 public:
  virtual ~ImageReader() = default;
  // The manifest or image index that the reference names.
  virtual Result<RawDocument> ReadRoot() = 0;
  // A manifest or index by descriptor (its embedded data are used where present), digest and size
  // verified.
  virtual Result<RawDocument> ReadManifest(const Descriptor& descriptor) = 0;
  // A whole blob in order, as it comes (memory bounded); size and digest are verified by the time
  // that it returns success. An error from `on_data` ends it with that error.
  virtual Status ReadBlob(const Descriptor& descriptor,
                          const std::function<Status(ByteSpan)>& on_data) = 0;
  // Ranges of the blobs, for mounting. Null where the place has none (docker-archive).
  virtual std::shared_ptr<BlobSource> blob_source() = 0;
  // Manifests of this artifact type that refer to the manifest `subject` (distribution-spec,
  // "Listing Referrers"), in any order. None where it knows no referrers.
  virtual Result<std::vector<Descriptor>> ReadReferrers(const Digest& /*subject*/,
                                                        const std::string& /*artifact_type*/) {
    return std::vector<Descriptor>();
  }
  // Tags of the reference's repository, at most `limit`, as the registry orders them. None where
  // the place's documents name all its images anyway.
  virtual Result<std::vector<std::string>> ListTags(size_t /*limit*/) {
    return std::vector<std::string>();
  }
  virtual std::string name() const = 0;  // the reference, for messages
};

class ImageWriter {
 public:
  virtual ~ImageWriter() = default;
  // Whether the place can be reached and lets us write, for who is about to do much work for it.
  // A place that only the writing itself can tell of says yes.
  virtual Status CheckAccess() { return {}; }
  virtual Result<bool> HasBlob(const Digest& digest, uint64_t size) = 0;
  // Takes the blob from another repository of the same registry where that is possible; false where
  // it is not.
  virtual Result<bool> MountBlob(const Digest& digest, const std::string& from_repository) = 0;
  // The blob's bytes lie in the file `fd`, from 0 to `size`; they are read by pread. `on_progress`
  // gets the bytes sent so far. The blob appears whole or not at all.
  virtual Status WriteBlob(const Digest& digest, uint64_t size, int fd,
                           const std::function<void(uint64_t)>& on_progress) = 0;
  // Makes WriteBlob calls end with kCancelled soon where the place can; also from `on_progress`.
  virtual void Cancel() {}
  // By digest only (a manifest of an index).
  virtual Status WriteManifest(const RawDocument& document) = 0;
  // By the reference's tag: the last step, after which the image is there.
  virtual Status WriteRoot(const RawDocument& document) = 0;
  // A manifest with a subject, listed among the subject's referrers: by the registry, or, where it
  // does not do that, in the tag that stands in for it (distribution-spec, "Referrers Tag Schema").
  // `entry` is the manifest's in such a list.
  virtual Status WriteReferrer(const RawDocument& /*document*/, const Descriptor& /*entry*/,
                               const Descriptor& /*subject*/) {
    return Fail(ErrorCode::kUnsupported, "it has no referrers; use an image in a registry");
  }
  virtual std::string name() const = 0;
};

struct TlsOptions {
  std::string ca_file;      // added to the system's
  std::string client_cert;  // PEM
  std::string client_key;
  bool insecure_skip_verify = false;
};

struct StoreOptions {
  bool plain_http = false;  // loopback registries are plain anyway
  TlsOptions tls;
  bool offline = false;  // registries are not asked; what is not in the cache is an error
  // Where mirrors are described: containerd's certs.d directories, the first that knows a registry
  // counts; and Podman's registries.conf, as RegistriesConf::Load takes it. Empty: no mirrors.
  std::vector<std::string> hosts_directories;
  std::vector<std::string> registries_conf;
  std::string auth_file;  // empty: $REGISTRY_AUTH_FILE, then containers' and docker's own places
  // Per call, retries included; of a blob's transfer, the time without progress.
  std::chrono::milliseconds timeout{60'000};
};

// All connections, credentials and threads of the process behind one object; tools/ makes one.
// Readers, writers and sources may outlive it, but those of registries then only say kCancelled.
class ImageStores {
 public:
  explicit ImageStores(StoreOptions options);
  ~ImageStores();

  Result<std::shared_ptr<ImageReader>> OpenReader(const ImageReference& reference);
  // kUnsupported for docker-archive. A layout directory is made where it is missing, at the first
  // write.
  Result<std::shared_ptr<ImageWriter>> OpenWriter(const ImageReference& reference);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerfs
