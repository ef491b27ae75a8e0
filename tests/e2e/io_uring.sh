#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# FUSE over io_uring, where the kernel has it and can be told to allow it: for images in a layout.
# Reads that wait for a registry would hold ring entries, and `ls` would wait with them: refused.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
readonly SWITCH=/sys/module/fuse/parameters/enable_uring
M=$WORK/mount
convert "oci:$IMAGES/app:latest" app

fact "for an image in a registry it is refused, with the reason"
expect_error 4 "oci:.*registry" "$LAYERFS" mount -o io_uring docker://127.0.0.1:1/app:latest "$WORK"

fact "for an image in a layout the tree is the same, whether the kernel allows it or not"
mount_image "oci:$WORK/app:latest" "$M" -o io_uring
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"
before=$(cat "$SWITCH" 2>/dev/null) || before=
if [[ $before == N ]] && { echo Y >"$SWITCH"; } 2>/dev/null; then
  trap 'echo N >"$SWITCH"; cleanup' EXIT
fi
if [[ $(cat "$SWITCH" 2>/dev/null) == Y ]]; then
  mount_image "oci:$WORK/app:latest" "$M" -o io_uring
  expect_same_tree "$IMAGES/app-tree" "$M"
  unmount_image "$M"
else
  echo "  (this kernel does not allow it)"
fi
