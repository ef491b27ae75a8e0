// SPDX-License-Identifier: Apache-2.0
#include "fs/image.h"

#include <algorithm>
#include <future>
#include <map>

#include "fs/chunk_wait.h"
#include "fs/startup_artifact.h"
#include "fs/startup_loader.h"
#include "index/base/log.h"
#include "index/base/synchronized.h"
#include "index/index_codec.h"
#include "index/layer_footer.h"
#include "index/merge.h"

namespace layerfs {
namespace {

// A tree's document is named by the format too, so that a newer layerfs makes its own.
constexpr char kTreeDocumentPrefix[] = "tree-v1-";
constexpr char kManifestDocumentPrefix[] = "manifest-";
constexpr char kConfigDocumentPrefix[] = "config-";
// What a tag was last resolved to: the digest, a newline, the reference.
constexpr char kTagDocumentPrefix[] = "tags/";
constexpr uint64_t kMaxTagDocumentBytes = 8192;
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// Documents are kept as a courtesy to the next mount: a cache that does not take them costs time,
// not correctness.
void KeepDocument(ObjectCache& cache, const std::string& name, ByteSpan data) {
  const Status kept = cache.WriteDocument(name, data);
  if (!kept.has_value()) LogDebug("cache: document " + name + ": " + kept.error().context);
}

// A cached document whose bytes are still what its digest says.
std::optional<Bytes> FindDocument(const ObjectCache& cache, const std::string& name,
                                  const Digest& digest, uint64_t limit) {
  auto cached = cache.ReadDocument(name, limit);
  if (!cached.has_value() || Digest::Of(*cached) != digest) return std::nullopt;
  return std::move(*cached);
}

const Descriptor* ChoosePlatform(const ImageIndex& index, const Platform& wanted) {
  for (const Descriptor& manifest : index.manifests) {
    if (media_type::IsManifest(manifest.media_type) && manifest.artifact_type.empty() &&
        manifest.platform.has_value() && manifest.platform->Satisfies(wanted)) {
      return &manifest;
    }
  }
  return nullptr;
}

std::string ListPlatforms(const ImageIndex& index) {
  std::string list;
  for (const Descriptor& manifest : index.manifests) {
    if (!manifest.platform.has_value()) continue;
    list += (list.empty() ? "" : ", ") + manifest.platform->ToString();
  }
  return list.empty() ? "none" : list;
}

// Resolves a reference to the image's manifest, through the cache where digests allow it.
class ManifestResolver {
 public:
  ManifestResolver(const ImageReference& reference, ImageReader& reader, ObjectCache& cache)
      : reference_(reference), reader_(reader), cache_(cache) {}

  Result<RawDocument> Resolve(const ImageOptions& options) {
    // A layout's tags lie on this machine.
    const bool offline = options.offline && reference_.transport == ImageTransport::kRegistry;
    LAYERFS_TRY(root, ReadRoot(offline));
    if (media_type::IsManifest(root.media_type)) return root;
    if (!media_type::IsIndex(root.media_type)) {
      return Fail(ErrorCode::kUnsupported,
                  reference_.ToString() + ": is a " + root.media_type + ", not an image");
    }
    LAYERFS_TRY_IN(index, ImageIndex::Parse(root.raw), reference_.ToString());
    const Platform wanted = options.platform.value_or(Platform::Host());
    const Descriptor* chosen = ChoosePlatform(index, wanted);
    if (chosen == nullptr && !options.platform.has_value() && index.manifests.size() == 1 &&
        media_type::IsManifest(index.manifests[0].media_type)) {
      chosen =
          &index.manifests[0];  // Some builders leave the platform out where there is one only.
    }
    if (chosen == nullptr) {
      return Fail(ErrorCode::kNotFound,
                  reference_.ToString() + ": no image for " + wanted.ToString() +
                      "; there is: " + ListPlatforms(index) + " (choose with --platform)");
    }
    if (const Descriptor* const entry = FindStartupEntry(index, chosen->digest)) startup_ = *entry;
    return ReadManifest(*chosen);
  }

  // The startup artifact that is in the image index beside the manifest.
  const std::optional<Descriptor>& startup() const { return startup_; }

