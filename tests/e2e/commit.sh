#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# layerfs commit and diff: every kind of change becomes a layer that layerfs, Podman and containerd
# show as the container saw it; a registry is asked for nothing that it has.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require docker-registry jq skopeo podman ctr containerd umoci
export LAYERFS_STATE=$WORK/state SOURCE_DATE_EPOCH=1700000000

start_registry
push "oci:$IMAGES/app:latest" test/app:source
"$LAYERFS" convert -q "docker://$REGISTRY/test/app:source" "docker://$REGISTRY/test/app:lazy"
readonly BASE=docker://$REGISTRY/test/app:lazy M=$WORK/mnt L=$WORK/layer

fact "changes of every kind, made through the mount"
mount_image "$BASE" "$M" --container-layer "$L"
mkdir -p "$M/new/deep"
echo added >"$M/new/deep/file"
ln "$M/new/deep/file" "$M/new/link"
ln -s deep/file "$M/new/symlink"
mkfifo "$M/new/fifo"
mknod "$M/new/null" c 1 3
printf 'x' | dd of="$M/app/data/noise.bin" bs=1 seek=5000 conv=notrunc status=none
echo appended >>"$M/app/main.py"
chmod 0700 "$M/usr/bin/python3.11"
chown 7:8 "$M/etc/hostname" 2>/dev/null || echo name >"$M/etc/hostname"
touch -d '2001-02-03 04:05:06.123456789' "$M/etc/passwd"
setfattr -n user.note -v value "$M/etc/group"
truncate -s 64M "$M/new/sparse"
printf end >>"$M/new/sparse"
rm "$M/etc/debian_version"
rm -r "$M/usr/share/doc"
mv "$M/var/lib/dpkg" "$M/var/lib/moved"
echo more >"$M/var/lib/moved/more"
rm -r "$M/app/names" && mkdir "$M/app/names" && echo only >"$M/app/names/only"
long=$(printf 'n%.0s' {1..120})
mkdir "$M/new/$long" && echo long >"$M/new/$long/$long"
printf 'é' >"$M/new/$(printf 'caf\xe9')"
unmount_image "$M"

fact "diff lists them as docker diff does"
"$LAYERFS" diff "$L" >"$WORK/diff"
for line in "A /new" "A /new/deep/file" "C /app/main.py" "D /etc/debian_version" "D /usr/share/doc" "C /usr/share" \
            "D /var/lib/dpkg" "A /var/lib/moved/status" "A /var/lib/moved/more" "C /app/names" "A /app/names/only"; do
  grep -qxF -- "$line" "$WORK/diff" || fail "diff has no '$line'"
done
! grep -q "/lib/os-release\|/usr/lib$" "$WORK/diff" || fail "diff lists what has not changed"

fact "commit moves no layer within the registry, and reads of the base what is missing only"
forget_requests
"$LAYERFS" commit -q -m "a test" -a "somebody" -c 'CMD ["/bin/cat", "/new/link"]' -c 'ENV MODE=test' \
  -c 'LABEL a=b' -c 'EXPOSE 80' -c 'USER nobody' "$L" "docker://$REGISTRY/other/app:committed" >"$WORK/digest"
readonly DONE=docker://$REGISTRY/other/app:committed
skopeo inspect --tls-verify=false --raw "$DONE" >"$WORK/manifest.json"
expect_equal "layers" 4 "$(jq '.layers | length' "$WORK/manifest.json")"
expect_equal "digest" "$(cat "$WORK/digest")" "sha256:$(sha256sum <"$WORK/manifest.json" | cut -d' ' -f1)"
base=$(skopeo inspect --tls-verify=false --raw "$BASE" | jq '[.layers[].size] | add')
(($(bytes_sent) < base / 2)) || fail "$(bytes_sent) bytes of a base of $base were fetched"

