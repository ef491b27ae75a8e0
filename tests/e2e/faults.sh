#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A mount whose cache is full, read-only, shared, damaged or evicted, and whose life is cut short.
# tests/FAULTS.md says which faults are tested where.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
own_mounts
require curl docker-registry jq gcc unshare
start_registry
convert "oci:$IMAGES/app:latest" app
push "oci:$WORK/app:latest" test/app:latest
SOURCE=docker://$REGISTRY/test/app:latest # one test has another
readonly M=$WORK/mnt TREE=$IMAGES/app-tree
mkdir -p "$M"
# Large enough not to be cut short by what is read of it at once.
readonly LARGE=usr/bin/perl
readonly SUBTREE=usr/lib/python3.11

# foreground DIR [OPTION…]: sets DAEMON once the mount answers; its log is WORK/log. What LAUNCHER
# holds stands before the command.
LAUNCHER=()
foreground() {
  local dir=$1
  shift
  mkdir -p "$dir"
  "${LAUNCHER[@]}" "$LAYERFS" mount -f --fill=off --log "$WORK/log" "$@" "$SOURCE" "$dir" 2>>"$WORK/stderr" &
  DAEMON=$!
  PIDS+=("$DAEMON")
  wait_until 30 is_mounted "$dir" || fail "no mount after 30 s: $(tail -3 "$WORK/log" "$WORK/stderr")"
}
end_foreground() {
  unmount_image "$1"
  wait "$DAEMON" || fail "the daemon ended with $?"
}

fact "a full disk: every byte is right, and one line says that the cache does not take it"
mkdir "$WORK/small"
mount -t tmpfs -o size=6M tmpfs "$WORK/small"
: >"$WORK/log"
foreground "$M" --cache "$WORK/small/cache"
expect_same_tree "$TREE/$SUBTREE" "$M/$SUBTREE"
cmp "$TREE/$LARGE" "$M/$LARGE"
lines=$(grep -cE "warning.*(No space|without)" "$WORK/log" || true)
((lines >= 1 && lines <= 3)) || fail "$lines lines about a full disk: $(cut -c1-300 "$WORK/log" | head -5)"
end_foreground "$M"
unmount_disk "$WORK/small"

fact "a cache directory that cannot be written: what it holds is served, the rest is read without it"
foreground "$M" --cache "$WORK/cache-ro"
cmp "$TREE/$LARGE" "$M/$LARGE"
end_foreground "$M"
mkdir "$WORK/ro"
mount --bind "$WORK/cache-ro" "$WORK/ro"
mount -o remount,bind,ro "$WORK/ro"
code=0
output=$("$LAYERFS" mount --cache "$WORK/ro" --fetch-timeout 5 "$SOURCE" "$M" 2>&1) || code=$?
if ((code == 0)); then
  cmp "$TREE/$LARGE" "$M/$LARGE"
  cmp "$TREE/etc/os-release" "$M/etc/os-release"
  unmount_image "$M"
else
  expect_contains "the refusal of a read-only cache" "$output" "$WORK/ro"
fi
umount "$WORK/ro"

fact "two daemons on one cache fetch what both read once, and see every byte right"
forget_requests
foreground "$M" --cache "$WORK/cache-shared"
first=$DAEMON
foreground "$WORK/mnt2" --cache "$WORK/cache-shared"
"$E2E/compare_trees.py" "$TREE/$SUBTREE" "$M/$SUBTREE" &
comparing=$!
expect_same_tree "$TREE/$SUBTREE" "$WORK/mnt2/$SUBTREE"
wait "$comparing" || fail "the first mount is not the tree"
both=$(bytes_sent)
end_foreground "$WORK/mnt2"
DAEMON=$first
end_foreground "$M"
forget_requests
foreground "$M" --cache "$WORK/cache-alone"
expect_same_tree "$TREE/$SUBTREE" "$M/$SUBTREE"
alone=$(bytes_sent)
end_foreground "$M"
echo "  $both bytes for both, $alone for one"
((both * 10 <= alone * 13)) || fail "two mounts moved $both bytes, one alone $alone"

