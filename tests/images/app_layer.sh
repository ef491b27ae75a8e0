#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# app_layer.sh ROOTFS TAR: writes the application layer of the test image. ROOTFS is the system
# below it, which is only looked at: what the layer deletes or replaces must be there.
# Every kind of file and attribute that a layer can carry is in it. The same each time, but for the
# process ID that GNU tar puts into the header names of sparse files. Needs root.
set -euo pipefail
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$HERE/lib.sh"
readonly ROOTFS=$1 TAR=$2
readonly STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT

# noise BYTES: bytes that do not compress, the same each time.
noise() { head -c "$1" /dev/zero | openssl enc -aes-128-ctr -K "$(printf '%032d' 0)" -iv "$(printf '%032d' 0)"; }

# below TYPE PATH: PATH with its parent made in the stage, after a look that it is there below.
below() {
  local type
  type=$(stat -c %F "$ROOTFS/$2" 2>/dev/null) || die "the system below has no /$2"
  [[ $type == "$1"* ]] || die "/$2 below is a $type, not a $1"
  mkdir -p "$STAGE/$(dirname "$2")"
  echo "$STAGE/$2"
}

delete() { local path; path=$(below "$1" "$2"); : >"${path%/*}/.wh.${path##*/}"; }

deletions() {
  delete "regular file" usr/lib/python3.11/this.py
  delete "symbolic link" etc/rmt
  delete directory usr/share/doc/tar
  # Opaque: only what this layer puts there stays.
  mkdir -p "$(below directory usr/share/common-licenses)"
  echo "our own terms" >"$STAGE/usr/share/common-licenses/NOTICE"
  : >"$STAGE/usr/share/common-licenses/.wh..wh..opq"
}

replacements() {
  local path
  path=$(below "regular file" etc/issue); mkdir "$path" && echo hello >"$path/greeting"
  path=$(below directory usr/share/lintian); echo "was a directory" >"$path"
  path=$(below directory usr/share/menu); ln -s lintian "$path"
  path=$(below "symbolic link" etc/os-release); printf 'ID=app\nPRETTY_NAME="Application"\n' >"$path"
  path=$(below "regular file" etc/debian_version); ln -s ../app/main.py "$path"
  path=$(below "regular file" etc/issue.net); mkfifo "$path"
  # Only the attributes of a directory of the base change.
  path=$(below directory srv); mkdir "$path" && chmod 0750 "$path" && chown 33:33 "$path"
}

program() {
  mkdir -p "$STAGE/app/bin"
  cat >"$STAGE/app/main.py" <<'PY'
#!/usr/bin/python3
"""Touches a spread of the standard library, as a small service does when it starts."""
import hashlib, json, os, platform, sqlite3, ssl, urllib.request, xml.etree.ElementTree

database = sqlite3.connect(":memory:")
database.execute("create table greeting (word text)")
database.execute("insert into greeting values ('ready')")
with open("/etc/os-release") as release:
    system = dict(line.rstrip().split("=", 1) for line in release)["ID"]
with open("/app/data/noise.bin", "rb") as data:
    digest = hashlib.sha256(data.read()).hexdigest()
print(json.dumps({
    "state": database.execute("select word from greeting").fetchone()[0],
    "system": system,
    "python": platform.python_version(),
    "noise": digest,
}))
PY
  chmod 0755 "$STAGE/app/main.py"
}

contents() {
  local data=$STAGE/app/data
  mkdir -p "$data"
  : >"$data/empty"
  printf x >"$data/one-byte"
  noise 1048577 >"$data/noise.bin"
  seq 1 1500000 >"$data/numbers.txt"
  # 64 MiB of holes with data at its start, across a page boundary, and at its very end.
  truncate -s 64M "$data/sparse.bin"
  printf start | dd of="$data/sparse.bin" conv=notrunc status=none
  noise 5000 | dd of="$data/sparse.bin" bs=1 seek=20971000 conv=notrunc status=none
  printf end | dd of="$data/sparse.bin" bs=1 seek=$((64 * 1048576 - 3)) conv=notrunc status=none
  truncate -s 1M "$data/all-hole.bin"
}

