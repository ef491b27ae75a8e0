#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints "URL CODENAME" of the Debian main archive that this machine's own apt uses, so that no
# script of ours names a package host.
set -euo pipefail

answer=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(CODENAME)' 'Created-By: Packages' |
  awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !done { print $4, $5; done = 1 }')
if [[ -z $answer ]]; then
  echo "debian_mirror: apt has no list of Debian's main archive: run 'apt-get update' as root first" >&2
  exit 1
fi
echo "$answer"
