#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An ordinary user mounts through fusermount3. Root is needed only to become that user.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require fusermount3 setpriv

let_users_mount

convert "oci:$IMAGES/app:latest" app
readonly M=$WORK/home/mnt
mkdir -p "$M"
chmod 0755 "$WORK"
chmod -R go+rX "$WORK/app"
chown -R 65534:65534 "$WORK/home"
# The executable may lie where the user cannot go.
install -m 0755 "$LAYERFS" "$WORK/layerfs"
as_user() { setpriv --reuid 65534 --regid 65534 --clear-groups env -u LAYERFS_CACHE HOME="$WORK/home" XDG_CACHE_HOME="$WORK/home/.cache" "$@"; }

fact "the user mounts, reads, and unmounts"
as_user "$WORK/layerfs" mount "oci:$WORK/app:latest" "$M"
is_mounted "$M" || fail "not mounted"
as_user cmp "$M/app/data/noise.bin" "$IMAGES/app-tree/app/data/noise.bin"
as_user find "$M" -xdev | wc -l | { read -r count; ((count > 10000)) || fail "only $count entries are seen"; }
options=$(grep -F " $M fuse" /proc/self/mounts)
expect_contains "mount options" "$options" nosuid
expect_contains "mount options" "$options" nodev

fact "he reads all of it, as what he has unpacked; with default_permissions the kernel checks"
expect_equal "a file without any permissions" none "$(as_user cat "$M/app/attributes/no-mode")"
as_user "$WORK/layerfs" umount "$M"
as_user "$WORK/layerfs" mount -o default_permissions "oci:$WORK/app:latest" "$M"
expect_error 1 "permission denied" as_user cat "$M/app/attributes/no-mode"

fact "nobody else sees into it, not even root"
expect_error 2 "permission denied" ls "$M"

as_user "$WORK/layerfs" umount "$M"
! is_mounted "$M" || fail "still mounted"

fact "a directory that is not the user's cannot be covered"
mkdir "$WORK/roots"
expect_error 1 "must be able to write to the mount point" as_user "$WORK/layerfs" mount "oci:$WORK/app:latest" "$WORK/roots"

fact "what a user's allow_other takes is told"
grep -q '^user_allow_other' /etc/fuse.conf ||
  expect_error 1 "takes the line user_allow_other" as_user "$WORK/layerfs" mount -o allow_other "oci:$WORK/app:latest" "$M"

fact "who may not open /dev/fuse, and where there is none, is told what to do"
mknod -m 0600 "$WORK/closed" c 10 229
in_namespace() { (private_mounts bash -ec "$1"' && exec "${@:1}"' "$WORK" "${@:2}"); }
expect_error 1 "/dev/fuse.*chmod 0666" in_namespace 'mount --bind "$0/closed" /dev/fuse' \
  setpriv --reuid 65534 --regid 65534 --clear-groups env -u LAYERFS_CACHE HOME="$WORK/home" "$WORK/layerfs" mount "oci:$WORK/app:latest" "$M"
expect_error 1 "/dev/fuse.*modprobe" in_namespace 'mount -t tmpfs none /dev' "$WORK/layerfs" mount "oci:$WORK/app:latest" "$M"
