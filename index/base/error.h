// SPDX-License-Identifier: Apache-2.0
// Error and Result: how every fallible function of layerfs reports failure. Nothing here throws.
// Thread-safe: values only.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace layerfs {

// What went wrong, coarse enough that a caller can act on it. One switch in fs/ turns it into errno
// and one in tools/ into an exit code.
enum class ErrorCode {
  kInvalidArgument,  // The user's words: a reference, an option, a path.
  kNotFound,         // The named object does not exist.
  kExists,           // The named object exists already.
  kPermission,       // The operating system or the registry says no.
  kUnauthorized,     // Credentials are missing or wrong (HTTP 401).
  kBusy,             // In use by somebody else; a lock is held.
  kUnsupported,      // Valid, but not something that layerfs or this machine can do.
  kCorrupt,          // Bytes that break their format.
  kDigestMismatch,   // Bytes that are not what their digest says.
  kTooLarge,         // Beyond a stated limit.
  kIo,               // Local I/O failed; see Error::system_errno.
  kNoSpace,          // ENOSPC or EDQUOT on a local file system.
  kNetwork,          // Connection, protocol or server trouble.
  kTimeout,          // The deadline passed.
  kCancelled,        // The one who asked no longer wants it, or we are shutting down.
};

// The enumerator's name as a user may read it: "not found", "corrupt".
std::string_view ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code;
  // Names the object first, then the trouble: "blob sha256:ab…: range 4096+512: HTTP 503".
  std::string context;
  // Whether the same call may succeed later without anybody changing anything.
  bool retryable = false;
  // The errno behind kIo, kNoSpace, kPermission, kNotFound …; 0 where there is none.
  int system_errno = 0;

  // The same error with `object` named in front: "layer 3: " + context.
  [[nodiscard]] Error In(std::string_view object) const&;
  [[nodiscard]] Error In(std::string_view object) &&;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

// "CONTEXT: strerror(errno)" with the code that fits the errno.
Error ErrnoError(std::string_view context, int system_errno);

inline std::unexpected<Error> Fail(ErrorCode code, std::string context, bool retryable = false) {
  return std::unexpected<Error>(Error{code, std::move(context), retryable, 0});
}
inline std::unexpected<Error> Fail(Error error) { return std::unexpected<Error>(std::move(error)); }
inline std::unexpected<Error> FailErrno(std::string_view context, int system_errno) {
  return std::unexpected<Error>(ErrnoError(context, system_errno));
}

}  // namespace layerfs

// Early return. g++ 12 has std::expected without its monadic operations, so these carry the flow:
//   LAYERFS_TRY(file, File::Open(path));            // declares `file`
//   LAYERFS_CHECK_OK(Sync(file));  // for Status, or a Result whose value is unused
//   LAYERFS_TRY_IN(x, Parse(s), "config " + name);  // names the object on the way up
#define LAYERFS_CONCAT_INNER(a, b) a##b
#define LAYERFS_CONCAT(a, b) LAYERFS_CONCAT_INNER(a, b)
#define LAYERFS_TRY_IMPL(tmp, var, expr)                                \
  auto tmp = (expr);                                                    \
  if (!tmp.has_value()) return ::layerfs::Fail(std::move(tmp).error()); \
  auto var = std::move(tmp).value()
#define LAYERFS_TRY(var, expr) LAYERFS_TRY_IMPL(LAYERFS_CONCAT(try_result_, __LINE__), var, expr)
#define LAYERFS_TRY_IN_IMPL(tmp, var, expr, object)                                \
  auto tmp = (expr);                                                               \
  if (!tmp.has_value()) return ::layerfs::Fail(std::move(tmp).error().In(object)); \
  auto var = std::move(tmp).value()
#define LAYERFS_TRY_IN(var, expr, object) \
  LAYERFS_TRY_IN_IMPL(LAYERFS_CONCAT(try_result_, __LINE__), var, expr, object)
#define LAYERFS_CHECK_OK(expr)                                                              \
  do {                                                                                      \
    auto check_result = (expr);                                                             \
    if (!check_result.has_value()) return ::layerfs::Fail(std::move(check_result).error()); \
  } while (false)
#define LAYERFS_CHECK_OK_IN(expr, object)                                 \
  do {                                                                    \
    auto check_result = (expr);                                           \
    if (!check_result.has_value())                                        \
      return ::layerfs::Fail(std::move(check_result).error().In(object)); \
  } while (false)