  Result<RawDocument> ReadManifest(const Descriptor& descriptor) {
    const std::string name = kManifestDocumentPrefix + descriptor.digest.Hex();
    if (auto cached = FindDocument(cache_, name, descriptor.digest, kMaxManifestBytes)) {
      return RawDocument{std::move(*cached), descriptor.media_type, descriptor.digest};
    }
    LAYERFS_TRY(manifest, reader_.ReadManifest(descriptor));
    KeepDocument(cache_, name, manifest.raw);
    return manifest;
  }

 private:
  Result<RawDocument> ReadRoot(bool offline) {
    std::optional<Digest> digest = reference_.digest;
    if (offline && !digest.has_value()) {
      LAYERFS_TRY(known, FindTag());
      digest = known;
    }
    if (digest.has_value()) {
      if (auto cached = FindDocument(cache_, kManifestDocumentPrefix + digest->Hex(), *digest,
                                     kMaxManifestBytes)) {
        LAYERFS_TRY(type, SniffMediaType(*cached));
        return RawDocument{std::move(*cached), type, *digest};
      }
    }
    auto root = reader_.ReadRoot();
    if (!root.has_value()) return Fail(WithHint(std::move(root).error()));
    KeepDocument(cache_, kManifestDocumentPrefix + root->digest.Hex(), root->raw);
    const std::string tag = root->digest.ToString() + "\n" + reference_.ToString() + "\n";
    if (!reference_.digest.has_value()) KeepDocument(cache_, TagDocument(), AsBytes(tag));
    return root;
  }

  // Where the registry is away, and what the tag meant when it was not is known.
  Error WithHint(Error error) const {
    const bool away = error.code == ErrorCode::kNetwork || error.code == ErrorCode::kTimeout;
    if (away && !reference_.digest.has_value() && FindTag().has_value()) {
      error.context += "; --offline takes the image that the tag last meant, from the cache";
    }
    return error;
  }

  std::string TagDocument() const {
    return kTagDocumentPrefix + Digest::Of(AsBytes(reference_.ToString())).Hex();
  }

  Result<Digest> FindTag() const {
    const auto known = cache_.ReadDocument(TagDocument(), kMaxTagDocumentBytes);
    if (!known.has_value()) {
      return Fail(ErrorCode::kNotFound,
                  reference_.ToString() +
                      ": this cache has never seen the tag; mount or pull it once without "
                      "--offline");
    }
    const std::string_view text = AsText(*known);
    LAYERFS_TRY_IN(digest, Digest::Parse(text.substr(0, text.find('\n'))),
                   "cache: " + TagDocument());
    return digest;
  }

  const ImageReference& reference_;
  ImageReader& reader_;
  ObjectCache& cache_;
  std::optional<Descriptor> startup_;
};

}  // namespace

struct Image::State {
  State(ImageReference reference_in, const ImageContext& context_in)
      : reference(std::move(reference_in)), context(context_in) {}

  static Result<std::unique_ptr<State>> Open(const ImageReference& reference,
                                             const ImageContext& context,
                                             const ImageOptions& options);

  ImageReference reference;
  ImageContext context;
  std::chrono::milliseconds timeout{0};
  std::function<void(std::string_view, uint64_t)> on_event;
  std::shared_ptr<ImageReader> reader;
  Manifest manifest;
  Bytes raw_manifest;
  Digest manifest_digest;
  Digest scope;
  std::shared_ptr<StartupPack> startup;
  std::optional<Error> startup_error;
  std::vector<std::shared_ptr<const SourceBlob>> blobs;  // by layer
  std::vector<ChunkRef> indexes;                         // likewise
  std::optional<Index> tree;
  // Last: what runs there uses the others.
  std::unique_ptr<StartupLoader> loader;
  Synchronized<std::future<Result<Bytes>>> config;

  std::string ConfigDocument() const {
    return kConfigDocumentPrefix + manifest.config.digest.Hex();
  }

  std::optional<Bytes> FindConfig() const {
    return FindDocument(*context.cache, ConfigDocument(), manifest.config.digest, kMaxConfigBytes);
  }

