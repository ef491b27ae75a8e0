#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""container_layer_bench.py LAYERFS [WORK]: changes of names in a writable mount of directories, beside
fuse-overlayfs and the kernel's overlayfs over the same directories, in one run: extracting a tar of
10,000 files, making 10,000 small files, `git clone` of as many, a tree made as `npm ci` makes one (a
directory for each package, files that get their name by rename, links to programs), `rm -rf` of a
directory of 10,000 files from below, listing a new directory of as many ten times, each time after a
change in it, and removing 1,000 of 3,000 names while somebody lists the directory over and over. Each is measured ROUNDS times in turn; the median counts, and the
ratio to each of the others. Needs root, git, fuse-overlayfs and a disk (not a tmpfs, not an overlayfs)."""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROUNDS = int(os.environ.get("ROUNDS", "3"))
DIRECTORIES, FILES, BYTES = 100, 100, 2000


def make_tree(at):
    for directory in range(DIRECTORIES):
        os.makedirs(f"{at}/d{directory}")
        for file in range(FILES):
            with open(f"{at}/d{directory}/f{file}", "wb") as output:
                output.write(os.urandom(BYTES))


class Mounted:
    def __init__(self, kind, layerfs, work):
        self.at = f"{work}/merged"
        upper = f"{work}/upper-{time.monotonic_ns()}"
        self.remove = [upper, upper + "-work"]
        for path in (self.at, *self.remove):
            os.makedirs(path, exist_ok=True)
        options = f"lowerdir={work}/lower,upperdir={upper},workdir={upper}-work"
        commands = {"layerfs": [layerfs, "mount", self.at, "-o", options], "fuse-overlayfs": ["fuse-overlayfs", "-o", options, self.at],
                    "overlayfs": ["mount", "-t", "overlay", "overlay", "-o", options, self.at]}
        subprocess.run(commands[kind], check=True)

    def end(self):
        subprocess.run(["umount", self.at], check=True)
        for path in self.remove:
            shutil.rmtree(path)


def extract(mounted, work):
    subprocess.run(["tar", "-xf", f"{work}/tree.tar", "-C", mounted.at], check=True)


def create(mounted, _):
    os.mkdir(f"{mounted.at}/created")
    for i in range(DIRECTORIES * FILES):
        with open(f"{mounted.at}/created/{i}", "wb") as output:
            output.write(b"x" * 100)


def clone(mounted, work):
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", f"{work}/repository", f"{mounted.at}/clone"], check=True)


def packages(mounted, _):
    modules = f"{mounted.at}/node_modules"
    os.makedirs(f"{modules}/.bin")
    for package in range(DIRECTORIES * 5):
        at = f"{modules}/package-{package}"
        os.makedirs(f"{at}/lib/util")
        for name in ("package.json", "README.md", "index.js", "lib/a.js", "lib/util/b.js"):
            with open(f"{at}/{name}.tmp", "wb") as output:
                output.write(b"x" * 900)
            os.chmod(f"{at}/{name}.tmp", 0o644)
            os.utime(f"{at}/{name}.tmp", (500000000, 500000000))
            os.rename(f"{at}/{name}.tmp", f"{at}/{name}")
        os.symlink(f"../package-{package}/index.js", f"{modules}/.bin/program-{package}")


def make_repository(work):
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", "-C", f"{work}/repository"]
    shutil.copytree(f"{work}/lower/below", f"{work}/repository")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "files"]):
        subprocess.run(git + command, check=True)


def remove(mounted, _):
    subprocess.run(["rm", "-rf", f"{mounted.at}/below"], check=True)


def fill(at, count):
    os.mkdir(at)
    for i in range(count):
        os.close(os.open(f"{at}/{i}", os.O_CREAT | os.O_WRONLY))


def list_changed(mounted, _):
    for i in range(10):
        os.close(os.open(f"{mounted.at}/listed/new-{i}", os.O_CREAT | os.O_WRONLY))
        if len(os.listdir(f"{mounted.at}/listed")) != DIRECTORIES * FILES + i + 1:
            sys.exit("a name is missing")


def remove_beside_lister(mounted, _):
    at = f"{mounted.at}/shrinking"
    ended = threading.Event()

    def look():
        while not ended.is_set():
            os.listdir(at)
    lister = threading.Thread(target=look)
    lister.start()
    for i in range(1000):
        os.unlink(f"{at}/{i}")
    ended.set()
    lister.join()


# What is timed, and what is made for it before.
CASES = {"tar x": (extract, None), "create": (create, None), "clone": (clone, None), "npm ci": (packages, None),
         "rm -rf": (remove, None), "list": (list_changed, lambda mounted: fill(f"{mounted.at}/listed", DIRECTORIES * FILES)),
         "rm, list": (remove_beside_lister, lambda mounted: fill(f"{mounted.at}/shrinking", 3000))}


def main(layerfs, work=None):
    work = work or tempfile.mkdtemp(prefix="layerfs-bench-", dir="/var/tmp")
    make_tree(f"{work}/lower/below")
    subprocess.run(["tar", "-cf", f"{work}/tree.tar", "-C", f"{work}/lower/below", "."], check=True)
    make_repository(work)
    kinds = ["layerfs", "fuse-overlayfs", "overlayfs"]
    print(f"{ROUNDS} rounds, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, kernel {os.uname().release}")
    for name, (call, prepare) in CASES.items():
        times = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind in kinds:
                mounted = Mounted(kind, layerfs, work)
                if prepare is not None:
                    prepare(mounted)
                begin = time.monotonic()
                call(mounted, work)
                times[kind].append(time.monotonic() - begin)
                mounted.end()
        median = {kind: statistics.median(values) for kind, values in times.items()}
        print(f"{name:8} " + "  ".join(f"{kind} {median[kind]:.2f} s" for kind in kinds) +
              f"  ratio to fuse-overlayfs {median['layerfs'] / median['fuse-overlayfs']:.2f}"
              f", to overlayfs {median['layerfs'] / median['overlayfs']:.2f}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
