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

fact "whose reader has gone ends without a word, as filters do; a full disk is an error"
{ "$LAYERFS" cat "$IMAGE" /app/data/noise.bin 2>"$WORK/gone.err" || echo "$?" >"$WORK/gone.status"; } | head -c 1 >/dev/null
expect_equal "status" $((128 + $(kill -l PIPE))) "$(cat "$WORK/gone.status")"
expect_equal "words" "" "$(cat "$WORK/gone.err")"
full=0
"$LAYERFS" mount --help >/dev/full 2>"$WORK/full.err" || full=$?
expect_equal "status on a full disk" 1 "$full"
expect_contains "what it says" "$(cat "$WORK/full.err")" "standard output"

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

fact "what is of the wrong kind is wrong usage; cat goes on with the other paths"
expect_error 2 "is a character device" "$LAYERFS" cat "$IMAGE" /app/kinds/char
expect_error 2 "is a directory" "$LAYERFS" cat "$IMAGE" /app
touch "$WORK/a-file"
expect_error 2 "not a directory" "$LAYERFS" mount "$IMAGE" "$WORK/a-file"
code=0
"$LAYERFS" cat "$IMAGE" /app/none /etc/os-release /app >"$WORK/cat.out" 2>"$WORK/cat.err" || code=$?
expect_equal "status of the first failure" 3 "$code"
cmp "$WORK/cat.out" "$TREE/etc/os-release"
expect_equal "failures told" 2 "$(wc -l <"$WORK/cat.err")"

fact "inspect --index writes what an index says, of the tree and of each layer"
"$LAYERFS" inspect --index tree "$IMAGE" >"$WORK/tree.txt"
expect_equal "paths" "$(find "$TREE" -xdev -printf . | wc -c)" "$(grep -c "^'/" "$WORK/tree.txt")"
"$LAYERFS" inspect --index 3 "$IMAGE" >"$WORK/layer.txt"
grep -q " whiteout$" "$WORK/layer.txt" || fail "layer 3 deletes something"
grep -q "^chunk " "$WORK/layer.txt" || fail "layer 3 has chunks"
expect_error 2 "1 to 3" "$LAYERFS" inspect --index 4 "$IMAGE"

fact "stat --json says where the data are"
expect_equal "layer" 3 "$("$LAYERFS" stat --json "$IMAGE" /app/data/noise.bin | jq .layer.number)"
(($("$LAYERFS" stat --json "$IMAGE" /app/data/sparse.bin | jq '.extents | length') > 0)) || fail "no extents"

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
expect_error 5 "$(basename "$victim" | cut -c1-12)" "$LAYERFS" check --data "oci:$WORK/flipped:latest"
code=0
"$LAYERFS" check --data "oci:$WORK/flipped:latest" >/dev/null 2>"$WORK/check.err" || code=$?
expect_equal "a bad chunk is told once" 1 "$(wc -l <"$WORK/check.err")"

fact "check reads the source, whatever the cache holds, and all of each blob"
"$LAYERFS" cat "$IMAGE" /app/data/noise.bin >/dev/null
cp -a "$WORK/app" "$WORK/gone"
truncate -s 1000000 "$(blob "$WORK/gone" "$(manifest_of "$WORK/app" | jq -r '.layers[2].digest')")"
expect_error 5 "$(basename "$victim" | cut -c1-12)" "$LAYERFS" check "oci:$WORK/gone:latest"
truncate -s 1000 "$(blob "$WORK/gone" "$(manifest_of "$WORK/app" | jq -r '.layers[0].digest')")"
code=0
"$LAYERFS" check "oci:$WORK/gone:latest" >"$WORK/check.out" 2>"$WORK/check.err" || code=$?
grep -q ": 2 findings$" "$WORK/check.out" || fail "the findings are not counted: $(cat "$WORK/check.out")"
expect_equal "each layer without its index is told" "5 2" "$code $(wc -l <"$WORK/check.err")"

fact "check goes on past a layer without its index, and past a config that is not what it was"
cp -a "$WORK/app" "$WORK/broken"
damage() { printf '????' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
victim=$(blob "$WORK/broken" "$(manifest_of "$WORK/app" | jq -r '.layers[2].digest')")
damage "$(blob "$WORK/broken" "$(manifest_of "$WORK/app" | jq -r '.config.digest')")" 20
damage "$victim" 1000000
expect_error 5 "$(manifest_of "$WORK/app" | jq -r '.config.digest')" "$LAYERFS" check --data "oci:$WORK/broken:latest"
expect_error 5 "$(basename "$victim" | cut -c1-12)" "$LAYERFS" check --data "oci:$WORK/broken:latest"
truncate -s 1000 "$(blob "$WORK/broken" "$(manifest_of "$WORK/app" | jq -r '.layers[0].digest')")"
expect_error 5 "$(basename "$victim" | cut -c1-12)" "$LAYERFS" check --data "oci:$WORK/broken:latest"

fact "check finds a damaged footer by the blob's digest alone"
cp -a "$WORK/app" "$WORK/footer"
victim=$(blob "$WORK/footer" "$(manifest_of "$WORK/app" | jq -r '.layers[2].digest')")
printf '????' | dd of="$victim" bs=1 seek=$(($(stat -c %s "$victim") - 20)) conv=notrunc status=none
"$LAYERFS" check "oci:$WORK/footer:latest"
expect_error 5 "$(basename "$victim" | cut -c1-12)" "$LAYERFS" check --data "oci:$WORK/footer:latest"

fact "check compares the layers with the config's diff IDs; convert copies no layer that has another"
cp -a "$WORK/app" "$WORK/other-diff"
manifest_of "$WORK/app" >"$WORK/manifest.json"
config=$(blob "$WORK/app" "$(jq -r .config.digest "$WORK/manifest.json")")
jq -c '.rootfs.diff_ids[0] = .rootfs.diff_ids[1]' "$config" >"$WORK/config.json"
read -r digest size < <(put_blob "$WORK/other-diff" "$WORK/config.json")
jq -c --arg digest "$digest" --argjson size "$size" '.config += {digest: $digest, size: $size}' "$WORK/manifest.json" >"$WORK/forged.json"
read -r digest size < <(put_blob "$WORK/other-diff" "$WORK/forged.json")
tag_layout "$WORK/other-diff" latest "$(jq -nc --arg digest "$digest" --argjson size "$size" \
  '{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size}')"
expect_error 5 "diff ID" "$LAYERFS" check --data "oci:$WORK/other-diff:latest"
expect_error 5 "diff ID" "$LAYERFS" convert -q "oci:$WORK/other-diff:latest" "oci:$WORK/other-copy:latest"
[[ ! -e $WORK/other-copy ]] || fail "something is left of a conversion that was refused"

fact "cache stat and cache prune"
"$LAYERFS" cache stat --json --cache "$WORK/cache-commands" >"$WORK/cache.json" && jq -e . "$WORK/cache.json" >/dev/null
"$LAYERFS" cache prune --cache "$WORK/cache-commands"
