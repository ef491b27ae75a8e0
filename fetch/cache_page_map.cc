// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_page_map.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "index/base/file.h"

namespace layerfs {
namespace {

// The footer: at the first page boundary after the object's bytes, a header of 64 bytes (magic,
// LE64 object size, zeros), then LE64 words of which bit i of word w stands for page 64 w + i.
constexpr uint64_t kFooterMagic = 0x31504d5053464cULL;  // "LFSPMP1\0"
constexpr uint64_t kHeaderBytes = 64;
constexpr uint64_t kWordPages = 64;
// Words read at a time when looking for missing pages: one page of the page cache.
constexpr uint64_t kLoadWords = kCachePageBytes / sizeof(uint64_t);

uint64_t HeaderOffset(uint64_t object_bytes) { return AlignUp(object_bytes, kCachePageBytes); }

uint64_t WordOffset(uint64_t object_bytes, uint64_t word) {
  return HeaderOffset(object_bytes) + kHeaderBytes + word * sizeof(uint64_t);
}

uint64_t PageCount(uint64_t object_bytes) {
  return AlignUp(object_bytes, kCachePageBytes) / kCachePageBytes;
}

// The bits of `word` that stand for pages of `pages`.
uint64_t BitsIn(PageRange pages, uint64_t word) {
  const uint64_t begin = std::max(pages.first, word * kWordPages);
  const uint64_t end = std::min(pages.end, (word + 1) * kWordPages);
  if (begin >= end) return 0;
  const uint64_t width = end - begin;
  const uint64_t ones = width == kWordPages ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
  return ones << (begin % kWordPages);
}

PageRange WordsOf(PageRange pages) {
  return {pages.first / kWordPages, (pages.end + kWordPages - 1) / kWordPages};
}

}  // namespace

PageRange PagesOf(uint64_t offset, uint64_t size) {
  return {offset / kCachePageBytes, AlignUp(offset + size, kCachePageBytes) / kCachePageBytes};
}

PageMap::PageMap(uint64_t object_bytes)
    : object_bytes_(object_bytes),
      page_count_(PageCount(object_bytes)),
      words_((page_count_ + kWordPages - 1) / kWordPages) {}

uint64_t PageMap::FileBytes(uint64_t object_bytes) {
  return WordOffset(object_bytes, (PageCount(object_bytes) + kWordPages - 1) / kWordPages);
}

Status PageMap::Format(int fd, uint64_t object_bytes) {
  if (::ftruncate(fd, static_cast<off_t>(FileBytes(object_bytes))) != 0) {
    return FailErrno("truncate", errno);
  }
  ByteWriter header;
  header.Write(kFooterMagic);
  header.Write(object_bytes);
  header.PadTo(kHeaderBytes);
  return WriteFullAt(fd, HeaderOffset(object_bytes), header.bytes());
}

bool PageMap::IsFormatted(int fd, uint64_t object_bytes) {
  const Result<uint64_t> file_bytes = FileSize(fd);
  if (!file_bytes.has_value() || *file_bytes != FileBytes(object_bytes)) return false;
  uint8_t raw[2 * sizeof(uint64_t)];
  if (!ReadFullAt(fd, HeaderOffset(object_bytes), raw).has_value()) return false;
  ByteReader header(raw);
  const auto magic = header.Read<uint64_t>();
  return magic == kFooterMagic && header.Read<uint64_t>() == object_bytes;
}

bool PageMap::Covers(PageRange pages) const {
  const PageRange words = WordsOf(pages);
  for (uint64_t word = words.first; word < words.end; ++word) {
    const uint64_t wanted = BitsIn(pages, word);
    // Acquire: who sees the mark sees the bytes that were written before it.
    const uint64_t present = std::atomic_ref(const_cast<uint64_t&>(words_[word])).load();
    if ((present & wanted) != wanted) return false;
  }
  return true;
}

Status PageMap::Load(int fd, PageRange pages) {
  const PageRange words = WordsOf(pages);
  std::vector<uint64_t> loaded(std::min(kLoadWords, words.end - words.first));
  for (uint64_t word = words.first; word < words.end; word += loaded.size()) {
    const uint64_t count = std::min<uint64_t>(loaded.size(), words.end - word);
    MutableByteSpan raw(reinterpret_cast<uint8_t*>(loaded.data()), count * sizeof(uint64_t));
    LAYERFS_CHECK_OK_IN(ReadFullAt(fd, WordOffset(object_bytes_, word), raw), "page map");
    for (uint64_t i = 0; i < count; ++i) {
      std::atomic_ref(words_[word + i]).fetch_or(loaded[i] & WordBits(word + i));
    }
  }
  return {};
}

Status PageMap::LoadAll(int fd) { return Load(fd, {0, page_count_}); }

Status PageMap::Mark(int fd, PageRange pages) {
  LAYERFS_CHECK_OK(Load(fd, pages));
  const PageRange words = WordsOf(pages);
  ByteWriter raw;
  for (uint64_t word = words.first; word < words.end; ++word) {
    raw.Write(std::atomic_ref(words_[word]).load() | BitsIn(pages, word));
  }
  LAYERFS_CHECK_OK_IN(WriteFullAt(fd, WordOffset(object_bytes_, words.first), raw.bytes()),
                      "page map");
  Set(pages);
  return {};
}

Result<bool> PageMap::IsFull(int fd) {
  bool loaded = false;
  while (full_words_ < words_.size()) {
    if (std::atomic_ref(words_[full_words_]).load() == WordBits(full_words_)) {
      ++full_words_;
      loaded = false;
      continue;
    }
    if (loaded) return false;
    const uint64_t last = std::min(full_words_ + kLoadWords, uint64_t{words_.size()});
    LAYERFS_CHECK_OK(
        Load(fd, {full_words_ * kWordPages, std::min(last * kWordPages, page_count_)}));
    loaded = true;
  }
  return true;
}

void PageMap::Set(PageRange pages) {
  const PageRange words = WordsOf(pages);
  for (uint64_t word = words.first; word < words.end; ++word) {
    std::atomic_ref(words_[word]).fetch_or(BitsIn(pages, word));
  }
}

uint64_t PageMap::WordBits(uint64_t word) const { return BitsIn({0, page_count_}, word); }

}  // namespace layerfs