fact "what was damaged in the cache while nobody looked is found, dropped and fetched again"
mapfile -t -n 20 objects < <(find "$WORK/cache-alone/objects" -type f -size +100k)
for object in "${objects[@]}"; do
  size=$(stat -c %s "$object")
  printf '\xff\x00\xff' | dd of="$object" bs=1 seek=$((size / 2)) conv=notrunc status=none
  touch -d '2001-01-01' "$object"
done
echo "another-boot written 0" >"$WORK/cache-alone/boot"
foreground "$M" --cache "$WORK/cache-alone"
expect_same_tree "$TREE/$SUBTREE" "$M/$SUBTREE"
end_foreground "$M"

fact "a file that is open stays readable when the cache is emptied under it"
foreground "$M" --cache "$WORK/cache-evicted"
exec {file}<"$M/$LARGE"
head -c 100000 "$M/$LARGE" | cmp - <(head -c 100000 "$TREE/$LARGE")
"$LAYERFS" cache prune --cache "$WORK/cache-evicted" >/dev/null
cmp "/proc/self/fd/$file" "$TREE/$LARGE"
exec {file}<&-

fact "umount -l leaves those who have a file open alone, and the daemon ends with the last"
exec {file}<"$M/$SUBTREE/os.py"
"$LAYERFS" umount -l "$M"
! is_mounted "$M" || fail "still mounted"
kill -0 "$DAEMON" || fail "the daemon ended while a file was open"
cmp "/proc/self/fd/$file" "$TREE/$SUBTREE/os.py"
exec {file}<&-
wait "$DAEMON" || fail "the daemon ended with $?"

fact "few descriptors: the tree is whole all the same"
# 256 is the least that a shell gives out anywhere; most files of the tree would want one each.
(ulimit -n 256 && exec "$LAYERFS" mount --cache "$WORK/cache-few" "$SOURCE" "$M")
expect_same_tree "$TREE/$SUBTREE" "$M/$SUBTREE"
find "$M" -type f -exec head -qc 1 {} + >"$WORK/heads" 2>"$WORK/heads-errors" || true
[[ ! -s $WORK/heads-errors ]] || fail "$(head -3 "$WORK/heads-errors")"
unmount_image "$M"

fact "sixteen mounts on one cache, of 256 descriptors each and read at once: every byte is right"
mounts=()
for i in $(seq 16); do
  mkdir "$WORK/mnt-$i"
  (ulimit -n 256 && exec "$LAYERFS" mount --cache "$WORK/cache-many" "$SOURCE" "$WORK/mnt-$i")
  mounts+=("$WORK/mnt-$i")
done
readers=()
for mount in "${mounts[@]}"; do
  timeout 120 "$E2E/compare_trees.py" "$TREE/$SUBTREE" "$mount/$SUBTREE" >"$mount.said" 2>&1 &
  readers+=("$!")
done
for reader in "${readers[@]}"; do wait "$reader" || fail "$(tail -qn 3 "$WORK"/mnt-*.said)"; done
for mount in "${mounts[@]}"; do unmount_image "$mount"; done

fact "a handful of descriptors: sixteen readers beside the fill and who asks how it does get what they want"
for limit in 64 96; do
  : >"$WORK/log"
  (ulimit -n "$limit" && exec "$LAYERFS" mount -f --log "$WORK/log" --metrics "unix:$WORK/metrics" \
    --cache "$WORK/cache-$limit" "$SOURCE" "$M" 2>>"$WORK/stderr") &
  DAEMON=$!
  PIDS+=("$DAEMON")
  wait_until 30 is_mounted "$M" || fail "no mount after 30 s: $(tail -3 "$WORK/log" "$WORK/stderr")"
  readers=()
  for reader in $(seq 16); do
    (cd "$M/$SUBTREE" && find . -type f | shuf --random-source=<(yes "$reader") | xargs -d '\n' cat >/dev/null) \
      2>"$WORK/reader-$reader" &
    readers+=("$!")
  done
  for _ in $(seq 20); do
    timeout 10 "$LAYERFS" stat --json "$M" >/dev/null || fail "no answer with $limit descriptors"
    curl -sf --max-time 10 --unix-socket "$WORK/metrics" http://localhost/metrics >/dev/null || fail "no metrics with $limit descriptors"
  done
  for reader in "${readers[@]}"; do wait "$reader" || fail "with $limit descriptors: $(cat "$WORK"/reader-* | head -3)"; done
  expect_same_tree "$TREE/$SUBTREE" "$M/$SUBTREE"
  is_filled() { "$LAYERFS" cache stat --json --cache "$WORK/cache-$limit" | jq -e '.images[0].complete' >/dev/null; }
  wait_until 60 is_filled || fail "with $limit descriptors it is not filled: $(tail -3 "$WORK/log")"
  ! grep -E "warning|error" "$WORK/log" || fail "with $limit descriptors it complains"
  kept=$(find "/proc/$DAEMON/fd" -lname "$WORK/cache-$limit/objects/*" -o -lname "$WORK/cache-$limit/partial/*" | wc -l)
  # Beside them the pack or the index that a mount holds.
  ((kept <= limit / 8 + 2)) || fail "of $limit descriptors, $kept are the cache's objects"
  end_foreground "$M"
