#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A loop of random faults of network, registry, daemon and cache under concurrent readers that
# compare every byte. SOAK_SECONDS says for how long (default 60; 1800 for the real thing):
#   SOAK_SECONDS=1800 LAYERFS=build/dev/tools/layerfs NETMODEL=build/dev/tools/netmodel/layerfs-netmodel \
#     IMAGES=build/images tests/e2e/soak.sh
# SOAK_SEED repeats a run's order of faults.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
own_mounts
require docker-registry
: "${NETMODEL:?is the executable layerfs-netmodel}"
start_registry
convert "oci:$IMAGES/app:latest" app
push "oci:$WORK/app:latest" test/app:latest
seed=${SOAK_SEED:-$RANDOM}
fact "readers see every byte right, whatever happens (SOAK_SEED=$seed)"
"$E2E/soak.py" "$LAYERFS" "$NETMODEL" "$REGISTRY" "$IMAGES/app-tree" "$WORK" \
  --seconds "${SOAK_SECONDS:-60}" --seed "$seed" || fail "see above"
