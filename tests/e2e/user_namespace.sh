#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An ordinary user is root of a user namespace of his own (unshare, podman unshare) and mounts there
# without any helper: plain directories and images, with his own id alone and with subordinate ids. Root
# is needed only to become that user.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require setpriv setfattr getfattr setfacl getfacl
(($(cat /proc/sys/user/max_user_namespaces) > 0)) || skip "needs user namespaces for users"
own_mounts
let_users_mount

convert "oci:$IMAGES/app:latest" app
readonly HOME_DIR=$WORK/home I=oci:$WORK/app:latest
mkdir "$HOME_DIR"
chmod 0755 "$WORK"
chmod -R go+rX "$WORK/app"
install -m 0755 "$LAYERFS" "$WORK/layerfs"
chown 65534:65534 "$HOME_DIR"
user=(setpriv --reuid 65534 --regid 65534 --clear-groups env -u LAYERFS_CACHE -u XDG_CACHE_HOME -u XDG_DATA_HOME -u XDG_RUNTIME_DIR
  HOME="$HOME_DIR" L="$WORK/layerfs" I="$I" bash -c 'cd && exec "$@"' user)
# alone SCRIPT: as root of a namespace that has the user's own id and no other. What is mounted there
# goes with it.
alone() { "${user[@]}" unshare --user --map-root-user --mount bash -euc "$1"; }
# with_ids SCRIPT: with 65536 subordinate ids as well.
with_ids() { "${user[@]}" unshare --user --map-root-user --map-auto --mount bash -euc "$1"; }
fresh() { rm -rf "${HOME_DIR:?}"/{a,b,u,w,mnt,layer}; "${user[@]}" mkdir -p a/dir b u w mnt; }
marks_of() { getfattr --absolute-names -R -h -d -m '^(trusted|user)\.' "$1" | grep -v '^#' | grep . | sort -u; }

fact "directories, with one id: marks in the user's form, and what the kernel grants there"
fresh
"${user[@]}" sh -ec 'echo one >a/one; echo two >a/dir/two; echo three >b/three; mkdir b/old; echo in >b/old/in'
alone '
  "$L" mount mnt -o lowerdir=a:b,upperdir=u,workdir=w
  cd mnt
  rm one; rm -r dir; mkdir dir; echo text >dir/new; mv old moved; echo more >>three; mkfifo fifo; ln three link; chmod 4755 dir/new
  for words in "chown 5:6 three" "mknod device c 1 3" "setfattr -n trusted.x -v 1 three"; do
    ! $words 2>/dev/null || { echo "$words should fail" >&2; exit 1; }
  done
  setfattr -n user.x -v 1 three
  cd ..; "$L" umount mnt'
expect_equal "what is in the upper directory" "dir d 755,dir/new f 4755,fifo p 644,link f 644,moved d 755,old c 0,one c 0,three f 644" \
  "$(cd "$HOME_DIR/u" && find . -mindepth 1 -printf '%P %y %m\n' | sort | paste -sd,)"
expect_equal "owners on the disk" 65534:65534 "$(find "$HOME_DIR/u" -printf '%U:%G\n' | sort -u)"
marks=$(marks_of "$HOME_DIR/u")
expect_contains "marks" "$marks" 'user.overlay.opaque="y"'
expect_contains "marks" "$marks" 'user.overlay.redirect="/old"'
[[ $marks != *trusted.* ]] || fail "trusted attributes in a user's layer: $marks"
# shellcheck disable=SC2016
alone '
  "$L" mount mnt -o lowerdir=a:b,upperdir=u,workdir=w
  [ "$(ls mnt | xargs)" = "dir fifo link moved three" ] && [ "$(ls mnt/dir)" = new ] && [ "$(cat mnt/moved/in)" = in ]
  [ "$(cat mnt/link | xargs)" = "three more" ] && [ "$(stat -c %h mnt/link)" = 2 ] && [ "$(getfattr --only-values -n user.x mnt/three)" = 1 ]
  "$L" umount mnt' || fail "it is another tree after a remount"

fact "the kernel's own overlayfs reads that upper directory, and sees the same"
# shellcheck disable=SC2016
alone '
  mount -t overlay overlay -o userxattr,lowerdir=u:a:b mnt
  [ "$(ls mnt | xargs)" = "dir fifo link moved three" ] && [ "$(ls mnt/dir)" = new ] && [ "$(cat mnt/three | xargs)" = "three more" ]' || fail "overlayfs sees something else"

fact "with one id, other owners can be kept in attributes (xattr_permissions=2), or squashed"
fresh
"${user[@]}" touch a/file
alone '
  "$L" mount mnt -o lowerdir=a,upperdir=u,workdir=w,xattr_permissions=2
  touch mnt/new; chmod 2711 mnt/dir; "$L" umount mnt
  "$L" mount mnt -o lowerdir=u:a,xattr_permissions=2
  [ "$(stat -c %a mnt/dir)" = 2711 ]
  "$L" umount mnt'
expect_equal "the attribute" "0:0:2711:dir" "$(getfattr --absolute-names --only-values -n user.containers.override_stat "$HOME_DIR/u/dir")"
chown 12345:12345 "$HOME_DIR/a/file"
# shellcheck disable=SC2016
alone '
  "$L" mount mnt -o lowerdir=a,squash_to_root
  [ "$(stat -c %u:%g mnt/file)" = 0:0 ]
  "$L" umount mnt
  "$L" mount mnt -o lowerdir=a
  [ "$(stat -c %u:%g mnt/file)" = 65534:65534 ]
  "$L" umount mnt' || fail "owners"

