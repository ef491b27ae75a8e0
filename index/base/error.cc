// SPDX-License-Identifier: Apache-2.0
#include "index/base/error.h"

#include <cerrno>
#include <cstring>

namespace layerfs {
namespace {

ErrorCode CodeFromErrno(int system_errno) {
  switch (system_errno) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case EEXIST:
      return ErrorCode::kExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermission;
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::kNoSpace;
    case EBUSY:
      return ErrorCode::kBusy;
    case EOPNOTSUPP:
    case ENOSYS:
      return ErrorCode::kUnsupported;
    default:
      return ErrorCode::kIo;
  }
}

}  // namespace

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid argument";
    case ErrorCode::kNotFound:
      return "not found";
    case ErrorCode::kExists:
      return "exists already";
    case ErrorCode::kPermission:
      return "permission denied";
    case ErrorCode::kUnauthorized:
      return "unauthorized";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kCorrupt:
      return "corrupt";
    case ErrorCode::kDigestMismatch:
      return "digest mismatch";
    case ErrorCode::kTooLarge:
      return "too large";
    case ErrorCode::kIo:
      return "input/output error";
    case ErrorCode::kNoSpace:
      return "no space";
    case ErrorCode::kNetwork:
      return "network error";
    case ErrorCode::kTimeout:
      return "timeout";
    case ErrorCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

Error Error::In(std::string_view object) const& {
  Error copy = *this;
  return std::move(copy).In(object);
}

Error Error::In(std::string_view object) && {
  context = std::string(object) + ": " + context;
  return std::move(*this);
}

Error ErrnoError(std::string_view context, int system_errno) {
  return Error{CodeFromErrno(system_errno),
               std::string(context) + ": " + std::strerror(system_errno),
               system_errno == EINTR || system_errno == EAGAIN, system_errno};
}

}  // namespace layerfs