  Result<Bytes> FetchConfig() const {
    const Descriptor& descriptor = manifest.config;
    if (descriptor.size > kMaxConfigBytes) {
      return Fail(ErrorCode::kTooLarge, reference.ToString() + ": config of " +
                                            std::to_string(descriptor.size) + " bytes");
    }
    Bytes raw;
    LAYERFS_CHECK_OK(reader->ReadBlob(descriptor, [&](ByteSpan part) -> Status {
      raw.insert(raw.end(), part.begin(), part.end());
      return {};
    }));
    KeepDocument(*context.cache, ConfigDocument(), raw);
    return raw;
  }

  void FetchConfigBehind() {
    if (FindConfig().has_value()) return;
    config.With([&](auto& coming) {
      // Deferred where no thread can be had.
      coming =
          std::async(std::launch::async | std::launch::deferred, [this] { return FetchConfig(); });
    });
  }

  Result<Bytes> LoadRawConfig() {
    auto coming = config.With([](auto& value) { return std::exchange(value, {}); });
    if (coming.valid()) return coming.get();
    if (auto found = FindConfig()) return std::move(*found);
    return FetchConfig();
  }

  Result<ImageConfig> LoadConfig() {
    LAYERFS_TRY(raw, LoadRawConfig());
    LAYERFS_TRY_IN(parsed, ImageConfig::Parse(raw), reference.ToString() + ": config");
    return parsed;
  }

  Status FindLayers() {
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      const Descriptor& layer = manifest.layers[i];
      const std::string name = reference.ToString() + ": layer " + std::to_string(i + 1) + " of " +
                               std::to_string(manifest.layers.size()) + " (" +
                               layer.digest.ToString() + ")";
      LAYERFS_TRY_IN(index, DecodeIndexAnnotations(layer.annotations, layer.size), name);
      if (!index.has_value()) {
        return Fail(ErrorCode::kUnsupported,
                    name + ": is not converted; convert the image first: layerfs convert " +
                        reference.ToString() + " DESTINATION");
      }
      auto blob = std::make_shared<SourceBlob>();
      blob->source = reader->blob_source();
      blob->digest = layer.digest;
      blob->size = layer.size;
      blob->image = reference.ToString();
      blobs.push_back(std::move(blob));
      indexes.push_back(*index);
    }
    return {};
  }

  ChunkRequest IndexRequest(size_t layer) const {
    ChunkRequest request;
    request.blob = blobs[layer];
    request.chunk = indexes[layer];
    request.timeout = timeout;
    request.reason = "layer index";
    request.is_told = true;
    auto object = context.cache->OpenObject(ObjectId{request.chunk.digest, request.chunk.size, {}});
    if (object.has_value()) request.object = std::move(*object);
    return request;
  }

  // `bytes`: what the cache or the network had. What has rotted in the cache is fetched again.
  Result<Index> OpenLayerIndex(size_t layer, SharedBytes bytes) const {
    const std::string name = reference.ToString() + ": index of layer " + std::to_string(layer + 1);
    if (Digest::Of(*bytes) != indexes[layer].digest) {
      ChunkRequest request = IndexRequest(layer);
      LogWarning("cache: " + name + ": damaged on disk; it is dropped and fetched again");
      if (request.object != nullptr) request.object->Discard();
      LAYERFS_TRY(fetched, context.scheduler.FetchAndWait(std::move(request)));
      bytes = std::move(fetched);
    }
    LAYERFS_TRY_IN(decoded, DecodeIndex(*bytes), name);
    LAYERFS_TRY_IN(index, Index::Open(std::move(decoded)), name);
    if (index.kind() != IndexKind::kLayer) {
      return Fail(ErrorCode::kCorrupt, name + ": is not a layer's");
    }
    return index;
  }

  Result<Index> LoadLayerIndex(size_t layer) const {
    LAYERFS_TRY(bytes, context.scheduler.FetchAndWait(IndexRequest(layer)));
    return OpenLayerIndex(layer, bytes);
  }

  std::string TreeDocument() const { return kTreeDocumentPrefix + manifest_digest.Hex(); }

