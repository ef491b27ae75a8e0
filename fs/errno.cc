// SPDX-License-Identifier: Apache-2.0
#include "fs/errno.h"

#include <cerrno>

namespace layerfs {

int ErrnoOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return error.system_errno != 0 ? error.system_errno : EINVAL;
    case ErrorCode::kNotFound:
      // Only a local file system's own answer; a blob that a registry does not have is EIO.
      return error.system_errno != 0 ? error.system_errno : EIO;
    case ErrorCode::kExists:
      return error.system_errno != 0 ? error.system_errno : EEXIST;
    case ErrorCode::kPermission:
      return error.system_errno != 0 ? error.system_errno : EIO;
    case ErrorCode::kBusy:
      return error.system_errno != 0 ? error.system_errno : EBUSY;
    case ErrorCode::kUnsupported:
      return error.system_errno != 0 ? error.system_errno : EOPNOTSUPP;
    case ErrorCode::kNoSpace:
      return error.system_errno != 0 ? error.system_errno : ENOSPC;
    case ErrorCode::kCancelled:
      return EINTR;
    case ErrorCode::kIo:
      return error.system_errno != 0 ? error.system_errno : EIO;
    case ErrorCode::kUnauthorized:
    case ErrorCode::kCorrupt:
    case ErrorCode::kDigestMismatch:
    case ErrorCode::kTooLarge:
    case ErrorCode::kNetwork:
    case ErrorCode::kTimeout:
      return EIO;
  }
  return EIO;
}

}  // namespace layerfs
