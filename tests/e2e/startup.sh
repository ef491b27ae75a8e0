#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Startup packs from end to end: a recorded start, the image with its pack for layerfs and for
# everybody else, what a cold mount asks the registry for, what is pushed into the kernel's page
# cache, and packs that lie.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require docker-registry jq skopeo podman umoci containerd ctr
start_registry
readonly M=$WORK/mnt

# With nothing in its store; its process is CONTAINERD.
start_containerd() {
  mkdir -p "$WORK/ctd"
  printf '%s\n' 'version = 2' "root = \"$WORK/ctd/root\"" "state = \"$WORK/ctd/state\"" \
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]' '[grpc]' "address = \"$WORK/ctd/socket\"" >"$WORK/ctd/config.toml"
  containerd --config "$WORK/ctd/config.toml" >"$WORK/ctd/log" 2>&1 &
  CONTAINERD=$!
  PIDS+=("$CONTAINERD")
  local i
  for ((i = 0; i < 100; ++i)); do
    ctr -a "$WORK/ctd/socket" version >/dev/null 2>&1 && return
    sleep 0.1
  done
  fail "containerd does not start: $(tail -3 "$WORK/ctd/log")"
}

convert "oci:$IMAGES/app:latest" app

# The daemon goes on for a moment after umount, and may still write there.
forget_cache() { wait_until 10 rm -rf "$WORK/cache"; }

fact "record writes what the start reads, and its order, as text"
"$LAYERFS" record "oci:$WORK/app:latest" -o "$WORK/app.trace"
expect_equal "the first line" "layerfs trace 1" "$(head -1 "$WORK/app.trace")"
grep -q '^read /app/main.py 0' "$WORK/app.trace" || fail "the program is not in the trace"
grep -q '^read /app/data/noise.bin 0' "$WORK/app.trace" || fail "what the program reads is not in the trace"
! grep -q 'pydoc_data/topics.py' "$WORK/app.trace" || fail "the trace has what nobody reads"
loader=$(grep -nm1 'ld-linux' "$WORK/app.trace" | cut -d: -f1) program=$(grep -nm1 '^read /app/main.py' "$WORK/app.trace" | cut -d: -f1)
((loader < program)) || fail "the loader is read before the program"

fact "a start that fails leaves no trace"
expect_error 1 "before it was ready" "$LAYERFS" record "oci:$WORK/app:latest" -o "$WORK/no.trace" -- /bin/false

fact "a trace that cannot be written is told before anything runs"
expect_error 3 "no such directory" "$LAYERFS" record "oci:$WORK/app:latest" -o "$WORK/nowhere/app.trace" -- /bin/sh -c "echo it ran >&2"

fact "a page that somebody else serves is not taken for the program's"
expect_error 1 "is served already" "$LAYERFS" record "oci:$WORK/app:latest" --ready-http "http://$REGISTRY/v2/" -o "$WORK/no.trace" -- /bin/sleep 60
expect_error 1 "is served already" "$LAYERFS" convert --record --ready-http "http://$REGISTRY/v2/" "oci:$IMAGES/app:latest" "oci:$WORK/served:latest"
[[ ! -e $WORK/served ]] || fail "it was converted before it was said"

