// SPDX-License-Identifier: Apache-2.0
#include "tools/fill_options.h"

#include "tools/text.h"

namespace layerfs {

void FillWords::Declare(CLI::App& app) {
  app.add_option(
         "--fill", mode,
         "Fetch the rest of the image behind what is read, once what starts up in the mount is "
         "quiet or has been busy for long: at the speed of the link, only while nobody waits for "
         "data, not at all")
      ->check(CLI::IsMember({"full", "idle", "off"}))
      ->capture_default_str();
  app.add_option("--fill-rate", rate, "At most so many bytes a second for that; 0: no limit")
      ->type_name("SIZE");
}

Result<std::optional<Fill::Options>> FillWords::Get() const {
  LAYERFS_TRY_IN(bytes_per_second, ParseBytes(rate), "--fill-rate");
  if (mode == "off") return std::optional<Fill::Options>();
  Fill::Options options;
  options.mode = mode == "idle" ? FillMode::kIdle : FillMode::kFull;
  options.bytes_per_second = bytes_per_second;
  return std::optional(options);
}

}  // namespace layerfs