done

# Of the mount on M, past the kernel's pages.
read_again() { dd if="$M/$1" iflag=direct bs=128K status=none | cmp - "$TREE/$1"; }
# What was read ahead before may still be asked for.
is_read_from_cache() { forget_requests && read_again "$1" && (($(requests GET /blobs/ | wc -l) == 0)); }

fact "an I/O error of the cache's disk: the bytes come from the registry, and one line says so"
gcc -shared -fPIC -O1 -o "$WORK/faulty.so" "$E2E/faulty_libc.c"
readonly FAULTY=(env "LD_PRELOAD=$WORK/faulty.so" ASAN_OPTIONS=verify_asan_link_order=0)
: >"$WORK/log"
LAUNCHER=("${FAULTY[@]}" "FAULTY_DISK=$WORK/cache-eio")
foreground "$M" --no-passthrough --cache "$WORK/cache-eio"
expect_same_tree "$TREE/$SUBTREE/json" "$M/$SUBTREE/json"
cmp "$TREE/$LARGE" "$M/$LARGE"
wait_until 10 is_read_from_cache "$LARGE" || fail "what is cached is asked for"
forget_requests
touch "$WORK/cache-eio.fails"
read_again "$LARGE"
(($(bytes_sent) > 0)) || fail "the disk did not fail"
for file in "$TREE/$SUBTREE"/json/*.py; do read_again "$SUBTREE/json/${file##*/}"; done
expect_same_tree "$TREE/$SUBTREE/email" "$M/$SUBTREE/email"
lines=$(grep -cE "warning|error" "$WORK/log" || true)
((lines >= 1 && lines <= 3)) || fail "$lines lines about a disk that fails: $(cut -c1-300 "$WORK/log" | head -5)"

fact "once the disk is well again, it is used again"
rm "$WORK/cache-eio.fails"
read_again "$LARGE"
wait_until 10 is_read_from_cache "$LARGE" || fail "what is cached again is asked for"
end_foreground "$M"

# The disk is a file in a memory that is smaller than what it is asked to hold: writes succeed, and
# fail when the kernel writes them back.
fact "a disk that did not take what it had accepted: the next mount sees every byte right"
mkdir "$WORK/thin" "$WORK/disk"
mount -t tmpfs -o size=16M tmpfs "$WORK/thin"
truncate -s 400M "$WORK/thin/image"
mkfs.ext4 -q -F -O ^has_journal,^metadata_csum -N 2048 -E lazy_itable_init=0,nodiscard "$WORK/thin/image"
mount -o loop "$WORK/thin/image" "$WORK/disk"
mkdir -m 700 "$WORK/disk/cache"
LAUNCHER=()
foreground "$M" --cache "$WORK/disk/cache"
(umask 077 && mkdir -p "$WORK"/disk/cache/{objects,partial}/{0..9}{0..9} "$WORK"/disk/cache/{objects,partial}/{a..f}{{0..9},{a..f}} \
  "$WORK"/disk/cache/{objects,partial}/{0..9}{a..f})
