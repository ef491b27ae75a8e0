#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# How mounts begin and end: daemon and foreground, signals, failures, a killed daemon.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
convert "oci:$IMAGES/app:latest" app
readonly IMAGE=oci:$WORK/app:latest M=$WORK/mnt
mkdir -p "$M"

# foreground [CACHE]: sets DAEMON once the mount answers. A shell starts background jobs with SIGINT
# and SIGQUIT ignored, which env undoes.
foreground() {
  env --default-signal=INT,QUIT "$LAYERFS" mount --foreground --cache "${1:-$WORK/cache}" "$IMAGE" "$M" &
  DAEMON=$!
  wait_until 20 is_mounted "$M" || fail "no mount after 20 s"
}

fact "signals that ask for the end, or would kill, end a foreground mount with exit code 0"
for signal in TERM INT HUP QUIT USR1; do
  foreground
  kill -"$signal" "$DAEMON"
  code=0
  wait "$DAEMON" || code=$?
  expect_equal "exit code after SIG$signal" 0 "$code"
  ! is_mounted "$M" || fail "still mounted after SIG$signal"
done

fact "a foreground mount ends when it is unmounted"
foreground
unmount_image "$M"
wait "$DAEMON" || fail "the daemon ended with $?"

fact "in daemon mode the command returns when the mount answers"
mount_image "$IMAGE" "$M"
cmp "$M/app/main.py" "$IMAGES/app-tree/app/main.py"

fact "a second mount on the same place works on top, and comes off alone"
mount_image "$IMAGE" "$M"
"$LAYERFS" umount "$M"
is_mounted "$M" || fail "both mounts are gone"
unmount_image "$M"

fact "--fuse-debug logs the kernel's requests"
mount_image "$IMAGE" "$M" --debug --fuse-debug --log "$WORK/requests.log"
ls "$M/" >/dev/null
unmount_image "$M"
grep -q "LOOKUP\|READDIRPLUS\|GETATTR" "$WORK/requests.log" || fail "no request in the log"

fact "options go to the kernel"
mount_image "$IMAGE" "$M" -o nosuid,nodev,noatime
options=$(grep -F " $M fuse" /proc/self/mounts)
for option in ro nosuid nodev noatime; do expect_contains "mount options" "$options" "$option"; done
unmount_image "$M"

fact "other users see the mount that root makes, with the image's permissions"
mount_image "$IMAGE" "$M" -o allow_other,default_permissions
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
chmod 0755 "$WORK"
as_nobody cmp "$M/etc/os-release" "$IMAGES/app-tree/etc/os-release"
expect_error 1 "permission denied" as_nobody cat "$M/app/attributes/no-mode"
unmount_image "$M"

fact "failures come from the command itself, name the object, and leave no mount"
refused() { expect_error "$@"; ! is_mounted "$M" || fail "'$3 …' failed and left a mount"; }
refused '[1-9][0-9]*' "$WORK/none" "$LAYERFS" mount "oci:$WORK/none:latest" "$M"
refused '[1-9][0-9]*' "other" "$LAYERFS" mount "oci:$WORK/app:other" "$M"
refused '[1-9][0-9]*' "$WORK/nodir" "$LAYERFS" mount "$IMAGE" "$WORK/nodir"
refused '[1-9][0-9]*' "layerfs convert" "$LAYERFS" mount "oci:$IMAGES/app:latest" "$M"
refused '[1-9][0-9]*' "127.0.0.1" "$LAYERFS" mount --fetch-timeout 1 "docker://127.0.0.1:$(free_port)/a/b:latest" "$M"
refused 2 "option" "$LAYERFS" mount -o no_such_option "$IMAGE" "$M"
expect_error '[1-9][0-9]*' "not.*mount" "$LAYERFS" umount "$WORK/app"

fact "a process killed while its read waits for the network dies at once"
if command -v docker-registry >/dev/null; then
  start_registry
  push "oci:$WORK/app:latest" test/app:latest
  mount_image "docker://$REGISTRY/test/app:latest" "$M" --cache "$WORK/cache-killed" --fill off --fetch-timeout 60
  kill -STOP "$REGISTRY_PID"
  cat "$M/usr/bin/perl" >/dev/null &
  reader=$!
  sleep 0.5
  ls "$M/etc" >/dev/null
  kill -KILL "$reader"
  wait_until 5 bash -c "! kill -0 $reader" || true
  code=0
  wait "$reader" || code=$?
  kill -CONT "$REGISTRY_PID"
  expect_equal "exit code of the reader" 137 "$code"
  wait_until 10 cmp "$M/usr/bin/perl" "$IMAGES/app-tree/usr/bin/perl" || fail "the file cannot be read afterwards"
  unmount_image "$M"
fi

fact "nothing is mounted over a dead mount; options that would lie are refused"
foreground "$WORK/cache-over"
ls "$M" >/dev/null
kill -KILL "$DAEMON"
wait "$DAEMON" || true
expect_error 1 "layerfs umount" "$LAYERFS" mount --cache "$WORK/cache" "$IMAGE" "$M"
"$LAYERFS" umount "$M"
for option in rw subtype=other max_read=4096; do
  expect_error 2 "$option.*leave it out" "$LAYERFS" mount --cache "$WORK/cache" -o "$option" "$IMAGE" "$M"
done
expect_error 2 "unknown option.*bogus" "$LAYERFS" mount --cache "$WORK/cache" -o bogus "$IMAGE" "$M"

fact "of two mounts on one directory umount ends the upper at once"
mount_image "$IMAGE" "$M" --cache "$WORK/cache"
mount_image "$IMAGE" "$M" --cache "$WORK/cache"
began=$SECONDS
expect_equal "what umount says" "" "$("$LAYERFS" umount "$M" 2>&1)"
((SECONDS - began < 4)) || fail "umount waited for the daemon of the lower mount"
ls "$M/app" >/dev/null || fail "the lower mount does not answer"
unmount_image "$M"

fact "kill -9 of the daemon at any moment leaves a cache that serves right data"
for delay in 0.01 0.05 0.1 0.2 0.4; do
  foreground "$WORK/cache-crash"
  cp -r "$M/usr/lib/python3.11" "$WORK/copy" &>/dev/null &
  copier=$!
  sleep "$delay"
  kill -KILL "$DAEMON"
  wait "$DAEMON" "$copier" || true
  umount -l "$M"
  rm -rf "$WORK/copy"
done
mount_image "$IMAGE" "$M" --cache "$WORK/cache-crash"
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"