fact "config and history are right"
skopeo inspect --tls-verify=false --config --raw "$DONE" >"$WORK/config.json"
expect_equal "command" '["/bin/cat","/new/link"]' "$(jq -c .config.Cmd "$WORK/config.json")"
expect_equal "user, label, port" 'nobody b {}' "$(jq -r '"\(.config.User) \(.config.Labels.a) \(.config.ExposedPorts["80/tcp"])"' "$WORK/config.json")"
expect_equal "author and comment" "somebody a test" "$(jq -r '"\(.author) \(.history[-1].comment)"' "$WORK/config.json")"
expect_equal "time" 2023-11-14T22:13:20Z "$(jq -r .created "$WORK/config.json")"
expect_equal "diff IDs" 4 "$(jq '.rootfs.diff_ids | length' "$WORK/config.json")"
"$LAYERFS" check --data "$DONE" >/dev/null || fail "check finds fault with the committed image"

fact "the same layer gives the same image"
"$LAYERFS" commit -q -m "a test" -a "somebody" -c 'CMD ["/bin/cat", "/new/link"]' -c 'ENV MODE=test' \
  -c 'LABEL a=b' -c 'EXPOSE 80' -c 'USER nobody' "$L" "docker://$REGISTRY/other/app:again" >"$WORK/again"
expect_equal "digest" "$(cat "$WORK/digest")" "$(cat "$WORK/again")"

fact "its mount is what the container saw"
mount_image "$BASE" "$M" --container-layer "$L"
mount_image "$DONE" "$WORK/done" --cache "$WORK/cache-done"
expect_same_tree "$M" "$WORK/done"

# Podman gives directories above what it unpacks new times, and has no times before 1970.
same_parts() {
  for part in new etc app/data app/kinds app/names var/lib usr/bin usr/share; do
    expect_same_tree "$1/$part" "$WORK/done/$part" --ignore-directory-times
  done
}

fact "Podman unpacks the same tree and runs it"
podman=(podman --root "$WORK/podman" --runroot "$WORK/run" --storage-driver overlay --cgroup-manager cgroupfs)
"${podman[@]}" pull -q --tls-verify=false "$DONE" >/dev/null
unpacked=$("${podman[@]}" image mount "$REGISTRY/other/app:committed")
same_parts "$unpacked"
"${podman[@]}" image unmount "$REGISTRY/other/app:committed" >/dev/null
expect_equal "podman run" added "$("${podman[@]}" run -q --rm --runtime runc --network none \
  --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$REGISTRY/other/app:committed")"

fact "containerd unpacks the same tree and runs it"
start_containerd
"${ctr[@]}" images pull --plain-http "$REGISTRY/other/app:committed" >/dev/null
mkdir "$WORK/ctr"
"${ctr[@]}" images mount "$REGISTRY/other/app:committed" "$WORK/ctr" >/dev/null
same_parts "$WORK/ctr"
umount "$WORK/ctr"
expect_equal "ctr run" added "$("${ctr[@]}" run --rm "$REGISTRY/other/app:committed" e2e)"
unmount_image "$WORK/done"
unmount_image "$M"

fact "an image's file of several names keeps them all when one is written"
convert "oci:$IMAGES/hardlinks:latest" hardlinks
mount_image "oci:$WORK/hardlinks:latest" "$M" --container-layer "$WORK/links"
names=$(find "$M" -xdev -type f -links +1 -printf '%i %p\n' | sort | awk '{print $2; exit}')
[[ -n $names ]] || fail "the image has no hard links"
echo changed >>"$names"
cp -a "$M" "$WORK/links-seen"
"$LAYERFS" umount "$M"
"$LAYERFS" commit -q "$WORK/links" "oci:$WORK/links-image:latest" >/dev/null
mount_image "oci:$WORK/links-image:latest" "$M"
expect_same_tree "$WORK/links-seen" "$M"
unmount_image "$M"