fact "a program is ready by a line that does not end, and a flood of output is borne"
"$LAYERFS" record "oci:$WORK/app:latest" -o "$WORK/no.trace" --ready '^READY$' -- /bin/sh -c 'printf READY; sleep 60' 2>/dev/null
"$LAYERFS" record "oci:$WORK/app:latest" -o "$WORK/no.trace" --ready READY -- /bin/sh -c 'printf READY' 2>/dev/null
peak=$(/usr/bin/env python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
' "$LAYERFS" record "oci:$WORK/app:latest" --ready NEVER --timeout 3s -- /bin/sh -c 'cat /dev/zero')
((peak < 200)) || fail "it took $peak MiB of memory"

fact "a trace goes through a link, and into what is no file"
ln -s "$WORK/target.trace" "$WORK/link.trace"
touch "$WORK/target.trace"
chmod 600 "$WORK/target.trace"
"$LAYERFS" trace merge "$WORK/app.trace" -o "$WORK/link.trace"
[[ -L $WORK/link.trace ]] || fail "the link is gone"
expect_equal "mode" 600 "$(stat -c %a "$WORK/target.trace")"
mkfifo "$WORK/pipe.trace"
"$LAYERFS" trace merge "$WORK/app.trace" -o "$WORK/pipe.trace" &
cmp "$WORK/pipe.trace" "$WORK/target.trace" || fail "the pipe got something else"
wait $!
[[ -p $WORK/pipe.trace ]] || fail "the pipe is gone"
rm "$WORK/no.trace" "$WORK"/{link,target,pipe}.trace

fact "a trace merged with itself stays the same"
"$LAYERFS" trace merge "$WORK/app.trace" "$WORK/app.trace" -o "$WORK/merged.trace"
diff <(grep -v '^#' "$WORK/app.trace") <(grep -v '^#' "$WORK/merged.trace")

fact "converting with a trace gives the same bytes each time"
convert "oci:$IMAGES/app:latest" lazy --trace "$WORK/app.trace"
convert "oci:$IMAGES/app:latest" again --trace "$WORK/app.trace" --threads 1
diff <(jq -S .manifests "$WORK/lazy/index.json") <(jq -S .manifests "$WORK/again/index.json")

"$LAYERFS" convert -q "oci:$IMAGES/app:latest" "docker://$REGISTRY/test/app:lazy" --trace "$WORK/app.trace"
readonly SOURCE=docker://$REGISTRY/test/app:lazy
readonly INDEX=$(skopeo inspect --raw --tls-verify=false "$SOURCE")

fact "a pack that cannot be made leaves the tag, and the pack that it names, as they are"
printf 'layerfs trace 1\nread /gone 0\n' >"$WORK/gone.trace"
for destination in "oci:$WORK/again:latest" "$SOURCE"; do
  before=$(skopeo inspect --raw --tls-verify=false "$destination")
  expect_error 2 "read nothing that the image has" "$LAYERFS" convert -q --trace "$WORK/gone.trace" "oci:$IMAGES/app:latest" "$destination"
  expect_error 1 "before it was ready" "$LAYERFS" convert -q --record --ready NEVER "oci:$IMAGES/app:latest" "$destination"
  expect_equal "the tag" "$before" "$(skopeo inspect --raw --tls-verify=false "$destination")"
done
expect_error 2 "are for --record" "$LAYERFS" convert -q --trace "$WORK/app.trace" --ready x "oci:$IMAGES/app:latest" "oci:$WORK/never:latest"
expect_error 2 "read nothing" "$LAYERFS" convert -q --trace "$WORK/gone.trace" "oci:$IMAGES/app:latest" "oci:$WORK/never:latest"
[[ ! -e $WORK/never ]] || fail "a layout without an image is left"

fact "the artifact is in the image index, inline, for no platform"
expect_equal "entries" 2 "$(jq '.manifests | length' <<<"$INDEX")"
readonly ENTRY=$(jq -c '.manifests[1]' <<<"$INDEX")
expect_equal "artifact type" application/vnd.layerfs.startup.v1 "$(jq -r .artifactType <<<"$ENTRY")"
expect_equal "platform" unknown/unknown "$(jq -r '.platform | .os + "/" + .architecture' <<<"$ENTRY")"
expect_equal "image" "$(jq -r '.manifests[0].digest' <<<"$INDEX")" "$(jq -r '.annotations["io.layerfs.startup.image"]' <<<"$ENTRY")"
expect_equal "inline manifest" "$(jq -r .digest <<<"$ENTRY")" "sha256:$(jq -r .data <<<"$ENTRY" | base64 -d | sha256sum | cut -d' ' -f1)"

fact "a start by the pack asks for the index and the pack; chunks that the recording has left in the cache are used"
forget_requests
mount_image "$SOURCE" "$M" --fill off
chroot "$M" /usr/bin/python3 /app/main.py | grep '"ready"' >/dev/null
sleep 0.2
requests GET /v2/ | sed 's/^/  /'
(($(requests GET /manifests/ | wc -l) == 1)) || fail "more than the image index was asked for"
(($(requests GET /blobs/ | wc -l) <= 2)) || fail "more blobs were asked for than the pack"
expect_equal "the pack" through "$("$LAYERFS" stat --json "$M" | jq -r .startup.state)"
expect_equal "reads that overtook the pack" 0 "$("$LAYERFS" stat --json "$M" | jq .startup.overtakingReads)"
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"

fact "the second start asks for no content"
forget_requests
mount_image "$SOURCE" "$M" --fill off
chroot "$M" /usr/bin/python3 /app/main.py | grep '"ready"' >/dev/null
expect_equal "blob requests" 0 "$(requests GET /blobs/ | wc -l)"
unmount_image "$M"

fact "a cold start out of a writable mount waits for the pack, too, and overtakes it nowhere"
forget_cache
forget_requests
mount_image "$SOURCE" "$M" --container-layer "$WORK/layer" --fill off
chroot "$M" /usr/bin/python3 /app/main.py | grep '"ready"' >/dev/null
expect_equal "reads that overtook the pack" 0 "$("$LAYERFS" stat --json "$M" | jq .startup.overtakingReads)"
unmount_image "$M"

fact "a writable mount's pages are pushed where the image has them: nobody asks for them"
mount_image "$SOURCE" "$M" --container-layer "$WORK/layer" --fill off --trace-log "$WORK/reads"
stat "$M/app/main.py" "$M/app/data/noise.bin" >/dev/null
sleep 0.3
cmp "$IMAGES/app-tree/app/main.py" "$M/app/main.py"
cmp "$IMAGES/app-tree/app/data/noise.bin" "$M/app/data/noise.bin"
! grep -q '"/app/main.py"' "$WORK/reads" || fail "pages of the pack were asked for: $(grep /app/main.py "$WORK/reads")"

fact "what has changed is never pushed over"
cp "$IMAGES/app-tree/app/data/noise.bin" "$WORK/noise"
for file in "$M/app/data/noise.bin" "$WORK/noise"; do
  printf changed | dd of="$file" bs=1 seek=5000 conv=notrunc status=none
done
cmp "$WORK/noise" "$M/app/data/noise.bin"
truncate -s 7 "$M/app/main.py"
expect_equal "size" 7 "$(stat -c %s "$M/app/main.py")"
unmount_image "$M"
mount_image "$SOURCE" "$M" --container-layer "$WORK/layer" --fill off
stat "$M/app/main.py" "$M/app/data/noise.bin" >/dev/null
sleep 0.3
cmp "$WORK/noise" "$M/app/data/noise.bin"
expect_equal "size" 7 "$(stat -c %s "$M/app/main.py")"
unmount_image "$M"

fact "a page between pages that are read comes along, behind them; a start that touches it does not wait"
printf 'layerfs trace 1\nread /usr/bin/perl 0-39 41-59 65-300\n' >"$WORK/gap.trace"
expect_equal "bytes of gaps" 4096 "$("$LAYERFS" convert --json --trace "$WORK/gap.trace" "oci:$IMAGES/app:latest" "docker://$REGISTRY/test/gap:latest" | jq .startup.gapBytes)"
forget_cache
mount_image "docker://$REGISTRY/test/gap:latest" "$M" --fill off
pack_is_through() { [[ $("$LAYERFS" stat --json "$M" | jq -r .startup.state) == through ]]; }
wait_until 20 pack_is_through || fail "the pack does not come: $("$LAYERFS" stat --json "$M")"
forget_requests
dd if="$M/usr/bin/perl" bs=4096 skip=40 count=1 status=none | cmp - <(dd if="$IMAGES/app-tree/usr/bin/perl" bs=4096 skip=40 count=1 status=none)
expect_equal "requests" "" "$(requests GET /v2/)"
unmount_image "$M"

fact "--no-startup mounts the same tree from the layers"
forget_cache
mount_image "$SOURCE" "$M" --no-startup --fill off
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"

fact "skopeo, podman and umoci see an ordinary image"
skopeo copy -q --src-tls-verify=false "$SOURCE" "oci:$WORK/copied:latest"
expect_equal "config" "$(manifest_of "$IMAGES/app" | jq -r .config.digest)" "$(manifest_of "$WORK/copied" | jq -r .config.digest)"
podman --root "$WORK/p" --runroot "$WORK/r" pull -q --tls-verify=false "${SOURCE#docker://}" >/dev/null
podman --root "$WORK/p" --runroot "$WORK/r" rmi -a -f >/dev/null

fact "containerd pulls it, and imports again what it exports"
start_containerd
ctr -a "$WORK/ctd/socket" images pull --plain-http "${SOURCE#docker://}" >/dev/null
ctr -a "$WORK/ctd/socket" images export "$WORK/exported.tar" "${SOURCE#docker://}"
ctr -a "$WORK/ctd/socket" images import --base-name imported "$WORK/exported.tar" >/dev/null
kill "$CONTAINERD"
wait "$CONTAINERD" || true

fact "copied to a layout, a registry and a layout again, it is the same"
for from_to in "$SOURCE oci:$WORK/all:x" "oci:$WORK/all:x docker://$REGISTRY/test/app:all" "docker://$REGISTRY/test/app:all oci:$WORK/all-again:x"; do
  skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false ${from_to}
done
diff -r "$WORK/all" "$WORK/all-again"

fact "a copy by skopeo keeps the pack, whatever that drops of the index"
skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false "$SOURCE" "docker://$REGISTRY/test/app:copied"
forget_cache
forget_requests
mount_image "docker://$REGISTRY/test/app:copied" "$M" --fill off
chroot "$M" /usr/bin/python3 /app/main.py | grep '"ready"' >/dev/null
# With nothing in the cache, what the trace names beyond the pack is fetched behind it, chunk by chunk.
(($(requests GET /blobs/ | grep -c ' 200 ') == 1)) || fail "the pack was not used: $(requests GET /blobs/)"
unmount_image "$M"

fact "an image with a pack converts again, as any other"
"$LAYERFS" convert -q "$SOURCE" "oci:$WORK/reconverted:latest"
mount_image "oci:$WORK/reconverted:latest" "$M" --fill off
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"

fact "attach leaves the image as it is, and mount --referrers uses the pack"
push "oci:$WORK/app:latest" test/app:plain
before=$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/test/app:plain" | sha256sum)
"$LAYERFS" attach "docker://$REGISTRY/test/app:plain" --trace "$WORK/app.trace"
expect_equal "the image" "$before" "$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/test/app:plain" | sha256sum)"
forget_cache
forget_requests
mount_image "docker://$REGISTRY/test/app:plain" "$M" --fill off
(($(requests GET '/referrers/|/manifests/sha256-' | wc -l) == 0)) || fail "a mount that was not told to looked for referrers"
unmount_image "$M"
forget_cache
forget_requests
mount_image "docker://$REGISTRY/test/app:plain" "$M" --referrers --fill off
chroot "$M" /usr/bin/python3 /app/main.py | grep '"ready"' >/dev/null
(($(requests GET /blobs/ | grep -c ' 200 ') == 1)) || fail "the pack was not used: $(requests GET /blobs/)"
unmount_image "$M"
config=$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/test/app:plain" | jq -r .config.digest)
packs_of_check() {
  forget_requests
  "$LAYERFS" check "$@" "docker://$REGISTRY/test/app:plain" | grep -q " 0 findings" || fail "a sound pack is not"
  requests GET /blobs/ | grep ' 200 ' | grep -vc "$config" || true
}
expect_equal "packs that check reads" 0 "$(packs_of_check)"
expect_equal "packs that check --referrers reads" 1 "$(packs_of_check --referrers)"

