#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Files of which a container layer has only parts: what is fetched and what is not, and programs
# that reach one file by every way (file_exerciser, fio, stress-ng).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
require_root
require_fuse
: "${FILE_EXERCISER:?is the file_exerciser executable}"

SEEDS=${SEEDS:-4}
OPERATIONS=${OPERATIONS:-1500}
readonly M=$WORK/mnt LAYER=$WORK/container ORIGINAL=$WORK/original

make_image() {
  local dir=$WORK/image i
  mkdir -p "$ORIGINAL/data"
  for ((i = 1; i <= SEEDS; i++)); do
    head -c $((300000 * i * i + 777)) /dev/urandom >"$ORIGINAL/data/$i.bin"
  done
  truncate -s 6M "$ORIGINAL/data/sparse.bin"
  head -c 100000 /dev/urandom | dd of="$ORIGINAL/data/sparse.bin" bs=1M seek=2 conv=notrunc status=none
  head -c 64M /dev/urandom >"$ORIGINAL/data/large.bin"
  printf 'a line\n' >"$ORIGINAL/data/small.txt"
  init_layout "$dir"
  tar --sort=name --format=posix -cf "$WORK/layer.tar" -C "$ORIGINAL" .
  tag_layout "$dir" latest "$(put_layer "$dir" none "$WORK/layer.tar" | put_image "$dir" amd64 '{}')"
  rm "$WORK/layer.tar"
  convert "oci:$dir:latest" lazy
  push "oci:$WORK/lazy:latest" lazy:latest
}
# Without what streams in behind: each request is to be one that something here has asked for.
mount_layer() { mount_image "docker://$REGISTRY/lazy:latest" "$M" --fill=off --container-layer "$LAYER"; }
# Range requests for blobs so far: what was fetched.
blob_requests() { requests GET "/v2/${1:-lazy}/blobs/sha256" | wc -l; }

start_registry
make_image
mount_layer
fact "mounted, $(blob_requests) requests so far"

before=$(blob_requests)
printf 'appended\n' >>"$M/data/large.bin"
chmod 0600 "$M/data/large.bin"
chown 12:34 "$M/data/large.bin"
touch -d '2020-02-02 UTC' "$M/data/large.bin"
setfattr -n user.colour -v blue "$M/data/large.bin"
mv "$M/data/large.bin" "$M/data/larger.bin"
truncate -s 50M "$M/data/larger.bin"
expect_equal "requests for appending, chmod, chown, touch, xattr, mv and truncate" "$before" "$(blob_requests)"
fact "appending, chmod, chown, touch, setfattr, mv, truncate: nothing fetched"

printf 'XY' | dd of="$M/data/larger.bin" bs=1 seek=30000001 conv=notrunc status=none
fetched=$(($(blob_requests) - before))
((fetched >= 1 && fetched <= 3)) || fail "2 bytes were written and $fetched requests made"
fact "2 bytes in the middle: $fetched requests (a segment of the chunk table and a chunk)"
cp "$ORIGINAL/data/large.bin" "$WORK/large"
truncate -s 50M "$WORK/large"
printf 'XY' | dd of="$WORK/large" bs=1 seek=30000001 conv=notrunc status=none
cmp "$WORK/large" "$M/data/larger.bin"
unmount_image "$M"
mount_layer
cmp "$WORK/large" "$M/data/larger.bin"
expect_equal "mode and owner" "600 12 34" "$(stat -c '%a %u %g' "$M/data/larger.bin")"
fact "after a remount it is the same"

convert "oci:$IMAGES/huge:latest" huge
push "oci:$WORK/huge:latest" huge:latest
HUGE=$WORK/huge-mnt/huge.bin
mount_image "docker://$REGISTRY/huge:latest" "$WORK/huge-mnt" --fill=off --container-layer "$WORK/huge-container"
before=$(blob_requests huge)
chmod 0640 "$HUGE"
printf 'the last line\n' >>"$HUGE"
expect_equal "requests for chmod and appending to 5 GiB" "$before" "$(blob_requests huge)"
expect_equal "its end" "the last line" "$(tail -c 14 "$HUGE")"
at() { dd if="$HUGE" bs=1 skip="$1" count=11 status=none | tr '\0' '.'; }
printf 'ABOVE' | dd of="$HUGE" bs=1 seek=$(((4 << 30) + 4095)) conv=notrunc status=none
expect_equal "above 4 GiB" "ABOVE 4 GiB" "$(at $(((4 << 30) + 4095)))"
expect_equal "below 4 GiB" "below 4 GiB" "$(at 1000)"
used=$(du -sk "$WORK/huge-container" | cut -f1)
((used < 1000)) || fail "the layer takes $used KiB"
unmount_image "$WORK/huge-mnt"
fact "of a file of 5 GiB, appending and chmod fetch nothing; a write above 4 GiB; the layer takes $used KiB"

exercise() { # FILE ORIGINAL SEED
  "$FILE_EXERCISER" "$1" "$2" "$OPERATIONS" "$3"
}
for ((i = 1; i <= SEEDS; i++)); do
  exercise "$M/data/$i.bin" "$ORIGINAL/data/$i.bin" "$((i + ${SEED:-0}))"
done
exercise "$M/data/sparse.bin" "$ORIGINAL/data/sparse.bin" "${SEED:-7}"
fact "$SEEDS files and a sparse one took $OPERATIONS random operations each"
unmount_image "$M"
mount_layer
for ((i = 1; i <= SEEDS; i++)); do cmp "$M/data/$i.bin" "$ORIGINAL/data/$i.bin.after"; done
cmp "$M/data/sparse.bin" "$ORIGINAL/data/sparse.bin.after"
fact "and are what they were after a remount"

if command -v fio >/dev/null; then
  verify() { # NAME FIO OPTION…
    fio --name="$1" --filename="$M/data/larger.bin" --size=32M --ioengine=psync --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
      --randseed="${SEED:-1}" --output="$WORK/fio.log" "${@:2}" || { tail -20 "$WORK/fio.log" >&2; fail "fio: $1"; }
  }
  verify buffered --rw=randwrite --bsrange=512-64k --bs_unaligned=1
  verify direct --rw=randwrite --bsrange=4k-64k --direct=1
  verify mapped --rw=randwrite --bsrange=4k-64k --ioengine=mmap
  verify mixed --rw=randrw --bsrange=4k-64k
  fact "fio verifies what it wrote into a partial file: buffered, direct, mapped, mixed with reads"
fi
unmount_image "$M"
