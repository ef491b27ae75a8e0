#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpacked by others, a converted image is the tree that its source is: every mode, owner, time,
# xattr, ACL, link, device and byte. umoci is asked as the specification's own tool, Podman because
# it reads zstd layers itself.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require umoci podman jq zstd

convert "oci:$IMAGES/app:latest" app

fact "umoci unpacks the same tree from an image that was converted to gzip, and layerfs mounts it"
convert "oci:$IMAGES/app:latest" gzip --compression gzip
umoci unpack --image "$WORK/gzip:latest" "$WORK/gzip-bundle"
expect_same_tree "$IMAGES/app-tree" "$WORK/gzip-bundle/rootfs"
mount_image "oci:$WORK/gzip:latest" "$WORK/gzip-mount"
expect_same_tree "$IMAGES/app-tree" "$WORK/gzip-mount"
unmount_image "$WORK/gzip-mount"
"$LAYERFS" check --data "oci:$WORK/gzip:latest" >/dev/null

fact "umoci unpacks the same tree from zstd"
# Before 0.5 umoci refuses zstd layers; their tars, as decompressed by zstd, are what counts.
reencode "$WORK/app" "$WORK/as-gzip" gzip
umoci unpack --image "$WORK/as-gzip:latest" "$WORK/bundle"
expect_same_tree "$IMAGES/app-tree" "$WORK/bundle/rootfs"

fact "Podman stores the same tree as from the source"
# A store each, or the second pull would take the first one's layers. Podman does not keep the times
# of directories that several layers have.
pulled() {
  local podman=(podman --root "$WORK/$1" --runroot "$WORK/run" --storage-driver overlay)
  "${podman[@]}" image mount "$("${podman[@]}" pull -q "$2")"
}
expected=$(pulled source "oci:$IMAGES/app:latest")
actual=$(pulled converted "oci:$WORK/app:latest")
expect_same_tree "$expected" "$actual" --ignore-directory-times
