#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# layerfs run: what docker run does with an image's config, streams, signals, terminals and names;
# and nothing is left where nothing is to be kept.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require jq runc
export LAYERFS_STATE=$WORK/state

convert "oci:$IMAGES/app:latest" app
readonly I=oci:$WORK/app:latest
run() { "$LAYERFS" run --rm "$@"; }
expect_status() {
  local name=$1 wanted=$2 code=0
  shift 2
  "$@" >/dev/null 2>&1 || code=$?
  expect_equal "$name" "$wanted" "$code"
}
# What a container that is gone must not leave: mounts, records, states of the runtime.
expect_nothing_left() {
  expect_equal "mounts left by $1" "" "$(mounts_below "$WORK/state")"
  expect_equal "files left by $1" "" "$(ls -A "$WORK/state/containers" "$WORK/state/runtime" | grep -v : || true)"
}

fact "the image's own command, environment and working directory"
expect_equal "state of the program" ready "$(run "$I" | jq -r .state)"
expect_equal "working directory" /app "$(run "$I" pwd)"

fact "the command's exit status, and those of docker run where there is none"
expect_status "exit status" 7 run "$I" sh -c 'exit 7'
expect_status "no such command" 127 run "$I" no-such-command
expect_status "no such file" 127 run "$I" /no/such/file
expect_status "an empty word" 127 run "$I" ""
expect_status "not executable" 126 run "$I" /etc/passwd
expect_status "a directory" 126 run "$I" /etc
expect_status "no such image" 125 run "oci:$WORK/nowhere:latest" true
expect_status "no such option" 125 run --no-such-option "$I" true
expect_status "no such network" 125 run --network bridge "$I" true
expect_status "unknown user" 125 run -u nosuchuser "$I" true
expect_nothing_left "failures"

fact "options behind the image are the command's"
expect_equal "echo" "--rm -v -e" "$(run "$I" echo --rm -v -e)"

fact "variables, from the caller, a file and the command line"
printf '# comment\nFROM_FILE=file\nOVER=file\n' >"$WORK/env"
found=$(OUTER=outer run --env-file "$WORK/env" -e OVER=line -e OUTER -e UNSET_OUTSIDE "$I" env | sort)
for line in FROM_FILE=file OVER=line OUTER=outer HOME=/root; do
  expect_contains "environment" "$found" "$line"
done
[[ $found != *UNSET_OUTSIDE* ]] || fail "a variable that is not set came along"

fact "users by name, with their groups, or by number"
expect_equal "by name" "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)" "$(run -u nobody "$I" id)"
expect_equal "with a group" "uid=65534(nobody) gid=1(daemon) groups=1(daemon)" "$(run -u nobody:daemon "$I" id)"
expect_equal "by number" "12345" "$(run -u 12345 "$I" id -u)"
expect_equal "no capabilities" "CapEff: 0000000000000000" "$(run -u nobody "$I" grep CapEff /proc/self/status | tr -s '\t ' ' ')"

fact "host names, hosts and resolv.conf"
expect_equal "host's" "$(hostname)" "$(run "$I" hostname)"
expect_equal "given" box "$(run --hostname box --network none "$I" cat /etc/hostname)"
expect_equal "interfaces without a network" lo "$(run --network none "$I" ls /sys/class/net)"
expect_contains "hosts" "$(run --network none "$I" cat /etc/hosts)" localhost

fact "what is written goes to the layer, not to the image"
run --container-layer "$WORK/layer" "$I" sh -c 'echo new >/app/new; rm /app/main.py; chmod 600 /etc/passwd'
expect_equal "in the layer" new "$(cat "$WORK/layer/upper/app/new")"
expect_equal "in the image" 0 "$(run "$I" sh -c 'test -e /app/new; echo $((1-$?))')"
expect_equal "run again on the layer" new "$(run --container-layer "$WORK/layer" "$I" cat /app/new)"
expect_status "read-only" 1 run --read-only "$I" touch /app/x

