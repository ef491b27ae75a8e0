#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every call on every type of object as several users, on a writable mount and on a disk: results, what
# becomes of the objects, and their times; and privileges. Half of the objects come from a lower layer.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
table=$E2E/posix_table.py
cd "$WORK"
chmod 0755 .
mkdir low upper work mnt disk
"$table" prepare low
"$table" prepare disk
"$LAYERFS" mount mnt -o lowerdir=low,upperdir=upper,workdir=work
"$table" compare disk mnt || fail "calls differ from those on the disk"
"$LAYERFS" umount mnt

# Stores through a mapping reach the upper file as writes there.
for passthrough in "" --no-passthrough; do
  rm -rf privileged upper work
  mkdir privileged upper work
  # shellcheck disable=SC2086
  "$LAYERFS" mount $passthrough mnt -o lowerdir=low,upperdir=upper,workdir=work
  mkdir mnt/privileged
  "$E2E/same_privileges.py" privileged mnt/privileged || fail "privileges differ from those on the disk $passthrough"
  "$LAYERFS" umount mnt
done
