#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a mount of a large tree keeps in memory: the tree's file is mapped, and who walks it must not
# leave all of it there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require jq python3
readonly M=$WORK/mnt
readonly DIRECTORIES=400 FILES=500
# Of the tree, while somebody looks at it (the daemon lets it go at 6 MiB, looking now and then), and
# of the whole process: neither grows with the tree.
readonly MOST_TREE_KIB=8192 MOST_KIB=20000

python3 - "$E2E/../images" "$WORK/tree.tar" "$DIRECTORIES" "$FILES" <<'PY'
import sys
sys.path.insert(0, sys.argv[1])
import odd_layers
with open(sys.argv[2], "wb") as out:
    for d in range(int(sys.argv[3])):
        out.write(odd_layers.directory(b"directory-%03d" % d))
        for i in range(int(sys.argv[4])):
            out.write(odd_layers.header(b"directory-%03d/file-number-%06d-%03d.txt" % (d, i, d), mtime=odd_layers.MTIME + d * 500 + i))
    out.write(b"\0" * 2 * odd_layers.BLOCK)
PY
init_layout "$WORK/source"
tag_layout "$WORK/source" latest "$(put_layer "$WORK/source" none "$WORK/tree.tar" | put_image "$WORK/source" amd64 '{}')"
rm "$WORK/tree.tar"
convert "oci:$WORK/source:latest" tree
mount_image "oci:$WORK/tree:latest" "$M"

server=$(pgrep -f -- "mount oci:$WORK/tree:latest $M")
# resident TEXT: KiB of the mappings with that in their first line.
resident() {
  awk -v text="$1" '/^[0-9a-f]+-[0-9a-f]+ / { counts = index($0, text) } /^Rss:/ && counts { sum += $2 } END { print sum + 0 }' "/proc/$server/smaps"
}
tree_kib() { resident "$WORK/cache/"; }
expect_at_most() { (($3 <= $2)) || fail "$1: $3 KiB in memory, more than $2"; }
(($(tree_kib) > 0)) || fail "the tree is not a file of the cache"

fact "a walk of $((DIRECTORIES * FILES)) entries leaves little of the tree in memory, and of the process below 20 MB"
expect_equal "entries" $((DIRECTORIES * (FILES + 1) + 1)) "$(find "$M" -printf '%s\n' | wc -l)"
expect_at_most "of the tree" "$MOST_TREE_KIB" "$(tree_kib)"
# A sanitizer's own memory is many times that.
grep -q libasan "/proc/$server/maps" || expect_at_most "the whole process" "$MOST_KIB" "$(resident "")"

fact "when nobody looks at it any more, nothing of the tree is left there"
nothing_left() { (($(tree_kib) <= 64)); }
wait_until 20 nothing_left || fail "$(tree_kib) KiB of the tree stay in memory"
