#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Mounts of plain directories (-o lowerdir=…) beside the kernel's overlayfs and fuse-overlayfs over the
# same directories, and mount(8)'s helper.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require setfattr getfattr setpriv
let_users_mount
changes=$E2E/same_changes.py
cd "$WORK"
chmod 0755 .
mkdir mnt

# ours OPTIONS: mounts on mnt.
ours() { "$LAYERFS" mount mnt -o "$1" || fail "no mount with $1"; }
end() { "$LAYERFS" umount mnt; }
listing() { (cd "$1" && find . -printf '%P %y %m %U:%G %l\n' | sort); }
content_of() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k2); }
same_as() { expect_equal "$1" "$(listing "$2"; content_of "$2")" "$(listing mnt; content_of mnt)"; }

# layers: two lower ones and an upper one with every mark there is, in $1.
layers() {
  mkdir -p "$1"/{a,b,c,u,w}
  mkdir -p "$1"/c/{hidden,opaque,merged,moved/in,deleted} "$1"/b/merged "$1"/a/{opaque,merged}
  for name in hidden opaque merged moved moved/in deleted; do echo "c $name" >"$1/c/$name/file"; done
  echo b >"$1/b/merged/b-file"
  echo gone >"$1/b/merged/gone"
  echo a >"$1/a/opaque/a-file"
  mknod "$1/a/merged/gone" c 0 0
  mknod "$1/b/deleted" c 0 0
  mknod "$1/a/hidden" c 0 0
  setfattr -n trusted.overlay.opaque -v y "$1/a/opaque"
  mkdir "$1/a/new-place"
  setfattr -n trusted.overlay.redirect -v /moved "$1/a/new-place"
  mknod "$1/a/moved" c 0 0
  echo text >"$1/c/several"
  ln "$1/c/several" "$1/c/several-2"
  chown 5:6 "$1/c/several"
  ln -s several "$1/c/link"
  mkfifo "$1/b/fifo"
  mkdir -m 1777 "$1/b/tmp"
}

fact "whiteouts, opaque directories and redirects are read as the kernel reads them"
layers kernel
mkdir merged
mount -t overlay overlay -o lowerdir=kernel/a:kernel/b:kernel/c,redirect_dir=on merged
ours lowerdir=kernel/a:kernel/b:kernel/c
same_as "the merged tree" merged
expect_error '[1-9][0-9]*' "read-only" touch mnt/new
end
umount merged
mkdir -p moved/{lower/d,u,w}
touch moved/lower/d/file
mount -t overlay overlay -o lowerdir=moved/lower,upperdir=moved/u,workdir=moved/w,redirect_dir=on merged
mv merged/d merged/renamed
umount merged
ours lowerdir=moved/u:moved/lower
[[ -e mnt/renamed/file ]] || fail "a redirect is not followed"
end
ours lowerdir=moved/u:moved/lower,redirect_dir=nofollow
expect_error 2 "not permitted" ls mnt/renamed
end

fact "the marks in a user's form, and those of fuse-overlayfs"
mkdir -p user/{a,b}/{opaque,merged} user/b/{aufs,aufs-opaque}
touch user/b/{opaque,merged,aufs,aufs-opaque}/below
mkdir -p user/a/{aufs,aufs-opaque}
setfattr -n user.overlay.opaque -v y user/a/opaque
setfattr -n user.overlay.opaque -v x user/a/merged
touch user/a/merged/below user/a/aufs/.wh.below user/a/aufs-opaque/.wh..wh..opq
setfattr -n user.overlay.whiteout user/a/merged/below
mkdir -p user/{u,w}
for where in lowerdir=user/a:user/b "lowerdir=user/b,upperdir=user/a,workdir=user/w"; do
  ours "$where"
  expect_equal "what shows with $where" "$(printf '%s\n' aufs aufs-opaque merged opaque)" "$(cd mnt && find . -mindepth 1 -printf '%P\n' | sort)"
  expect_error 1 "no such file" stat mnt/aufs/below
  expect_error 1 "no such file" stat mnt/aufs/.wh.below
  end
