#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check_format.sh ROOT CLANG_FORMAT: the layout of every source file is what clang-format makes it.
set -euo pipefail
cd "$1"
find index fetch fs tools tests bench \( -name '*.h' -o -name '*.cc' \) -print0 |
  xargs -0 "$2" --dry-run -Werror
