#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Other people's images: layers as tools of thirty years wrote them, mounted and compared with what
# umoci (or, where it refuses them, tar) unpacks of the same image; sources in other lazy formats; and
# what looks like an image and is none.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require umoci jq python3 skopeo
readonly M=$WORK/mnt
readonly ODD_LAYERS=$E2E/../images/odd_layers.py
mkdir "$WORK/tars"
"$ODD_LAYERS" "$WORK/tars"

# from_tars DIR TAR…: an image with these layers.
from_tars() {
  local dir=$1 tar
  shift
  init_layout "$dir"
  tag_layout "$dir" latest "$(for tar; do put_layer "$dir" gzip "$tar"; done | put_image "$dir" amd64 '{}')"
}

# unpack NAME DIR: what another tool makes of the image.
unpack() {
  case $1 in
    # umoci knows no global headers, no sparse files of old GNU tar and no contiguous files.
    global-header | sparse | contiguous)
      mkdir "$2"
      tar -C "$2" --numeric-owner -xpf "$WORK/tars/$1.0.tar"
      touch -d @0 "$2"
      ;;
    *)
      umoci unpack --image "$WORK/$1-source:latest" "$WORK/bundle"
      mv "$WORK/bundle/rootfs" "$2"
      rm -r "$WORK/bundle"
      ;;
  esac
  case $1 in
    # Layers' readers pass over global headers; tar takes the time in this one for every file's.
    global-header) touch -d @1600000000 "$2"/[ab] && touch -d @0 "$2" ;;
    # It removes what the directory hides after it has set the directory's time.
    opaque-last) touch -d @1600000000 "$2/d/sub" ;;
    # Directories that no layer has get the time of unpacking from it, and 0 from layerfs.
    spellings) touch -d @0 "$2"/no "$2"/no/parent "$2"/no/parent/at && touch -d @1600000000 "$2" ;;
    # Go's tar takes an attribute of no bytes for one that is taken back; GNU's and BSD's set it.
    xattrs) setfattr -n user.empty "$2/schily" ;;
  esac
}