done
ours "lowerdir=user/a:user/b,upperdir=user/u,workdir=user/w"
expect_error 1 "not permitted" touch mnt/aufs/.wh.x
mkdir mnt/aufs/below
end
ours "lowerdir=user/b,upperdir=user/a,workdir=user/w"
mkdir -p mnt/aufs/below
expect_equal "what a directory over a .wh. file shows" "" "$(ls -A mnt/aufs/below)"
end

expect_error "1|2" 'write \\: for a colon' "$LAYERFS" mount mnt -o lowerdir=::a

fact "a metacopy file is refused, not shown as holes"
mkdir -p meta/{a,b,u,w}
truncate -s 100000 meta/a/file
setfattr -n trusted.overlay.metacopy meta/a/file
ours lowerdir=meta/a:meta/b,upperdir=meta/u,workdir=meta/w
expect_error 1 "input/output error" cat mnt/file
expect_error 1 "input/output error" dd if=/dev/null of=mnt/file conv=notrunc
end

fact "nor those that the kernel makes, in a lower layer or in the upper"
mkdir -p made/{low,upper,work,u,w}
echo text >made/low/small
head -c 200000 /dev/zero >made/low/large
mount -t overlay none -o lowerdir=made/low,upperdir=made/upper,workdir=made/work,metacopy=on mnt
chmod 0600 mnt/small mnt/large
umount mnt
for layers in lowerdir=made/upper:made/low,upperdir=made/u,workdir=made/w \
  lowerdir=made/low,upperdir=made/upper,workdir=made/work; do
  ours "$layers"
  for name in small large; do
    expect_error 1 "input/output error" cat "mnt/$name"
    expect_error 1 "input/output error" dd if=/dev/null "of=mnt/$name" conv=notrunc oflag=append
  done
  end
done

fact "attributes with overlayfs's names are kept, escaped, where the kernel finds them"
mkdir -p escape/{a,u,w,u2,w2}
touch escape/a/file
setfattr -n trusted.overlay.overlay.below -v 1 escape/a/file
ours lowerdir=escape/a,upperdir=escape/u,workdir=escape/w
expect_equal "an attribute of a lower file" 1 "$(getfattr --only-values -n trusted.overlay.below mnt/file)"
setfattr -n trusted.overlay.opaque -v y mnt/file
setfattr -n trusted.mine -v z mnt/file
expect_equal "the attributes" "trusted.mine trusted.overlay.below trusted.overlay.opaque" "$(getfattr -m - mnt/file | grep -v '^#' | sort | xargs)"
setfattr -x trusted.overlay.below mnt/file
expect_error 1 "not permitted" setfattr -n user.containers.override_stat -v 0:0:0644 mnt/file
end
expect_equal "the attribute on disk" y "$(getfattr --only-values -n trusted.overlay.overlay.opaque escape/u/file)"
mount -t overlay overlay -o lowerdir=escape/a,upperdir=escape/u,workdir=escape/w2 merged
expect_equal "the attribute in the kernel's mount" y "$(getfattr --only-values -n trusted.overlay.opaque merged/file)"
umount merged

fact "an upper directory may lie in a mount of ours, which keeps its marks"
mkdir -p nest/{low/d,a,u,w,outer,inner}
touch nest/low/d/{kept,gone}
"$LAYERFS" mount -o lowerdir=nest/a,upperdir=nest/u,workdir=nest/w nest/outer
mkdir nest/outer/{u,w}
"$LAYERFS" mount -o lowerdir=nest/low,upperdir=nest/outer/u,workdir=nest/outer/w nest/inner
rm nest/inner/d/gone
chmod 0600 nest/inner/d/kept
expect_equal "what is left" kept "$(ls nest/inner/d)"
"$LAYERFS" umount nest/inner
"$LAYERFS" mount -o lowerdir=nest/low,upperdir=nest/outer/u,workdir=nest/outer/w nest/inner
expect_equal "what is left after a remount" "kept 600" "$(ls nest/inner/d) $(stat -c %a nest/inner/d/kept)"
"$LAYERFS" umount nest/inner
"$LAYERFS" umount nest/outer

