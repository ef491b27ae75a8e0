#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# make_variants.sh [OUT_DIR]: other forms of the image that make_image.sh builds, and smaller images
# that each have one difficulty. All are OCI layouts with the tag `latest` but for the archive.
#   app-tar, app-zstd, app-multigzip   the same image, its layers in other encodings
#   app-docker.tar                     the same image as a docker-archive, named app:latest
#   app-tree                           the same image unpacked by umoci: what a mount must look like
#   platforms                          an image index: linux/amd64 the same image, linux/arm64 another
#   hardlinks                          hard links of one layer to files of a lower one
#   wide                               a directory of 100,000 entries
#   huge                               a sparse file above 4 GiB
#   deep                               127 layers
# Does nothing for what exists. Needs root.
set -euo pipefail
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$HERE/lib.sh"

# pack DIR TAR: the tree as a layer tar.
pack() {
  find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  tar -C "$1" --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --owner=0 --group=0 \
    --sort=name --sparse -cf "$2" .
}

# from_trees OUT ARCHITECTURE TREE…: an image with one tar+gzip layer for each tree.
from_trees() {
  local out=$1 architecture=$2 tree
  shift 2
  for tree in "$@"; do
    pack "$tree" "$out.tar"
    put_layer "$out" gzip "$out.tar"
    rm "$out.tar"
  done | put_image "$out" "$architecture" '{}'
}

reencode_app() { reencode "$OUT/app" "$1" "$2"; }

docker_archive() { skopeo copy -q "oci:$OUT/app:latest" "docker-archive:$1:app:latest"; }

unpacked() {
  umoci unpack --image "$OUT/app:latest" "$1.bundle"
  mv "$1.bundle/rootfs" "$1"
  rm -r "$1.bundle"
}

platforms() {
  local out=$1 tree main other digest size
  cp -a "$OUT/app" "$out"
  tree=$(mktemp -d)
  mkdir "$tree/etc" && echo arm64 >"$tree/etc/architecture"
  main=$(jq -c '.manifests[0] | del(.annotations) + {platform: {architecture: "amd64", os: "linux"}}' "$OUT/app/index.json")
  other=$(from_trees "$out" arm64 "$tree" | jq -c '.platform.variant = "v8"')
  jq -nc --arg type "$INDEX_TYPE" --argjson main "$main" --argjson other "$other" \
    '{schemaVersion: 2, mediaType: $type, manifests: [$main, $other]}' >"$out/index.tmp"
  read -r digest size < <(put_blob "$out" "$out/index.tmp")
  tag_layout "$out" latest "$(jq -nc --arg type "$INDEX_TYPE" --arg digest "$digest" --argjson size "$size" \
    '{mediaType: $type, digest: $digest, size: $size}')"
  rm -r "$tree"
}

# The upper layer's tar names members of the lower one as link targets, which tar itself writes only
# where it packs both: so both are packed and the lower ones cut out again.
hardlinks() {
  local out=$1 trees
  trees=$(mktemp -d)
  init_layout "$out"
  mkdir -p "$trees"/lower/dir "$trees"/upper/new
  echo target >"$trees/lower/dir/target" && ln -s target "$trees/lower/dir/symlink"
  pack "$trees/lower" "$out.lower"
  cp -a "$trees/lower/." "$trees/upper/"
  ln "$trees/upper/dir/target" "$trees/upper/new/link"
  ln "$trees/upper/dir/symlink" "$trees/upper/new/link-to-symlink"
  pack "$trees/upper" "$out.upper"
  tar --delete -f "$out.upper" ./dir/target ./dir/symlink
  tag_layout "$out" latest "$({ put_layer "$out" gzip "$out.lower"; put_layer "$out" gzip "$out.upper"; } | put_image "$out" amd64 '{}')"
  rm -r "$trees" "$out.lower" "$out.upper"
}

one_tree() {
  local out=$1 fill=$2 tree
  tree=$(mktemp -d)
  init_layout "$out"
  "$fill" "$tree"
  tag_layout "$out" latest "$(from_trees "$out" amd64 "$tree")"
  rm -r "$tree"
}

fill_wide() { mkdir "$1/wide" && seq -f "$1/wide/entry-%06.0f" 0 99999 | xargs touch; }

fill_huge() {
  truncate -s 5G "$1/huge.bin"
  printf 'below 4 GiB' | dd of="$1/huge.bin" bs=1 seek=1000 conv=notrunc status=none
  printf 'above 4 GiB' | dd of="$1/huge.bin" bs=1 seek=$((4 * 1073741824 + 4095)) conv=notrunc status=none
}

# Each layer adds one file, changes one that all share, and deletes what the layer before added.
deep() {
  local out=$1 trees i
  trees=$(mktemp -d)
  init_layout "$out"
  for ((i = 100; i < 227; i++)); do
    mkdir -p "$trees/$i/d"
    echo "$i" >"$trees/$i/d/from-$i"
    echo "$i" >"$trees/$i/shared"
    ((i == 100)) || : >"$trees/$i/d/.wh.from-$((i - 1))"
  done
  tag_layout "$out" latest "$(from_trees "$out" amd64 "$trees"/*)"
  rm -r "$trees"
}

need_root
"$HERE/make_image.sh" "$@"
readonly OUT=${1:-$HERE/../../build/images}
in_place "$OUT/app-tar" reencode_app none
in_place "$OUT/app-zstd" reencode_app zstd
in_place "$OUT/app-multigzip" reencode_app multigzip
in_place "$OUT/app-docker.tar" docker_archive
in_place "$OUT/app-tree" unpacked
in_place "$OUT/platforms" platforms
in_place "$OUT/hardlinks" hardlinks
in_place "$OUT/wide" one_tree fill_wide
in_place "$OUT/huge" one_tree fill_huge
in_place "$OUT/deep" deep
