#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metadata and small files of a mounted image against kernel overlayfs over the same tree on ext4.

usage: fs_metadata.py LAYERFS [--files N] [--rounds N] [--directory DIR]

Needs root and /dev/fuse. Everything is in layerfs's cache before anything is measured. Cold: the
kernel's caches are dropped before each run (for layerfs that includes the page cache of its own
files). The contestants take turns; medians are printed, with the ratio to overlayfs.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time

FILES_PER_DIRECTORY = 50
OPENED = 20000


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_tree(root, files):
    """Small files of 0.5 to 8 KiB, fifty a directory, two levels."""
    for i in range(files):
        directory = f"{root}/{i // (FILES_PER_DIRECTORY * 20)}/{i // FILES_PER_DIRECTORY}"
        if i % FILES_PER_DIRECTORY == 0:
            os.makedirs(directory)
        with open(f"{directory}/file-{i}", "w") as out:
            out.write(f"{i}\n" * (100 + i % 900))
    with open(f"{root}/large", "wb") as out:
        for _ in range(256):
            out.write(os.urandom(1 << 20))


def make_image(layerfs, work):
    """The tree as an OCI layout of one layer, converted."""
    import hashlib

    plain = f"{work}/plain"
    os.makedirs(f"{plain}/blobs/sha256")

    def add(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{plain}/blobs/sha256/{digest}", "wb") as out:
            out.write(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    tar = subprocess.run(["tar", "--format=posix", "--sort=name", "-C", f"{work}/tree", "-cf", "-", "."],
                         check=True, stdout=subprocess.PIPE).stdout
    layer = add(tar) | {"mediaType": "application/vnd.oci.image.layer.v1.tar"}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = add(json.dumps({"architecture": machine, "os": "linux",
                             "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode())
    config["mediaType"] = "application/vnd.oci.image.config.v1+json"
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = add(json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config,
                               "layers": [layer]}).encode())
    manifest |= {"mediaType": kind, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    with open(f"{plain}/index.json", "w") as out:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, out)
    with open(f"{plain}/oci-layout", "w") as out:
        json.dump({"imageLayoutVersion": "1.0.0"}, out)
    run(layerfs, "convert", f"oci:{plain}:latest", f"oci:{work}/lazy:latest")


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as out:
        out.write("3\n")


def find(root):
    run("find", root, "-size", "+1000000k")


def read_large(root):
    """One large file from its beginning to its end."""
    fd = os.open(f"{root}/large", os.O_RDONLY)
    while os.read(fd, 1 << 20):
        pass
    os.close(fd)


def read_files(root):
    """Opens, reads and closes files as they come."""
    left = OPENED
    for directory, _, names in os.walk(root):
        for name in names:
            fd = os.open(f"{directory}/{name}", os.O_RDONLY)
            while os.read(fd, 65536):
                pass
            os.close(fd)
            left -= 1
            if left == 0:
                return


def measure(task, roots, rounds, cold):
    times = {name: [] for name in roots}
    for name, root in roots.items():
        task(root)
    for _ in range(rounds):
        for name, root in roots.items():
            if cold:
                drop_caches()
            begin = time.monotonic()
            task(root)
            times[name].append(time.monotonic() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layerfs")
    parser.add_argument("--files", type=int, default=40000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", default="/var/tmp", help="on ext4")
    options = parser.parse_args()
    layerfs = os.path.abspath(options.layerfs)
    work = tempfile.mkdtemp(prefix="layerfs-bench.", dir=options.directory)
    mounted = []
    try:
        for name in ("tree", "empty", "overlay", "daemon", "passthrough"):
            os.mkdir(f"{work}/{name}")
        make_tree(f"{work}/tree", options.files)
        make_image(layerfs, work)
        overlay = f"{work}/overlay"
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={work}/tree:{work}/empty", overlay)
        mounted.append(overlay)
        roots = {"overlayfs": overlay}
        for name, extra in (("daemon", ["--no-passthrough"]), ("passthrough", [])):
            run(layerfs, "mount", "--cache", f"{work}/cache", *extra, f"oci:{work}/lazy:latest",
                f"{work}/{name}")
            mounted.append(f"{work}/{name}")
            roots[f"layerfs, {name}"] = f"{work}/{name}"
        print(f"{platform.release()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
              f"{options.files} files, median of {options.rounds}")
        for title, task in (("find -size", find), (f"read {min(OPENED, options.files)}", read_files),
                            ("read 256 MiB", read_large)):
            for cold in (True, False):
                medians = measure(task, roots, options.rounds, cold)
                for name, seconds in medians.items():
                    print(f"{title:12} {'cold' if cold else 'warm'}  {name:22} {seconds * 1000:9.1f} ms"
                          f"  {seconds / medians['overlayfs']:5.2f} x overlayfs")
    finally:
        for directory in reversed(mounted):
            subprocess.run(["umount", "-l", directory], check=False)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