fact "all calls on directories as on a disk, and the kernel sees the same tree"
for round in table 1 2 ${SEEDS:-}; do
  rm -rf copy up
  cp -a "$IMAGES/app-tree" copy
  # Two layers below: half of the directories are in each.
  mkdir -p up/{low,u,w,kernel-work}
  cp -a "$IMAGES/app-tree/etc" "$IMAGES/app-tree/app" up/low
  ours "lowerdir=up/low:$IMAGES/app-tree,upperdir=up/u,workdir=up/w"
  if [[ $round == table ]]; then
    "$changes" table copy mnt || fail "calls differ"
  else
    "$changes" random copy mnt "$round" "${RANDOM_CALLS:-400}" || fail "calls differ"
  fi
  "$changes" compare copy mnt || fail "the trees differ"
  end
  ours "lowerdir=up/low:$IMAGES/app-tree,upperdir=up/u,workdir=up/w"
  "$changes" compare copy mnt || fail "the trees differ after a remount"
  end
  mount -t overlay overlay -o "lowerdir=up/low:$IMAGES/app-tree,upperdir=up/u,workdir=up/kernel-work,redirect_dir=on,index=off" merged
  "$changes" compare copy merged --overlayfs "$IMAGES/app-tree" || fail "overlayfs sees another tree"
  umount merged
done

fact "what the kernel's overlayfs and fuse-overlayfs wrote is read"
change_much() {
  rm -r "$1/deleted-later" "$1/merged/file"
  mkdir "$1/deleted-later"
  mv "$1/merged" "$1/merged-moved"
  # Not a file with several names: to whom they belong, only the mount that wrote it knew.
  echo more >>"$1/moved/file"
  chmod 700 "$1/opaque"
  touch "$1/new"
}
for writer in kernel fuse-overlayfs; do
  [[ $writer == kernel ]] || command -v fuse-overlayfs >/dev/null || { skip "needs fuse-overlayfs"; }
  layers "by-$writer"
  mkdir "by-$writer/c/deleted-later"
  touch "by-$writer/c/deleted-later/file"
  # fuse-overlayfs 1.10 does not follow redirects of the layers below.
  rm -r "by-$writer/a/new-place" "by-$writer/a/moved"
  options="lowerdir=by-$writer/a:by-$writer/b:by-$writer/c,upperdir=by-$writer/u,workdir=by-$writer/w"
  if [[ $writer == kernel ]]; then
    mount -t overlay overlay -o "$options,redirect_dir=on,index=off" merged
  else
    fuse-overlayfs -o "$options" merged
  fi
  change_much merged
  listing merged >expected
  content_of merged >>expected
  umount merged
  ours "$options"
  expect_equal "the tree that $writer left" "$(<expected)" "$(listing mnt; content_of mnt)"
  end
done

fact "owners: squash_to_uid, squash_to_root, uidmapping, gidmapping"
mkdir -p own/{a,u,w}
touch own/a/{root,one}
chown 1:1 own/a/one
ours lowerdir=own/a,upperdir=own/u,workdir=own/w,squash_to_uid=1000,squash_to_gid=1001
expect_equal "owners" "1000:1001 1000:1001" "$(stat -c %u:%g mnt/root mnt/one | xargs)"
chown 7:7 mnt/one
touch mnt/new
expect_equal "owner of a new file" 1000:1001 "$(stat -c %u:%g mnt/new)"
end
ours lowerdir=own/a,squash_to_root
expect_equal "owners" "0:0 0:0" "$(stat -c %u:%g mnt/root mnt/one | xargs)"
end
ours lowerdir=own/a,upperdir=own/u,workdir=own/w,uidmapping=:0:100000:65536,gidmapping=0:200000:65536
expect_equal "owners" "100000:200000 100001:200001" "$(stat -c %u:%g mnt/root mnt/one | xargs)"
chown 100005:200006 mnt/one
expect_equal "owner on disk" 5:6 "$(stat -c %u:%g own/u/one)"
chmod 777 mnt
setpriv --reuid 100007 --regid 200008 --clear-groups touch mnt/mine
expect_equal "owner on disk of what a user made" 7:8 "$(stat -c %u:%g own/u/mine)"
end

