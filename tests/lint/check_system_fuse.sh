#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check_system_fuse.sh ROOT COMPILER: the FUSE edge compiles against the system's libfuse too, which
# may be older than the one that the set-up builds. Exit code 77 where there is none.
set -euo pipefail
cd "$1"
unset PKG_CONFIG_PATH
pkg-config --atleast-version=3.14 fuse3 || exit 77
echo "libfuse $(pkg-config --modversion fuse3)"
read -ra flags < <(pkg-config --cflags fuse3)
for source in fs/fuse_*.cc; do
  "$2" -std=c++23 -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE -I. "${flags[@]}" -Wall -Wextra -Wno-missing-field-initializers -Werror \
    -fsyntax-only "$source"
done