fact "packs that are attached at the same time are all listed"
push "oci:$WORK/app:latest" test/many:v1
attaching=()
for i in 1 2 3 4 5; do
  printf 'layerfs trace 1\nread /usr/bin/python3.11 0-%d\n' "$i" >"$WORK/many-$i.trace"
  LAYERFS_CACHE=$WORK/many-$i "$LAYERFS" attach "docker://$REGISTRY/test/many:v1" --trace "$WORK/many-$i.trace" >/dev/null &
  attaching+=($!)
done
for process in "${attaching[@]}"; do wait "$process" || fail "an attach beside others fails"; done
many=$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/test/many:v1" | sha256sum | cut -d' ' -f1)
expect_equal "packs listed" 5 "$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/test/many:sha256-$many" | jq '.manifests | length')"

fact "of several packs that were attached the newest counts, in whatever order they are listed"
plain=docker://$REGISTRY/test/app:plain
referrers=http://$REGISTRY/v2/test/app/manifests/$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "$plain" | tr : -)
printf 'layerfs trace 1\nread /app/main.py 0\nread /gone 0\n' >"$WORK/small.trace"
list_of() { curl -sf "$referrers" -H "Accept: $INDEX_TYPE"; }
# The pack of the manifest DIGEST.
pack_of() { curl -sf "http://$REGISTRY/v2/test/app/manifests/$1" -H "Accept: $MANIFEST_TYPE" | jq -r '.layers[0].digest'; }
# expect_used PACK: by a cold mount, however the list is sorted.
expect_used() {
  local order
  for order in . '.manifests |= reverse'; do
    list_of | jq -c "$order" >"$WORK/list"
    curl -sf -X PUT -H "Content-Type: $INDEX_TYPE" --data-binary @"$WORK/list" "$referrers"
    forget_cache
    forget_requests
    mount_image "$plain" "$M" --referrers --fill off
    [[ -n $(requests GET "/blobs/$1") ]] || fail "another pack was used: $(requests GET /blobs/)"
    unmount_image "$M"
  done
}
first=$(list_of | jq -r '.manifests[0].digest')
said=$("$LAYERFS" attach "$plain" --trace "$WORK/small.trace" 2>&1)
expect_contains "attach" "$said" "1 paths of the traces are not in the image"
expect_contains "attach" "$said" "it supersedes ${first:0:19}"
second=$(list_of | jq -r --arg first "$first" '.manifests[] | select(.digest != $first) | .digest')
expect_used "$(pack_of "$second")"
said=$("$LAYERFS" attach "$plain" --trace "$WORK/small.trace")
expect_contains "attach" "$said" "${second:0:19}  startup pack of"
expect_contains "attach" "$said" "is attached already"
said=$("$LAYERFS" attach "$plain" --trace "$WORK/app.trace")
expect_contains "attach" "$said" "it supersedes ${second:0:19}"
expect_used "$(pack_of "$first")"

