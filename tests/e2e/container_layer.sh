#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A writable mount of an image beside an unpacked, writable copy of it on a disk: the same calls have
# the same results, before and after a remount, and the kernel's overlayfs sees the same tree.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
changes=$E2E/same_changes.py

convert "oci:$IMAGES/app:latest" app
image=oci:$WORK/app:latest
mnt=$WORK/mnt layer=$WORK/layer

# fresh: an unpacked copy, and an empty container layer over the image.
fresh() {
  rm -rf "$WORK/copy" "$layer"
  cp -a "$IMAGES/app-tree" "$WORK/copy"
  mount_image "$image" "$mnt" --container-layer "$layer"
}
same() { "$changes" compare "$WORK/copy" "$mnt" "$@" || fail "the trees differ"; }
remount() {
  unmount_image "$mnt"
  ! pgrep -f -- "$mnt\$" >/dev/null || fail "the daemon goes on after umount"
  mount_image "$image" "$mnt" --container-layer "$layer"
}

# What the kernel makes of our upper directory; data that were never copied up are not its affair.
same_in_kernel() {
  local merged=$WORK/merged
  mkdir -p "$merged" "$WORK/kernel-work"
  mount -t overlay overlay -o "lowerdir=$IMAGES/app-tree,upperdir=$layer/upper,workdir=$WORK/kernel-work,redirect_dir=on,index=off" "$merged" ||
    fail "the kernel does not mount the upper directory"
  "$changes" compare "$WORK/copy" "$merged" --overlayfs "$IMAGES/app-tree" || fail "overlayfs sees another tree"
  umount "$merged"
}

fact "every kind of change"
fresh
"$changes" table "$WORK/copy" "$mnt" || fail "calls differ"
same
remount
same

fact "a file handle outlives a remount, wherever its file has gone"
by_handle() { # PYTHON, with the functions of same_changes.py
  (cd "$mnt" && PYTHONPATH=$E2E python3 -c "import os, pickle, same_changes as s; os.chroot('.'); $1")
}
by_handle '
os.makedirs("/a/b"); open("/a/b/new", "w").write("new"); os.chmod("/etc/gai.conf", 0o600)
paths = ["/etc/gai.conf", "/etc/host.conf", "/a/b/new", "/usr/lib/python3.11/os.py"]
held = [(s.handle_of(path).raw, s.seen_by_handle(s.handle_of(path))) for path in paths]
os.rename("/a", "/etc/a"); os.rename("/etc/gai.conf", "/etc/a/gai.conf")
pickle.dump(held, open("/held", "wb"))'
remount
by_handle '
for handle, seen in pickle.load(open("/held", "rb")):
    assert s.seen_by_handle(s.ctypes.create_string_buffer(handle, len(handle))) == seen
os.unlink("/held")' || fail "a handle leads elsewhere"

for seed in 1 2 ${SEEDS:-}; do
  fact "random changes, seed $seed"
  unmount_image "$mnt"
  fresh
  for round in 1 2; do
    "$changes" random "$WORK/copy" "$mnt" "$seed$round" "${RANDOM_CALLS:-400}" || fail "calls differ"
    same
    remount
    same
  done
  unmount_image "$mnt"
  same_in_kernel
  mount_image "$image" "$mnt" --container-layer "$layer"
done

fact "a layer in use, or of another image, is refused"
mkdir -p "$WORK/second"
SECONDS=0
expect_error 1 "in use by process [0-9]+, mounted on $mnt;" "$LAYERFS" mount --container-layer "$layer" "$image" "$WORK/second"
((SECONDS < 5)) || fail "refused only after $SECONDS s"
unmount_image "$mnt"
convert "oci:$IMAGES/hardlinks:latest" other
expect_error 2 "belongs to" "$LAYERFS" mount --container-layer "$layer" "oci:$WORK/other:latest" "$mnt"
mkdir "$WORK/full"
touch "$WORK/full/file"
expect_error 2 "not empty" "$LAYERFS" mount --container-layer "$WORK/full" "$image" "$mnt"

fact "what is left in work/ goes at the next mount"
mkdir -p "$layer/work/tmp-1/sub"
touch "$layer/work/tmp-1/sub/file"
mount_image "$image" "$mnt" --container-layer "$layer"
[ -z "$(ls -A "$layer/work")" ] || fail "work/ is not empty"
unmount_image "$mnt"

fact "a directory's ctime is the disk's, whatever was copied up in it or below"
rm -rf "$layer"
mount_image "$image" "$mnt" --container-layer "$layer"
changed_at() { (cd "$1" && stat -c '%n %z' etc etc/apt usr usr/lib usr/lib/python3.11 usr/lib/python3.11/json); }
touch "$mnt/etc/new" "$mnt/usr/new" # Both are in the layer from here on.
changed_at "$mnt" >/dev/null
echo >>"$mnt/etc/host.conf"
chmod 0600 "$mnt/etc/apt"
touch "$mnt/usr/lib/python3.11/json/scanner.py"
diff <(changed_at "$mnt") <(changed_at "$layer/upper") || fail "stat of a directory is out of date"
unmount_image "$mnt"
