// SPDX-License-Identifier: Apache-2.0
#include "index/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

namespace layerfs {
namespace {

TEST(Error, InNamesTheObjectInFront) {
  const Error error{ErrorCode::kCorrupt, "bad magic", true, 5};
  const Error named = error.In("layer 3");
  EXPECT_EQ(named.context, "layer 3: bad magic");
  EXPECT_EQ(named.code, ErrorCode::kCorrupt);
  EXPECT_TRUE(named.retryable);
  EXPECT_EQ(named.system_errno, 5);
  EXPECT_EQ(error.context, "bad magic");
}

TEST(Error, EveryCodeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  constexpr int kCodes = static_cast<int>(ErrorCode::kCancelled) + 1;
  for (int code = 0; code < kCodes; ++code) {
    names.insert(ErrorCodeName(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(kCodes));
  EXPECT_FALSE(names.contains("unknown"));
}

struct ErrnoCase {
  int system_errno;
  ErrorCode code;
  bool retryable;
};

TEST(Error, CodeAndRetryFollowTheErrno) {
  const std::vector<ErrnoCase> cases = {
      {ENOENT, ErrorCode::kNotFound, false},
      {ENOTDIR, ErrorCode::kNotFound, false},
      {EEXIST, ErrorCode::kExists, false},
      {EACCES, ErrorCode::kPermission, false},
      {EPERM, ErrorCode::kPermission, false},
      {EROFS, ErrorCode::kPermission, false},
      {ENOSPC, ErrorCode::kNoSpace, false},
      {EDQUOT, ErrorCode::kNoSpace, false},
      {EBUSY, ErrorCode::kBusy, false},
      {ENOSYS, ErrorCode::kUnsupported, false},
      {EOPNOTSUPP, ErrorCode::kUnsupported, false},
      {EIO, ErrorCode::kIo, false},
      {EINTR, ErrorCode::kIo, true},
      {EAGAIN, ErrorCode::kIo, true},
  };
  for (const ErrnoCase& row : cases) {
    const Error error = ErrnoError("/a/file", row.system_errno);
    EXPECT_EQ(error.code, row.code) << row.system_errno;
    EXPECT_EQ(error.retryable, row.retryable) << row.system_errno;
    EXPECT_EQ(error.system_errno, row.system_errno);
    EXPECT_TRUE(error.context.starts_with("/a/file: ")) << error.context;
  }
}

Result<int> Half(int value) {
  if (value % 2 != 0) return Fail(ErrorCode::kInvalidArgument, "odd");
  return value / 2;
}

Result<int> Quarter(int value) {
  LAYERFS_TRY(half, Half(value));
  LAYERFS_TRY_IN(quarter, Half(half), "half of " + std::to_string(value));
  return quarter;
}

Status IsMultipleOfFour(int value) {
  LAYERFS_CHECK_OK(Half(value));
  LAYERFS_CHECK_OK_IN(Half(value / 2), "second");
  return {};
}

TEST(Error, MacrosReturnEarlyWithTheError) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(3).error().context, "odd");
  EXPECT_EQ(Quarter(6).error().context, "half of 6: odd");
  EXPECT_TRUE(IsMultipleOfFour(8).has_value());
  EXPECT_EQ(IsMultipleOfFour(1).error().context, "odd");
  EXPECT_EQ(IsMultipleOfFour(2).error().context, "second: odd");
}

}  // namespace
}  // namespace layerfs
