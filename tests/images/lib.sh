# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the image builders: OCI layouts by hand, with coreutils and jq.
# A layout is a directory with oci-layout, index.json and blobs/sha256/.

# Every time stamp of our own making, so that the same packages give the same image.
export SOURCE_DATE_EPOCH=1700000000
readonly IMAGE_CREATED=2023-11-14T22:13:20Z

readonly MANIFEST_TYPE=application/vnd.oci.image.manifest.v1+json
readonly INDEX_TYPE=application/vnd.oci.image.index.v1+json
readonly CONFIG_TYPE=application/vnd.oci.image.config.v1+json
readonly LAYER_TYPE=application/vnd.oci.image.layer.v1.tar

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# Exit code 77 is how a test says that it was skipped.
need_root() {
  ((EUID == 0)) && return
  say "root is needed (device nodes, owners, capabilities): run it with sudo"
  [[ ${CI:-} == true ]] && exit 1
  exit 77
}

# init_layout DIR
init_layout() {
  mkdir -p "$1/blobs/sha256"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
}

# put_blob DIR FILE: moves the file in; prints "DIGEST SIZE".
put_blob() {
  local hex size
  hex=$(sha256sum <"$2" | cut -d' ' -f1)
  size=$(stat -c %s "$2")
  mv -f "$2" "$1/blobs/sha256/$hex"
  chmod 0644 "$1/blobs/sha256/$hex"
  echo "sha256:$hex $size"
}

# blob DIR DIGEST: the blob's path.
blob() { echo "$1/blobs/sha256/${2#sha256:}"; }

# only_manifest DIR: the digest of the layout's one manifest.
only_manifest() { jq -er 'if (.manifests | length) == 1 then .manifests[0].digest else error("not one manifest") end' "$1/index.json"; }

# encode CODEC: standard input as a layer, to standard output.
encode() {
  case $1 in
    none) cat ;;
    gzip) gzip -n -6 ;;
    multigzip) split -b 4M --filter='gzip -n -6' - ;; # one gzip member for each 4 MiB
    zstd) zstd -q -3 -c ;;
    zstd-long) zstd -q -1 --long=27 -c ;; # the longest window that is taken
    *) die "unknown codec '$1'" ;;
  esac
}

layer_type() {
  case $1 in
    none) echo "$LAYER_TYPE" ;;
    gzip | multigzip) echo "$LAYER_TYPE+gzip" ;;
    zstd | zstd-long) echo "$LAYER_TYPE+zstd" ;;
  esac
}

# put_layer DIR CODEC TAR: adds the tar as a layer; prints its descriptor and its diff ID as one
# JSON object {"layer": …, "diff_id": …}.
put_layer() {
  local dir=$1 codec=$2 tar=$3 diff_id digest size
  diff_id=sha256:$(sha256sum <"$tar" | cut -d' ' -f1)
  encode "$codec" <"$tar" >"$dir/layer.tmp"
  read -r digest size < <(put_blob "$dir" "$dir/layer.tmp")
  jq -nc --arg type "$(layer_type "$codec")" --arg digest "$digest" --argjson size "$size" --arg diff_id "$diff_id" \
    '{layer: {mediaType: $type, digest: $digest, size: $size}, diff_id: $diff_id}'
}

# put_image DIR ARCHITECTURE RUNTIME_CONFIG < one put_layer object a line
# Prints the descriptor of the image's manifest.
put_image() {
  local dir=$1 architecture=$2 runtime=$3 layers config digest size
  layers=$(jq -cs .)
  jq -nc --argjson layers "$layers" --argjson runtime "$runtime" --arg arch "$architecture" --arg created "$IMAGE_CREATED" \
    '{created: $created, architecture: $arch, os: "linux", config: $runtime,
      rootfs: {type: "layers", diff_ids: [$layers[].diff_id]},
      history: [$layers[] | {created: $created, created_by: "layerfs test image"}]}' >"$dir/config.tmp"
  read -r digest size < <(put_blob "$dir" "$dir/config.tmp")
  config=$(jq -nc --arg type "$CONFIG_TYPE" --arg digest "$digest" --argjson size "$size" '{mediaType: $type, digest: $digest, size: $size}')
  put_manifest "$dir" "$config" "$(jq -c '[.[].layer]' <<<"$layers")" |
    jq -c --arg arch "$architecture" '. + {platform: {architecture: $arch, os: "linux"}}'
}

# put_manifest DIR CONFIG_DESCRIPTOR LAYER_DESCRIPTORS: prints the manifest's descriptor.
put_manifest() {
  local dir=$1 digest size
  jq -nc --arg type "$MANIFEST_TYPE" --argjson config "$2" --argjson layers "$3" \
    '{schemaVersion: 2, mediaType: $type, config: $config, layers: $layers}' >"$dir/manifest.tmp"
  read -r digest size < <(put_blob "$dir" "$dir/manifest.tmp")
  jq -nc --arg type "$MANIFEST_TYPE" --arg digest "$digest" --argjson size "$size" '{mediaType: $type, digest: $digest, size: $size}'
}

# tag_layout DIR TAG DESCRIPTOR: index.json with that one entry.
tag_layout() {
  jq -nc --arg tag "$2" --argjson descriptor "$3" \
    '{schemaVersion: 2, manifests: [$descriptor + {annotations: {"org.opencontainers.image.ref.name": $tag}}]}' >"$1/index.json"
}

# decode: a layer on standard input as plain tar, whichever encoding its descriptor names.
decode() {
  case $1 in
    *+gzip | *.gzip) gzip -dc ;;
    *+zstd) zstd -qdc ;;
    *) cat ;;
  esac
}

# reencode SOURCE DIR CODEC: the image of layout SOURCE with every layer in another encoding.
reencode() {
  local source=$1 dir=$2 codec=$3 manifest layer type layers=() config
  init_layout "$dir"
  manifest=$(blob "$source" "$(only_manifest "$source")")
  while read -r layer type; do
    decode "$type" <"$(blob "$source" "$layer")" >"$dir/tar.tmp"
    layers+=("$(put_layer "$dir" "$codec" "$dir/tar.tmp" | jq -c .layer)")
    rm "$dir/tar.tmp"
  done < <(jq -r '.layers[] | "\(.digest) \(.mediaType)"' "$manifest")
  config=$(jq -c .config "$manifest")
  cp "$(blob "$source" "$(jq -r .digest <<<"$config")")" "$dir/blobs/sha256/"
  tag_layout "$dir" latest "$(put_manifest "$dir" "$config" "$(printf '%s\n' "${layers[@]}" | jq -cs .)")"
}

# in_place NAME BUILDER ARGS…: runs "BUILDER TEMPORARY ARGS…" and renames TEMPORARY to NAME; does
# nothing where NAME exists.
in_place() {
  local name=$1 builder=$2
  shift 2
  [[ -e $name ]] && return
  rm -rf "$name.partial"
  say "building $name"
  "$builder" "$name.partial" "$@"
  mv "$name.partial" "$name"
}
