// SPDX-License-Identifier: Apache-2.0
// ApplyConfigChange: one Dockerfile instruction, as docker commit --change takes them → the image's
// config (image-spec config.md; Docker's members where OCI leaves them to it).
// Functions of values; thread-safe.
#pragma once

#include <string_view>

#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

// `config`: the document's member of that name. CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
// ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR; others are kInvalidArgument, as is what they
// cannot read, with the instruction. ENTRYPOINT drops the command that the image had: give CMD
// behind it.
Status ApplyConfigChange(std::string_view instruction, Json& config);

}  // namespace layerfs
