#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Random changes by two processes at once on a writable mount: with one tree for both, which can be
# removed afterwards, and with SIGKILL of the daemon at random moments. STRESS_SECONDS says how long each
# takes, STRESS_SEED repeats one.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
stress=$E2E/container_layer_stress.py seconds=${STRESS_SECONDS:-15} seed=${STRESS_SEED:-$RANDOM}
echo "seed $seed"
convert "oci:$IMAGES/app:latest" app
image=oci:$WORK/app:latest
mnt=$WORK/mnt layer=$WORK/layer

fact "two processes change one tree, and it can be removed"
mount_image "$image" "$mnt" --container-layer "$layer"
"$stress" tree "$mnt/usr/share" "$seconds" "$seed" || fail "results that no race explains"
unmount_image "$mnt"
mount_image "$image" "$mnt" --container-layer "$layer"
find "$mnt/usr/share" -type f -exec cat {} + >/dev/null || fail "not all can be read after a remount"
rm -rf "$mnt/usr/share"
[[ ! -e $mnt/usr/share ]] || fail "rm -rf left something"
rm -rf "${mnt:?}"/* || true
expect_equal "what is left" "" "$(ls -A "$mnt")"
unmount_image "$mnt"
expect_equal "what is left in index/ and partial/" "" "$(ls -A "$layer/index" "$layer/partial" | grep -v : | xargs)"

fact "SIGKILL at random moments"
cp -a "$IMAGES/app-tree" "$WORK/copy"
mkdir "$WORK/kills"
"$stress" kills "$LAYERFS" "$image" "$WORK/copy" "$WORK/kills" "$seconds" "$seed" || fail "a kill left something between (seed $seed)"
