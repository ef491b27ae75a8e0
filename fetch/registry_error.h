// SPDX-License-Identifier: Apache-2.0
// From a registry's answer to an Error: the status, and what the body says (distribution-spec,
// "Error Codes").
// Thread-safe: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "fetch/http_message.h"
#include "index/base/error.h"

namespace layerfs {

// "HTTP 404: MANIFEST_UNKNOWN: manifest unknown". `body` is foreign: it is cut and freed of control
// bytes. kUnauthorized and kPermission carry no hint; the caller knows whom to ask.
Error RegistryError(int status, std::string_view body);

// What the body says, fit for a message; may be empty.
std::string DescribeErrorBody(std::string_view body);

}  // namespace layerfs
