#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# make_corpus.sh OUT_DIR [NAME…]: builds the images that `layerfs bench startup` is measured with,
# from Debian packages, as OCI layouts OUT_DIR/NAME, tag `latest`, layers tar+gzip:
#   1. a Debian base system (the same blob in every image)
#   2. the packages of the image and what they need
#   3. the application: /app/start does a real start-up task and prints READY when it is through
# Does nothing for layouts that exist. Packages come from the machine's own mirror. Needs root.
set -euo pipefail
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly TOP=$HERE/../..
source "$TOP/tests/images/lib.sh"

readonly NAMES=(nginx redis gcc python postgres node openjdk)
declare -rA PACKAGES=(
  [nginx]="nginx-full,libnginx-mod-http-lua,libnginx-mod-http-geoip2"
  [redis]="redis-server,redis-tools"
  [gcc]="build-essential,gfortran,cmake,gdb"
  [python]="python3-numpy,python3-pandas,python3-scipy,python3-django"
  [postgres]="postgresql,postgresql-contrib"
  [node]="nodejs,npm"
  [openjdk]="openjdk-17-jre-headless,tomcat10-user"
)

# bootstrap TAR [PACKAGES]: nothing of this machine's own configuration goes in.
bootstrap() {
  local mirror codename
  read -r mirror codename < <("$TOP/tools/debian_mirror.sh")
  mmdebstrap --quiet --variant=minbase ${2:+--include="$2"} --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --essential-hook='mkdir -p "$1/usr/share/man/man1"' --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"' \
    "$codename" "$1" "deb $mirror $codename main"
}

# base_layer OUT_DIR: the base system's tar, built once for all images.
base_layer() {
  [[ -e $1/base.tar ]] || { bootstrap "$1/base.partial.tar" && mv "$1/base.partial.tar" "$1/base.tar"; }
}

# app_layer NAME TAR: /app with the start-up task.
app_layer() {
  local stage
  stage=$(mktemp -d)
  mkdir "$stage/app"
  cp -r "$HERE/app/$1/." "$stage/app/"
  chmod -R u=rwX,go=rX "$stage/app"
  chmod 0755 "$stage/app/start"
  tar -C "$stage" --format=posix --pax-option='delete=atime,delete=ctime' --numeric-owner --owner=0 --group=0 \
    --mtime="@$SOURCE_DATE_EPOCH" --sort=name -cf "$2" app
  rm -rf "$stage"
}

build_image() {
  local out=$1 name=$2 corpus=$3 work image
  work=$(mktemp -d -p "$corpus")
  trap "rm -rf '$work'" RETURN
  bootstrap "$work/full.tar" "${PACKAGES[$name]}"
  python3 "$HERE/layer_difference.py" "$corpus/base.tar" "$work/full.tar" "$work/packages.tar"
  app_layer "$name" "$work/app.tar"
  init_layout "$out"
  image=$({
    put_layer "$out" gzip "$corpus/base.tar"
    put_layer "$out" gzip "$work/packages.tar"
    put_layer "$out" gzip "$work/app.tar"
  } | put_image "$out" "$(dpkg --print-architecture)" '{"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"], "Cmd": ["/app/start"], "WorkingDir": "/app"}')
  tag_layout "$out" latest "$image"
  rm -f "$out"/*.tmp
}

(($# > 0)) || { echo "usage: ${0##*/} OUT_DIR [NAME…]; names: ${NAMES[*]}" >&2; exit 2; }
need_root
readonly OUT=$1
shift
(($# > 0)) || set -- "${NAMES[@]}"
mkdir -p "$OUT"
base_layer "$OUT"
for name in "$@"; do
  [[ -n ${PACKAGES[$name]:-} ]] || die "no image \"$name\" in the corpus; there are: ${NAMES[*]}"
  in_place "$OUT/$name" build_image "$name" "$OUT"
done
