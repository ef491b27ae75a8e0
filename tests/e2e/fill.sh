#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A mount brings the whole image behind what is read, and then needs no registry; a pull does so
# without a mount.
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
complete() { "$LAYERFS" cache stat --json "$@" | jq -e '.images[0].complete' >/dev/null; }
all_requests() { requests GET /v2/test/ | wc -l; }

fact "while something starts up in the mount, the fill waits"
mkdir -p "$M"
# One process, which a busy machine does not hold up for long.
python3 -c '
import itertools, os, sys, time
for i in itertools.count():
    os.path.lexists(f"{sys.argv[1]}/none-{i}")
    time.sleep(0.01)' "$M" &
BUSY=$!
PIDS+=("$BUSY")
sleep 0.5
mount_image "$SOURCE" "$M" --cache "$WORK/cache-busy"
sleep 1.5
expect_equal "the fill" waiting "$("$LAYERFS" stat --json "$M" | jq -r .fill.state)"
expect_equal "bytes that the fill has brought" 0 "$("$LAYERFS" stat --json "$M" | jq .fetch.bytesByClass.fill)"
kill "$BUSY"
wait "$BUSY" || true
wait_until 60 complete --cache "$WORK/cache-busy" || fail "the fill did not end: $("$LAYERFS" cache stat --cache "$WORK/cache-busy")"
unmount_image "$M"

fact "the rest of a mounted image comes by itself, each chunk once, in large ranges"
forget_requests
mount_image "$SOURCE" "$M"
wait_until 60 complete || fail "the fill did not end: $("$LAYERFS" cache stat)"
chunk_bytes=$("$LAYERFS" stat --json "$M" | jq '[.fetch.bytesByClass[]] | add')
echo "  $(bytes_sent) bytes, $chunk_bytes of them chunks, in $(all_requests) requests; a pull is $PULL"
((chunk_bytes <= PULL)) || fail "chunks of $chunk_bytes bytes came for an image of $PULL"
# The small gaps between a request's chunks come along, and what a hedge asks for comes twice.
(($(bytes_sent) <= PULL + PULL / 50)) || fail "$(bytes_sent) bytes came for an image of $PULL"
(($(all_requests) <= 60 + PULL / 131072)) || fail "it took $(all_requests) requests"

fact "then the mount needs no registry"
stop_registry
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"

fact "nor does the next one, with --offline or by digest"
mount_image "$SOURCE" "$M" --offline
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"
digest=$(skopeo inspect --format '{{.Digest}}' "oci:$WORK/app:latest")
mount_image "docker://$REGISTRY/test/app@$digest" "$M"
cmp "$M/usr/bin/perl" "$IMAGES/app-tree/usr/bin/perl"
unmount_image "$M"
"$LAYERFS" cat --offline "$SOURCE" /etc/os-release | cmp - "$IMAGES/app-tree/etc/os-release"
"$LAYERFS" ls --offline --cache "$WORK/cache-layout" "oci:$WORK/app:latest" /app >/dev/null || fail "a layout is on this machine"
expect_error 6 "--offline takes the image that the tag last meant" "$LAYERFS" ls --fetch-timeout 1s "$SOURCE" /
expect_error 3 "never seen the tag" "$LAYERFS" ls --offline "docker://$REGISTRY/test/other:1" /

fact "offline, what is not in the cache is an error at once"
start_registry "${REGISTRY##*:}"
mount_image "$SOURCE" "$M" --fill off --cache "$WORK/cache-part"
cat "$M/etc/os-release" >/dev/null
unmount_image "$M"
forget_requests
mount_image "$SOURCE" "$M" --offline --cache "$WORK/cache-part"
cmp "$M/etc/os-release" "$IMAGES/app-tree/etc/os-release"
start=$SECONDS
expect_error 1 "input/output error" cat "$M/usr/bin/perl"
((SECONDS - start <= 3)) || fail "it took $((SECONDS - start)) s"
(($(requests GET /v2/ | wc -l) == 0)) || fail "--offline asked: $(requests GET /v2/)"
unmount_image "$M"

fact "a fill that was killed goes on where it was"
forget_requests
"$LAYERFS" mount --foreground --fill-rate 20M --cache "$WORK/cache-killed" "$SOURCE" "$M" &
readonly DAEMON=$!
PIDS+=("$DAEMON")
filled() { (($(bytes_sent) > PULL / 4)); }
wait_until 30 filled || fail "the fill does not move"
kill -9 "$DAEMON"
wait "$DAEMON" || true
umount -l "$M"
sleep 0.2 # The registry notes what it has sent when it sees the connections' end.
before=$(bytes_sent)
forget_requests
mount_image "$SOURCE" "$M" --cache "$WORK/cache-killed"
wait_until 60 complete --cache "$WORK/cache-killed" || fail "the fill did not end"
twice=$((before + $(bytes_sent) - PULL))
echo "  $before of $PULL bytes came before it, $(bytes_sent) after it: $twice twice"
((twice < 4 << 20)) || fail "$twice bytes came twice"
unmount_image "$M"

