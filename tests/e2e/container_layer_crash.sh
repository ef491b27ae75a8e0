#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon of a writable mount is killed at every fail point of every kind of change.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
grep -qF copy_up.file.indexed "$LAYERFS" || skip "needs a build with fail points (preset dev)"
convert "oci:$IMAGES/app:latest" app
mkdir "$WORK/crash"
"$E2E/container_layer_crash.py" "$LAYERFS" "oci:$WORK/app:latest" "$WORK/crash" || fail "a kill left something between"
