#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An ordinary user runs containers: in a user namespace, with nothing of root's. Root is needed only
# to become that user.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require runc setpriv
(($(cat /proc/sys/user/max_user_namespaces) > 0)) || skip "needs user namespaces for users"

let_users_mount

convert "oci:$IMAGES/app:latest" app
mkdir -p "$WORK/home"
chmod 0755 "$WORK"
chmod -R go+rX "$WORK/app"
chown -R 65534:65534 "$WORK/home"
# The executable may lie where the user cannot go.
install -m 0755 "$LAYERFS" "$WORK/layerfs"
become_user() {
  cd "$WORK/home"
  exec setpriv --reuid 65534 --regid 65534 --clear-groups env -u LAYERFS_CACHE -u LAYERFS_STATE \
    -u XDG_CACHE_HOME -u XDG_DATA_HOME HOME="$WORK/home" "$WORK/layerfs" "$@"
}
as_user() { (become_user "$@"); }
readonly I=oci:$WORK/app:latest STATE=$WORK/home/.local/share/layerfs
no_process_left() { ! pgrep -f "^$WORK/layerfs" >/dev/null; }
expect_nothing_left() {
  expect_equal "files left by $1" "" "$(find "$STATE/containers" "$STATE/runtime" -mindepth 1)"
  wait_until 10 no_process_left || fail "processes are left by $1"
}

fact "the image's program, as root of the namespace, by the user outside of it"
expect_equal "state" ready "$(as_user run --rm "$I" | jq -r .state)"
expect_equal "inside" "0 0" "$(as_user run --rm "$I" sh -c 'echo $(id -u) $(id -g)')"
mkdir -m 0755 "$WORK/home/shared"
chown 65534:65534 "$WORK/home/shared"
as_user run --rm -v "$WORK/home/shared:/shared" "$I" touch /shared/file
expect_equal "outside" 65534 "$(stat -c %u "$WORK/home/shared/file")"
expect_equal "the machine's files are not its" refused "$(as_user run --rm -v /etc:/host "$I" sh -c 'echo x >>/host/passwd || echo refused' 2>/dev/null)"

fact "statuses, filters, networks and the read-only root are as root's"
for pair in "7 sh -c 'exit 7'" "127 no-such-command" "126 /etc/passwd"; do
  code=0
  eval "as_user run --rm '$I' ${pair#* }" >/dev/null 2>&1 || code=$?
  expect_equal "status of ${pair#* }" "${pair%% *}" "$code"
done
expect_equal "filter" "Seccomp: 2" "$(as_user run --rm "$I" grep -w Seccomp /proc/self/status | tr -s '\t ' ' ')"
expect_equal "interfaces without a network" lo "$(as_user run --rm --network none "$I" ls /sys/class/net)"
expect_error 1 "read-only" as_user run --rm --read-only "$I" touch /x
expect_nothing_left "runs"

fact "what is changed stays in the container's layer; diff, start, commit and rm"
as_user run --name box "$I" sh -c 'echo new >/app/new; rm -r /app/names; chmod 600 /etc/passwd'
expect_equal "start" new "$(as_user run --rm --container-layer "$STATE/containers/box/layer" "$I" cat /app/new)"
expect_equal "diff" "A /app/new C /app C /etc C /etc/passwd D /app/names" "$(as_user diff box | sort | tr '\n' ' ' | sed 's/ $//')"
as_user commit -q box "oci:$WORK/home/made:latest" >/dev/null
expect_equal "committed" new "$(as_user cat "oci:$WORK/home/made:latest" /app/new)"
expect_equal "owner in the image" "0 0" "$("$LAYERFS" stat --json "oci:$WORK/home/made:latest" /app/new | jq -r '"\(.uid) \(.gid)"')"
as_user rm box >/dev/null
expect_nothing_left "rm"

fact "a user that the namespace has no id for is refused, with the remedy"
expect_error 125 "subuid" as_user run --rm -u daemon "$I" true

if command -v newuidmap >/dev/null && [[ -n ${OWN_NAMESPACE:-} && -e /etc/subuid && -e /etc/subgid ]]; then
  fact "with subordinate ids, the image's users are there, and what they own is theirs in the layer and in a commit"
  echo nobody:200000:65536 >"$WORK/ids"
  chmod 0644 "$WORK/ids"
  for file in /etc/subuid /etc/subgid; do mount --bind "$WORK/ids" "$file"; done
  expect_equal "inside" "1 1" "$(as_user run --rm -u daemon "$I" sh -c 'echo $(id -u) $(id -g)')"
  as_user run --name ids "$I" sh -c 'touch /app/theirs; chown 5:60 /app/theirs; chmod 4711 /app/theirs; rm /app/main.py; chown -h 7:8 /etc/passwd'
  expect_equal "outside" "200004:200059 4711" "$(stat -c '%u:%g %a' "$STATE/containers/ids/layer/upper/app/theirs")"
  expect_equal "diff" "A /app/theirs C /app C /etc C /etc/passwd D /app/main.py" "$(as_user diff ids | sort | tr '\n' ' ' | sed 's/ $//')"
  as_user commit -q ids "oci:$WORK/home/ids:latest" >/dev/null
  expect_equal "in the commit" "5 60 2505" "$("$LAYERFS" stat --json "oci:$WORK/home/ids:latest" /app/theirs | jq -r '"\(.uid) \(.gid) \(.mode)"')"
  as_user rm ids >/dev/null
  umount /etc/subuid /etc/subgid
  expect_nothing_left "subordinate ids"
fi

fact "what a kill -9 leaves is cleaned by the next command"
become_user run --rm --name victim "$I" sh -c 'echo up; exec sleep 1000' >"$WORK/victim" &  # $! is it, no shell above
victim=$!
wait_until 20 grep -q up "$WORK/victim"
kill -9 "$victim"
wait "$victim" 2>/dev/null || true
expect_equal "ps" "" "$(as_user ps -aq)"
expect_nothing_left "a killed run"
