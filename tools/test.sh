#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# test.sh [CTEST OPTION…]: sets the machine up, builds layerfs (release; dev with ASan and UBSan),
# and runs all tests: lint, unit, golden and corpus tests on the dev build, end-to-end tests on the
# release build, where they mount, push to a registry of their own and run containers.
# Options go to ctest, e.g. `tools/test.sh -R merge`.
#
# Environment:
#   CI=true        nothing may be skipped: a test that lacks root, /dev/fuse or a tool fails
#   TIDY_SECONDS   how long clang-tidy may run (default 180; 0 leaves it out)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly TIDY_SECONDS=${TIDY_SECONDS:-180}
readonly ALL_SECONDS=1650  # half an hour, but for clang-tidy's last units
exec </dev/null

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

step "set up"
mkdir -p build
tools/setup.sh

# ccache makes the second build of a day cheap; paths relative to the tree let copies of it share,
# and a precompiled header is the same where its sources are.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
# The end-to-end tests need these release executables only; the unit tests run on the dev build.
declare -A targets=([dev]=all [release]="layerfs layerfs-netmodel file_exerciser")
for preset in dev release; do
  step "build $preset"
  cmake --preset "$preset" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DLAYERFS_UNITY=ON >"build/$preset-configure.log" 2>&1 || {
    cat "build/$preset-configure.log"
    exit 1
  }
  cmake --build --preset "$preset" --target ${targets[$preset]}
done

step "test images"
if ((EUID == 0)); then
  tests/images/make_variants.sh build/images
else
  echo "not root: tests that need real images are skipped"
fi

# Every suite runs, whatever came of the one before.
failed=()
step "lint, unit, golden and corpus tests (dev)"
ctest --test-dir build/dev --output-on-failure -j 2 -LE e2e "$@" || failed+=("dev tests")
# An executable passes whose cases skip themselves; the line before says why. What a case "needs" CI has.
skipped=$(awk '/^\[  SKIPPED \] [^ ]+ \(/ { print "case skipped: " $4 ": " why } { why = $0 }' build/dev/Testing/Temporary/LastTest.log)
printf '%s' "${skipped:+$skipped$'\n'}"
if [[ ${CI:-} == true && $skipped == *": needs "* ]]; then failed+=("cases that CI may not skip"); fi

step "end-to-end tests (release)"
ctest --test-dir build/release --output-on-failure -j 2 -L e2e "$@" || failed+=("end-to-end tests")

# From scratch the budget reaches a part of the sources: those that changed, and others with each
# commit. It comes last and takes no more than what is left of the time that all may take.
tidy_seconds=$((ALL_SECONDS - SECONDS < TIDY_SECONDS ? ALL_SECONDS - SECONDS : TIDY_SECONDS))
if ((tidy_seconds > 0 && $# == 0)); then
  step "clang-tidy, at most ${tidy_seconds} s"
  tests/lint/run_tidy.py --budget "$tidy_seconds" build/dev || failed+=("clang-tidy")
fi

step "done"
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