for first in "$WORK"/tars/*.0.tar; do
  name=$(basename "$first" .0.tar)
  fact "layers: $name"
  from_tars "$WORK/$name-source" "$WORK/tars/$name".*.tar
  unpack "$name" "$WORK/expected"
  convert "oci:$WORK/$name-source:latest" "$name"
  mount_image "oci:$WORK/$name:latest" "$M"
  expect_same_tree "$WORK/expected" "$M"
  unmount_image "$M"
  rm -rf --one-file-system "$WORK/expected"
done

fact "what a container layer cannot take over is refused, and stays: a 0/0 device, a directory whose path is too long a mark"
mkdir -p "$WORK/awkward/d" && mknod "$WORK/awkward/zero" c 0 0
long=$(printf '%0200d' 0)
(cd "$WORK/awkward" && for ((i = 0; i < 21; i++)); do mkdir "$long" && cd "$long"; done)
tar -C "$WORK/awkward" -cf "$WORK/awkward.tar" .
from_tars "$WORK/awkward-image" "$WORK/awkward.tar"
convert "oci:$WORK/awkward-image:latest" awkward
mount_image "oci:$WORK/awkward:latest" "$M" --container-layer "$WORK/awkward-layer"
expect_error 1 "not permitted" chmod 600 "$M/zero"
expect_error 1 "not permitted" mv "$M/zero" "$M/d/zero"
(cd "$M" && for ((i = 0; i < 20; i++)); do cd -P "$long"; done && mv "$long" moved && rmdir moved) || fail "mv of a directory far down"
unmount_image "$M"
mount_image "oci:$WORK/awkward:latest" "$M" --container-layer "$WORK/awkward-layer"
[[ -c $M/zero ]] || fail "the device is gone"
unmount_image "$M"

fact "a hole of exabytes: it is read where it has data, and the fill passes over it"
python3 - "$WORK/hole.tar" <<'PY'
import io, sys, tarfile
real_size = (1 << 62) + 3
with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT) as tar:
    info = tarfile.TarInfo("GNUSparseFile.0/hole")
    head = b"2\n0\n5\n%d\n3\n" % (1 << 62)
    content = head.ljust(512, b"\0") + b"begin" + b"end"
    info.size = len(content)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole",
                        "GNU.sparse.realsize": str(real_size)}
    tar.addfile(info, io.BytesIO(content))
PY
from_tars "$WORK/hole-source" "$WORK/hole.tar"
convert "oci:$WORK/hole-source:latest" hole
mount_image "oci:$WORK/hole:latest" "$M" --fill full --cache "$WORK/hole-cache"
expect_equal "its size" $(((1 << 62) + 3)) "$(stat -c %s "$M/hole")"
expect_equal "its end" end "$(tail -c 3 "$M/hole")"
is_filled() { "$LAYERFS" cache stat --json --cache "$WORK/hole-cache" | jq -e '.images[0].complete' >/dev/null; }
wait_until 20 is_filled || fail "the fill does not end"
unmount_image "$M"

# same_as_hardlinks SOURCE NAME: the source converts to what the image `hardlinks` converts to.
same_as_hardlinks() {
  convert "$1" "$2"
  expect_equal "$2: layers" "$(manifest_of "$WORK/reference" | jq -c '[.layers[].digest]')" "$(manifest_of "$WORK/$2" | jq -c '[.layers[].digest]')"
}
convert "oci:$IMAGES/hardlinks:latest" reference

fact "docker save before 1.10 and since 25: layers behind links; an archive that is a layout too, also zipped"
skopeo copy -q "oci:$IMAGES/hardlinks:latest" "docker-archive:$WORK/saved.tar:a:b"
mkdir "$WORK/saved"
tar -C "$WORK/saved" -xf "$WORK/saved.tar"
find "$WORK/saved" -type l -delete
position=0
mkdir "$WORK/saved/links"
while read -r layer; do
  mkdir "$WORK/saved/v1-$position" && mv "$WORK/saved/$layer" "$WORK/saved/v1-$position/layer.tar"
  ln -s "../v1-$position/layer.tar" "$WORK/saved/links/link-$position.tar"
  ((++position))
done < <(jq -r '.[0].Layers[]' "$WORK/saved/manifest.json")
jq -c '.[0].Layers = ["links/link-0.tar", "v1-1/layer.tar"]' "$WORK/saved/manifest.json" >"$WORK/saved/manifest.tmp"
mv "$WORK/saved/manifest.tmp" "$WORK/saved/manifest.json"
tar -C "$WORK/saved" -cf "$WORK/old.tar" .
same_as_hardlinks "docker-archive:$WORK/old.tar" old-archive
cp -a "$IMAGES/hardlinks" "$WORK/new"
manifest_of "$WORK/new" | jq -c '[{Config: .config.digest, RepoTags: ["a:b"], Layers: [.layers[].digest]}]' |
  sed 's#sha256:#blobs/sha256/#g' >"$WORK/new/manifest.json"
tar -C "$WORK/new" -cf "$WORK/new.tar" oci-layout index.json manifest.json blobs
same_as_hardlinks "docker-archive:$WORK/new.tar" new-archive
gzip -k "$WORK/new.tar"
same_as_hardlinks "docker-archive:$WORK/new.tar.gz" zipped-archive

fact "a zstd:chunked image, as Podman and skopeo write it"
# Of a tar without padding, because old skopeo loses that, and with it the diff ID.
reencode "$WORK/type-changes-source" "$WORK/plain" none
skopeo copy -q --dest-compress-format zstd:chunked "oci:$WORK/plain:latest" "oci:$WORK/chunked:latest"
expect_contains "its annotations" "$(manifest_of "$WORK/chunked")" io.containers.zstd-chunked
convert "oci:$WORK/chunked:latest" from-chunked
expect_equal "layers" "$(manifest_of "$WORK/type-changes" | jq -c '[.layers[].digest]')" "$(manifest_of "$WORK/from-chunked" | jq -c '[.layers[].digest]')"
expect_equal "annotations of the old bytes" 0 "$(manifest_of "$WORK/from-chunked" | grep -c zstd-chunked || true)"

fact "an eStargz image"
init_layout "$WORK/estargz"
"$ODD_LAYERS" --estargz "$WORK/estargz.tar" >"$WORK/estargz/layer.tmp"
read -r digest size < <(put_blob "$WORK/estargz" "$WORK/estargz/layer.tmp")
tag_layout "$WORK/estargz" latest "$(jq -nc --arg digest "$digest" --argjson size "$size" --arg type "$LAYER_TYPE+gzip" \
  --arg diff_id "sha256:$(sha256sum <"$WORK/estargz.tar" | cut -d' ' -f1)" \
  '{layer: {mediaType: $type, digest: $digest, size: $size, annotations: {"containerd.io/snapshot/stargz/toc.digest": "sha256:00"}}, diff_id: $diff_id}' |
  put_image "$WORK/estargz" amd64 '{}')"
convert "oci:$WORK/estargz:latest" from-estargz
expect_equal "annotations of the old bytes" null "$(manifest_of "$WORK/from-estargz" | jq '.layers[0].annotations["containerd.io/snapshot/stargz/toc.digest"]')"
mkdir "$WORK/expected" && tar -C "$WORK/expected" -xpf "$WORK/estargz.tar"
mount_image "oci:$WORK/from-estargz:latest" "$M"
diff -r "$WORK/expected" "$M"
unmount_image "$M"

# not_an_image NAME TEXT JQ: the image `hardlinks`, its manifest changed by JQ, is refused with TEXT.
not_an_image() {
  local dir=$WORK/not-$1 digest size
  cp -a "$IMAGES/hardlinks" "$dir"
  manifest_of "$dir" | jq -c "$3" >"$dir/manifest.tmp"
  read -r digest size < <(put_blob "$dir" "$dir/manifest.tmp")
  jq -c --arg digest "$digest" --argjson size "$size" '.manifests[0] |= (del(.platform) + {digest: $digest, size: $size})' "$dir/index.json" >"$dir/index.tmp"
  mv "$dir/index.tmp" "$dir/index.json"
  expect_error '[1-9][0-9]*' "$2" "$LAYERFS" convert "oci:$dir:latest" "oci:$WORK/refused:latest"
  [[ ! -e $WORK/refused/index.json ]] || fail "$1 has left an image"
}

fact "what is no image, or none that can be read, is refused by name"
not_an_image helm-chart 'vnd\.cncf\.helm\.config' '.config.mediaType = "application/vnd.cncf.helm.config.v1+json"'
not_an_image artifact 'vnd\.oci\.empty' '.config.mediaType = "application/vnd.oci.empty.v1+json" | .artifactType = "application/x"'
not_an_image encrypted 'tar\+gzip\+encrypted' '.layers[0].mediaType += "+encrypted"'
not_an_image schema-1 'schema 1' '{schemaVersion: 1, name: "a", tag: "b", fsLayers: [], history: []}'
