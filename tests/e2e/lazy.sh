#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Only what is read is fetched, by range, once; and everything that is served has been verified.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require docker-registry jq
start_registry
convert "oci:$IMAGES/app:latest" app
push "oci:$WORK/app:latest" test/app:latest
readonly SOURCE=docker://$REGISTRY/test/app:latest M=$WORK/mnt
readonly PULL=$(manifest_of "$WORK/app" | jq '[.layers[].size] | add')

fact "a cold mount and 'ls /' take a bounded number of requests"
forget_requests
mount_image "$SOURCE" "$M" --fill off
ls "$M" >/dev/null
# The manifest; then the config and an index for each of the three layers (a footer and what it
# points to, where the annotations do not say it); plus the registry's greeting.
echo "  $(requests GET /v2/ | wc -l) requests, $(bytes_sent) bytes of blobs"
(($(requests GET /v2/ | wc -l) <= 3 + 2 * 3)) || fail "it took $(requests GET /v2/)"
(($(bytes_sent) * 20 < PULL)) || fail "$(bytes_sent) bytes were fetched before any file was read; a pull is $PULL"

fact "a small file costs a small read"
before=$(bytes_sent)
cat "$M/etc/os-release" >/dev/null
echo "  $(($(bytes_sent) - before)) bytes"
(($(bytes_sent) - before < 300000)) || fail "reading one small file fetched $(($(bytes_sent) - before)) bytes"

fact "a page in the middle of a large file does not cost the file"
before=$(bytes_sent)
dd if="$M/app/data/numbers.txt" bs=4096 skip=1000 count=1 status=none | cmp - <(dd if="$IMAGES/app-tree/app/data/numbers.txt" bs=4096 skip=1000 count=1 status=none)
(($(bytes_sent) - before < 1000000)) || fail "one page fetched $(($(bytes_sent) - before)) bytes"

fact "many readers of one cold file fetch it once"
before=$(bytes_sent)
pids=()
for _ in {1..16}; do cat "$M/usr/lib/python3.11/pydoc_data/topics.py" >/dev/null & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid"; done
size=$(stat -c %s "$IMAGES/app-tree/usr/lib/python3.11/pydoc_data/topics.py")
(($(bytes_sent) - before <= size)) || fail "$(($(bytes_sent) - before)) bytes were fetched for a file of $size"

fact "running the program fetches a part of the image"
chroot "$M" /usr/bin/python3 /app/main.py >/dev/null
echo "  $(bytes_sent) of $PULL bytes"
(($(bytes_sent) * 2 < PULL)) || fail "$(bytes_sent) of $PULL bytes were fetched"

fact "what is cached is served while the registry is away; the rest is an I/O error in time"
stop_registry
chroot "$M" /usr/bin/python3 /app/main.py >/dev/null
unmount_image "$M"
start_registry "${REGISTRY##*:}"
mount_image "$SOURCE" "$M" --fill off --fetch-timeout 2
stop_registry
start=$SECONDS
expect_error 1 "input/output error" cat "$M/usr/bin/perl"
((SECONDS - start <= 4)) || fail "the error took $((SECONDS - start)) s though --fetch-timeout is 2 s"
ls -lR "$M" >/dev/null

fact "once the registry is back, so is the file"
start_registry "${REGISTRY##*:}"
wait_until 15 cmp "$M/usr/bin/perl" "$IMAGES/app-tree/usr/bin/perl" || fail "the file cannot be read though the registry is back"
unmount_image "$M"

fact "a pass over more than the cache may hold fetches the image about once, within the limit"
readonly LIMIT=$((40 << 20))
in_small_cache() { du -sc --block-size=1 "$WORK/cache-small/"{objects,partial} | tail -n 1 | cut -f 1; }
forget_requests
mount_image "$SOURCE" "$M" --fill off --cache "$WORK/cache-small" --cache-size "$LIMIT"
find "$M" -xdev -type f -print0 | xargs -0 cat >/dev/null
echo "  $(bytes_sent) bytes; a pull is $PULL; $(in_small_cache) bytes in the cache"
(($(bytes_sent) * 2 < PULL * 3)) || fail "$(bytes_sent) bytes were fetched; a pull is $PULL"
(($(in_small_cache) <= LIMIT * 11 / 10)) || fail "$(in_small_cache) bytes are in a cache of $LIMIT"

fact "what an idle mount merely keeps open can be evicted"
emptied() {
  "$LAYERFS" cache prune --to 0 --cache "$WORK/cache-small" >/dev/null
  (($(find "$WORK/cache-small/"{objects,partial} -type f | wc -l) == 0))
}
wait_until 15 emptied || fail "$(in_small_cache) bytes are left"
cmp "$M/usr/bin/perl" "$IMAGES/app-tree/usr/bin/perl"
unmount_image "$M"
