#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every call on every type of object as several users, on a writable mount and on a disk: results, what
# becomes of the objects, and their times. Half of the objects come from a lower layer.
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
