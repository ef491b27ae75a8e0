#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# make_image.sh [OUT_DIR]: builds a real multi-layer image from Debian packages as the OCI layout
# OUT_DIR/app, tag `latest`, layers tar+gzip:
#   1. a Debian base system (mmdebstrap, variant minbase)
#   2. python3 and what it needs on top of it
#   3. an application that also deletes and replaces things and holds every kind of file
# Does nothing where the layout exists. Packages come from the machine's own mirror. Needs root.
set -euo pipefail
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$HERE/lib.sh"

# bootstrap TAR [PACKAGES]: nothing of this machine's own configuration goes in.
bootstrap() {
  local mirror codename
  read -r mirror codename < <("$HERE/../../tools/debian_mirror.sh")
  mmdebstrap --quiet --variant=minbase ${2:+--include="$2"} --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"' \
    "$codename" "$1" "deb $mirror $codename main"
}

build_app_image() {
  local out=$1 work
  work=$(mktemp -d)
  trap "rm -rf '$work'" RETURN
  bootstrap "$work/base.tar" &
  bootstrap "$work/python.tar" python3
  wait $!

  local history=(--history.created "$IMAGE_CREATED" --history.created_by)
  umoci init --layout "$out"
  umoci new --image "$out:latest"
  umoci raw add-layer --image "$out:latest" "${history[@]}" "Debian base" "$work/base.tar"

  # The second layer is what umoci finds changed once the larger system lies in place of the base.
  umoci unpack --image "$out:latest" "$work/bundle"
  find "$work/bundle/rootfs" -mindepth 1 -delete
  tar -C "$work/bundle/rootfs" --numeric-owner --xattrs --xattrs-include='*' -xpf "$work/python.tar"
  umoci repack --image "$out:latest" "${history[@]}" "python3" "$work/bundle"

  "$HERE/app_layer.sh" "$work/bundle/rootfs" "$work/app.tar"
  umoci raw add-layer --image "$out:latest" "${history[@]}" "application" "$work/app.tar"
  umoci config --image "$out:latest" --created "$IMAGE_CREATED" --no-history --config.workingdir /app \
    --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --config.cmd /usr/bin/python3 --config.cmd /app/main.py
  umoci gc --layout "$out"
  chmod -R go+rX "$out"
}

need_root
readonly OUT=${1:-$HERE/../../build/images}
mkdir -p "$OUT"
in_place "$OUT/app" build_app_image
