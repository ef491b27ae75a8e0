#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mount_memory.py LAYERFS IMAGE [COUNT [CACHE]]: what each of COUNT (default 10) idle mounts of one image costs, with a
container layer of its own and one cache for all: memory that no other process shares (Private_* of
/proc/PID/smaps), beyond the first mount. By kind, for the last one. Needs root and /dev/fuse."""
import collections
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "3"))


def private_kib(pid):
    """By what is mapped."""
    sizes, kind = collections.Counter(), ""
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            words = line.split(maxsplit=5)
            kind = words[5] if len(words) == 6 else "[anonymous]"
            if kind.startswith("/"):
                kind = "libraries" if ".so" in kind else "files"
        elif line.startswith("Private_"):
            sizes[kind] += int(line.split()[1])
    return sizes


def server_of(mount_point):
    for process in pathlib.Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes() if process.name.isdigit() else b""
        except FileNotFoundError:  # it has ended
            continue
        if words.endswith(b"\0" + mount_point.encode() + b"\0"):
            return int(process.name)
    raise SystemExit(f"nobody serves {mount_point}")


def main(layerfs, image, count="10", cache=None):
    with tempfile.TemporaryDirectory(prefix="layerfs-bench-", dir="/var/tmp") as work:
        mounts = [f"{work}/mount-{i}" for i in range(int(count))]
        try:
            for i, mount in enumerate(mounts):
                os.mkdir(mount)
                subprocess.run([layerfs, "mount", "--cache", cache or f"{work}/cache", "--container-layer", f"{work}/layer-{i}", image,
                                mount], check=True)
            time.sleep(IDLE_SECONDS)
            sizes = [private_kib(server_of(mount)) for mount in mounts]
        finally:
            for mount in mounts:
                subprocess.run(["umount", "-q", mount])
        totals = [sum(size.values()) for size in sizes[1:]]
        print(f"{statistics.median(totals) * 1024 / 1e6:.2f} MB private of each mount beyond the first, median of {len(totals)}; "
              f"most {max(totals) * 1024 / 1e6:.2f} MB")
        for kind, size in sizes[-1].most_common(8):
            print(f"{size:8} KiB {kind}")


if __name__ == "__main__":
    main(*sys.argv[1:])
