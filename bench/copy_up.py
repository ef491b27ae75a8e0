#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a first write into a large image file costs: layerfs's container layer, by chunk, against kernel
overlayfs over a lazy read-only mount of the same image, which copies the file.

usage: copy_up.py LAYERFS NETMODEL [--size BYTES] [--profile RTT,RATE] [--work DIR] [--json FILE]
       copy_up.py LAYERFS NETMODEL --data [--seconds N]

The image's file does not compress; the cache is empty for each measurement, and the registry is behind
layerfs-netmodel (default: 30 ms round trip, 1 Gbit/s). Printed: the time of open(O_RDWR), of the first
pwrite of 4 KiB into the middle (not at a page's border, so that two pages are needed in part), of
appending a line and of chmod; requests and bytes on the link during each; disk used by the layer.
--data sets reads and writes of a whole container-layer file through the mount against the same on the
layer's own file system, with fio, interleaved. Needs root, /dev/fuse, docker-registry; fio for --data.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from fetch_profiles import Network, Noise, Registry, make_layout, run  # noqa: E402

ROUNDS = 5
FIO_MIB = 256


class Content:
    """One large file."""

    def __init__(self, size):
        self.size = size

    def write_tar(self, out):
        import random
        import tarfile
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("large")
            info.size = self.size
            tar.addfile(info, Noise(random.Random(1), self.size))


class Bed:
    def __init__(self, options):
        self.options = options
        self.work = pathlib.Path(options.work or tempfile.mkdtemp(prefix="layerfs-bench-", dir="/var/tmp"))
        self.work.mkdir(exist_ok=True)
        fresh = not (self.work / "registry").exists()
        self.registry = Registry(self.work)
        if fresh:
            layout = self.work / "layout"
            make_layout(Content(options.size), layout)
            run(options.layerfs, "convert", "-q", "--cache", self.work / "convert-cache", f"oci:{layout}:latest",
                f"docker://{self.registry.address}/bench:lazy", stdout=subprocess.DEVNULL)
            shutil.rmtree(layout)
            shutil.rmtree(self.work / "convert-cache", ignore_errors=True)
        self.network = Network(options.netmodel, options.profile, self.registry.address)
        self.root = self.work / "mnt"
        self.layer = self.work / "container"
        help_text = run(options.layerfs, "mount", "--help", capture_output=True, text=True).stdout
        self.no_fill = ["--fill=off"] if "--fill" in help_text else []

    def close(self):
        self.network.stop()
        self.registry.stop()
        if not self.options.work:
            shutil.rmtree(self.work)

    def mount(self, *options):
        for path in (self.work / "cache", self.layer):
            shutil.rmtree(path, ignore_errors=True)
        self.root.mkdir(exist_ok=True)
        run(self.options.layerfs, "mount", "--cache", self.work / "cache", *self.no_fill, *options,
            f"docker://{self.network.address}/bench:lazy", self.root)

    def unmount(self):
        run(self.options.layerfs, "umount", self.root)
        time.sleep(0.5)  # the daemon goes on for a moment, and may still write to its cache

    def count(self, action):
        """(seconds, requests, bytes) of one action."""
        before = self.network.statistics()
        start = time.perf_counter()
        action()
        took = time.perf_counter() - start
        time.sleep(0.3)  # what it started without waiting for it counts as well
        after = self.network.statistics()
        return took, after["requests"] - before["requests"], after["down_bytes"] - before["down_bytes"]


def disk_used(directory):
    return 1024 * int(run("du", "-sk", directory, capture_output=True, text=True).stdout.split()[0])


def first_write(bed, root):
    """open, pwrite, append and chmod of the large file, each with what it cost."""
    result = {}
    path = root / "large"
    os.stat(path)
    held = []
    result["open O_RDWR"] = bed.count(lambda: held.append(os.open(path, os.O_RDWR)))
    middle = bed.options.size // 2 + 1000
    result["first write of 4 KiB"] = bed.count(lambda: os.pwrite(held[0], b"x" * 4096, middle))
    os.close(held[0])
    return result


def append_and_chmod(bed, root):
    path = root / "large"
    os.stat(path)

    def append():
        with open(path, "ab", buffering=0) as file:
            file.write(b"a line\n")

    return {"append a line": bed.count(append), "chmod": bed.count(lambda: os.chmod(path, 0o600))}


def measure_copy_up(bed):
    results = []

    def add(system, costs, used):
        for name, (took, requests, moved) in costs.items():
            results.append({"system": system, "operation": name, "ms": round(took * 1e3, 2),
                            "requests": requests, "bytes": moved, "layer_disk": used})
            print(f"{system:22} {name:22} {took * 1e3:9.1f} ms {requests:4} requests {moved:12,} bytes"
                  f"   layer's disk {used / 2**20:8.1f} MiB", flush=True)

    for measured in (first_write, append_and_chmod):
        bed.mount("--container-layer", bed.layer)
        try:
            costs = measured(bed, bed.root)
            add("layerfs", costs, disk_used(bed.layer))
        finally:
            bed.unmount()
    for measured in (first_write, append_and_chmod):
        bed.mount("--no-passthrough")  # with it, the kernel lets no overlayfs on top (stacking depth)
        upper, inner, merged = (bed.work / name for name in ("upper", "inner", "merged"))
        for path in (upper, inner, merged):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        try:
            run("mount", "-t", "overlay", "overlay", "-o",
                f"lowerdir={bed.root},upperdir={upper},workdir={inner}", merged)
            costs = measured(bed, merged)
            add("overlayfs over layerfs", costs, disk_used(upper))
        finally:
            subprocess.run(["umount", merged], check=False)
            bed.unmount()
    ours = {r["operation"]: r for r in results if r["system"] == "layerfs"}
    theirs = {r["operation"]: r for r in results if r["system"] != "layerfs"}
    for names in (("open O_RDWR", "first write of 4 KiB"), ("append a line",), ("chmod",)):
        mine, other = (sum(system[name]["ms"] for name in names) for system in (ours, theirs))
        print(f"{' and '.join(names)}: {mine:,.1f} ms, with overlayfs {other:,.1f} ms")
    write, opened = ours["first write of 4 KiB"], ours["open O_RDWR"]
    print(f"wanted: the write with at most 2 chunks (beside segments of the chunk table) in 100 ms: "
          f"{write['requests']} requests, {write['ms']} ms; open below 5 ms: {opened['ms']} ms")
    return results


def fio(path, mode, block, direct, seconds):
    out = run("fio", "--name=x", f"--filename={path}", f"--rw={mode}", f"--bs={block}", f"--size={FIO_MIB}M",
              "--ioengine=psync", f"--runtime={seconds}", "--time_based", "--output-format=json",
              f"--direct={direct}", "--invalidate=0", capture_output=True, text=True).stdout
    job = json.loads(out)["jobs"][0]
    return job["read"]["bw_bytes"] + job["write"]["bw_bytes"]


# Buffered ones find the file in the page cache, on both sides: what is measured is the way there.
DATA_CASES = (("read", "1M", 0), ("randread", "4k", 0), ("write", "1M", 0), ("randwrite", "4k", 0),
              ("randread", "4k", 1), ("randwrite", "4k", 1))


def measure_data(bed):
    """Interleaved, so that what else the machine does meets both alike."""
    results = []
    bed.mount("--container-layer", bed.layer)
    try:
        native = bed.work / "native"
        through = bed.root / "whole"
        for path in (native, through):
            with open(path, "wb") as file:
                for _ in range(FIO_MIB):
                    file.write(os.urandom(1 << 20))
                os.fsync(file.fileno())
        for mode, block, direct in DATA_CASES:
            for path in (native, through):
                run("cat", path, stdout=subprocess.DEVNULL)
            rates = {native: [], through: []}
            for _ in range(ROUNDS):
                for path in (native, through):
                    rates[path].append(fio(path, mode, block, direct, bed.options.seconds))
            median = {path: statistics.median(values) for path, values in rates.items()}
            ratio = median[through] / median[native]
            results.append({"mode": mode, "block": block, "direct": direct, "native": median[native], "layerfs": median[through],
                            "ratio": round(ratio, 3)})
            print(f"{mode:10} {block:>3} {'direct' if direct else 'cached'}: ext4 {median[native] / 1e6:9.1f} MB/s, layerfs {median[through] / 1e6:9.1f} MB/s,"
                  f" ratio {ratio:.3f}", flush=True)
    finally:
        bed.unmount()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layerfs")
    parser.add_argument("netmodel")
    parser.add_argument("--size", type=int, default=1 << 30)
    parser.add_argument("--profile", default="30ms,1000Mbit")
    parser.add_argument("--data", action="store_true")
    parser.add_argument("--seconds", type=int, default=3, help="of each fio run")
    parser.add_argument("--work", help="keeps the image there for the next time")
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.data:
        options.size = 1 << 20
    bed = Bed(options)
    try:
        results = measure_data(bed) if options.data else measure_copy_up(bed)
    finally:
        bed.close()
    print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
