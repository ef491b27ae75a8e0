# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the end-to-end tests. In the environment: LAYERFS, the executable; IMAGES, where
# tests/images/make_variants.sh has put its images. Gives a scratch directory WORK; what is mounted
# in it and every server started here ends with the test, whatever its outcome.

readonly E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${LAYERFS:?is the layerfs executable}" "${IMAGES:?is the directory of the test images}"
source "$E2E/../images/lib.sh"
source "$E2E/../registry.sh"

# /tmp itself may be a tmpfs without user xattrs; what is big belongs on disk. Lower case, because
# Podman makes an image's name from its layout's path, and short, because its run directory must be.
WORK=${TMPDIR:-/var/tmp}/layerfs-e2e.$$
mkdir -m 0700 "$WORK"
PIDS=()
# Nothing that this machine has cached or converted before counts.
export LAYERFS_CACHE=$WORK/cache

cleanup() {
  local code=$? mount pid
  set +e
  while read -r mount; do
    umount -l "$mount"
  done < <(mounts_below "$WORK" | tac)
  for pid in "${PIDS[@]}"; do kill "$pid" && wait "$pid"; done 2>/dev/null
  if ((code != 0 && code != 77)) && [[ -n ${KEEP_WORK:-} ]]; then
    echo "kept: $WORK" >&2
  else
    rm -rf --one-file-system "$WORK"
  fi
  exit "$code"
}
trap cleanup EXIT
trap 'exit 143' TERM INT
trap 'echo "failed at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

# A test that lacks something says so and is skipped; in CI that is a failure.
skip() {
  echo "skipped: $*"
  [[ ${CI:-} == true ]] && { echo "nothing may be skipped with CI=true"; exit 1; }
  exit 77
}
require_root() { ((EUID == 0)) || skip "needs root"; }
require_fuse() { [[ -c /dev/fuse ]] || skip "needs /dev/fuse"; }
require_images() { [[ -d $IMAGES/app-tree ]] || skip "needs the test images, which root builds (tests/images/make_variants.sh)"; }
require() { local tool; for tool; do command -v "$tool" >/dev/null || skip "needs $tool"; done; }

fact() { printf -- '- %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
expect_equal() { [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"; }
expect_contains() { [[ $2 == *"$3"* ]] || fail "$1: no '$3' in: $2"; }
# expect_same_tree EXPECTED ACTUAL [OPTION…]
expect_same_tree() { "$E2E/compare_trees.py" "$@" || fail "$2 is not the tree of $1"; }

# expect_error CODES TEXT COMMAND…: the command ends with one of the exit codes ("1" or "1|2"), says
# TEXT on standard error, and does not crash.
expect_error() {
  local codes=$1 text=$2 code=0 output
  shift 2
  output=$("$@" 2>&1 >/dev/null) || code=$?
  [[ $code =~ ^($codes)$ ]] || fail "'$*' ended with $code, not $codes: $output"
  grep -qiE -- "$text" <<<"$output" || fail "'$*' does not say '$text': $output"
}

mounts_below() { awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts; }
is_mounted() { grep -qF " $1 fuse" /proc/self/mounts; }

# push IMAGE REPOSITORY[:TAG] [SKOPEO OPTION…]
push() {
  local from=$1 to=$2
  shift 2
  skopeo copy -q --dest-tls-verify=false "$@" "$from" "docker://$REGISTRY/$to"
}

manifest_of() { jq -c . "$(blob "$1" "$(only_manifest "$1")")"; }

# convert SOURCE NAME [OPTION…]: into the layout WORK/NAME, knowing of no conversion before.
convert() {
  local source=$1 name=$2
  shift 2
  LAYERFS_CACHE=$WORK/memo-$name "$LAYERFS" convert -q "$@" "$source" "oci:$WORK/$name:latest"
}

# mount_image IMAGE DIR [OPTION…]: in the background, with the cache WORK/cache unless --cache names another.
mount_image() {
  local image=$1 dir=$2
  shift 2
  mkdir -p "$dir"
  "$LAYERFS" mount "$@" "$image" "$dir"
  is_mounted "$dir" || fail "'layerfs mount' returned, but $dir is not mounted"
}

# A disk that a mount of ours had files of: the kernel lets go of the last a moment after that is gone.
unmount_disk() { wait_until 10 umount "$1" 2>/dev/null || fail "$1 is still in use"; }

unmount_image() {
  "$LAYERFS" umount "$1"
  ! is_mounted "$1" || fail "$1 is still mounted"
}

require_images

# start_containerd: one with a store of its own below WORK, ended with the test; `ctr` is the words of
# its client.
start_containerd() {
  cat >"$WORK/containerd.toml" <<TOML
version = 2
root = "$WORK/containerd"
state = "$WORK/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$WORK/containerd.sock"
TOML
  containerd -c "$WORK/containerd.toml" >"$WORK/containerd.log" 2>&1 &
  PIDS+=($!)
  ctr=(ctr -a "$WORK/containerd.sock")
  wait_until 20 "${ctr[@]}" version || fail "containerd does not answer: $(tail -3 "$WORK/containerd.log")"
}

# private_mounts COMMAND…: becomes it, in a mount namespace of its own and without the mounts of other
# tests: a copy of a mount keeps its daemon going when the mount itself is gone.
private_mounts() {
  exec unshare --mount --propagation slave bash -ec \
    'awk "\$3 ~ /^fuse/ { print \$2 }" /proc/self/mounts | tac | xargs -r -n 1 umount -l || true; exec "$@"' private "$@"
}

# For a test that waits for a daemon to end after its mount: begins the script anew in a mount namespace
# of its own, which nobody copies. Before anything is made.
own_mounts() {
  [[ -z ${OWN_NAMESPACE:-} ]] || return 0
  rmdir "$WORK"
  OWN_NAMESPACE=1 private_mounts "$0"
}

# udev gives /dev/fuse to everybody; where there is no udev, a mount namespace of our own does. Before
# anything is made: the script may begin anew.
let_users_mount() {
  [[ $(stat -c %a /dev/fuse) != 666 ]] || return 0
  own_mounts
  mknod -m 0666 "$WORK/fuse" c 10 229
  mount --bind "$WORK/fuse" /dev/fuse
}