sync -f "$WORK/disk"
expect_same_tree "$TREE/$SUBTREE" "$M/$SUBTREE"
: >"$WORK/log"
end_foreground "$M"
grep -q "did not take" "$WORK/log" || fail "nothing was said about the disk: $(cat "$WORK/log")"
echo 3 >/proc/sys/vm/drop_caches
foreground "$M" --cache "$WORK/disk/cache"
expect_same_tree "$TREE/$SUBTREE" "$M/$SUBTREE"
end_foreground "$M"
unmount_disk "$WORK/disk"
unmount_disk "$WORK/thin"

fact "a wall clock that jumps changes nothing: nothing times out, nothing that is cached is lost"
echo 0 >"$WORK/clock"
LAUNCHER=("${FAULTY[@]}" "FAULTY_CLOCK=$WORK/clock")
# The year 2046, 1999, and a second more than nothing.
for off in 631152000 -852076800 1; do
  foreground "$M" --no-passthrough --fetch-timeout 20 --cache "$WORK/cache-clock"
  read_again "$LARGE"
  echo "$off" >"$WORK/clock"
  read_again "$SUBTREE/os.py"
  forget_requests
  read_again "$LARGE"
  expect_same_tree "$TREE/$SUBTREE/json" "$M/$SUBTREE/json"
  read_again "$SUBTREE/os.py"
  (($(bytes_sent "/blobs/") < 4 << 20)) || fail "what was cached came again"
  end_foreground "$M"
done
LAUNCHER=()
rm "$WORK/clock"

fact "a mount that ends in an unusual word of the kernel has ended well"
LAUNCHER=("${FAULTY[@]}" FAULTY_FUSE=1)
foreground "$M" --cache "$WORK/cache-clock"
end_foreground "$M"

fact "name servers that do not answer: reads end in time, what is cached is read, and ending does not wait for them"
# This script has a mount namespace of its own.
echo "127.0.0.1 registry.test" >"$WORK/names"
mount --bind "$WORK/names" /etc/hosts
LAUNCHER=("${FAULTY[@]}" "FAULTY_NAMES=$WORK/faulty-names")
SOURCE=docker://registry.test:${REGISTRY##*:}/test/app:latest foreground "$M" --no-passthrough --plain-http \
  --fetch-timeout 3 --cache "$WORK/cache-names"
read_again "$SUBTREE/os.py"
touch "$WORK/faulty-names"
stop_registry # and with it the connections that are there
start=$SECONDS
! read_again "$LARGE" 2>/dev/null || fail "it was read without a registry"
((SECONDS - start <= 10)) || fail "it took $((SECONDS - start)) s to give up"
read_again "$SUBTREE/os.py"
start=$SECONDS
end_foreground "$M"
((SECONDS - start <= 10)) || fail "the daemon took $((SECONDS - start)) s to end"
rm "$WORK/faulty-names"
umount /etc/hosts
LAUNCHER=()
start_registry "${REGISTRY##*:}"

