// SPDX-License-Identifier: Apache-2.0
#include "fetch/http_client.h"

#include <curl/curl.h>
#include <pthread.h>

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "fetch/http_proxy.h"
#include "index/base/descriptors.h"
#include "index/base/file.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

constexpr size_t kMaxIdleConnections = 64;
constexpr long kReceiveBufferBytes = 256 * 1024;  // fewer, larger callbacks at a gigabit
constexpr long kSendBufferBytes = 512 * 1024;
constexpr uint64_t kAskFirstBytes = uint64_t{1} << 20;
constexpr size_t kMaxHeaderFields = 256;
// Follows a registry that moves; one that cannot be reached may have moved, and is looked up anew.
constexpr std::chrono::seconds kDnsCacheTime{30};

std::chrono::microseconds Micros(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration);
}

// Weights of HTTP/2 streams by FetchClass: a demand read gets nearly all of a shared connection.
constexpr long kStreamWeights[] = {256, 64, 16, 1};

Error TransferError(CURLcode code, const std::string& url, const char* detail) {
  const std::string where = UrlForMessages(url) + ": ";
  const std::string what = TextForMessages(*detail != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return {ErrorCode::kTimeout, where + what, true};
    case CURLE_PEER_FAILED_VERIFICATION:
      return {ErrorCode::kNetwork, where + what + CertificateRemedy(what)};
    case CURLE_SSL_CONNECT_ERROR:
      return {ErrorCode::kNetwork, where + what + "; a registry without TLS wants --plain-http",
              true};
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_URL_MALFORMAT:
      return {ErrorCode::kInvalidArgument, where + what};
    case CURLE_UNSUPPORTED_PROTOCOL:  // an answer that is no HTTP: other URLs are refused
      return {ErrorCode::kNetwork, where + what, true};
    case CURLE_OUT_OF_MEMORY:  // also what libcurl says to headers that are too long for it
      return {ErrorCode::kNetwork, where + what + ", or headers beyond all bounds", true};
    case CURLE_FAILED_INIT:
      return {ErrorCode::kIo, where + what};
    default:
      return {ErrorCode::kNetwork, where + what, true};
  }
}

Error Cancelled(const std::string& url) {
  return {ErrorCode::kCancelled, UrlForMessages(url) + ": cancelled"};
}

bool SendsBody(const std::string& method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

struct EasyCleanup {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct SlistCleanup {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// One request under way. Loop thread only.
struct Transfer {
  HttpClient::RequestId id = 0;
  HttpRequest request;
  HttpSink sink;
  std::unique_ptr<CURL, EasyCleanup> easy;
  std::unique_ptr<curl_slist, SlistCleanup> header_list;
  char detail[CURL_ERROR_SIZE] = {};
  HttpResult result;
  std::optional<Error> failure;  // what a callback of ours found
  bool head_done = false;
  bool stopped = false;
  bool paused = false;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  uint64_t sent = 0;
  // The stall limit's window.
  uint64_t moved = 0;
  uint64_t moved_at_window = 0;
  std::chrono::steady_clock::time_point window_start = start;
  uint64_t body_size() const { return request.body.total(); }
};

size_t OnHeaderLine(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, size);
  transfer.moved += size;
  if (transfer.head_done) return size;  // A trailer.
  HttpHead& head = transfer.result.head;
  if (line.starts_with("HTTP/")) {
    head = HttpHead();
    const size_t blank = line.find(' ');
    if (blank != std::string_view::npos) {
      head.status = static_cast<int>(ParseDecimal(line.substr(blank + 1, 3)).value_or(0));
    }
    return size;
  }
  if (line == "\r\n" || line == "\n") {
    if (head.status < 200) return size;  // 100 Continue and the like come before the answer.
    transfer.head_done = true;
    transfer.result.first_byte = Micros(std::chrono::steady_clock::now() - transfer.start);
    if (transfer.sink.on_head && !transfer.sink.on_head(head)) {
      transfer.stopped = true;
      return 0;
    }
    return size;
  }
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos && head.headers.size() < kMaxHeaderFields) {
    head.headers.Add(line.substr(0, colon), line.substr(colon + 1));
  }
  return size;
}

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.result.body_bytes == 0) {
    transfer.result.first_byte = Micros(std::chrono::steady_clock::now() - transfer.start);
  }
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(data), size);
  const BodyFlow flow = transfer.sink.on_data ? transfer.sink.on_data(bytes) : BodyFlow::kTaken;
  if (flow == BodyFlow::kFull) {
    transfer.paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  transfer.result.body_bytes += size;
  transfer.moved += size;
  if (flow == BodyFlow::kTaken) return size;
  transfer.stopped = true;
  return 0;
}