fact "the longest names can be deleted: a whiteout is longer than any name, and umoci takes it"
longest=$(printf 'n%.0s' {1..255}) spare=$(printf 's%.0s' {1..252})
convert "oci:$IMAGES/app:latest" longest
mount_image "oci:$WORK/longest:latest" "$M" --container-layer "$WORK/longest-layer"
echo x | tee "$M/$longest" >"$M/$spare"
unmount_image "$M"
"$LAYERFS" commit -q "$WORK/longest-layer" "oci:$WORK/longest:made" >/dev/null
mount_image "oci:$WORK/longest:made" "$M" --container-layer "$WORK/longest-removed"
rm "$M/$longest" "$M/$spare"
unmount_image "$M"
"$LAYERFS" commit -q "$WORK/longest-removed" "oci:$WORK/longest:removed" >/dev/null
skopeo copy -q --dest-compress --dest-compress-format gzip "oci:$WORK/longest:removed" "oci:$WORK/longest-gzip:latest"
umoci unpack --image "$WORK/longest-gzip:latest" "$WORK/longest-bundle"
[[ -d $WORK/longest-bundle/rootfs/etc && ! -e $WORK/longest-bundle/rootfs/$longest ]] || fail "umoci reads the whiteout differently"
convert "oci:$WORK/longest-gzip:latest" longest-again
mount_image "oci:$WORK/longest-again:latest" "$M"
[[ -e $M/etc && ! -e $M/$longest && ! -e $M/$spare ]] || fail "a whiteout of a long name hides nothing"
expect_same_tree "$WORK/longest-bundle/rootfs" "$M" --ignore-directory-times
unmount_image "$M"

fact "a layout that has the base gets the new layer only; a container's name will do"
"$LAYERFS" convert -q "oci:$IMAGES/app:latest" "oci:$WORK/layout:base"
before=$(find "$WORK/layout/blobs" -type f | wc -l)
"$LAYERFS" run --name made "oci:$WORK/layout:base" sh -c 'echo by name >/by-name'
"$LAYERFS" commit -q made "oci:$WORK/layout:made" >/dev/null
expect_equal "new blobs" 3 "$(($(find "$WORK/layout/blobs" -type f | wc -l) - before))"
expect_equal "content" "by name" "$("$LAYERFS" cat "oci:$WORK/layout:made" /by-name)"
expect_equal "diff" "A /by-name" "$("$LAYERFS" diff made)"

fact "a layer that changes nothing adds no layer"
"$LAYERFS" run --name idle "oci:$WORK/layout:base" true
"$LAYERFS" commit -q -c 'USER nobody' idle "oci:$WORK/layout:idle" >/dev/null
manifest=$WORK/layout/blobs/sha256/$(jq -r '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "idle") | .digest' "$WORK/layout/index.json" | cut -d: -f2)
expect_equal "layers" 3 "$(jq '.layers | length' "$manifest")"

fact "from scratch: a layer on nothing becomes a base image, which runs here and in other tools"
mkdir -p "$M"
"$LAYERFS" mount --container-layer "$WORK/scratch-layer" scratch "$M"
mkdir -p "$M"/{bin,lib,lib64,tmp,data}
tar -C "$IMAGES/app-tree" -ch bin/echo bin/cat $(ldd "$IMAGES/app-tree/bin/cat" | grep -o '/lib[^ ]*' | sed 's,^/,,') | tar -C "$M" -x
echo base >"$M/data/file"
ln "$M/data/file" "$M/data/link"
rm "$M/data/file" && echo again >"$M/data/file"
setfattr -n user.note -v value "$M/data/file"
chmod 4755 "$M/bin/echo"
truncate -s 8M "$M/data/sparse" && printf end >>"$M/data/sparse"
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$WORK/s" && cp -a "$WORK/s" "$M/data/socket"
cp -a "$M" "$WORK/scratch-seen"
# One that grants nothing, and that nobody can read.
setfattr -n security.capability "$M/data/file"
rm "$WORK/scratch-seen/data/socket" && touch -r "$M/data" "$WORK/scratch-seen/data"
expect_error 1 "in use|busy" "$LAYERFS" commit "$WORK/scratch-layer" "oci:$WORK/never:latest"
unmount_image "$M"
"$LAYERFS" diff "$WORK/scratch-layer" >"$WORK/diff"
grep -qxF "A /data/link" "$WORK/diff" && ! grep -q "^[CD]" "$WORK/diff" || fail "diff of a layer on nothing: $(cat "$WORK/diff")"
"$LAYERFS" commit -q -c 'CMD ["/bin/cat", "/data/link"]' "$WORK/scratch-layer" "oci:$WORK/scratch:latest" 2>"$WORK/notes" >/dev/null
expect_contains "notes" "$(cat "$WORK/notes")" "socket"
"$LAYERFS" check --data "oci:$WORK/scratch:latest" >/dev/null
expect_equal "layers" 1 "$(manifest_of "$WORK/scratch" | jq '.layers | length')"
mount_image "oci:$WORK/scratch:latest" "$M"
expect_same_tree "$WORK/scratch-seen" "$M"
unmount_image "$M"
expect_equal "run" base "$("$LAYERFS" run --rm "oci:$WORK/scratch:latest")"
expect_error 2 "belongs to no image" "$LAYERFS" mount --container-layer "$WORK/scratch-layer" "$BASE" "$M"