fact "pull fetches all without a mount; a mount after it asks for the tag alone"
"$LAYERFS" pull --pin "$SOURCE" --cache "$WORK/cache-pull" --json >"$WORK/pull.json"
# A slow answer is asked for a second time (hedging): a little may come twice.
jq -e ".complete and .fetchedBytes <= $PULL * 1.02" "$WORK/pull.json" >/dev/null || fail "$(cat "$WORK/pull.json")"
forget_requests
mount_image "$SOURCE" "$M" --cache "$WORK/cache-pull"
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"
(($(requests GET /v2/test/ | wc -l) == 1)) || fail "it asked: $(requests GET /v2/test/)"
forget_requests
"$LAYERFS" pull -q "$SOURCE" --cache "$WORK/cache-pull" >/dev/null
(($(requests GET /v2/test/ | wc -l) == 1)) || fail "a second pull asked: $(requests GET /v2/test/)"

fact "what a pull with --pin has brought is not taken from it while it runs"
"$LAYERFS" pull --pin --rate 4M -q "$SOURCE" --cache "$WORK/cache-pinned" >/dev/null &
pull=$!
for _ in {1..8}; do
  sleep 0.5
  "$LAYERFS" cache prune --cache "$WORK/cache-pinned" >/dev/null
done
wait "$pull" || fail "the pull ended with $?"
complete --cache "$WORK/cache-pinned" || fail "something of it is gone"

fact "what is pinned stays until unpin"
"$LAYERFS" cache stat --json --cache "$WORK/cache-pull" | jq -e ".pins == [\"$SOURCE\"]" >/dev/null
"$LAYERFS" cache prune --cache "$WORK/cache-pull" >/dev/null
complete --cache "$WORK/cache-pull" || fail "prune took what is pinned"
"$LAYERFS" cache unpin "$SOURCE" --cache "$WORK/cache-pull"
"$LAYERFS" cache prune --cache "$WORK/cache-pull" >/dev/null
! complete --cache "$WORK/cache-pull" || fail "prune left what is not pinned any more"
"$LAYERFS" cache pin "$SOURCE" --cache "$WORK/cache-pull" >/dev/null
expect_error 3 "not there" "$LAYERFS" cache unpin docker://example.com/none:1 --cache "$WORK/cache-pull"

# used_before CACHE BYTES: whole objects of no image, last used long ago.
used_before() {
  local made=0 digest
  mkdir -p "$1"
  "$LAYERFS" cache stat --cache "$1" >/dev/null
  while ((made < $2)); do
    head -c 1000000 /dev/urandom >"$WORK/object"
    digest=$(sha256sum "$WORK/object" | cut -d ' ' -f 1)
    mkdir -p "$1/objects/${digest:0:2}"
    touch -d 2001-01-01 "$WORK/object"
    mv "$WORK/object" "$1/objects/${digest:0:2}/$digest"
    made=$((made + 1000000))
  done
  rm -f "$1/usage"
}
old_objects() { find "$1/objects" -type f ! -newermt 2002-01-01 | wc -l; }

fact "in a full cache what was used before makes room for an image"
readonly OBJECTS=$(($(du -s --block-size=1 "$WORK/cache-killed/objects" | cut -f 1)))
used_before "$WORK/cache-full" $((OBJECTS * 3 / 2))
before=$(old_objects "$WORK/cache-full")
mount_image "$SOURCE" "$M" --cache "$WORK/cache-full" --cache-size $((OBJECTS * 3 / 2)) --log "$WORK/full.log"
wait_until 60 complete --cache "$WORK/cache-full" || fail "it is not filled: $(cat "$WORK/full.log")"
unmount_image "$M"
left=$(old_objects "$WORK/cache-full")
echo "  $left of $before old objects are left"
((left > 0 && left < before)) || fail "$left of $before old objects are left"

fact "an image that is larger than the cache may be says so once"
mount_image "$SOURCE" "$M" --cache "$WORK/cache-small" --cache-size $((OBJECTS / 2)) --log "$WORK/small.log"
said() { grep -q "more than the cache's limit" "$WORK/small.log"; }
wait_until 60 said || fail "it does not say so: $(cat "$WORK/small.log")"
cmp "$M/usr/bin/perl" "$IMAGES/app-tree/usr/bin/perl"
unmount_image "$M"
(($(grep -c "warning" "$WORK/small.log") == 1)) || fail "it says: $(cat "$WORK/small.log")"