size_t OnReadBody(char* buffer, size_t, size_t room, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const HttpBody& body = transfer.request.body;
  const size_t size = std::min<uint64_t>(room, transfer.body_size() - transfer.sent);
  if (body.fd >= 0) {
    const MutableByteSpan out(reinterpret_cast<uint8_t*>(buffer), size);
    if (auto read = ReadFullAt(body.fd, body.offset + transfer.sent, out); !read) {
      transfer.failure = std::move(read).error();
      return CURL_READFUNC_ABORT;
    }
  } else {
    body.text.copy(buffer, size, transfer.sent);
  }
  transfer.sent += size;
  transfer.moved += size;
  if (transfer.sink.on_sent && size > 0) transfer.sink.on_sent(transfer.sent);
  return size;
}

// libcurl sends a body again when a kept connection turns out to be closed.
int OnSeekBody(void* user, curl_off_t offset, int origin) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_FAIL;
  transfer.sent = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

void InitializeLibrary() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

SystemCertificates FindSystemCertificates() {
  const std::unique_ptr<CURL, EasyCleanup> easy(curl_easy_init());
  const char* file = nullptr;
  const char* directory = nullptr;
  if (easy) curl_easy_getinfo(easy.get(), CURLINFO_CAINFO, &file);
  if (easy) curl_easy_getinfo(easy.get(), CURLINFO_CAPATH, &directory);
  return {file != nullptr ? file : "", directory != nullptr ? directory : ""};
}

}  // namespace

class HttpClient::Loop {
 public:
  Loop(HttpClientOptions options, std::shared_ptr<const HttpTls> tls)
      : options_(std::move(options)),
        tls_(std::move(tls)),
        multi_(curl_multi_init()),
        share_(curl_share_init()) {
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS,
                      static_cast<long>(DescriptorShare(8, 4, kMaxIdleConnections)));
    // TLS sessions outlive their handles. One thread uses the share, so it needs no locks.
    curl_share_setopt(share_, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    thread_ = std::thread([this] { Run(); });
    pthread_setname_np(thread_.native_handle(), "lf-http");
  }
  ~Loop() {
    Shutdown();
    curl_multi_cleanup(multi_);
    curl_share_cleanup(share_);
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // False once the loop has ended: nobody would run it.
  bool Post(std::function<void()> task) {
    const bool queued = queue_.With([&](Queue& queue) {
      if (!queue.closed) queue.tasks.push_back(std::move(task));
      return !queue.closed;
    });
    if (queued) curl_multi_wakeup(multi_);
    return queued;
  }

  void Shutdown() {
    if (!thread_.joinable()) return;
    queue_.With([](Queue& queue) { queue.closing = true; });
    curl_multi_wakeup(multi_);
    thread_.join();
  }

  void Begin(std::unique_ptr<Transfer> transfer);
  void End(RequestId id, Status status);
  void Resume(RequestId id);
  void Cancel(RequestId id) {
    const auto it = transfers_.find(id);
    if (it != transfers_.end()) End(id, Fail(Cancelled(it->second->request.url)));
  }

 private:
  struct Queue {
    std::deque<std::function<void()>> tasks;
    bool closing = false;  // transfers are to end
    bool closed = false;   // the loop has ended
  };

  void Run();
  bool RunTasks();
  void CollectFinished();
  int CheckStalls();
  Status Outcome(Transfer& transfer, CURLcode code);
  bool SetOptions(Transfer& transfer);
  void SetTls(const HttpRequest& request, CURL* easy) const;
  void DistrustNames() {
    names_distrusted_until_ = std::chrono::steady_clock::now() + kDnsCacheTime;
  }

  const HttpClientOptions options_;
  const std::shared_ptr<const HttpTls> tls_;
  CURLM* const multi_;
  CURLSH* const share_;
  Synchronized<Queue> queue_;
  std::map<RequestId, std::unique_ptr<Transfer>> transfers_;        // loop thread only
  bool closing_ = false;                                            // loop thread only
  std::chrono::steady_clock::time_point names_distrusted_until_{};  // loop thread only
  std::thread thread_;
};

void HttpClient::Loop::Run() {
  while (RunTasks()) {
    int running = 0;
    curl_multi_perform(multi_, &running);
    CollectFinished();
    curl_multi_poll(multi_, nullptr, 0, CheckStalls(), nullptr);
  }
}

// False when the client is closing and nothing is left.
bool HttpClient::Loop::RunTasks() {
  do {
    std::deque<std::function<void()>> tasks;
    queue_.With([&](Queue& queue) {
      tasks.swap(queue.tasks);
      closing_ = queue.closing;
      queue.closed = closing_ && tasks.empty() && transfers_.empty();
    });
    if (closing_ && tasks.empty() && transfers_.empty()) return false;
    for (auto& task : tasks) task();
    // What the ends of transfers start anew comes with the next round.
    while (closing_ && !transfers_.empty()) Cancel(transfers_.begin()->first);
  } while (closing_);
  return true;
}

void HttpClient::Loop::CollectFinished() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    const CURLcode code = message->data.result;
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT) DistrustNames();
    End(transfer->id, Outcome(*transfer, code));
  }
}

