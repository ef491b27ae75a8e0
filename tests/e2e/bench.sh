#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# layerfs bench startup: every way that it knows, side by side; what fails is told and the rest goes
# on; and nothing is left, however it ends.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_root
require_fuse
require docker-registry jq skopeo podman ctr containerd runc
mkdir "$WORK/bench"
readonly I=oci:$IMAGES/app:latest WAYS=nopack,run,overlayfs,podman,local
bench() { "$LAYERFS" bench startup --directory "$WORK/bench" --ready-exit --runs 1 --command /usr/bin/python3 --command /app/main.py "$@"; }
processes_below() { pgrep -cf "$WORK/bench" || true; }
no_process_left() { [[ $(processes_below) == 0 ]]; }
expect_nothing_left() {
  expect_equal "files left by $1" "" "$(ls -A "$WORK/bench")"
  expect_equal "mounts left by $1" "" "$(mounts_below "$WORK/bench")"
  expect_equal "processes left by $1" 0 "$(processes_below)"
  expect_equal "control groups left by $1" "" "$(find /sys/fs/cgroup -type d -name 'layerfs-bench*' 2>/dev/null)"
}

fact "all ways, as numbers and as a page that needs no network; of an image for several platforms, what a pull takes of it"
bench "oci:$IMAGES/platforms:latest" --profile 1ms,1Gbit --against "$WAYS" --json --html "$WORK/report.html" >"$WORK/result.json" 2>"$WORK/talk" ||
  fail "bench: $(cat "$WORK/talk")"
expect_equal "ways" "layerfs,$WAYS" "$(jq -r '[.[0].ways[].way] | join(",")' "$WORK/result.json")"
jq -e 'all(.[0].ways[]; .ready_s > 0 and .limit_ratio > 0 and (.failures | length) == 0)' "$WORK/result.json" >/dev/null || fail "$(cat "$WORK/result.json")"
jq -e '.[0] | .limit_s > .run_s and .page_stream_bytes > 0 and .image_bytes > .pack_bytes' "$WORK/result.json" >/dev/null || fail "$(cat "$WORK/result.json")"
ours=$(skopeo inspect --raw "oci:$IMAGES/platforms:latest" | jq -r '.manifests[] | select(.platform.architecture == "amd64") | .digest')
expect_equal "the image's bytes" "$(jq '[.layers[].size] | add' "$(blob "$IMAGES/platforms" "$ours")")" "$(jq '.[0].image_bytes' "$WORK/result.json")"
of() { jq ".[0].ways[] | select(.way == \"$1\") | .samples[0].$2" "$WORK/result.json"; }
(($(of layerfs link_bytes) < $(of overlayfs link_bytes))) || fail "a mount moved no less than a pull"
(($(of podman link_bytes) >= $(jq '.[0].image_bytes' "$WORK/result.json"))) || fail "Podman's pull did not go through the link"
(($(of local link_bytes) == 0)) || fail "the local copy asked the network"
grep -q '<svg' "$WORK/report.html" || fail "the report has no picture"
! grep -Eq '(src|href)=' "$WORK/report.html" || fail "the report asks for something else"
expect_nothing_left "all ways"

fact "an image that fails is told, and the next one is measured"
code=0
bench "oci:$WORK/nowhere:latest" "$I" >"$WORK/table" 2>/dev/null || code=$?
expect_equal "exit status" 1 "$code"
grep -q "nowhere.*FAILED" "$WORK/table" || fail "no failure in: $(cat "$WORK/table")"
grep -q "^layerfs  *[0-9]" "$WORK/table" || fail "no result in: $(cat "$WORK/table")"
printf 'layerfs trace 1\nread /app/main.py 0\n' >"$WORK/one.trace"
code=0
"$LAYERFS" bench startup "$I" --directory "$WORK/bench" --command /bin/false --runs 1 --trace "$WORK/one.trace" >"$WORK/table" 2>/dev/null || code=$?
expect_equal "a task that fails" 1 "$code"
grep -q "before it was ready" "$WORK/table" || fail "not said: $(cat "$WORK/table")"
expect_error 5 "trace" bench "$I" --trace /dev/null
expect_nothing_left "failures"

fact "a program that is missing is named with its package before anything is done"
hidden=$(command -v podman)
expect_error 3 "podman.*apt-get install" unshare --mount sh -c "mount --bind /dev/null '$hidden' && exec '$LAYERFS' bench startup '$I' --against podman"
expect_error 2 "overlayfs, podman" bench "$I" --against docker
expect_error 2 "profile" bench "$I" --profile fast

# While a copy is unpacked, and while a pull runs.
for signal_at in "INT unpacking" "TERM run 1: ready" "KILL run 1: ready"; do
  signal=${signal_at%% *}
  fact "SIG$signal ends all of it"
  code=0
  "$LAYERFS" bench startup "$I" --directory "$WORK/bench" --ready-exit --runs 1 --command /usr/bin/python3 --command /app/main.py \
    --profile 100ms,20Mbit --against overlayfs,podman >/dev/null 2>"$WORK/talk" &
  PIDS+=($!)
  wait_until 120 grep -q "${signal_at#* }" "$WORK/talk" || fail "$(cat "$WORK/talk")"
  if [[ $signal == INT ]]; then
    ! grep -q "run 1" "$WORK/talk" || fail "the unpacking is over; the test is blind"
  else
    sleep 2
  fi
  kill -"$signal" "${PIDS[-1]}"
  wait "${PIDS[-1]}" || code=$?
  ((code > 128)) || fail "exit status $code"
  # Nobody is left to remove what lies on the disk: what runs ends by itself, the next one does the rest.
  if [[ $signal == KILL ]]; then
    wait_until 10 no_process_left || fail "processes are left"
    [[ -n $(ls -A "$WORK/bench") ]] || fail "nothing is left to be removed; the test is blind"
    bench "oci:$WORK/nowhere:latest" >/dev/null 2>&1 || true
  fi
  expect_nothing_left "SIG$signal"
done