fact "umoci unpacks the gzip form of it, and sees the same tree"
LAYERFS_CACHE=$WORK/memo-gzip "$LAYERFS" convert -q --compression gzip "oci:$WORK/scratch:latest" "oci:$WORK/scratch-gzip:latest"
umoci unpack --image "$WORK/scratch-gzip:latest" "$WORK/unpacked" >/dev/null 2>&1
expect_same_tree "$WORK/scratch-seen" "$WORK/unpacked/rootfs" --ignore-directory-times

fact "from one layout to another, and within a registry where nothing is moved that it has"
"$LAYERFS" commit -q made "oci:$WORK/elsewhere:made" >/dev/null
expect_equal "content" "by name" "$("$LAYERFS" cat "oci:$WORK/elsewhere:made" /by-name)"
"$LAYERFS" check --data "oci:$WORK/elsewhere:made" >/dev/null
"$LAYERFS" run --name there "$BASE" sh -c 'echo small >/small'
forget_requests
"$LAYERFS" commit -q there "docker://$REGISTRY/test/app:small" >/dev/null
expect_equal "blobs read" 0 "$(requests GET /blobs/ | wc -l)"
expect_equal "blobs pushed" 2 "$(requests PUT /blobs/ | wc -l)"
expect_equal "content" small "$("$LAYERFS" cat "docker://$REGISTRY/test/app:small" /small)"

# But for a directory that is removed and made again, of which Podman says only that it is deleted.
fact "diff is podman's, change for change"
readonly CHANGES='mkdir /new && echo x >/new/file; echo x >>/etc/passwd; rm /etc/debian_version; rm -r /usr/share/doc;
  chmod 700 /srv; touch -d 2001-01-01 /etc/group; ln -s x /etc/link; mkdir -p /a/b/c'
"$LAYERFS" run --name changed "$BASE" sh -c "$CHANGES"
"${podman[@]}" pull -q --tls-verify=false "$BASE" >/dev/null
"${podman[@]}" run -q --name changed --runtime runc --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \
  "$REGISTRY/test/app:lazy" sh -c "$CHANGES"
diff <("${podman[@]}" diff changed | grep -v ' /\(run\|etc/mtab\|run/.*\)$' | sort) <("$LAYERFS" diff changed | sort) ||
  fail "the lists differ"
"${podman[@]}" rm -f changed >/dev/null

fact "what is wrong is said"
mount_image "$BASE" "$M" --container-layer "$WORK/whiteouts"
mkdir "$M/app/.wh.none"
unmount_image "$M"
"$LAYERFS" diff "$WORK/whiteouts" | grep -xF "A /app/.wh.none" >/dev/null || fail "diff leaves out .wh.none"
expect_error 4 "/app/.wh.none.*rename or remove" "$LAYERFS" commit "$WORK/whiteouts" "oci:$WORK/never:latest"
expect_error 2 "FROM" "$LAYERFS" commit -c 'FROM x' made "oci:$WORK/layout:bad"
expect_error 3 "no container layer|there is none|not a container layer|No such" "$LAYERFS" commit ./nowhere "oci:$WORK/layout:bad"