// Ends transfers that have stalled; returns the milliseconds until the next look.
int HttpClient::Loop::CheckStalls() {
  const auto now = std::chrono::steady_clock::now();
  std::chrono::steady_clock::duration next = std::chrono::seconds(1);
  std::vector<std::pair<RequestId, std::string>> stalled;
  for (auto& [id, transfer] : transfers_) {
    const bool answering = SendsBody(transfer->request.method) && !transfer->head_done &&
                           transfer->sent == transfer->body_size();
    auto limit = answering ? options_.answer_timeout : options_.stall_timeout;
    if (transfer->moved == 0) limit = std::min(limit, transfer->request.silence_timeout);
    const bool moving = transfer->moved - transfer->moved_at_window >= options_.stall_bytes;
    if (transfer->paused || moving) {
      transfer->window_start = now;
      transfer->moved_at_window = transfer->moved;
    }
    const auto left = transfer->window_start + limit - now;
    if (left <= std::chrono::steady_clock::duration::zero()) {
      stalled.emplace_back(id, UrlForMessages(transfer->request.url));
    } else {
      next = std::min(next, left);
    }
  }
  for (const auto& [id, url] : stalled) {
    DistrustNames();
    End(id, Fail(ErrorCode::kTimeout, url + ": the server has stalled", true));
  }
  if (!stalled.empty()) return 0;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(next).count());
}

Status HttpClient::Loop::Outcome(Transfer& transfer, CURLcode code) {
  if (transfer.failure) return Fail(*std::move(transfer.failure));
  if (transfer.stopped) return Fail(Cancelled(transfer.request.url));
  if (code != CURLE_OK) return Fail(TransferError(code, transfer.request.url, transfer.detail));
  return {};
}

void HttpClient::Loop::End(RequestId id, Status status) {
  const auto it = transfers_.find(id);
  if (it == transfers_.end()) return;
  const std::unique_ptr<Transfer> transfer = std::move(it->second);
  transfers_.erase(it);
  long connects = 0;
  if (transfer->easy) {
    curl_easy_getinfo(transfer->easy.get(), CURLINFO_NUM_CONNECTS, &connects);
    curl_multi_remove_handle(multi_, transfer->easy.get());
  }
  transfer->result.status = std::move(status);
  transfer->result.total = Micros(std::chrono::steady_clock::now() - transfer->start);
  transfer->result.new_connection = connects > 0;
  transfer->sink.on_done(transfer->result);
}

void HttpClient::Loop::Resume(RequestId id) {
  const auto it = transfers_.find(id);
  if (it == transfers_.end() || !it->second->paused) return;
  it->second->paused = false;
  curl_easy_pause(it->second->easy.get(), CURLPAUSE_CONT);
}

void HttpClient::Loop::Begin(std::unique_ptr<Transfer> transfer) {
  Transfer& added = *transfer;
  transfers_.emplace(added.id, std::move(transfer));
  if (closing_) return Cancel(added.id);
  if (!SetOptions(added) || curl_multi_add_handle(multi_, added.easy.get()) != CURLM_OK) {
    End(added.id, Fail(ErrorCode::kIo, UrlForMessages(added.request.url) + ": out of memory"));
  }
}