fact "mount points that were made for the run are not part of what the container did"
found=$("$LAYERFS" diff "$WORK/layer")
expect_equal "diff" "C /app A /app/new D /app/main.py C /etc C /etc/passwd" \
  "$(sort -k2 <<<"$found" | awk '{print}' | sed 's/^\(.*\)$/\1/' | awk '
     {line[$2]=$0} END {printf "%s %s %s %s %s", line["/app"], line["/app/new"], line["/app/main.py"], line["/etc"], line["/etc/passwd"]}')"
expect_equal "lines of diff" 5 "$(wc -l <<<"$found")"

fact "volumes: binds, read-only, named and anonymous, tmpfs"
mkdir "$WORK/data"
run -v "$WORK/data:/data" "$I" sh -c 'echo hello >/data/x'
expect_equal "bind" hello "$(cat "$WORK/data/x")"
expect_equal "bind of a path from here" hello "$(cd "$WORK" && run -v ./data:/data "$I" cat /data/x)"
expect_status "read-only bind" 1 run -v "$WORK/data:/data:ro" "$I" touch /data/y
run -v store:/var/lib/dpkg "$I" sh -c 'echo kept >/var/lib/dpkg/kept'
expect_equal "named volume" kept "$(run -v store:/v "$I" cat /v/kept)"
[[ -e $WORK/state/volumes/store/status ]] || fail "a new volume does not begin with the image's files"
expect_contains "tmpfs" "$(run --tmpfs /scratch:size=1m "$I" grep ' /scratch ' /proc/mounts)" "size=1024k"
tmpfs_mode() { run "${@:2}" --tmpfs "$1" "$I" stat -c %a "${1%%:*}"; }
expect_equal "mode of a tmpfs on nothing" 1777 "$(tmpfs_mode /scratch)"
expect_equal "where the root is read-only" 1777 "$(tmpfs_mode /scratch --read-only)"
expect_equal "in a directory that is missing too" 1777 "$(tmpfs_mode /scratch/deep)"
expect_equal "the caller's mode" 700 "$(tmpfs_mode /scratch:mode=700,size=1m)"
expect_equal "everybody's, whatever the umask" 777 "$(umask 077 && tmpfs_mode /scratch:mode=0777)"
expect_status "a file of another user's in it" 0 run -u nobody --tmpfs /scratch "$I" touch /scratch/x
expect_status "two things in one place" 125 run -v /a:/x -v /b:/x "$I" true

fact "limits, privileges and system calls"
expect_equal "limits" "100 200" "$(run --ulimit nofile=100:200 "$I" sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)')"
expect_status "not a limit" 125 run --ulimit files=1 "$I" true
of_status() { run "${@:2}" "$I" grep -w "$1" /proc/self/status | tr -s '\t ' ' '; }
expect_equal "filter by default" "Seccomp: 2" "$(of_status Seccomp)"
expect_equal "unconfined" "Seccomp: 0" "$(of_status Seccomp --security-opt seccomp=unconfined)"
printf '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}' >"$WORK/profile.json"
expect_status "a profile of the caller's" 1 run --security-opt "seccomp=$WORK/profile.json" "$I" mkdir /tmp/x
expect_status "without it" 0 run "$I" mkdir /tmp/x
expect_status "no such profile" 125 run --security-opt "seccomp=$WORK/nowhere.json" "$I" true
expect_equal "no new privileges" "NoNewPrivs: 1" "$(of_status NoNewPrivs --security-opt no-new-privileges)"
expect_equal "a start again keeps them" "100" "$("$LAYERFS" run --name limited --ulimit nofile=100 "$I" sh -c 'ulimit -Hn')"
expect_equal "a start again keeps them" "100" "$("$LAYERFS" start limited)"
"$LAYERFS" rm limited >/dev/null

fact "what the image's config asks for: volumes filled from the image, a missing working directory, a user's home"
"$LAYERFS" run --name made "$I" true
"$LAYERFS" commit -q -c 'VOLUME ["/app/data"]' -c 'WORKDIR /made/here' -c 'USER games' made "oci:$WORK/volume:latest" >/dev/null
"$LAYERFS" rm made >/dev/null
found=$(run "oci:$WORK/volume:latest" sh -c 'cksum </app/data/noise.bin; grep -c " /app/data " /proc/mounts; pwd; echo $HOME; id -un')
expect_equal "all of it" "$(cksum <"$IMAGES/app-tree/app/data/noise.bin") 1 /made/here /usr/games games" "$(tr '\n' ' ' <<<"$found" | sed 's/ $//')"
expect_equal "shared memory" "tmpfs 1777" "$(run "$I" stat -f -c %T /dev/shm) $(run "$I" stat -c %a /dev/shm)"