fact "a lower file that gets the number of one that is gone, while nothing is mounted, is another"
mkdir -p reused/{a,u,w}
echo old >reused/a/old
number=$(stat -c %i reused/a/old)
ours lowerdir=reused/a,upperdir=reused/u,workdir=reused/w
chmod 640 mnt/old
mv mnt/old mnt/moved
end
ours lowerdir=reused/a,upperdir=reused/u,workdir=reused/w
expect_equal "the number of what has been copied up and moved" "$number" "$(stat -c %i mnt/moved)"
end
rm reused/a/old
for i in {1..2000}; do
  echo new >reused/a/new
  [[ $(stat -c %i reused/a/new) != "$number" ]] || break
  mv reused/a/new "reused/a/other-$i"
done
rm -f reused/a/other-*
ours lowerdir=reused/a,upperdir=reused/u,workdir=reused/w
expect_equal "contents" "old new" "$(cat mnt/moved mnt/new | xargs)"
[[ $(stat -c %i mnt/moved) != "$(stat -c %i mnt/new)" ]] || fail "two files have one number"
echo changed >mnt/new
expect_equal "contents after a write" "old changed" "$(cat mnt/moved mnt/new | xargs)"
end

fact "a lower directory on another file system than the upper one: its files are copied up, holes and all"
mkdir -p across/{a,u,w}
mount -t tmpfs none across/a
mkdir across/a/dir
head -c 300000 /dev/urandom >across/a/dir/file
truncate -s 20M across/a/sparse
printf data | dd of=across/a/sparse bs=1 seek=9000000 conv=notrunc status=none
touch across/a/empty
cp across/a/dir/file across-file
cp across/a/sparse across-sparse
ours lowerdir=across/a,upperdir=across/u,workdir=across/w
for file in across-file mnt/dir/file across-sparse mnt/sparse mnt/empty; do echo more >>"$file"; done
chmod 600 mnt/dir/file
cmp across-file mnt/dir/file
cmp across-sparse mnt/sparse
expect_equal "what was empty" more "$(<mnt/empty)"
(($(stat -c %b across/u/sparse) < 1000)) || fail "the hole was copied: $(stat -c %b across/u/sparse) blocks"
end
unmount_disk across/a

fact "static_nlink, noacl, volatile, xino, redirect_dir=off"
mkdir -p other/{a/dir/sub,u,w}
ours lowerdir=other/a,upperdir=other/u,workdir=other/w,static_nlink,noacl,volatile,xino=on,redirect_dir=off
expect_equal "links of a directory" 1 "$(stat -c %h mnt/dir)"
expect_error 1 "not supported" setfacl -m u:1000:r mnt/dir
expect_error 1 "cross-device" python3 -c 'import os; os.rename("mnt/dir", "mnt/moved")'
mv mnt/dir mnt/moved
sync mnt/moved
[[ -d mnt/moved/sub && ! -e mnt/dir ]] || fail "mv does not do without redirects"
end
ours lowerdir=other/a
expect_equal "links of a directory" 3 "$(stat -c %h mnt/dir)"
end
mkdir -p other/{u2,w2}
ours lowerdir=other/a,upperdir=other/u2,workdir=other/w2,userxattr
rm -r mnt/dir && mkdir mnt/dir
end
expect_equal "the mark" y "$(getfattr --only-values -n user.overlay.opaque other/u2/dir)"

fact "an ordinary user, through fusermount3"
mkdir -p user-home/{a/dir,u,w,mnt}
touch user-home/a/{one,two,dir/file}
chown -R 65534:65534 user-home