  // The tree that an earlier mount left, where it is sound and of these layers.
  std::optional<Index> FindTree() const {
    auto mapped = context.cache->MapDocument(TreeDocument());
    if (!mapped.has_value()) return std::nullopt;
    auto opened = Index::Open(std::move(*mapped));
    if (!opened.has_value()) {
      LogWarning("cache: " + TreeDocument() + " is made anew: " + opened.error().context);
      return std::nullopt;
    }
    if (!CheckTree(*opened).has_value()) return std::nullopt;
    return std::move(*opened);
  }

  // Whether it is a tree of these layers.
  Status CheckTree(const Index& opened) const {
    const auto layers = opened.layers();
    const bool ours = opened.kind() == IndexKind::kTree && layers.size() == blobs.size() &&
                      std::equal(layers.begin(), layers.end(), blobs.begin(),
                                 [](const LayerInfo& info, const auto& blob) {
                                   return info.blob == blob->digest && info.blob_size == blob->size;
                                 });
    if (ours) return {};
    return Fail(ErrorCode::kCorrupt, "the tree is not of the manifest's layers");
  }

  // What `found` leads to; a pack that cannot be used costs time, not the mount.
  bool OpenStartup(const StartupReference& found) {
    StartupParts parts;
    parts.reference = found;
    parts.source = reader->blob_source();
    parts.cache = context.cache;
    parts.image = reference.ToString();
    parts.check_tree = [this](const Index& opened) { return CheckTree(opened); };
    parts.config = manifest.config.digest;
    parts.config_document = ConfigDocument();
    parts.timeout = timeout;
    parts.on_event = on_event;
    auto opened = StartupLoader::FindCached(parts);
    if (!opened.has_value()) {
      loader = std::make_unique<StartupLoader>(std::move(parts));
      auto waited = loader->WaitOpened();
      if (!waited.has_value()) {
        LeaveStartup(waited.error());
        loader.reset();
        return false;
      }
      opened = std::move(*waited);
    }
    tree = std::move(opened->tree);
    startup = std::move(opened->pack);
    scope = found.head;
    return true;
  }

  // The manifest, and where its layers' indexes are.
  Status Resolve(ManifestResolver& resolver, const ImageOptions& options) {
    LAYERFS_TRY(document, resolver.Resolve(options));
    LAYERFS_TRY_IN(parsed, Manifest::Parse(document.raw), reference.ToString());
    manifest = std::move(parsed);
    raw_manifest = std::move(document.raw);
    manifest_digest = document.digest;
    scope = document.digest;
    on_event("resolved", 0);
    return FindLayers();
  }

  // The artifact of the image index, or, where that is wanted, a referrer's.
  std::optional<StartupReference> FindStartup(ManifestResolver& resolver,
                                              const ImageOptions& options) {
    std::optional<Descriptor> entry = resolver.startup();
    if (!entry.has_value() && options.referrers) {
      auto referrers = reader->ReadReferrers(manifest_digest, kStartupArtifactType);
      if (!referrers.has_value()) {
        LeaveStartup({referrers.error().code,
                      reference.ToString() + ": no referrers: " + referrers.error().context});
      } else if (const Descriptor* const newest = NewestStartup(*referrers)) {
        entry = *newest;
      }
    }
    if (!entry.has_value()) return std::nullopt;
    auto document = resolver.ReadManifest(*entry);
    auto parsed = document.has_value() ? ParseStartupManifest(document->raw, manifest_digest)
                                       : Fail(std::move(document).error());
    if (parsed.has_value()) return *parsed;
    LeaveStartup({parsed.error().code, reference.ToString() + ": " + parsed.error().context});
    return std::nullopt;
  }

  void LeaveStartup(Error why) {
    LogWarning("opened without the startup pack: " + why.context);
    startup_error = std::move(why);
  }

