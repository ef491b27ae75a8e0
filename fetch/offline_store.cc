// SPDX-License-Identifier: Apache-2.0
#include "fetch/offline_store.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "fetch/raw_document.h"

namespace layerfs {
namespace {

Error Offline(const std::string& what) {
  return {ErrorCode::kNetwork, what + ": is not in the cache, and --offline forbids to fetch it"};
}

// Answers from a thread of its own, as every source does.
class OfflineBlobSource final : public BlobSource {
 public:
  explicit OfflineBlobSource(std::string name)
      : name_(std::move(name)), thread_([this] { Run(); }) {}
  ~OfflineBlobSource() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  OfflineBlobSource(const OfflineBlobSource&) = delete;
  OfflineBlobSource& operator=(const OfflineBlobSource&) = delete;

  TransferId Start(const BlobRange& range, FetchClass /*fetch_class*/, BlobSink sink) override {
    TransferResult result;
    result.status = Fail(Offline("blob " + range.blob.ToString()));
    {
      const std::lock_guard lock(mutex_);
      answers_.push_back([sink = std::move(sink), result] { sink.on_done(result); });
    }
    changed_.notify_all();
    return 0;
  }
  void Cancel(TransferId /*transfer*/) override {}
  std::string name() const override { return name_; }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !answers_.empty(); });
      if (answers_.empty()) return;
      const auto answer = std::move(answers_.front());
      answers_.pop_front();
      lock.unlock();
      answer();
      lock.lock();
    }
  }

  const std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> answers_;
  bool stopping_ = false;
  std::thread thread_;
};

class OfflineReader final : public ImageReader {
 public:
  explicit OfflineReader(const ImageReference& reference)
      : name_(reference.ToString()), source_(std::make_shared<OfflineBlobSource>(name_)) {}

  Result<RawDocument> ReadRoot() override { return Fail(Offline(name_)); }
  Result<RawDocument> ReadManifest(const Descriptor& descriptor) override {
    if (auto embedded = EmbeddedDocument(descriptor)) return std::move(*embedded);
    return Fail(Offline(name_ + ": manifest " + descriptor.digest.ToString()));
  }
  Status ReadBlob(const Descriptor& descriptor,
                  const std::function<Status(ByteSpan)>& on_data) override {
    if (descriptor.data) return on_data(*descriptor.data);
    return Fail(Offline(name_ + ": blob " + descriptor.digest.ToString()));
  }
  std::shared_ptr<BlobSource> blob_source() override { return source_; }
  std::string name() const override { return name_; }

 private:
  const std::string name_;
  const std::shared_ptr<BlobSource> source_;
};

}  // namespace

std::shared_ptr<ImageReader> MakeOfflineReader(const ImageReference& reference) {
  return std::make_shared<OfflineReader>(reference);
}

}  // namespace layerfs
