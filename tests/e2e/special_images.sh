#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Images with one difficulty each: links across layers, very many entries, very large, very many layers.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require umoci
readonly M=$WORK/mnt

mounted() { convert "oci:$IMAGES/$1:latest" "$1"; mount_image "oci:$WORK/$1:latest" "$M"; }
unpack() { umoci unpack --image "$IMAGES/$1:latest" "$WORK/$1-bundle"; }

fact "hard links to files of lower layers, and to symbolic links"
mounted hardlinks
unpack hardlinks
expect_same_tree "$WORK/hardlinks-bundle/rootfs" "$M"
unmount_image "$M"

fact "a directory of 100,000 entries"
mounted wide
expect_equal "entries" 100000 "$(ls -U "$M/wide" | wc -l)"
expect_equal "entries, each once" 100000 "$(ls -U "$M/wide" | sort -u | wc -l)"
expect_equal "files, by stat" 100000 "$(find "$M/wide" -type f -size 0 | wc -l)"
unmount_image "$M"

fact "where no file has a label or an ACL there are none, so that ls -l asks once; an overlayfs on top works for all"
answer() {
  python3 - "$@" <<'PY'
import os, sys
try:
    print(os.getxattr(sys.argv[1], sys.argv[2]))
except OSError as error:
    print(error.strerror)
PY
}
mount_image "oci:$WORK/wide:latest" "$M" -o allow_other
for name in system.posix_acl_access system.posix_acl_default; do
  expect_equal "$name" "Operation not supported" "$(answer "$M/wide" "$name")"
done
expect_equal "user.none" "No data available" "$(answer "$M/wide" user.none)"
chmod 0755 "$WORK"
mkdir "$WORK/empty" "$WORK/merged"
mount -t overlay none -o "lowerdir=$WORK/empty:$M" "$WORK/merged"
setpriv --reuid 65534 --regid 65534 --clear-groups cat "$WORK/merged/wide/entry-000001"
umount "$WORK/merged"
unmount_image "$M"

fact "a sparse file of 5 GiB"
mounted huge
expect_equal "size" $((5 << 30)) "$(stat -c %s "$M/huge.bin")"
at() { dd if="$M/huge.bin" bs=1 skip="$1" count=11 status=none | tr '\0' '.'; }
expect_equal "data near the start" "below 4 GiB" "$(at 1000)"
expect_equal "data behind 4 GiB" "above 4 GiB" "$(at $((4 * 1073741824 + 4095)))"
expect_equal "the hole between" "..........." "$(at $((3 << 30)))"
expect_equal "the end" 0 "$(tail -c 4096 "$M/huge.bin" | tr -d '\0' | wc -c)"
unmount_image "$M"

fact "127 layers"
mounted deep
unpack deep
expect_same_tree "$WORK/deep-bundle/rootfs" "$M"
expect_equal "the topmost layer wins" 226 "$(cat "$M/shared")"
unmount_image "$M"
