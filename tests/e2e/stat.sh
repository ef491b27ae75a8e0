#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a mount tells of itself: layerfs stat, metrics, its trace log.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require docker-registry jq curl
start_registry
convert "oci:$IMAGES/app:latest" app
push "oci:$WORK/app:latest" test/app:latest
readonly SOURCE=docker://$REGISTRY/test/app:latest M=$WORK/mnt METRICS=127.0.0.1:$(free_port)

mount_image "$SOURCE" "$M" --fill off --metrics "$METRICS" --metrics "unix:$WORK/metrics.sock" --trace-log "$WORK/trace"
cat "$M/usr/bin/perl" >/dev/null
# What the program needs comes behind it.
nothing_comes() {
  local before
  before=$(requests GET /blobs/ | wc -l)
  sleep 1
  (($(requests GET /blobs/ | wc -l) == before))
}
wait_until 30 nothing_comes || fail "requests without end"

fact "stat of a mount tells what was read, what was fetched for it, and who waited"
"$LAYERFS" stat --json "$M" >"$WORK/stat.json"
jq -e --arg image "$SOURCE" '.image == $image and .reads.waited > 0 and .reads.errors == 0
  and .fetch.bytesByClass.demand > 0 and .fetch.bytesByClass.fill == 0 and .fill.state == "off"
  and .fetch.roundTripMs > 0 and .fetch.bytesPerSecond > 0
  and ([.reads.stalls[].path] | index("/usr/bin/perl") != null)
  and ([.reads.waits[].count] | add) == .reads.waited' "$WORK/stat.json" >/dev/null || fail "$(cat "$WORK/stat.json")"
expect_equal "requests" "$(requests GET /blobs/ | wc -l)" "$(jq .fetch.requests "$WORK/stat.json")"
"$LAYERFS" stat "$M" >"$WORK/stat.txt"
expect_contains "stat" "$(cat "$WORK/stat.txt")" "/usr/bin/perl"
expect_contains "stat" "$(cat "$WORK/stat.txt")" "what has been read (fill: off)"

fact "--watch tells again and again"
timeout 10 "$LAYERFS" stat --json --watch 0.1 "$M" 2>/dev/null | head -3 >"$WORK/watch" || true
expect_equal "lines of --watch" 3 "$(jq -c .image "$WORK/watch" | wc -l)"

fact "the same as Prometheus' text, on a port of the loopback and on a unix socket"
curl -sf "http://$METRICS/metrics" >"$WORK/metrics"
expect_equal "requests by metrics" "$(jq .fetch.requests "$WORK/stat.json")" \
  "$(awk '/^layerfs_requests_total\{/ { print $2 }' "$WORK/metrics")"
expect_contains "metrics" "$(cat "$WORK/metrics")" "layerfs_fetched_bytes_total{image=\"$SOURCE\",class=\"demand\"}"
curl -sf --unix-socket "$WORK/metrics.sock" http://localhost/metrics | grep '^layerfs_read_wait_seconds_bucket.*le="+Inf"' >/dev/null
expect_equal "type of the waits" "# TYPE layerfs_read_wait_seconds histogram" \
  "$(grep '^# TYPE layerfs_read_wait' "$WORK/metrics")"
expect_equal "mode of the socket" 600 "$(stat -c %a "$WORK/metrics.sock")"
! curl -sf "http://$METRICS/other" >/dev/null || fail "there is no such page"

fact "the trace log has a line for each read"
jq -e -s 'map(select(.path == "/usr/bin/perl")) | length > 0 and any(.class == "demand" and .waitUs > 0)' \
  "$WORK/trace" >/dev/null || fail "$(cat "$WORK/trace")"

fact "the daemon may have as many descriptors open as the system allows"
pid=$(pgrep -f "layerfs mount .*$SOURCE $M" | head -1)
limits=$(awk '/Max open files/ { print $4 == $5 }' "/proc/$pid/limits")
expect_equal "soft limit is the hard one" 1 "$limits"

fact "addresses that others could reach are refused; so is a directory without a mount"
mkdir -p "$WORK/other"
expect_error 2 "loopback" "$LAYERFS" mount --metrics 0.0.0.0:9999 "$SOURCE" "$WORK/other"
expect_error 3 "no image is mounted" "$LAYERFS" stat "$WORK/other"
expect_error 3 "name a path" "$LAYERFS" stat "$SOURCE"
unmount_image "$M"
expect_error 3 "no image is mounted" "$LAYERFS" stat "$M"
[[ ! -e $WORK/metrics.sock ]] || fail "the socket is left over"
