#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Malformed images end in one clear error that names the blob, and leave nothing at the destination.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require jq
init_layout "$WORK/good"
mkdir -p "$WORK/tree/dir"
noise() { head -c "$1" /dev/zero | openssl enc -aes-128-ctr -K "$(printf '%032d' 7)" -iv "$(printf '%032d' 0)"; }
noise 300000 >"$WORK/tree/dir/file"
tar -C "$WORK/tree" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$WORK/layer.tar" .

# image NAME CODEC LAYER_FILE TAR: a layout with one layer whose bytes are the file's, whatever they are.
image() {
  local dir=$WORK/$1 digest size layer diff_id
  init_layout "$dir"
  cp "$3" "$dir/layer.tmp"
  read -r digest size < <(put_blob "$dir" "$dir/layer.tmp")
  diff_id=sha256:$(sha256sum <"$4" | cut -d' ' -f1)
  layer=$(jq -nc --arg type "$(layer_type "$2")" --arg digest "$digest" --argjson size "$size" --arg diff_id "$diff_id" \
    '{layer: {mediaType: $type, digest: $digest, size: $size}, diff_id: $diff_id}')
  tag_layout "$dir" latest "$(put_image "$dir" amd64 '{}' <<<"$layer")"
  echo "${digest#sha256:}"
}

# refused NAME TEXT: conversion of WORK/NAME says TEXT and leaves nothing.
refused() {
  rm -rf "$WORK/out"
  expect_error '[1-9][0-9]*' "$2" "$LAYERFS" convert "oci:$WORK/$1:latest" "oci:$WORK/out:latest"
  [[ ! -e $WORK/out ]] || fail "$1: $WORK/out is left over"
}

gzip -n <"$WORK/layer.tar" >"$WORK/layer.gz"
zstd -q <"$WORK/layer.tar" >"$WORK/layer.zst"

fact "the sound image converts (so that what follows fails for its own reason)"
image sound gzip "$WORK/layer.gz" "$WORK/layer.tar" >/dev/null
"$LAYERFS" convert "oci:$WORK/sound:latest" "oci:$WORK/sound-out:latest"

fact "trailing garbage behind a gzip stream"
{ cat "$WORK/layer.gz"; echo garbage; } >"$WORK/bytes"
refused trailing "$(image trailing gzip "$WORK/bytes" "$WORK/layer.tar" | cut -c1-12)"

fact "a truncated gzip stream and a truncated zstd stream"
head -c 200000 "$WORK/layer.gz" >"$WORK/bytes"
refused short-gzip "$(image short-gzip gzip "$WORK/bytes" "$WORK/layer.tar" | cut -c1-12)"
head -c 200000 "$WORK/layer.zst" >"$WORK/bytes"
refused short-zstd "$(image short-zstd zstd "$WORK/bytes" "$WORK/layer.tar" | cut -c1-12)"

fact "a truncated tar"
head -c 200000 "$WORK/layer.tar" >"$WORK/bytes"
refused short-tar "$(image short-tar none "$WORK/bytes" "$WORK/bytes" | cut -c1-12)"

fact "a tar header whose checksum is off"
cp "$WORK/layer.tar" "$WORK/bytes"
printf 'X' | dd of="$WORK/bytes" bs=1 seek=513 conv=notrunc status=none
refused checksum "$(image checksum none "$WORK/bytes" "$WORK/bytes" | cut -c1-12)"

fact "bytes that are not what the descriptor says"
digest=$(image wrong-digest gzip "$WORK/layer.gz" "$WORK/layer.tar")
{ cat "$WORK/layer.gz" | head -c -1; printf '\1'; } >"$WORK/wrong-digest/blobs/sha256/$digest"
refused wrong-digest "${digest:0:12}"

fact "a diff ID that is not the tar's"
image wrong-diff gzip "$WORK/layer.gz" /etc/hostname >/dev/null
refused wrong-diff "diff"

fact "names that leave the image"
python3 - "$WORK" <<'PY'
import io, sys, tarfile
def write(name, *members):
    with tarfile.open(f"{sys.argv[1]}/{name}.tar", "w") as tar:
        for member, target, pax in members:
            info = tarfile.TarInfo(member)
            info.pax_headers = pax
            if target:
                info.type, info.linkname = tarfile.SYMTYPE, target
            else:
                info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
write("dotdot", ("../escape", "", {}))
write("inner", ("a/../../escape", "", {}))
write("circle", ("a", "b", {}), ("b", "a", {}), ("a/f", "", {}))
write("xattr", ("f", "", {"SCHILY.xattr.user." + "n" * 251: "v"}))
write("absolute", ("/etc/x", "", {}))
PY
refused_name() { refused "$1" '\.\./'; }
for name in dotdot inner; do
  image "$name" none "$WORK/$name.tar" "$WORK/$name.tar" >/dev/null
  refused_name "$name"
done

fact "symlinks in a circle as a parent; an attribute whose name Linux does not take"
image circle none "$WORK/circle.tar" "$WORK/circle.tar" >/dev/null
refused circle "'a/f' at tar offset 1024.*circles"
image xattr none "$WORK/xattr.tar" "$WORK/xattr.tar" >/dev/null
refused xattr "user\.nnn.*255"

fact "an absolute name is one from the image's root"
image absolute none "$WORK/absolute.tar" "$WORK/absolute.tar" >/dev/null
"$LAYERFS" convert "oci:$WORK/absolute:latest" "oci:$WORK/absolute-out:latest"
"$LAYERFS" cat "oci:$WORK/absolute-out:latest" /etc/x | cmp - <(printf x)

