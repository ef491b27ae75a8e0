#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Podman with layerfs as its mount_program: run, diff, commit, build, with layers in the form that
# containers/storage gives them for such programs (.wh. files).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require podman runc

ln -s "$LAYERFS" "$WORK/mount.fuse.layerfs"
cat >"$WORK/storage.conf" <<TOML
[storage]
driver = "overlay"
graphroot = "$WORK/graph"
runroot = "$WORK/run"
[storage.options.overlay]
mount_program = "$WORK/mount.fuse.layerfs"
TOML
export CONTAINERS_STORAGE_CONF=$WORK/storage.conf
podman=(podman --cgroup-manager cgroupfs)
# runc, because crun refuses machines whose unified cgroup hierarchy is mounted beside the old ones.
limits=(--ulimit nofile=1000:1000 --ulimit nproc=1000:1000)
run() { "${podman[@]}" run --runtime runc --network none "${limits[@]}" "$@"; }
forget() { "${podman[@]}" rm -af >/dev/null 2>&1 || true; "${podman[@]}" rmi -af >/dev/null 2>&1 || true; }

"${podman[@]}" pull -q "oci:$IMAGES/app:latest" >"$WORK/id"
image=$(<"$WORK/id")

fact "run: the container's root is layerfs, and takes changes of every kind"
root=$(run --name one "$image" sh -ec '
  echo new > /etc/new
  rm -r /usr/share/perl5 && mkdir /usr/share/perl5
  mv /app/names /app/moved
  rm /etc/debian_version
  chmod 600 /etc/passwd
  echo more >> /app/data/numbers.txt
  ln /etc/new /etc/new-link
  while read -r what where type rest; do [ "$where" != / ] || echo "$type"; done </proc/mounts')
expect_contains "type of the root" "$root" fuse.layerfs

fact "diff: what the container changed"
changed=$("${podman[@]}" diff one)
for line in "A /etc/new" "D /app/names" "A /app/moved" "D /etc/debian_version" "C /etc/passwd" "C /app/data/numbers.txt"; do
  grep -qxF "$line" <<<"$changed" || fail "podman diff does not say '$line'"
done

fact "commit: the new image has the same tree"
"${podman[@]}" commit -q one committed:1 >/dev/null
look='cd /; cat etc/new; ls -A usr/share/perl5 | wc -l; ls -d app/moved app/names etc/debian_version 2>/dev/null
  stat -c "%a %h" etc/passwd etc/new; tail -n 1 app/data/numbers.txt; ls app/moved/many | wc -l'
before=$(run --rm committed:1 sh -c "$look")
expect_equal "the committed tree" "new 0 app/moved 600 1 644 2 more $(ls "$IMAGES/app-tree/app/names/many" | wc -l)" "$(xargs <<<"$before")"

fact "a container on top of it deletes again, and brings back"
run --name two committed:1 sh -ec 'rm -r /app/moved; mkdir /app/names; mkdir -p /usr/share/perl5/Debconf; rm /etc/new'
"${podman[@]}" commit -q two committed:2 >/dev/null
expect_equal "the second tree" "0 app/names 0" "$(run --rm committed:2 sh -c 'cd /; ls -A usr/share/perl5/Debconf | wc -l; ls -d app/moved app/names etc/new 2>/dev/null; ls -A app/names | wc -l' | xargs)"

fact "build"
mkdir "$WORK/context"
cat >"$WORK/context/Containerfile" <<TEXT
FROM committed:2
RUN echo built > /built && rm -r /usr/share/doc && mkdir /usr/share/doc
RUN test ! -e /usr/share/doc/apt && echo second >> /built
TEXT
"${podman[@]}" build -q --runtime runc --network none "${limits[@]}" -t built:1 "$WORK/context" >/dev/null || fail "podman build"
expect_equal "what was built" "built second 0" "$(run --rm built:1 sh -c 'cat /built; ls -A /usr/share/doc | wc -l' | xargs)"
forget
