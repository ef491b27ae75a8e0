#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The commands that look into an image without mounting it, and those that look after the cache.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require jq
convert "oci:$IMAGES/app:latest" app
readonly IMAGE=oci:$WORK/app:latest TREE=$IMAGES/app-tree

fact "help: each command explains itself on standard output; a typing error is met with the right word"
for command in convert mount umount inspect ls cat stat check cache; do
  "$LAYERFS" "$command" --help >"$WORK/help" || fail "'$command --help' ended with $?"
  (($(wc -l <"$WORK/help") > 5)) || fail "'$command --help' says hardly anything"
done
expect_error '[1-9][0-9]*' "convert" "$LAYERFS" conver
expect_error '[1-9][0-9]*' "" "$LAYERFS"
"$LAYERFS" --version >/dev/null

fact "convert and what reads share one cache that was not there before"
LAYERFS_CACHE=$WORK/cache-fresh "$LAYERFS" convert -q "oci:$IMAGES/hardlinks:latest" "oci:$WORK/fresh:latest"
LAYERFS_CACHE=$WORK/cache-fresh "$LAYERFS" ls "oci:$WORK/fresh:latest" >/dev/null

fact "inspect: for people and, with --json, for programs"
"$LAYERFS" inspect "$IMAGE" >/dev/null
"$LAYERFS" inspect --json "$IMAGE" >"$WORK/inspect.json"
expect_equal "layers" 3 "$(jq '.layers | length' "$WORK/inspect.json")"
"$LAYERFS" inspect "oci:$IMAGES/app:latest" >/dev/null

fact "ls, cat and stat agree with the unpacked tree"
expect_equal "names in /app" "$(ls "$TREE/app")" "$("$LAYERFS" ls "$IMAGE" /app)"
"$LAYERFS" cat "$IMAGE" /app/data/noise.bin | cmp - "$TREE/app/data/noise.bin"
"$LAYERFS" cat "$IMAGE" /app/data/sparse.bin | cmp - "$TREE/app/data/sparse.bin"
"$LAYERFS" cat "$IMAGE" /etc/os-release | cmp - "$TREE/etc/os-release"
expect_contains "stat" "$("$LAYERFS" stat "$IMAGE" /app/data/noise.bin)" 1048577
expect_error '[1-9][0-9]*' "/app/none" "$LAYERFS" cat "$IMAGE" /app/none
expect_error '[1-9][0-9]*' "/app/none" "$LAYERFS" stat "$IMAGE" /app/none
expect_error '[1-9][0-9]*' "directory" "$LAYERFS" cat "$IMAGE" /app

fact "check: a sound image passes, and a flipped bit is found"
"$LAYERFS" check "$IMAGE"
"$LAYERFS" check --data "$IMAGE"
cp -a "$WORK/app" "$WORK/flipped"
victim=$(blob "$WORK/flipped" "$(manifest_of "$WORK/app" | jq -r '.layers[2].digest')")
python3 - "$victim" <<'PY'
import sys
with open(sys.argv[1], "r+b") as blob:
    blob.seek(1_000_000)
    byte = blob.read(1)[0]
    blob.seek(1_000_000)
    blob.write(bytes([byte ^ 1]))
PY
expect_error '[1-9][0-9]*' "$(basename "$victim" | cut -c1-12)" "$LAYERFS" check --data "oci:$WORK/flipped:latest"

fact "cache stat and cache prune"
"$LAYERFS" cache stat --json --cache "$WORK/cache-commands" >"$WORK/cache.json" && jq -e . "$WORK/cache.json" >/dev/null
"$LAYERFS" cache prune --cache "$WORK/cache-commands"