if command -v crun >/dev/null; then
  fact "crun, whatever control groups the machine has"
  expect_equal "output" hello "$(cd "$WORK" && run --runtime crun "$I" echo hello)"
  expect_status "exit status" 7 run --runtime crun "$I" sh -c 'exit 7'
  expect_status "no such command" 127 run --runtime crun "$I" no-such-command
  expect_status "not executable" 126 run --runtime crun "$I" /etc/passwd
  expect_equal "filter" "Seccomp: 2" "$(of_status Seccomp --runtime crun)"
  expect_equal "mode of a tmpfs" "1777 700" \
    "$(tmpfs_mode /scratch --runtime crun) $(tmpfs_mode /scratch:mode=700 --runtime crun)"
  expect_nothing_left "crun"
fi

fact "standard input goes in with -i only"
expect_equal "with -i" hello "$(echo hello | run -i "$I" cat)"
expect_equal "without" "" "$(echo hello | run "$I" cat)"

fact "large output passes whole, and so does standard error"
expect_equal "bytes" 50000000 "$(run "$I" head -c 50000000 /dev/zero | wc -c)"
expect_equal "stderr" 300000 "$(run "$I" sh -c 'head -c 300000 /dev/zero >&2' 2>&1 >/dev/null | wc -c)"

fact "a terminal of its size, raw, with its status; signals, TERM as the stop signal, a second TERM kills"
IMAGE=$I python3 "$E2E/run_terminal.py" || fail "terminals or signals"
expect_nothing_left "terminals and signals"

fact "a name in use is an error; ps, start and rm"
"$LAYERFS" run --name web "$I" sh -c 'echo $(($(cat /count 2>/dev/null) + 1)) >/count; cat /count' >"$WORK/out"
expect_equal "first run" 1 "$(cat "$WORK/out")"
expect_error 125 "in use" "$LAYERFS" run --name web "$I" true
expect_error 125 "missing" "$LAYERFS" run -v
expect_error 125 "no more than 128" "$LAYERFS" run --name "$(printf "%0.sa" {1..129})" "$I" true
expect_equal "run again" 2 "$(cd / && "$LAYERFS" start web)"
expect_equal "ps" "" "$("$LAYERFS" ps -q)"
expect_equal "ps -a" web "$("$LAYERFS" ps -aq)"
expect_equal "ps --json" 0 "$("$LAYERFS" ps -a --json | jq '.[0].exitStatus')"
expect_contains "diff by name" "$("$LAYERFS" diff web)" "A /count"
"$LAYERFS" rm web >/dev/null
expect_error 3 "there is none" "$LAYERFS" rm web
expect_nothing_left "rm"

fact "a container starts again on its own image, wherever the tag points by now"
convert "oci:$IMAGES/app:latest" moving
"$LAYERFS" run --name old "oci:$WORK/moving:latest" sh -c 'test -e /new || echo old >>/state; cat /state' >/dev/null
"$LAYERFS" run --name new "oci:$WORK/moving:latest" touch /new
"$LAYERFS" commit -q new "oci:$WORK/moving:latest"
expect_equal "another image by that tag" /new "$(run "oci:$WORK/moving:latest" ls /new)"
expect_equal "the old one" "$(printf 'old\nold')" "$("$LAYERFS" start old)"
layer=$("$LAYERFS" ps -a --json | jq -r '.[] | select(.name == "old").layer')
mkdir -p "$WORK/mnt"
expect_error "2" "belongs to oci:$WORK/moving@sha256:" \
  "$LAYERFS" mount --container-layer "$layer" "oci:$WORK/moving:latest" "$WORK/mnt"
