#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# How a recording ends before it is through: by signals, at any moment, and by SIGKILL. Nothing that
# it has started is left, and what a killed one leaves on the disk goes with the next.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require umoci skopeo
convert "oci:$IMAGES/app:latest" app
readonly I=oci:$WORK/app:latest
# The recordings' task is a sleep of a length that tells whose it is.
readonly TASK="/bin/sleep 1000$$"

# start_recording [ARGUMENT…]: its process is RECORDING.
start_recording() {
  env --default-signal=INT "$LAYERFS" record -o "$WORK/no.trace" "$@" 2>/dev/null &
  RECORDING=$!
  PIDS+=("$RECORDING")
}
task_runs() { pgrep -fx "$TASK"; }
mount_process() { pgrep -f "cache $WORK/.*/layerfs-record[.].*/image$"; }
# The scratch directory of the recording whose mount process runs.
scratch() { pgrep -af "cache $WORK/.*/layerfs-record[.].*/image$" | sed -E 's,.* (/[^ ]*)/image$,\1,'; }
mounted_anywhere() { grep -lsF " $AT/" /proc/[0-9]*/mounts; }
# start_task IMAGE: a recording whose task runs, in the scratch directory AT.
start_task() {
  start_recording "$1" -- $TASK
  wait_until 20 task_runs || fail "the task does not run"
  AT=$(scratch)
  [[ -d $AT ]] || fail "no scratch directory: '$AT'"
}
expect_nothing_runs() {
  wait_until 10 eval '! task_runs' || fail "the task is left: $(task_runs)"
  wait_until 10 eval '! mount_process' || fail "the mount's process is left"
  wait_until 10 eval '! mounted_anywhere' || fail "the mount is left, as these see it: $(mounted_anywhere)"
  [[ ! -e $AT ]] || wait_until 10 flock -n "$AT" true || fail "somebody uses $AT"
}
# expect_end SIGNAL: of the recording, by the signal, and without a trace.
expect_end() {
  local code=0
  kill -"$1" "$RECORDING"
  wait "$RECORDING" 2>/dev/null || code=$?
  expect_equal "status" $((128 + $(kill -l "$1"))) "$code"
  [[ ! -e $WORK/no.trace ]] || fail "there is a trace"
  expect_nothing_runs
}

fact "nobody else sees the recording's mount; a signal ends it, and nothing is left"
for signal in INT TERM; do
  start_task "$I"
  expect_equal "mounts outside" "" "$(mounts_below "$AT")"
  expect_end "$signal"
  [[ ! -e $AT ]] || fail "$AT is left"
done

fact "kill -9 takes all that it has started with it, whatever user the image's program is"
skopeo copy -q "oci:$IMAGES/app:latest" "oci:$WORK/user:latest"
umoci config --image "$WORK/user:latest" --config.user 1000:1000
convert "oci:$WORK/user:latest" lazy-user
for image in "$I" "oci:$WORK/lazy-user:latest"; do
  start_task "$image"
  expect_end KILL
done

fact "the next recording removes what a killed one has left, and nothing of one that lives"
left=$AT
[[ -d $left ]] || fail "nothing is left to be removed; the test is blind"
start_task "$I"
[[ ! -e $left ]] || fail "$left is left"
"$LAYERFS" record "$I" -o "$WORK/app.trace" 2>/dev/null
[[ -d $AT ]] || fail "the scratch directory of a recording that goes on was removed"
expect_end TERM

fact "another user's program ends with the recording, too"
"$LAYERFS" record "oci:$WORK/lazy-user:latest" --ready up -o "$WORK/user.trace" -- /bin/sh -c "echo up; exec $TASK" 2>/dev/null
expect_nothing_runs

fact "kill -9 of convert --record leaves nothing that runs"
"$LAYERFS" convert -q --record --ready NEVER "oci:$WORK/user:latest" "oci:$WORK/recorded:latest" 2>/dev/null &
RECORDING=$!
wait_until 60 mount_process || fail "it does not mount"
AT=$(scratch)
expect_end KILL

fact "a signal ends a recording at once whose registry is silent"
port=$(free_port)
python3 -c '
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
held = []
while True: held.append(server.accept())
' "$port" &
PIDS+=($!)
for signal in INT TERM; do
  start_recording "docker://127.0.0.1:$port/test/app:x"
  wait_until 20 mount_process || fail "it does not mount"
  AT=$(scratch)
  sleep 0.3
  before=$(date +%s%N)
  expect_end "$signal"
  took=$((($(date +%s%N) - before) / 1000000))
  ((took < 1000)) || fail "it took $took ms"
  [[ ! -e $AT ]] || fail "$AT is left"
done
