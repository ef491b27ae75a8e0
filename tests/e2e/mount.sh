#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A mount is the tree that unpacking gives, from a layout and from a registry, and programs run in it.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require docker-registry jq

convert "oci:$IMAGES/app:latest" app
readonly M=$WORK/mnt

fact "from a layout: the tree that umoci unpacks"
mount_image "oci:$WORK/app:latest" "$M"
expect_same_tree "$IMAGES/app-tree" "$M"

fact "system calls give what they give on kernel overlayfs, for root and for others"
mkdir "$WORK/empty" "$WORK/overlay"
mount -t overlay -o "ro,lowerdir=$IMAGES/app-tree:$WORK/empty" overlay "$WORK/overlay"
"$E2E/same_calls.py" 0 "$WORK/overlay" "$M" || fail "calls differ"
mount_image "oci:$WORK/app:latest" "$WORK/shared" -o allow_other,default_permissions
"$E2E/same_calls.py" 65534 "$WORK/overlay" "$WORK/shared" || fail "calls of an ordinary user differ"
unmount_image "$WORK/shared"
umount "$WORK/overlay"

fact "it is read-only"
expect_error 1 "read-only" touch "$M/new"
expect_error 1 "read-only" rm "$M/app/main.py"
expect_error 1 "read-only" chmod 0600 "$M/app/main.py"

fact "programs run out of it, and map files"
answer=$(chroot "$M" /usr/bin/python3 /app/main.py)
expect_equal "state of the program" ready "$(jq -r .state <<<"$answer")"
python3 - "$M/app/data/noise.bin" "$IMAGES/app-tree/app/data/noise.bin" <<'PY'
import mmap, sys
files = [open(path, "rb") for path in sys.argv[1:]]
maps = [mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) for file in files]
assert maps[0][:] == maps[1][:], "mapped contents differ"
PY

fact "O_DIRECT reads the same bytes"
expect_equal "sum" "$(sha256sum <"$IMAGES/app-tree/app/data/noise.bin" | cut -d' ' -f1)" \
  "$(dd if="$M/app/data/noise.bin" iflag=direct bs=64K status=none | sha256sum | cut -d' ' -f1)"

fact "statfs tells the name limit, and longer names are too long rather than missing"
expect_equal "longest name" 255 "$(stat -f -c %l "$M")"
expect_error 1 "too long" stat "$M/$(printf 'n%.0s' {1..256})"
expect_error 1 "no such file" stat "$M/$(printf 'm%.0s' {1..255})"

fact "directories can be read from any position on"
python3 - "$M/app/names/many" "$IMAGES/app-tree/app/names/many" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir64.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for function in (libc.readdir64, libc.telldir, libc.closedir, libc.rewinddir):
    function.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
NAME = 19  # offset of d_name in struct dirent64

def entries(stream):
    while entry := libc.readdir64(stream):
        yield ctypes.string_at(entry + NAME)

stream = libc.opendir(os.fsencode(sys.argv[1]))
order, positions = [], []
while True:
    position = libc.telldir(stream)
    entry = libc.readdir64(stream)
    if not entry:
        break
    positions.append(position)
    order.append(ctypes.string_at(entry + NAME))
expected = {os.fsencode(name) for name in os.listdir(sys.argv[2])} | {b".", b".."}
assert sorted(order) == sorted(expected), "entries differ from the unpacked directory's"
for index in (0, 1, 2, 1500, len(order) - 1):
    libc.seekdir(stream, positions[index])
    assert list(entries(stream)) == order[index:], f"reading on from entry {index} gives something else"
PY

fact "layerfs umount ends it, and the daemon with it"
unmount_image "$M"

fact "from a registry, with an empty cache: the same tree"
start_registry
push "oci:$WORK/app:latest" test/app:converted
mount_image "docker://$REGISTRY/test/app:converted" "$M" --cache "$WORK/cache-registry"
expect_same_tree "$IMAGES/app-tree" "$M"
unmount_image "$M"

fact "a second mount with that cache fetches no content again"
forget_requests
mount_image "docker://$REGISTRY/test/app:converted" "$M" --cache "$WORK/cache-registry"
expect_same_tree "$IMAGES/app-tree" "$M"
(($(bytes_sent) < 100000)) || fail "$(bytes_sent) bytes were fetched again"

fact "two mounts of one image at once share a cache"
mount_image "docker://$REGISTRY/test/app:converted" "$WORK/mnt2" --cache "$WORK/cache-registry"
expect_same_tree "$M/app" "$WORK/mnt2/app"
unmount_image "$M"
expect_same_tree "$IMAGES/app-tree/app" "$WORK/mnt2/app"
unmount_image "$WORK/mnt2"