fact "check --referrers tells of a broken pack that was attached"
path=$(find "$WORK/registry" -path "*/$(pack_of "$first" | cut -d: -f2)/data")
cp "$path" "$WORK/pack.whole"
printf '\xa5\x5a\xa5' | dd of="$path" bs=1 seek=40 conv=notrunc status=none
"$LAYERFS" check --data "$plain" | grep -q " 0 findings" || fail "a pack is checked that nobody asked for"
expect_error 5 "startup pack" "$LAYERFS" check --data --referrers "$plain"
cp "$WORK/pack.whole" "$path"
"$LAYERFS" check --data --referrers "$plain" | grep -q " 0 findings" || fail "a sound pack is not"

fact "check compares the pack with the layers"
"$LAYERFS" check "$SOURCE" | grep -q " 0 findings" || fail "a sound pack is not"
"$LAYERFS" check --data "$SOURCE" | grep -q " 0 findings" || fail "a sound pack's pages are not"

fact "a pack whose bytes are not what was said is not used, and the mount goes on without"
blob=$(jq -r .data <<<"$ENTRY" | base64 -d | jq -r '.layers[0].digest')
path=$(find "$WORK/registry" -path "*/${blob#sha256:}/data")
size=$(stat -c %s "$path")
for at in 40 $((size / 2)) $((size - 3)); do
  cp "$path" "$WORK/pack.whole"
  printf '\xa5\x5a\xa5' | dd of="$path" bs=1 seek="$at" conv=notrunc status=none
  forget_cache
  mount_image "$SOURCE" "$M" --log "$WORK/mount.log" --fill off
  chroot "$M" /usr/bin/python3 /app/main.py | grep '"ready"' >/dev/null
  expect_same_tree "$IMAGES/app-tree/app" "$M/app"
  ((at != size / 2)) || expect_same_tree "$IMAGES/app-tree" "$M"
  unmount_image "$M"
  grep -q "startup pack" "$WORK/mount.log" || fail "nothing was said about the broken pack (byte $at)"
  expect_error 5 "startup pack" "$LAYERFS" check --data "$SOURCE"
  : >"$WORK/mount.log"
  cp "$WORK/pack.whole" "$path"