install -m 0755 "$LAYERFS" layerfs-of-all
as_user() { (cd user-home && setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$WORK/user-home" "$@"); }
options=lowerdir=a,upperdir=u,workdir=w
as_user ../layerfs-of-all mount mnt -o "$options"
as_user sh -ec 'rm mnt/one; rm -r mnt/dir; mkdir mnt/dir; echo text >mnt/two; chmod 640 mnt/two; touch mnt/new; mkfifo mnt/pipe; ln mnt/new mnt/link'
seen='cd mnt; find . -printf "%P %y %m %U %n\n" | sort'
before=$(as_user sh -c "$seen")
as_user ../layerfs-of-all umount mnt
as_user ../layerfs-of-all mount mnt -o "$options"
expect_equal "the user's tree after a remount" "$before" "$(as_user sh -c "$seen")"
expect_contains "the user's tree" "$before" "two f 640 65534 1"
expect_contains "the user's tree" "$before" "pipe p"
[[ $before != *one* && $before != *dir/file* ]] || fail "what the user removed is there: $before"
as_user ../layerfs-of-all umount mnt
[[ -z $(getfattr -R -d -m '^trusted' user-home/u) ]] || fail "trusted attributes in a user's layer"

fact "a user's files that he made without permissions, and links below that he cannot mark"
mkdir user-home/a/links
ln -s target user-home/a/links/one
ln user-home/a/links/one user-home/a/links/two
ln user-home/a/links/one user-home/a/links/three
mkfifo user-home/a/pipe-below
chown -hR 65534:65534 user-home/a
as_user ../layerfs-of-all mount mnt -o "$options"
as_user sh -ec 'cd mnt; (umask 0777; echo a >none; mkdir closed); (umask 0222; echo b >read-only); chmod 600 none read-only
  chmod 700 closed; echo c >>none; echo d >>read-only; touch closed/in; chmod 600 pipe-below; mv pipe-below pipe-moved'
expect_equal "what he wrote" "a c b d" "$(as_user sh -c 'cat mnt/none mnt/read-only' | xargs)"
as_user sh -ec 'rm mnt/links/one; mv mnt/links/two mnt/links/moved'
expect_equal "his links" "moved target three target" "$(as_user sh -c 'cd mnt/links; for link in *; do echo $link $(readlink $link); done' | xargs)"
as_user rm -r mnt/links mnt/closed
as_user ../layerfs-of-all umount mnt

fact "limits of who mounts are not those of who writes"
mkdir -p limits/{a,u,w}
(ulimit -f 64 && ours lowerdir=limits/a,upperdir=limits/u,workdir=limits/w)
head -c 1M /dev/zero >mnt/larger
expect_equal "its size" 1048576 "$(stat -c %s mnt/larger)"
end

fact "xattr_permissions=2: owners and modes in attributes, by root as well, as fuse-overlayfs has them"
mkdir -p owners/{a,u,w,none}
touch owners/a/below
ours lowerdir=owners/a,upperdir=owners/u,workdir=owners/w,xattr_permissions=2
touch mnt/new
chown 5:6 mnt/below mnt/new
mkdir -m 2775 mnt/shared
chgrp 7 mnt/shared
chmod g+s mnt/shared
mkdir mnt/shared/in
chmod 0777 mnt
setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'umask 027; echo text >mnt/users; mkfifo mnt/pipe'
ln -s target mnt/link
chown -h 5:6 mnt/link # not kept, and no error
touch mnt/setuid mnt/acl
chmod 6775 mnt/setuid
chown 5:6 mnt/setuid
setfacl -m u:5:rwx,g::r mnt/acl
expect_equal "mode of a file with an ACL" 674 "$(stat -c %a mnt/acl)"
chmod 650 mnt/acl
mkdir mnt/default
setfacl -d -m u::rwx,g::rx,o::- mnt/default
touch mnt/default/file
expect_contains "what chmod makes of an ACL" "$(getfacl -c mnt/acl)" "mask::r-x"
seen=$(listing mnt)
for line in "below f 644 5:6" "new f 644 5:6" "shared/in d 2755 0:7" "users f 640 65534:65534" "pipe p 640 65534:65534" "setuid f 775 5:6" \
  "acl f 650 0:0" "default/file f 640 0:0"; do
  expect_contains "what shows" "$seen" "$line"
done
end
expect_equal "owners on the disk" "0:0" "$(find owners/u -mindepth 1 -printf '%U:%G\n' | sort -u)"
expect_equal "the attribute" "5:6:644:file" "$(getfattr --only-values -n user.containers.override_stat owners/u/new)"
ours lowerdir=owners/u:owners/none
expect_equal "as a layer below" "$seen" "$(listing mnt)"
end

fact "options that are not there are refused by name"
for word in nonsense nonsense=1 xattr_permissions=1 metacopy=on nfs_export=on plugins=x verity=require; do
  expect_error '[1-9]' "${word%%=*}" "$LAYERFS" mount mnt -o "lowerdir=other/a,$word"
done
expect_error '[1-9]' "workdir" "$LAYERFS" mount mnt -o lowerdir=other/a,upperdir=other/u
expect_error '[1-9]' "missing" "$LAYERFS" mount mnt -o lowerdir=other/missing
ours lowerdir=other/a,upperdir=other/u,workdir=other/w
mkdir second other/w-too
expect_error 1 "in use" "$LAYERFS" mount second -o lowerdir=other/a,upperdir=other/u,workdir=other/w
expect_error 1 "in use" "$LAYERFS" mount second -o lowerdir=other/a,upperdir=other/u,workdir=other/w-too
end

mkdir -p nested/{u/w,w}
touch nested/u/w/file
for places in upperdir=nested/u,workdir=nested/u upperdir=nested/u,workdir=nested/u/w upperdir=nested/u/w,workdir=nested/u; do
  expect_error 2 "lies in it" "$LAYERFS" mount mnt -o "lowerdir=other/a,$places"
done
expect_error 2 "lies in it" "$LAYERFS" mount mnt -o lowerdir=nested/u,upperdir=nested/u,workdir=nested/w
expect_error 2 "Not a directory" "$LAYERFS" mount mnt -o lowerdir=nested/u/w/file
[[ -e nested/u/w/file ]] || fail "a refused mount cleans up in what it was not given"

fact "what came from below stays one object under all its later names, with handles or without"
mkdir -p named/lower/{d/in,e}
for name in f g d/x d/y d/in/z; do echo "$name" >"named/lower/$name"; done
ln -s f named/lower/link
ln -s ../g named/lower/d/link
mkfifo named/lower/fifo
no_handles=(setpriv --bounding-set=-dac_read_search --inh-caps=-dac_read_search)
for who in env "${no_handles[*]}"; do
  for seed in 1 2; do
    rm -rf named/{u,w,plain}
    mkdir named/{u,w}
    cp -a named/lower named/plain
    $who "$LAYERFS" mount mnt -o lowerdir=named/lower,upperdir=named/u,workdir=named/w
    "$E2E/same_renames.py" named/plain mnt "$seed" 120 || fail "renames as '$who', seed $seed"
    end
    # What was found in another place than it has below keeps its number too.
    $who "$LAYERFS" mount mnt -o lowerdir=named/lower,upperdir=named/u,workdir=named/w
    "$E2E/same_renames.py" named/plain mnt "$seed" 30 || fail "renames as '$who' after a remount, seed $seed"
    end
  done
done

fact "names with colons and commas"
mkdir -p 'with:colon/in' 'with,comma/in'
ours 'lowerdir=with\:colon:with\,comma'
end

fact "mount(8) and umount(8) through the helper"
ln -s "$LAYERFS" /sbin/mount.fuse.layerfs 2>/dev/null && made_helper=1
[[ $(readlink -f /sbin/mount.fuse.layerfs) == "$(readlink -f "$LAYERFS")" ]] || fail "/sbin/mount.fuse.layerfs is another"
status=0
(
  mount -t fuse.layerfs source mnt -o lowerdir=other/a,upperdir=other/u,workdir=other/w,noatime
  is_mounted "$WORK/mnt"
  touch mnt/by-mount
  mount -o remount,ro mnt
  ! touch mnt/read-only 2>/dev/null
  mount -o remount,rw mnt
  touch mnt/by-mount
  umount mnt
  [[ -e other/u/by-mount ]]
  mount -t fuse.layerfs -o ro,lowerdir=other/a none mnt
  ! touch mnt/x 2>/dev/null
  umount mnt
  ! mount -t fuse.layerfs source mnt -o lowerdir=other/missing 2>said
  grep -q missing said
) || status=$?
[[ -z ${made_helper:-} ]] || rm /sbin/mount.fuse.layerfs
((status == 0)) || fail "mount -t fuse.layerfs"
