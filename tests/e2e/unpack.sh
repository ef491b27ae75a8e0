#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpacked by others, a converted image is the tree that its source is: every mode, owner, time,
# xattr, ACL, link, device and byte. umoci is asked as the specification's own tool, Podman because
# it reads zstd layers itself.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require umoci podman jq zstd

convert "oci:$IMAGES/app:latest" app

fact "umoci unpacks the same tree"
# Before 0.5 umoci refuses zstd layers; their tars, as decompressed by zstd, are what counts.
reencode "$WORK/app" "$WORK/as-gzip" gzip
umoci unpack --image "$WORK/as-gzip:latest" "$WORK/bundle"
expect_same_tree "$IMAGES/app-tree" "$WORK/bundle/rootfs"

fact "Podman stores the same tree"
podman=(podman --root "$WORK/podman" --runroot "$WORK/podman-run" --storage-driver overlay)
id=$("${podman[@]}" pull -q "oci:$WORK/app:latest")
tree=$("${podman[@]}" image mount "$id")
expect_same_tree "$IMAGES/app-tree" "$tree"
"${podman[@]}" image umount "$id" >/dev/null
