#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Conversion keeps the image: same config, same diff IDs, same tar bytes, whatever the encoding and
# the container of the source; and the same bytes come out each time.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require jq zstd skopeo

# check_converted NAME: the layers of WORK/NAME are zstd, and decompressed by zstd they are the tars
# that the config's diff IDs name.
check_converted() {
  local dir=$WORK/$1 manifest digest type number=0 diff_ids
  manifest=$(manifest_of "$dir")
  mapfile -t diff_ids < <(jq -r '.rootfs.diff_ids[]' "$(blob "$dir" "$(jq -r .config.digest <<<"$manifest")")")
  while read -r digest type; do
    expect_equal "$1, layer $number: media type" "$LAYER_TYPE+zstd" "$type"
    expect_equal "$1, layer $number: blob" "$digest" "sha256:$(sha256sum <"$(blob "$dir" "$digest")" | cut -d' ' -f1)"
    expect_equal "$1, layer $number: tar" "${diff_ids[number]}" "sha256:$(zstd -qdc <"$(blob "$dir" "$digest")" | sha256sum | cut -d' ' -f1)"
    ((++number))
  done < <(jq -r '.layers[] | "\(.digest) \(.mediaType)"' <<<"$manifest")
  expect_equal "$1: number of layers" "${#diff_ids[@]}" "$number"
}

layers_of() { manifest_of "$WORK/$1" | jq -c '[.layers[].digest]'; }
config_of() { manifest_of "$1" | jq -r .config.digest; }

fact "every encoding converts, and to the same layers"
convert "oci:$IMAGES/app:latest" app
check_converted app
for encoding in app-tar app-zstd app-multigzip; do
  convert "oci:$IMAGES/$encoding:latest" "$encoding"
  check_converted "$encoding"
  expect_equal "$encoding: layers" "$(layers_of app)" "$(layers_of "$encoding")"
  expect_equal "$encoding: config" "$(config_of "$IMAGES/app")" "$(config_of "$WORK/$encoding")"
done

fact "a docker-archive converts to the same layers"
convert "docker-archive:$IMAGES/app-docker.tar" archive
check_converted archive
expect_equal "docker-archive: layers" "$(layers_of app)" "$(layers_of archive)"

fact "the output does not depend on the number of threads"
for cpus in 0 0,1; do
  LAYERFS_CACHE=$WORK/memo-$cpus taskset -c "$cpus" "$LAYERFS" convert -q "oci:$IMAGES/app:latest" "oci:$WORK/cpus-$cpus:latest"
  expect_equal "on CPUs $cpus: manifest" "$(only_manifest "$WORK/app")" "$(only_manifest "$WORK/cpus-$cpus")"
done
for threads in 1 2 7; do
  convert "oci:$IMAGES/app:latest" "threads-$threads" --threads "$threads"
  expect_equal "with $threads threads: manifest" "$(only_manifest "$WORK/app")" "$(only_manifest "$WORK/threads-$threads")"
done

fact "other tools read the output: skopeo copies it, and each blob's digest is right"
skopeo copy -q "oci:$WORK/app:latest" "dir:$WORK/copied"
expect_equal "manifest after the copy" "$(only_manifest "$WORK/app")" "sha256:$(sha256sum <"$WORK/copied/manifest.json" | cut -d' ' -f1)"

fact "converting what is converted changes nothing"
convert "oci:$WORK/app:latest" twice
expect_equal "layers of the second conversion" "$(layers_of app)" "$(layers_of twice)"

fact "an index converts all its platforms, or those that are named"
convert "oci:$IMAGES/platforms:latest" all
convert "oci:$IMAGES/platforms:latest" arm --platform linux/arm64
platforms_of() { skopeo inspect --raw "oci:$WORK/$1:latest" | jq -r '[.manifests[].platform.architecture] | join(" ")'; }
expect_equal "all platforms" "amd64 arm64" "$(platforms_of all)"
arm=$(skopeo inspect --raw --override-arch arm64 "oci:$WORK/arm:latest")
expect_contains "one platform" "$(skopeo inspect --config --override-arch arm64 "oci:$WORK/arm:latest")" '"arm64"'
[[ $arm != *amd64* ]] || fail "the amd64 image was converted though only arm64 was named"