fact "a missing layer blob"
digest=$(image missing gzip "$WORK/layer.gz" "$WORK/layer.tar")
rm "$WORK/missing/blobs/sha256/$digest"
refused missing "${digest:0:12}"

fact "a manifest of more than 4 MiB, and one that is no JSON"
cp -a "$WORK/sound" "$WORK/large"
manifest=$WORK/large/manifest.tmp
jq -c '. + {annotations: {x: ("x" * 4300000)}}' "$(blob "$WORK/large" "$(only_manifest "$WORK/large")")" >"$manifest"
replace_manifest() {
  local digest size
  read -r digest size < <(put_blob "$1" "$2")
  jq -c --arg digest "$digest" --argjson size "$size" '.manifests[0] += {digest: $digest, size: $size}' "$1/index.json" >"$1/index.tmp"
  mv "$1/index.tmp" "$1/index.json"
}
replace_manifest "$WORK/large" "$manifest"
refused large "4 MiB|4194304|too large|larger"
cp -a "$WORK/sound" "$WORK/nojson"
echo '{"schemaVersion": 2, "layers": [' >"$WORK/nojson/manifest.tmp"
replace_manifest "$WORK/nojson" "$WORK/nojson/manifest.tmp"
refused nojson "$(only_manifest "$WORK/nojson" | cut -c8-19)"

fact "a gzip bomb is bounded by the descriptor's promise or by the disk, not by memory"
head -c 1073741824 /dev/zero | gzip -n >"$WORK/bomb.gz"
image bomb gzip "$WORK/bomb.gz" "$WORK/layer.tar" >/dev/null
rm -rf "$WORK/out"
(
  ulimit -v 2000000 # KiB of address space
  expect_error '[1-9][0-9]*' "" "$LAYERFS" convert "oci:$WORK/bomb:latest" "oci:$WORK/out:latest"
)

fact "a zstd bomb likewise"
head -c 1073741824 /dev/zero | zstd -q >"$WORK/bomb.zst"
image zstd-bomb zstd "$WORK/bomb.zst" "$WORK/layer.tar" >/dev/null
rm -rf "$WORK/out"
(
  ulimit -v 2000000 # KiB of address space
  expect_error '[1-9][0-9]*' "" "$LAYERFS" convert "oci:$WORK/zstd-bomb:latest" "oci:$WORK/out:latest"
)

# Converted images whose annotations lie. What is asked of them must end in an error, in little memory.
mkdir -p "$WORK/tree/other"
noise 200000 >"$WORK/tree/other/file"
tar -C "$WORK/tree" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$WORK/upper.tar" ./other
init_layout "$WORK/two"
tag_layout "$WORK/two" latest "$(for tar in layer upper; do put_layer "$WORK/two" gzip "$WORK/$tar.tar"; done | put_image "$WORK/two" amd64 '{}')"
convert "oci:$WORK/two:latest" honest
"$LAYERFS" cat "oci:$WORK/honest:latest" /dir/file | cmp - "$WORK/tree/dir/file"

# forged NAME TEXT JQ: the converted image, its manifest changed by JQ, is refused with TEXT.
forged() {
  rm -rf "$WORK/forged" "$WORK/cache"
  cp -a "$WORK/honest" "$WORK/forged"
  manifest_of "$WORK/honest" | jq -c "$3" >"$WORK/forged/manifest.tmp"
  replace_manifest "$WORK/forged" "$WORK/forged/manifest.tmp"
  (
    ulimit -v 2000000
    for command in "ls -l oci:$WORK/forged:latest /" "cat oci:$WORK/forged:latest /dir/file" "check oci:$WORK/forged:latest"; do
      expect_error "[1-9][0-9]*" "$2" "$LAYERFS" $command
    done
  ) || fail "$1"
}
position() { echo ".layers[0].annotations[\"io.layerfs.index.position\"] = \"$1\""; }
honest=$(manifest_of "$WORK/honest" | jq -r '.layers[0].annotations["io.layerfs.index.position"]')
IFS=: read -r offset stored size <<<"$honest"

fact "annotations that point outside of the blob, at other bytes, at the wrong size, or nowhere"
forged outside "index.position" "$(position "99999999:$stored:$size")"
forged beyond-64-bits "index.position" "$(position "18446744073709551615:$stored:$size")"
forged other-bytes "(layer|blob) sha256" "$(position "0:$stored:$size")"
forged one-byte-off "(layer|blob) sha256" "$(position "$offset:$((stored - 1)):$size")"
forged larger "(layer|blob) sha256" "$(position "$offset:$stored:$((size + 1))")"
forged huge "index.position" "$(position "$offset:$stored:4294967295")"
forged no-numbers "index.position" "$(position "a:b:c")"

fact "a digest that is not the index's, and the index of another layer"
forged digest "(layer|blob) sha256" '.layers[0].annotations["io.layerfs.index.digest"] = "sha256:" + ("0" * 64)'
forged no-digest "digest" 'del(.layers[0].annotations["io.layerfs.index.digest"])'
forged swapped "sha256:" '[.layers[].annotations] as $all | .layers[0].annotations = $all[1] | .layers[1].annotations = $all[0]'

fact "a layer's size that is not its blob's"
forged short "sha256:" ".layers[0].size = $offset"
forged long "sha256:" '.layers[0].size += 1000'
