#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Podman and containerd pull the converted image from a registry and run it as any other.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require podman containerd ctr runc docker-registry

start_registry
push "oci:$IMAGES/app:latest" test/app:source
"$LAYERFS" convert -q "docker://$REGISTRY/test/app:source" "docker://$REGISTRY/test/app:converted"

fact "podman run"
# runc, because crun refuses machines whose unified cgroup hierarchy is mounted beside the old ones.
answer=$(podman --root "$WORK/podman" --runroot "$WORK/run" --storage-driver overlay --cgroup-manager cgroupfs \
  run -q --rm --runtime runc --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \
  --tls-verify=false "docker://$REGISTRY/test/app:converted")
expect_equal "state of the program" ready "$(jq -r .state <<<"$answer")"
expect_equal "system of the program" app "$(jq -r .system <<<"$answer")"

fact "ctr run"
start_containerd
"${ctr[@]}" images pull --plain-http "$REGISTRY/test/app:converted" >/dev/null
answer=$("${ctr[@]}" run --rm "$REGISTRY/test/app:converted" e2e)
expect_equal "state of the program" ready "$(jq -r .state <<<"$answer")"