bool HttpClient::Loop::SetOptions(Transfer& transfer) {
  transfer.easy.reset(curl_easy_init());
  CURL* easy = transfer.easy.get();
  if (easy == nullptr) return false;
  const HttpRequest& request = transfer.request;
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.detail);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_SHARE, share_);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_2TLS});
  curl_easy_setopt(easy, CURLOPT_STREAM_WEIGHT,
                   kStreamWeights[static_cast<size_t>(request.fetch_class)]);
  // What is not urgent waits to learn whether a connection being made can carry it as well.
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, request.fetch_class == FetchClass::kDemand ? 0L : 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  const bool distrusted = std::chrono::steady_clock::now() < names_distrusted_until_;
  curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, distrusted ? 0L : long{kDnsCacheTime.count()});
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // its end waits for no name server
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  const auto connect_timeout =
      request.connect_timeout.count() > 0 ? request.connect_timeout : options_.connect_timeout;
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, long{connect_timeout.count()});
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, long{request.timeout.count()});
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, OnHeaderLine);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  if (!request.unix_socket.empty()) {
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, request.unix_socket.c_str());
  }
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (SendsBody(request.method)) {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kSendBufferBytes);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(transfer.body_size()));
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, OnReadBody);
    curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, OnSeekBody);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else if (request.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  curl_slist* list = nullptr;
  const auto add = [&list](const std::string& line) {
    if (curl_slist* longer = curl_slist_append(list, line.c_str())) list = longer;
  };
  for (const auto& [name, value] : request.headers)
    add(std::string(name).append(": ").append(value));
  if (!request.authorization.empty()) add("Authorization: " + request.authorization.Reveal());
  add("User-Agent: layerfs");
  // Asking first costs a round trip, which only a body of some size is worth.
  if (SendsBody(request.method) && transfer.body_size() < kAskFirstBytes) add("Expect:");
  transfer.header_list.reset(list);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
  const HttpProxy proxy = HttpProxy::For(request.url);
  if (proxy.none) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  if (!proxy.url.empty()) curl_easy_setopt(easy, CURLOPT_PROXY, proxy.url.c_str());
  SetTls(request, easy);
  return true;
}

void HttpClient::Loop::SetTls(const HttpRequest& request, CURL* easy) const {
  const HttpTls& tls = request.tls != nullptr ? *request.tls : *tls_;
  const auto or_none = [](const auto& path) { return path.empty() ? nullptr : path.c_str(); };
  if (!tls.ca.is_default()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, or_none(tls.ca.file()));
    curl_easy_setopt(easy, CURLOPT_CAPATH, or_none(tls.ca.directory()));
  }
  if (!tls.client_cert.empty()) curl_easy_setopt(easy, CURLOPT_SSLCERT, tls.client_cert.c_str());
  if (!tls.client_key.empty()) curl_easy_setopt(easy, CURLOPT_SSLKEY, tls.client_key.c_str());
  if (tls.skip_verify) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
}

Result<std::unique_ptr<HttpClient>> HttpClient::Create(HttpClientOptions options) {
  InitializeLibrary();
  HttpTlsOptions tls_options{
      {}, options.tls.client_cert, options.tls.client_key, options.tls.insecure_skip_verify};
  if (!options.tls.ca_file.empty()) tls_options.ca_files = {options.tls.ca_file};
  LAYERFS_TRY(tls, MakeTls(tls_options));
  auto loop = std::make_unique<Loop>(std::move(options), std::move(tls));
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(loop)));
}

Result<std::shared_ptr<const HttpTls>> HttpClient::MakeTls(const HttpTlsOptions& options) {
  InitializeLibrary();
  return HttpTls::Make(FindSystemCertificates(), options);
}

HttpClient::HttpClient(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
HttpClient::~HttpClient() = default;

HttpClient::RequestId HttpClient::Start(HttpRequest request, HttpSink sink) {
  const RequestId id = next_id_++;
  // std::function wants to be copied; the transfer moves on from here exactly once.
  auto transfer = std::make_shared<std::unique_ptr<Transfer>>(std::make_unique<Transfer>());
  (*transfer)->id = id;
  (*transfer)->request = std::move(request);
  (*transfer)->sink = std::move(sink);
  if (!loop_->Post([this, transfer] { loop_->Begin(std::move(*transfer)); })) {
    (*transfer)->result.status = Fail(Cancelled((*transfer)->request.url));
    (*transfer)->sink.on_done((*transfer)->result);
  }
  return id;
}

void HttpClient::Cancel(RequestId request) {
  loop_->Post([this, request] { loop_->Cancel(request); });
}
void HttpClient::Resume(RequestId request) {
  loop_->Post([this, request] { loop_->Resume(request); });
}
bool HttpClient::Post(std::function<void()> task) { return loop_->Post(std::move(task)); }
void HttpClient::Shutdown() { loop_->Shutdown(); }

}  // namespace layerfs
