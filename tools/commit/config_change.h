// SPDX-License-Identifier: Apache-2.0
// ApplyConfigChanges: Dockerfile instructions, as docker commit --change takes them → the image's
// config (image-spec config.md; Docker's members where OCI leaves them to it).
// Functions of values; thread-safe.
#pragma once

#include <span>
#include <string>

#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

// `config`: the document's member of that name. CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
// ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR; others are kInvalidArgument, as is what they
// cannot read, with the instruction. Each may be several lines, as a Dockerfile has them.
// ENTRYPOINT drops the command that the image had, not one that these give.
Status ApplyConfigChanges(std::span<const std::string> instructions, Json& config);

}  // namespace layerfs
