#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what building and testing layerfs needs, from the distribution alone, and builds into
# build/deps, from Debian's source packages, a newer libfuse where the system's is too old, and a
# libcurl that speaks HTTP alone: the system's brings 30 libraries into every process, which then
# starts 6 ms later (LDAP, Kerberos, SSH, RTMP …).
# Safe to run again: what is there is left alone, and then neither root nor the network is needed.
#
# Exit codes: 0 everything is there; 1 something failed; 3 root is needed; 4 not a Debian system.
set -euo pipefail

readonly TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly DEPS=${LAYERFS_DEPS_PREFIX:-$TOP/build/deps}
# FUSE over io_uring came with 3.18, passthrough with 3.17.
readonly FUSE_WANTED=3.18
# Debian suites that may have it, the most settled first.
readonly FUSE_SUITES="trixie forky sid"
readonly CURL_WANTED=7.87

readonly BUILD_PACKAGES=(
  g++ cmake ninja-build pkg-config meson ccache git ca-certificates dpkg-dev
  libcurl4-openssl-dev libnghttp2-dev zlib1g-dev libarchive-dev libbz2-dev liblzma-dev libssl-dev libzstd-dev libdeflate-dev libisal-dev libxxhash-dev libspdlog-dev
  nlohmann-json3-dev libcli11-dev libgtest-dev libgmock-dev libbenchmark-dev
  libtomlplusplus-dev libfuse3-dev fuse3 liburing-dev libnuma-dev
)
readonly TEST_PACKAGES=(
  skopeo umoci podman fuse-overlayfs containerd crun runc docker-registry mmdebstrap debian-archive-keyring
  jq curl zstd gzip attr acl libarchive-tools libcap2-bin fio python3 sudo util-linux procps
  clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev
)

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { local code=$1; shift; say "$*"; exit "$code"; }

missing_packages() {
  local package
  for package in "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done
}

# Some of the packages are servers; installing them must not start one.
forbid_service_starts() {
  local policy=/usr/sbin/policy-rc.d
  [[ -e $policy ]] && return
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 0755 "$policy"
  trap "rm -f $policy" EXIT
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then
    say "all packages are installed"
    return
  fi
  say "missing packages: ${missing[*]}"
  ((EUID == 0)) || fail 3 "root is needed to install them: run 'sudo tools/setup.sh'"
  forbid_service_starts
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update
  apt-get -q install -y --no-install-recommends "${missing[@]}" </dev/null
}

# fuse_is_new_enough [PKG_CONFIG_PATH]
fuse_is_new_enough() {
  PKG_CONFIG_PATH=${1:-} pkg-config --atleast-version="$FUSE_WANTED" fuse3
}

# fetch_source DIR PACKAGE WANTED SUITE…: the unpacked source of the first suite's package that is
# WANTED or newer, in DIR/source. apt runs on lists of its own in DIR, so the machine's sources stay
# as they are, and checks the archive's signature and the files' hashes.
fetch_source() {
  local dir=$1 package=$2 wanted=$3 mirror suite version
  shift 3
  read -r mirror _ < <("$TOP/tools/debian_mirror.sh") || exit 1
  mkdir -p "$dir"/lists/partial "$dir"/cache/archives/partial
  local apt=(-q -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$dir/debian.sources"
    -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache")
  for suite; do
    printf '%s\n' "Types: deb-src" "URIs: $mirror" "Suites: $suite" "Components: main" \
      "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" >"$dir/debian.sources"
    apt-get "${apt[@]}" update >&2 || continue
    version=$(apt-cache "${apt[@]}" showsrc "$package" | awk '$1 == "Version:" { print $2 }' | sort -V | tail -1)
    if [[ -n $version ]] && dpkg --compare-versions "$version" ge "$wanted"; then
      say "taking $package $version from $suite"
      (cd "$dir" && apt-get "${apt[@]}" source --download-only "$package=$version" >&2 &&
        dpkg-source -x "$dir/$package"_*.dsc source >&2)
      return
    fi
  done
  fail 1 "none of the suites $* at $mirror has $package $wanted or newer"
}

# logged LOG COMMAND…: its output is shown only when it fails.
logged() {
  local log=$1
  shift
  "$@" >>"$log" 2>&1 || { cat "$log" >&2; fail 1 "$1 failed: its output is above"; }
}

# Static and without utilities: the executable needs no rpath, and the system's own setuid
# fusermount3 in /usr/bin stays the one that is used. Custom I/O lets tests speak FUSE over a socket.
build_fuse() {
  if fuse_is_new_enough "$DEPS/lib/pkgconfig" || fuse_is_new_enough; then
    say "libfuse $(PKG_CONFIG_PATH=$DEPS/lib/pkgconfig pkg-config --modversion fuse3) is there"
    return
  fi
  local work
  work=$(mktemp -d)
  say "building libfuse into $DEPS"
  fetch_source "$work" fuse3 "$FUSE_WANTED" $FUSE_SUITES
  logged "$work/log" meson setup "$work/build" "$work/source" --prefix="$DEPS" --libdir=lib --bindir=/usr/bin \
    --buildtype=debugoptimized -Dpkgconfig.relocatable=true -Ddefault_library=static \
    -Dutils=false -Dexamples=false -Dtests=false -Duseroot=false \
    -Ddisable-libc-symbol-version=true -Denable-io-uring=true -Denable-custom-io=true
  logged "$work/log" ninja -C "$work/build" install
  rm -rf "$work"
  fuse_is_new_enough "$DEPS/lib/pkgconfig" || fail 1 "libfuse was built but $DEPS does not have it"
}

# The release's own version, with Debian's patches; static, as libfuse is.
build_curl() {
  if [[ -e $DEPS/lib/cmake/CURL/CURLConfig.cmake ]]; then
    say "libcurl is there"
    return
  fi
  local work suite
  work=$(mktemp -d)
  read -r _ suite < <("$TOP/tools/debian_mirror.sh") || exit 1
  say "building libcurl into $DEPS"
  fetch_source "$work" curl "$CURL_WANTED" "$suite"
  logged "$work/log" cmake -G Ninja -S "$work/source" -B "$work/build" -DCMAKE_INSTALL_PREFIX="$DEPS" -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF \
    -DHTTP_ONLY=ON -DCURL_USE_OPENSSL=ON -DUSE_NGHTTP2=ON -DENABLE_THREADED_RESOLVER=ON -DENABLE_UNIX_SOCKETS=ON \
    -DCURL_USE_LIBSSH2=OFF -DCURL_USE_LIBPSL=OFF -DUSE_LIBIDN2=OFF -DCURL_BROTLI=OFF -DCURL_ZSTD=OFF -DCURL_USE_GSSAPI=OFF \
    -DCURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt -DCURL_CA_PATH=/etc/ssl/certs
  logged "$work/log" ninja -C "$work/build" install
  rm -rf "$work"
}

main() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
    fail 4 "this is not a Debian system (no apt-get): see the package lists in tools/setup.sh"
  install_packages
  build_fuse
  build_curl
}

main