"$LAYERFS" rm old new >/dev/null

fact "stop and --rm together leave nothing and say nothing"
for i in 1 2 3 4 5 6; do
  "$LAYERFS" run -d --rm --name "passing-$i" "$I" sleep 60 >/dev/null
  expect_equal "what stop says" "passing-$i" "$("$LAYERFS" stop -t 5 "passing-$i" 2>&1)"
done
wait_until 5 test -z "$("$LAYERFS" ps -aq)" || fail "left: $("$LAYERFS" ps -a)"
expect_nothing_left "stop with --rm"

fact "in the background: its name, logs, and the stop signal"
loop='echo started; echo wrong >&2; trap "echo asked; exit 3" TERM; while :; do sleep 0.1; done'
has_said() { [[ $("$LAYERFS" logs back) == *$1* ]]; }
expect_equal "its name" back "$("$LAYERFS" run -d --name back "$I" sh -c "$loop" 2>&1 | cat)"
wait_until 20 has_said wrong
expect_contains "logs" "$("$LAYERFS" logs back)" started
expect_equal "ps" back "$("$LAYERFS" ps -q)"
expect_equal "stop" back "$("$LAYERFS" stop back)"
expect_contains "logs" "$("$LAYERFS" logs back)" asked
expect_equal "status" 3 "$("$LAYERFS" ps -a --json | jq '.[0].exitStatus')"
"$LAYERFS" stop back >/dev/null
"$LAYERFS" rm back >/dev/null
name=$("$LAYERFS" run -d --rm "$I" sh -c 'trap "" TERM; while :; do sleep 0.1; done')
"$LAYERFS" stop -t 1 "$name" >/dev/null
expect_error 127 "no-such-command" "$LAYERFS" run -d --rm "$I" no-such-command
expect_error 125 "nowhere" "$LAYERFS" run -d --rm "oci:$WORK/nowhere:latest" true
expect_error 3 "there is none" "$LAYERFS" stop "$name"
expect_nothing_left "containers in the background"

fact "--offline runs what the cache has, and asks nobody"
require docker-registry
start_registry
"$LAYERFS" convert -q "oci:$IMAGES/app:latest" "docker://$REGISTRY/test/app:lazy"
"$LAYERFS" pull -q "docker://$REGISTRY/test/app:lazy" >/dev/null
forget_requests
expect_equal "output" hello "$(run --offline "docker://$REGISTRY/test/app:lazy" echo hello)"
expect_equal "requests" 0 "$(requests GET / | wc -l)"
expect_status "not in the cache" 125 run --offline --cache "$WORK/empty" "docker://$REGISTRY/test/app:lazy" true
expect_nothing_left "--offline"

fact "twenty at once"
for i in {1..20}; do
  run "$I" sh -c "echo $i" >"$WORK/out.$i" &
  PIDS+=($!)
done
for i in {1..20}; do wait "${PIDS[-$((21 - i))]}" || fail "container $i failed"; done
for i in {1..20}; do expect_equal "output" "$i" "$(cat "$WORK/out.$i")"; done
expect_nothing_left "twenty containers"

fact "a container that runs cannot be removed but by force"
"$LAYERFS" run --name busy "$I" sh -c 'echo up; exec sleep 1000' >"$WORK/busy" &
PIDS+=($!)
wait_until 20 grep -q up "$WORK/busy"
expect_error 1 "is running" "$LAYERFS" rm busy
expect_error 1 "in use|is running|busy" "$LAYERFS" commit busy "oci:$WORK/never:latest"
"$LAYERFS" rm -f busy >/dev/null
expect_nothing_left "rm -f"

fact "what a kill -9 leaves is cleaned by the next command"
"$LAYERFS" run --rm --name victim "$I" sh -c 'echo up; exec sleep 1000' >"$WORK/victim" &
victim=$!
wait_until 20 grep -q up "$WORK/victim"
kill -9 "$victim"
wait "$victim" 2>/dev/null || true
expect_equal "ps" "" "$("$LAYERFS" ps -aq)"
wait_until 10 test -z "$(mounts_below "$WORK/state")"
expect_nothing_left "a killed run"