done

fact "a pack that the registry does not give out holds the mount up for a moment only"
"$E2E/rounds_proxy.py" "$REGISTRY" "$WORK/rounds" 0.01 "$blob" >"$WORK/port" &
PIDS+=($!)
wait_until 20 test -s "$WORK/port" || fail "the proxy does not start"
forget_cache
begin=$SECONDS
mount_image "docker://127.0.0.1:$(cat "$WORK/port")/${SOURCE#docker://*/}" "$M" --fill off
((SECONDS - begin < 20)) || fail "the mount took $((SECONDS - begin)) s"
expect_same_tree "$IMAGES/app-tree/app" "$M/app"
unmount_image "$M"

fact "what is recorded runs confined: an image's links lead nowhere else, and the machine's devices are not there"
mkdir "$WORK/outside"
mount_image "oci:$WORK/app:latest" "$M" --container-layer "$WORK/evil-layer"
mv "$M/etc" "$M/etc-was"
ln -s "$WORK/outside" "$M/etc"
unmount_image "$M"
"$LAYERFS" commit -q "$WORK/evil-layer" "oci:$WORK/evil:latest" >/dev/null
# shellcheck disable=SC2016
"$LAYERFS" record "oci:$WORK/evil:latest" -o "$WORK/evil.trace" -- /bin/sh -ec '
  [ "$(cd /dev && echo *)" = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero" ]
  echo mine >/dev/shm/layerfs-test
  ! echo 1 2>/dev/null >/proc/sys/vm/drop_caches
  ! mknod /tmp/disk b 254 0 2>/dev/null
  ! mount -t tmpfs none /tmp 2>/dev/null
  grep -q "^CapEff:.*00000000a00425fb" /proc/self/status'
expect_equal "what the recording has made outside" "" "$(ls -A "$WORK/outside")"
[[ ! -e /dev/shm/layerfs-test ]] || fail "the recording wrote into the machine's /dev/shm"
