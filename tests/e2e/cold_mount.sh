#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a cold mount asks a registry for before `ls /` answers, request by request and round by round:
# the manifest (or image index), then everything else at once.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require docker-registry jq python3 skopeo
start_registry
readonly M=$WORK/mnt
# By layerfs itself: skopeo would drop the manifests that the image index carries in it.
for image in app platforms; do
  "$LAYERFS" convert -q "oci:$IMAGES/$image:latest" "docker://$REGISTRY/test/app:$image"
done
manifest=$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/test/app:app")

# cold_mount TAG: mounts it from behind the proxy with an empty cache, asks for `ls /`, and leaves what
# was asked for in WORK/rounds.
cold_mount() {
  rm -rf "$WORK/cache" "$WORK/rounds" "$WORK/port"
  "$E2E/rounds_proxy.py" "$REGISTRY" "$WORK/rounds" >"$WORK/port" &
  local proxy=$!
  PIDS+=("$proxy")
  wait_until 20 test -s "$WORK/port" || fail "the proxy does not start"
  mount_image "docker://127.0.0.1:$(cat "$WORK/port")/test/app:$1" "$M" --fill off
  ls "$M" >/dev/null
  unmount_image "$M"
  kill "$proxy"
  sed 's/^/  /' "$WORK/rounds"
}
# expect_asked: these requests, in these rounds, and no others.
expect_asked() { diff <(sort) <(awk '{ print $1, $2, $3, $4 }' "$WORK/rounds" | sort) || fail "the requests are not those expected ('<')"; }

# The range of each layer's index, as the layer's annotations say it.
indexes=$(jq -r '.layers[] | (.annotations["io.layerfs.index.position"] | split(":") | map(tonumber)) as [$offset, $size] |
  "2 GET /v2/test/app/blobs/\(.digest) bytes=\($offset)-\($offset + $size - 1)"' <<<"$manifest")
expect_equal "layers" 3 "$(wc -l <<<"$indexes")"

fact "an image: its manifest, then the indexes of all layers at once"
cold_mount app
expect_asked <<<"1 GET /v2/test/app/manifests/app -
$indexes"

fact "an image index: the same, because it carries the manifests of its images"
cold_mount platforms
expect_asked <<<"1 GET /v2/test/app/manifests/platforms -
$indexes"

fact "the second mount asks for nothing but what the tag names now"
"$LAYERFS" mount --fill off "docker://$REGISTRY/test/app:app" "$M"
unmount_image "$M"
forget_requests
"$LAYERFS" mount --fill off "docker://$REGISTRY/test/app:app" "$M"
unmount_image "$M"
expect_equal "requests for blobs" 0 "$(requests GET /blobs/ | wc -l)"

fact "an index that has rotted in the cache is fetched again"
rm -r "$WORK/cache"
mount_image "docker://$REGISTRY/test/app:app" "$M" --fill off
unmount_image "$M"
rm "$WORK"/cache/documents/tree-*
python3 - "$WORK/cache/objects" <<'PY'
import pathlib, sys
rotten = [path for path in pathlib.Path(sys.argv[1]).glob("*/*") if path.read_bytes().startswith(b"LAYERFSI")]
assert len(rotten) == 3, rotten
for path in rotten:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.chmod(0o600)
    path.write_bytes(content)
PY
mount_image "docker://$REGISTRY/test/app:app" "$M" --fill off
cmp "$M/usr/bin/perl" "$IMAGES/app-tree/usr/bin/perl"
unmount_image "$M"