attributes() {
  local dir=$STAGE/app/attributes
  mkdir -p "$dir"
  cp "$ROOTFS/bin/true" "$dir/with-capability"
  setcap cap_net_raw,cap_net_bind_service+ep "$dir/with-capability"
  echo data >"$dir/user-xattr"
  setfattr -n user.comment -v "a comment" "$dir/user-xattr"
  setfattr -n user.binary -v 0x00ff80fe0a3d "$dir/user-xattr"
  mkdir "$dir/xattr-dir" && setfattr -n user.on-directory -v yes "$dir/xattr-dir"
  echo data >"$dir/acl" && setfacl -m u:1234:rw,g:4321:r,m::rw "$dir/acl"
  mkdir "$dir/default-acl" && setfacl -d -m u:1234:rwx "$dir/default-acl"
  cp "$ROOTFS/bin/true" "$dir/setuid" && chmod 4755 "$dir/setuid"
  mkdir "$dir/setgid" && chown 0:50 "$dir/setgid" && chmod 2775 "$dir/setgid"
  mkdir "$dir/sticky" && chmod 1777 "$dir/sticky"
  echo none >"$dir/no-mode" && chmod 0000 "$dir/no-mode"
  echo far >"$dir/large-owner" && chown 2000000000:2000000001 "$dir/large-owner"
}

kinds() {
  local dir=$STAGE/app/kinds
  mkdir -p "$dir"
  mkfifo -m 0640 "$dir/fifo"
  mknod -m 0666 "$dir/char" c 1 3
  mknod -m 0660 "$dir/block" b 7 200
  echo linked >"$dir/link-a" && ln "$dir/link-a" "$dir/link-b" && mkdir "$dir/other" && ln "$dir/link-a" "$dir/other/link-c"
  ln -s /usr/bin/python3 "$dir/absolute"
  ln -s ../../app/main.py "$dir/relative"
  ln -s nowhere "$dir/dangling"
  ln -s "$(printf '%0900d' 0)" "$dir/long-target"
  ln -s loop "$dir/loop"
}

names() {
  local dir=$STAGE/app/names i
  mkdir -p "$dir/many" "$dir/$(printf 'd/%.0s' {1..60})"
  echo latin1 >"$dir/"$'caf\xe9'
  echo utf8 >"$dir/日本語"
  echo newline >"$dir/"$'two\nlines'
  echo odd >"$dir/- \\'\"*?[x]"
  echo long >"$dir/$(printf 'n%.0s' {1..255})"
  echo deep >"$dir/$(printf 'd/%.0s' {1..60})bottom"
  for ((i = 0; i < 3000; i++)); do echo "$i" >"$dir/many/entry-$i"; done
}

times() {
  local dir=$STAGE/app/times
  mkdir -p "$dir"
  echo t >"$dir/nanoseconds" && touch -d '2021-02-03T04:05:06.123456789Z' "$dir/nanoseconds"
  echo t >"$dir/before-1970" && touch -d '1965-04-03T02:01:00Z' "$dir/before-1970"
  echo t >"$dir/epoch" && touch -d @0 "$dir/epoch"
  echo t >"$dir/after-2038" && touch -d '2104-01-01T00:00:00.5Z' "$dir/after-2038"
  ln -s nanoseconds "$dir/symlink" && touch -h -d '2020-02-02T02:02:02.000000002Z' "$dir/symlink"
}

# Parents that only lead to something keep the attributes that they have below.
copy_parents() {
  local path
  while read -r path; do
    [[ -d $ROOTFS/$path && ! -L $ROOTFS/$path && $path != srv ]] || continue
    chown --reference="$ROOTFS/$path" "$STAGE/$path"
    chmod --reference="$ROOTFS/$path" "$STAGE/$path"
    touch --reference="$ROOTFS/$path" "$STAGE/$path"
  done < <(cd "$STAGE" && find . -type d -not -path './app*' -printf '%P\n')
}

# The opaque marker of common-licenses goes behind its siblings: readers must not depend on order.
members() {
  cd "$STAGE"
  find . -mindepth 1 -not -path './usr/share/common-licenses/.wh..wh..opq' -print0 | sort -z
  printf '%s\0' ./usr/share/common-licenses/.wh..wh..opq
}

need_root
umask 022
deletions
replacements
program
contents
attributes
kinds
names
find "$STAGE" -depth -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
times
touch -d "@$SOURCE_DATE_EPOCH" "$STAGE/app" "$STAGE/app/times"
copy_parents
members | tar -C "$STAGE" --format=posix --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' \
  --numeric-owner --sparse --xattrs --xattrs-include='*' --no-recursion --null -T - -cf "$TAR"