  Result<Index> MakeTree() const {
    std::vector<ChunkRequest> requests;
    for (size_t i = 0; i < blobs.size(); ++i) requests.push_back(IndexRequest(i));
    // The errors name the image themselves.
    LAYERFS_TRY(fetched, FetchAllAndWait(context.scheduler, std::move(requests)));
    TreeMerger merger;
    for (size_t i = 0; i < blobs.size(); ++i) {
      LAYERFS_TRY(layer, OpenLayerIndex(i, fetched[i]));
      fetched[i].reset();
      LAYERFS_CHECK_OK_IN(merger.Apply(layer, {blobs[i]->digest, blobs[i]->size}),
                          reference.ToString() + ": layer " + std::to_string(i + 1));
    }
    LAYERFS_TRY_IN(bytes, std::move(merger).Finish(), reference.ToString());
    KeepDocument(*context.cache, TreeDocument(), bytes);
    // Mapped, the tree costs no private memory.
    if (auto kept = FindTree()) return std::move(*kept);
    return Index::Open(std::move(bytes));
  }
};

Image::Image(std::unique_ptr<State> state) : state_(std::move(state)) {}
Image::~Image() = default;

Result<std::unique_ptr<Image::State>> Image::State::Open(const ImageReference& reference,
                                                         const ImageContext& context,
                                                         const ImageOptions& options) {
  auto state = std::make_unique<State>(reference, context);
  state->timeout = options.timeout;
  state->on_event = options.on_event ? options.on_event : [](std::string_view, uint64_t) {};
  LAYERFS_TRY(reader, context.stores.OpenReader(reference));
  state->reader = std::move(reader);
  if (state->reader->blob_source() == nullptr) {
    return Fail(ErrorCode::kUnsupported,
                reference.ToString() +
                    ": cannot be read in place; convert it into a registry or a layout first: "
                    "layerfs convert " +
                    reference.ToString() + " oci:DIR");
  }
  return state;
}

Result<std::shared_ptr<Image>> Image::Load(const ImageReference& reference,
                                           const ImageContext& context,
                                           const ImageOptions& options) {
  LAYERFS_TRY(state, State::Open(reference, context, options));
  ManifestResolver resolver(reference, *state->reader, *context.cache);
  LAYERFS_CHECK_OK(state->Resolve(resolver, options));
  const auto startup =
      options.startup ? state->FindStartup(resolver, options) : std::optional<StartupReference>();
  if (startup.has_value() && state->OpenStartup(*startup)) {
    LogDebug(reference.ToString() + ": opened by its startup pack");
  } else if (auto tree = state->FindTree()) {
    state->tree = std::move(tree);
  } else {
    if (options.config) state->FetchConfigBehind();
    LAYERFS_TRY(made, state->MakeTree());
    state->tree = std::move(made);
  }
  state->on_event("opened", 0);
  return std::shared_ptr<Image>(new Image(std::move(state)));
}

Result<ImageParts> Image::LoadParts(const ImageReference& reference, const ImageContext& context,
                                    const ImageOptions& options) {
  LAYERFS_TRY(state, State::Open(reference, context, options));
  ManifestResolver resolver(reference, *state->reader, *context.cache);
  LAYERFS_CHECK_OK(state->Resolve(resolver, options));
  ImageParts parts{state->manifest, state->LoadConfig(), {}};
  for (size_t i = 0; i < state->blobs.size(); ++i) {
    parts.indexes.push_back(state->LoadLayerIndex(i));
  }
  return parts;
}

const ImageReference& Image::reference() const { return state_->reference; }
const Manifest& Image::manifest() const { return state_->manifest; }
const Digest& Image::manifest_digest() const { return state_->manifest_digest; }
const Index& Image::tree() const { return *state_->tree; }
const Digest& Image::scope() const { return state_->scope; }
std::shared_ptr<StartupPack> Image::startup() const { return state_->startup; }
const std::optional<Error>& Image::startup_error() const { return state_->startup_error; }

Result<ImageConfig> Image::Config() { return state_->LoadConfig(); }

const Bytes& Image::raw_manifest() const { return state_->raw_manifest; }

Result<Bytes> Image::RawConfig() { return state_->LoadRawConfig(); }

std::shared_ptr<const SourceBlob> Image::layer_blob(LayerNumber layer) const {
  return state_->blobs[ToUint(layer)];
}

const ChunkRef& Image::layer_index(LayerNumber layer) const {
  return state_->indexes[ToUint(layer)];
}

Result<Index> Image::LoadLayerIndex(LayerNumber layer) {
  return state_->LoadLayerIndex(ToUint(layer));
}

}  // namespace layerfs
