#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# quickstart.sh: from a bare Debian machine to a program that runs out of an image that is not there.
# Sets the machine up, builds layerfs, builds a real image from Debian packages, pushes it to a
# registry on loopback, converts it there, mounts it with an empty cache, runs its program, and says
# what was fetched against what a pull would have moved. Needs root. Leaves build/ behind, no more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

step() { printf '\n==> %s\n' "$*"; }
run() { printf '    $ %s\n' "$*"; "$@"; }
MiB() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }

((EUID == 0)) || {
  echo "quickstart: root is needed (packages, building the image, chroot): run 'sudo tools/quickstart.sh'" >&2
  exit 3
}
[[ -c /dev/fuse ]] || {
  echo "quickstart: this machine has no /dev/fuse: load it with 'modprobe fuse', or give it to the container" >&2
  exit 3
}

step "set up"
mkdir -p build
tools/setup.sh

step "build"
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
cmake --preset release -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DLAYERFS_UNITY=ON >build/release-configure.log
cmake --build --preset release --target layerfs
PATH=$PWD/build/release/tools:$PATH

step "build an image from Debian packages: a base system, python3, an application"
tests/images/make_image.sh build/images

WORK=$(mktemp -d /var/tmp/layerfs-quickstart.XXXXXX)
PIDS=()
source tests/registry.sh
cleanup() {
  local code=$? pid
  set +e
  ! mountpoint -q "$WORK/mnt" || umount -l "$WORK/mnt"
  for pid in "${PIDS[@]}"; do kill "$pid" && wait "$pid"; done 2>/dev/null
  rm -rf --one-file-system "$WORK"
  exit "$code"
}
trap cleanup EXIT
# A cache of its own, so that nothing converted or fetched before counts.
export LAYERFS_CACHE=$WORK/cache
trap 'exit 143' TERM INT

step "start a registry and push the image"
start_registry
run skopeo copy -q --dest-tls-verify=false oci:build/images/app:latest "docker://$REGISTRY/demo/app:v1"
pull=$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/demo/app:v1" | jq '[.config.size, .layers[].size] | add')

step "convert it there"
run layerfs convert "docker://$REGISTRY/demo/app:v1" "docker://$REGISTRY/demo/app:v1-lazy"

step "mount it with an empty cache and run its program"
mkdir "$WORK/mnt"
forget_requests
run layerfs mount --fill off "docker://$REGISTRY/demo/app:v1-lazy" "$WORK/mnt"
run chroot "$WORK/mnt" /usr/bin/python3 /app/main.py
run ls "$WORK/mnt"

step "what that took"
fetched=$(bytes_sent /v2/) count=$(requests GET /v2/ | wc -l)
printf 'fetched:       %10s in %d requests (as the registry counted)\n' "$(MiB "$fetched")" "$count"
printf 'a pull moves:  %10s\n' "$(MiB "$pull")"
printf 'that is %d %% of it\n' $((fetched * 100 / pull))

step "unmount"
run layerfs umount "$WORK/mnt"