fact "so does one that has them in an index of its own"
cp -r "$IMAGES/platforms" "$WORK/nested"
jq '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
     manifests: [.manifests[0] | del(.annotations)]}' "$IMAGES/platforms/index.json" >"$WORK/outer.json"
read -r digest size < <(put_blob "$WORK/nested" "$WORK/outer.json")
tag_layout "$WORK/nested" outer \
  "{\"mediaType\": \"application/vnd.oci.image.index.v1+json\", \"digest\": \"$digest\", \"size\": $size}"
"$LAYERFS" convert -q "oci:$WORK/nested:outer" "oci:$WORK/flat:latest"
expect_equal "platforms of both indexes" "amd64 arm64" "$(platforms_of flat)"

fact "the output is at most 8 % larger than zstd -3 of the whole tar"
plain=$(manifest_of "$IMAGES/app-zstd" | jq '[.layers[].size] | add')
ours=$(manifest_of "$WORK/app" | jq '[.layers[].size] | add')
echo "  zstd -3: $plain bytes, converted: $ours bytes"
((ours * 100 <= plain * 108)) || fail "the converted layers have $ours bytes, zstd -3 makes $plain"

fact "layers with the longest windows convert in bounded memory, however many there are"
init_layout "$WORK/wide"
for number in 1 2 3 4; do
  head -c $((144 << 20)) /dev/urandom >"$WORK/noise"
  tar -C "$WORK" -cf "$WORK/wide.tar" noise
  put_layer "$WORK/wide" zstd-long "$WORK/wide.tar"
done >"$WORK/wide.layers"
tag_layout "$WORK/wide" latest "$(put_image "$WORK/wide" amd64 '{}' <"$WORK/wide.layers")"
peak=$(python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
' "$LAYERFS" convert -q --threads 4 "oci:$WORK/wide:latest" "oci:$WORK/wide-out:latest" | tail -1)
echo "  $peak MiB"
((peak < 256)) || fail "the conversion took $peak MiB of memory"
check_converted wide-out
rm -r "$WORK"/wide* "$WORK/noise"

fact "a signal ends a conversion that is half-way, and nothing of it is left"
mkdir "$WORK/slow"
head -c $((128 << 20)) /dev/urandom >"$WORK/slow/random"
tar -C "$WORK/slow" -cf "$WORK/slow/large.tar" random
echo small >"$WORK/slow/word"
tar -C "$WORK/slow" -cf "$WORK/slow/small.tar" word
diff_id() { echo "sha256:$(sha256sum <"$WORK/slow/$1" | cut -d' ' -f1)"; }
jq -n --arg small "$(diff_id small.tar)" --arg large "$(diff_id large.tar)" \
  '{os: "linux", architecture: "amd64", rootfs: {type: "layers", diff_ids: [$small, $large]}}' >"$WORK/slow/config.json"
echo '[{"Config": "config.json", "Layers": ["small.tar", "large.tar"]}]' >"$WORK/slow/manifest.json"
tar -C "$WORK/slow" -cf "$WORK/slow.tar" config.json manifest.json small.tar large.tar
# The small layer is there long before the large one is compressed.
LAYERFS_CACHE=$WORK/memo-slow "$LAYERFS" convert -q --level 15 "docker-archive:$WORK/slow.tar" "oci:$WORK/ended:latest" &
converter=$!
while [[ -z $(find "$WORK/ended/blobs/sha256" -type f 2>/dev/null) ]]; do
  kill -0 "$converter" 2>/dev/null || fail "the conversion ended before anything was written"
  sleep 0.01
done
kill -TERM "$converter"
code=0
wait "$converter" || code=$?
expect_equal "exit status" 143 "$code"
[[ ! -e $WORK/ended ]] || fail "there is still: $(find "$WORK/ended")"
rm -r "$WORK/slow" "$WORK/slow.tar"
