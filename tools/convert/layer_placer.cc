// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/layer_placer.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "index/base/log.h"
#include "index/layer_decoder.h"
#include "index/tar_index_check.h"
#include "tools/convert/converted_documents.h"
#include "tools/convert/spool_file.h"

namespace layerfs {
namespace {

// Progress is told this often and at the end; a bar does not show more.
constexpr uint64_t kReportBytes = uint64_t{512} << 10;

// Windows up to this size (32 MiB) are had by all layers that are converted side by side. No level
// of zstd below its "ultra" ones has more than 8 MiB.
constexpr int kUsualWindowLog = 25;
// Likewise the indexes of layers that are converted already.
constexpr uint32_t kUsualIndexBytes = uint32_t{16} << 20;

// The repository of `place` when it is in the destination's registry.
std::optional<std::string> MountableFrom(const std::string& place,
                                         const ImageReference& destination) {
  const std::string prefix = destination.registry + "/";
  if (destination.transport != ImageTransport::kRegistry || !place.starts_with(prefix)) {
    return std::nullopt;
  }
  std::string repository = place.substr(prefix.size());
  if (repository == destination.repository) return std::nullopt;
  return repository;
}

Status CheckDiffId(const LayerTask& task, const Digest& tar) {
  if (tar == task.diff_id) return {};
  return Fail(ErrorCode::kDigestMismatch,
              "its tar is " + tar.ToString() + "; the config's diff ID says " +
                  task.diff_id.ToString() + ": the image is broken at its source");
}

}  // namespace

bool StaysAsItIs(const Descriptor& layer, const ConvertOptions& options) {
  if (options.force || !IsConvertedLayer(layer, options.policy.compression)) return false;
  return !options.policy_is_asked_for || options.policy.Made(FingerprintOf(layer));
}

Result<PlacedLayer> LayerPlacer::Place(const LayerTask& task) const {
  LAYERFS_TRY_IN(placed, Dispatch(task), "layer " + task.source.digest.ToString());
  const uint64_t size = placed.layer.size;
  parts_.progress.OnProgress({task.row, task.source.digest, LayerStage::kDone, size, size});
  return placed;
}

Result<PlacedLayer> LayerPlacer::Dispatch(const LayerTask& task) const {
  if (StaysAsItIs(task.source, parts_.options)) return Copy(task);
  const std::optional<KnownLayer> known = parts_.known.Find(task.source.digest, task.diff_id);
  if (known.has_value() && !parts_.options.force) {
    LAYERFS_TRY(there, IsThere(known->layer.digest, known->layer.size, known->place));
    if (there) {
      const auto reused = Verified(task, {known->layer, 0, LayerOutcome::kReused});
      if (reused.has_value()) return *reused;
    }
  }
  return Convert(task);
}

Result<bool> LayerPlacer::IsThere(const Digest& digest, uint64_t size,
                                  const std::string& place) const {
  if (parts_.options.force) return false;
  LAYERFS_TRY(there, parts_.writer.HasBlob(digest, size));
  if (there) return true;
  const auto repository = MountableFrom(place, parts_.options.destination);
  if (!repository.has_value()) return false;
  // A hint: where it cannot be mounted, whatever the reason, it is written.
  const Result<bool> mounted = parts_.writer.MountBlob(digest, *repository);
  if (mounted.has_value()) return *mounted;
  LogDebug("blob " + digest.ToString() + " is not mounted: " + mounted.error().context);
  return false;
}

std::optional<PlacedLayer> LayerPlacer::Verified(const LayerTask& task, PlacedLayer placed) const {
  const std::shared_ptr<BlobSource> source = parts_.written.blob_source();
  if (source == nullptr) return std::nullopt;
  Result<StoredIndex> stored = std::move(FetchIndexes(*source, {placed.layer}).front());
  return Verified(task, std::move(placed), std::move(stored),
                  [](const Index&) { return Status(); });
}

std::optional<PlacedLayer> LayerPlacer::Verified(
    const LayerTask& task, PlacedLayer placed, Result<StoredIndex> stored,
    const std::function<Status(const Index&)>& check) const {
  const auto verify = [&]() -> Result<bool> {
    LAYERFS_TRY(there, std::move(stored));
    std::unique_lock one_at_a_time(large_index_, std::defer_lock);
    if (there.where.size > kUsualIndexBytes) one_at_a_time.lock();
    LAYERFS_TRY(index, OpenIndex(there));
    LAYERFS_CHECK_OK(CheckLayerIndex(index, task.diff_id));
    LAYERFS_CHECK_OK(check(index));
    return HasLinksBelow(index);
  };
  const Result<bool> links_below = verify();
  if (links_below.has_value()) {
    placed.links_below = *links_below;
    return placed;
  }
  LogWarning("layer " + task.source.digest.ToString() + ": " + placed.layer.digest.ToString() +
             " says it is a converted layer, but is none that can be mounted (" +
             links_below.error().context + "): converting it anew");
  return std::nullopt;
}

Result<PlacedLayer> LayerPlacer::Copy(const LayerTask& task) const {
  const Descriptor& layer = task.source;
  PlacedLayer placed{layer, 0, LayerOutcome::kCopied};
  LAYERFS_TRY(there, IsThere(layer.digest, layer.size, PlaceOf(parts_.options.source)));
  if (there) {
    if (task.index_verified) return placed;
    const auto copied = Verified(task, std::move(placed));
    return copied.has_value() ? *copied : Convert(task);
  }
  LAYERFS_TRY(spool, SpoolFile::Open(parts_.options.spool_directory));
  Sha256 tar;
  TarIndexCheck check;
  LayerDecoder decoder([&](ByteSpan bytes) {
    tar.Update(bytes);
    check.Feed(bytes);
    return Status();
  });
  LAYERFS_CHECK_OK(Read(task, [&](ByteSpan bytes) -> Status {
    LAYERFS_CHECK_OK(decoder.Feed(bytes));
    return spool.Append(bytes);
  }));
  LAYERFS_CHECK_OK(decoder.Finish());
  LAYERFS_CHECK_OK(CheckDiffId(task, tar.Finish()));
  placed.tar_size = decoder.tar_size();
  const auto check_all = [&](const Index& index) -> Status {
    LAYERFS_TRY(different, check.Finish(index));
    if (different.has_value()) return Fail(ErrorCode::kCorrupt, *different);
    return CheckChunks(spool.fd(), layer, index);
  };
  const auto copied =
      Verified(task, std::move(placed), ReadStoredIndex(spool.fd(), layer), check_all);
  if (!copied.has_value()) return Convert(task);
  LAYERFS_CHECK_OK(Write(task, layer.digest, layer.size, spool.fd()));
  return *copied;
}

Result<PlacedLayer> LayerPlacer::Convert(const LayerTask& task) const {
  const ConvertOptions& options = parts_.options;
  LAYERFS_TRY(converted, Converted(task));
  LAYERFS_CHECK_OK(CheckDiffId(task, converted.diff_id));
  const uint64_t size = converted.spool.size();
  LAYERFS_TRY(there, IsThere(converted.digest, size, ""));
  if (!there) LAYERFS_CHECK_OK(Write(task, converted.digest, size, converted.spool.fd()));
  const ConvertedBlob blob{converted.digest,
                           size,
                           converted.index,
                           task.source.digest,
                           options.policy.Fingerprint(),
                           options.policy.compression};
  return PlacedLayer{ConvertedLayerDescriptor(blob), converted.tar_size, LayerOutcome::kConverted,
                     converted.links_below};
}

Result<ConvertedLayer> LayerPlacer::Converted(const LayerTask& task) const {
  const BlobReader read = [&](const BlobConsumer& consume) { return Read(task, consume); };
  bool has_long_window = false;
  LayerConversion conversion{parts_.options.policy,
                             parts_.in_flight_bytes,
                             parts_.options.spool_directory,
                             &parts_.pool,
                             {.zstd_window_log = kUsualWindowLog},
                             &has_long_window};
  Result<ConvertedLayer> converted = ConvertLayer(read, conversion);
  if (!has_long_window) return converted;
  // That was seen in a frame's header, which is most often the blob's first bytes.
  conversion.limits.zstd_window_log = kZstdMaxWindowLog;
  const std::lock_guard one_at_a_time(long_window_);
  return ConvertLayer(read, conversion);
}

Status LayerPlacer::PlaceBytes(const Digest& digest, ByteSpan bytes) const {
  const std::string name = "blob " + digest.ToString();
  LAYERFS_TRY_IN(there, IsThere(digest, bytes.size(), PlaceOf(parts_.options.source)), name);
  if (there) return {};
  LAYERFS_TRY(spool, SpoolFile::Open(parts_.options.spool_directory));
  LAYERFS_CHECK_OK(spool.Append(bytes));
  LAYERFS_CHECK_OK_IN(
      parts_.writer.WriteBlob(digest, bytes.size(), spool.fd(), [](uint64_t /*sent*/) {}), name);
  return {};
}

Status LayerPlacer::Read(const LayerTask& task,
                         const std::function<Status(ByteSpan)>& consume) const {
  const OnBytes report = Reporter(task, LayerStage::kConverting, task.source.size);
  uint64_t done = 0;
  Status read = parts_.reader.ReadBlob(task.source, [&](ByteSpan bytes) -> Status {
    if (Cancelled()) return Fail(ErrorCode::kCancelled, "cancelled");
    LAYERFS_CHECK_OK(consume(bytes));
    done += bytes.size();
    report(done);
    return {};
  });
  const std::vector<std::string>& urls = task.source.urls;
  if (!read.has_value() && read.error().code == ErrorCode::kNotFound && !urls.empty()) {
    return Fail(std::move(read).error().In(
        "a nondistributable layer, which its registry leaves to " + urls.front() +
        " (skopeo copy DOCKER-REFERENCE docker-archive:FILE fetches it from there; convert that)"));
  }
  return read;
}

bool LayerPlacer::Cancelled() const {
  const std::atomic<bool>* stopped = parts_.options.stopped;
  return parts_.cancelled.load(std::memory_order_relaxed) ||
         (stopped != nullptr && stopped->load(std::memory_order_relaxed));
}

Status LayerPlacer::Write(const LayerTask& task, const Digest& digest, uint64_t size,
                          int fd) const {
  const OnBytes report = Reporter(task, LayerStage::kWriting, size);
  Status written = parts_.writer.WriteBlob(digest, size, fd, [&](uint64_t done) {
    report(done);
    if (Cancelled()) parts_.writer.Cancel();
  });
  if (written.has_value()) return written;
  Error error =
      std::move(written).error().In("writing it to " + parts_.options.destination.ToString());
  // That a directory is not there is about the destination, not about the image.
  if (error.code == ErrorCode::kNotFound && error.system_errno != 0) error.code = ErrorCode::kIo;
  return Fail(std::move(error));
}

LayerPlacer::OnBytes LayerPlacer::Reporter(const LayerTask& task, LayerStage stage,
                                           uint64_t total) const {
  LayerProgress progress{task.row, task.source.digest, stage, 0, total};
  parts_.progress.OnProgress(progress);
  return [this, progress](uint64_t done) mutable {
    if (done < progress.done_bytes + kReportBytes && done != progress.total_bytes) return;
    progress.done_bytes = done;
    parts_.progress.OnProgress(progress);
  };
}

}  // namespace layerfs