fact "a registry that has moved to another address is found there, without waiting for old answers of the DNS"
# In a mount namespace of its own, where /etc/hosts says where the registry is.
cat >"$WORK/with-hosts" <<'SH'
#!/bin/sh
mount --bind "$HOSTS" /etc/hosts && exec "$@"
SH
chmod +x "$WORK/with-hosts"
readonly PORT=${REGISTRY##*:}
echo "127.0.0.1 registry.test" >"$WORK/hosts"
HOSTS=$WORK/hosts unshare --mount --propagation slave "$WORK/with-hosts" "$LAYERFS" mount -f --fill=off --plain-http \
  --log "$WORK/log" --cache "$WORK/cache-moved" "docker://registry.test:$PORT/test/app:latest" "$M" 2>>"$WORK/stderr" &
DAEMON=$!
PIDS+=("$DAEMON")
readonly INSIDE=/proc/$DAEMON/root$M
wait_until 30 cmp "$TREE/etc/os-release" "$INSIDE/etc/os-release" || fail "no mount: $(tail -3 "$WORK/log" "$WORK/stderr")"
stop_registry
sed "s/addr: .*/addr: 127.0.0.2:$PORT/" "$WORK/registry.yml" >"$WORK/moved.yml"
docker-registry serve "$WORK/moved.yml" >"$WORK/moved.log" 2>&1 &
readonly MOVED=$!
PIDS+=("$MOVED")
wait_until 20 curl -s -o "$WORK/greeting" "http://127.0.0.2:$PORT/v2/" || fail "no registry at 127.0.0.2"
# As an editor would not: the file that is mounted over stays.
echo "127.0.0.2 registry.test" >"$WORK/hosts"
start=$SECONDS
cmp "$TREE/$LARGE" "$INSIDE/$LARGE"
((SECONDS - start <= 10)) || fail "it took $((SECONDS - start)) s to find the registry"
kill "$DAEMON"
wait "$DAEMON" || fail "the daemon ended with $?"
kill "$MOVED"
wait "$MOVED" || true
start_registry "$PORT"

fact "a daemon that the kernel kills for want of memory: the place is mounted again and is right"
# limit_memory PID BYTES: by either version of the kernel's control groups; false where neither is to be had.
limit_memory() {
  local group
  if group=$(mktemp -d /sys/fs/cgroup/memory/layerfs-e2e.XXXXXX 2>/dev/null); then
    echo "$2" >"$group/memory.limit_in_bytes"
  elif group=$(mktemp -d /sys/fs/cgroup/layerfs-e2e.XXXXXX 2>/dev/null) && [[ -e $group/memory.max ]]; then
    echo "$2" >"$group/memory.max"
    [[ ! -e $group/memory.swap.max ]] || echo 0 >"$group/memory.swap.max"
  else
    return 1
  fi
  GROUP=$group
  echo "$1" >"$group/cgroup.procs"
}
foreground "$M" --cache "$WORK/cache-oom"
if limit_memory "$DAEMON" 1M; then
  code=0
  timeout 60 cat "$M/$LARGE" "$M"/usr/lib/*/*.so* >/dev/null 2>&1 || true
  wait "$DAEMON" || code=$?
  rmdir "$GROUP"
  expect_equal "how the daemon ended" 137 "$code"
  "$LAYERFS" umount "$M"
  foreground "$M" --cache "$WORK/cache-oom"
  cmp "$TREE/$LARGE" "$M/$LARGE"
else
  echo "  left out: no control group of memory here"
fi
end_foreground "$M"

fact "all daemons killed at once: each place is mounted again and is right"
for i in {1..8}; do mount_image "$SOURCE" "$WORK/many/$i" --cache "$WORK/cache-alone"; done
for i in {1..8}; do cat "$WORK/many/$i/$SUBTREE/os.py" >/dev/null & done
for i in {1..8}; do kill -KILL "$(pgrep -f -- "mount .*$WORK/many/$i\$")"; done
wait -n || true
for i in {1..8}; do
  wait_until 10 bash -c "! stat '$WORK/many/$i/etc' 2>/dev/null" || fail "$WORK/many/$i still answers"
  "$LAYERFS" umount "$WORK/many/$i"
  mount_image "$SOURCE" "$WORK/many/$i" --cache "$WORK/cache-alone"
  cmp "$TREE/$SUBTREE/os.py" "$WORK/many/$i/$SUBTREE/os.py"
done
for i in {1..8}; do unmount_image "$WORK/many/$i"; done

fact "two hundred mounts in short time come and go, and nothing of them stays"
# Who lists the machine's mounts meanwhile, as df does, has each of them in use for a moment.
start=$SECONDS
for round in {1..25}; do
  pids=()
  for i in {1..8}; do
    { mount_image "$SOURCE" "$WORK/many/$i" --cache "$WORK/cache-alone" &&
      cmp "$TREE/etc/os-release" "$WORK/many/$i/etc/os-release" && wait_until 10 "$LAYERFS" umount "$WORK/many/$i"; } &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || fail "a mount of round $round"; done
done
echo "  $((SECONDS - start)) s"
[[ -z $(mounts_below "$WORK/many") ]] || fail "left mounted: $(mounts_below "$WORK/many")"
no_daemon_left() { ! pgrep -f -- "mount .*$WORK/many/"; }
wait_until 20 no_daemon_left || fail "daemons are left"
