#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Conversion from a real registry into it: nothing moves that need not.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require skopeo jq zstd docker-registry
start_registry
push "oci:$IMAGES/app:latest" test/app:source

layers_in() { skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/$1" | jq -c '[.layers[].digest]'; }
uploads() { requests PUT '/blobs/uploads/' | wc -l; }

fact "an image converts within the registry"
"$LAYERFS" convert -q "docker://$REGISTRY/test/app:source" "docker://$REGISTRY/test/app:converted"
convert "oci:$IMAGES/app:latest" local
expect_equal "layers, as converted from the layout" "$(manifest_of "$WORK/local" | jq -c '[.layers[].digest]')" "$(layers_in test/app:converted)"

fact "a second conversion uploads no blob and fetches no layer"
forget_requests
"$LAYERFS" convert -q "docker://$REGISTRY/test/app:source" "docker://$REGISTRY/test/app:again"
expect_equal "uploads" 0 "$(uploads)"
layer_bytes=$(manifest_of "$IMAGES/app" | jq '[.layers[].size] | add')
(($(bytes_sent) * 10 < layer_bytes)) || fail "$(bytes_sent) bytes were fetched though every layer was converted before"
expect_equal "layers" "$(layers_in test/app:converted)" "$(layers_in test/app:again)"

fact "nor does one from a machine that has never converted it, onto the same tag"
forget_requests
LAYERFS_CACHE=$WORK/cache-elsewhere "$LAYERFS" convert -q "docker://$REGISTRY/test/app:source" "docker://$REGISTRY/test/app:converted"
expect_equal "uploads" 0 "$(uploads)"
(($(bytes_sent) * 10 < layer_bytes)) || fail "$(bytes_sent) bytes were fetched though every layer was converted before"

fact "into another repository of the registry, blobs are mounted and not sent"
forget_requests
"$LAYERFS" convert -q "docker://$REGISTRY/test/app:converted" "docker://$REGISTRY/other/app:latest"
expect_equal "uploads of bytes" 0 "$(requests PATCH '/blobs/uploads/' | wc -l)"
(($(requests POST 'mount=sha256' | wc -l) > 0)) || fail "no blob was mounted"
expect_equal "layers" "$(layers_in test/app:converted)" "$(layers_in other/app:latest)"

fact "an image in Docker's own format converts to the same layers"
push "oci:$IMAGES/app:latest" test/docker:source --format v2s2
"$LAYERFS" convert -q "docker://$REGISTRY/test/docker:source" "docker://$REGISTRY/test/docker:converted"
expect_equal "layers" "$(layers_in test/app:converted)" "$(layers_in test/docker:converted)"

fact "skopeo copies the converted image out of the registry"
skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/test/app:converted" "oci:$WORK/copied:latest"
expect_equal "layers" "$(layers_in test/app:converted)" "$(manifest_of "$WORK/copied" | jq -c '[.layers[].digest]')"

fact "an index converts within the registry"
push "oci:$IMAGES/platforms:latest" test/platforms:source --all
"$LAYERFS" convert -q "docker://$REGISTRY/test/platforms:source" "docker://$REGISTRY/test/platforms:converted"
expect_equal "platforms" "amd64 arm64" "$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/test/platforms:converted" | jq -r '[.manifests[].platform.architecture] | join(" ")')"

fact "what is not there is named, and nothing is left at the destination"
expect_error '[1-9][0-9]*' 'test/none' "$LAYERFS" convert -q "docker://$REGISTRY/test/none:latest" "docker://$REGISTRY/test/new:latest"
expect_equal "manifest of the failed conversion" 404 "$(curl -s -o /dev/null -w '%{http_code}' "http://$REGISTRY/v2/test/new/manifests/latest")"