fact "an image with one id: ACLs lose whom they name and the namespace has not, and files stay usable"
fresh
# shellcheck disable=SC2016
alone '
  "$L" mount "$I" mnt
  cat mnt/app/attributes/acl >/dev/null
  ls mnt/app/attributes/default-acl >/dev/null
  [ "$(stat -c %a mnt/app/attributes/acl)" = 664 ]
  ! getfacl -cpn mnt/app/attributes/acl | grep -E "^(user|group):[0-9]"
  "$L" umount mnt
  "$L" mount --container-layer layer "$I" mnt
  echo more >>mnt/app/attributes/acl
  mkdir mnt/app/attributes/default-acl/in
  chmod 600 mnt/etc/passwd; rm mnt/etc/debian_version; rm -r mnt/usr/share/perl5; mkdir mnt/usr/share/perl5; mv mnt/app/names mnt/app/moved
  "$L" umount mnt
  "$L" mount --container-layer layer "$I" mnt
  [ "$(tail -n 1 mnt/app/attributes/acl)" = more ] && [ "$(stat -c %a mnt/app/attributes/acl)" = 664 ]
  [ "$(stat -c %a mnt/etc/passwd)" = 600 ] && [ ! -e mnt/etc/debian_version ] && [ -z "$(ls mnt/usr/share/perl5)" ] && [ -d mnt/app/moved/many ]
  "$L" umount mnt' || fail "the image in a namespace of one id"

fact "symbolic links, which cannot be marked there, stay one object under all their later names"
"${user[@]}" cp "$E2E/same_renames.py" .
# shellcheck disable=SC2016
alone '
  "$L" mount --container-layer layer "$I" mnt
  mkfifo mnt/etc/alternatives/fifo; mkdir mnt/etc/alternatives/directory
  cp -a mnt/etc/alternatives plain
  ./same_renames.py plain mnt/etc/alternatives 1 120
  "$L" umount mnt
  rm -r plain' || fail "renames of symbolic links"

fact "cache, containers and sockets are the user's, not the machine's"
[[ -d $HOME_DIR/.cache/layerfs ]] || fail "the cache is elsewhere"
# shellcheck disable=SC2016
expect_contains "diff" "$(alone '"$L" diff "$PWD/layer"')" "A /app/moved"
# shellcheck disable=SC2016
alone '"$L" mount "$I" mnt; "$L" stat --json mnt >stat.json; "$L" umount mnt'
expect_equal "who serves it" "$I" "$(jq -r .image "$HOME_DIR/stat.json")"

if command -v newuidmap >/dev/null && [[ -e /etc/subuid && -e /etc/subgid ]]; then
  echo nobody:200000:65536 >"$WORK/ids"
  chmod 0644 "$WORK/ids"
  for file in /etc/subuid /etc/subgid; do mount --bind "$WORK/ids" "$file"; done

  fact "an image with subordinate ids: its owners and ACLs are there, changes by its users are theirs on the disk"
  fresh
  # shellcheck disable=SC2016
  with_ids '
    "$L" mount --container-layer layer "$I" mnt
    [ "$(stat -c %u:%g:%a mnt/srv)" = 33:33:750 ] && getfacl -cpn mnt/app/attributes/acl | grep -qE "^(user|group):[0-9]"
    chmod 644 mnt/etc/shadow; chmod 4711 mnt/usr/bin/chage; chown 33:34 mnt/app/main.py
    setpriv --reuid 33 --regid 33 --clear-groups sh -ec "echo x >mnt/tmp/theirs; ! echo x >mnt/etc/theirs; ls mnt/srv; ! chmod 600 mnt/etc/passwd" 2>/dev/null
    setfacl -m u:5:rw mnt/tmp/theirs
    "$L" umount mnt
    "$L" mount --container-layer layer "$I" mnt
    [ "$(stat -c %u:%g mnt/tmp/theirs)" = 33:33 ] && getfacl -cpn mnt/tmp/theirs | grep -q "^user:5:rw-" && [ "$(stat -c %u:%g:%a mnt/usr/bin/chage)" = 0:42:4711 ]
    "$L" umount mnt' || fail "the image with subordinate ids"
  expect_equal "owners on the disk" "200032:200032 200032:200033 65534:200041" \
    "$(cd "$HOME_DIR/layer/upper" && stat -c %u:%g tmp/theirs app/main.py etc/shadow | xargs)"

  fact "uidmapping and gidmapping in there"
  fresh
  "${user[@]}" touch a/file
  # shellcheck disable=SC2016
  with_ids '
    "$L" mount mnt -o lowerdir=a,upperdir=u,workdir=w,uidmapping=0:10:1:1:100:100,gidmapping=0:20:1:1:100:100
    [ "$(stat -c %u:%g mnt/file)" = 10:20 ]
    chown 105:106 mnt/file
    "$L" umount mnt
    [ "$(stat -c %u:%g u/file)" = 6:7 ]' || fail "uidmapping"
  with_ids 'rm -rf u w layer'
  umount /etc/subuid /etc/subgid
fi
