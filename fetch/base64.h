// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648 section 4), as the `data` of descriptors and the `auth` of credential files
// carry it.
// Thread-safe: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

std::string Base64Encode(ByteSpan data);
// Padding is required where RFC 4648 wants it; line breaks and other letters are kCorrupt.
Result<Bytes> Base64Decode(std::string_view text);

}  // namespace layerfs
