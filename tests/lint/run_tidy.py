#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run_tidy.py [--budget SECONDS] [--jobs N] BUILD_DIR: clang-tidy over the sources of a build.

A unit is what the compiler sees at once: a source, or several where the build has LAYERFS_UNITY, which
takes a third of the time. One that was clean is not looked at again until it, a header that it includes
(of the tree, however deep) or a .clang-tidy changes: BUILD_DIR/tidy remembers. First come the units that
differ from the merge base with --base (the commit before, where HEAD is on it), then the others in an
order that the commit decides: so a budget that does not reach all of them reaches others after the next
commit. When it is spent no further unit is begun, and how many were left is said. Exit code 1 if a unit
has a finding.
"""
import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPS = ("index", "fetch", "fs", "tools", "tests", "bench")
# The build is GCC's: its options and precompiled headers are not all clang's.
ALWAYS = ["--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-ignored-gch"]
# The sources that a unity file includes are looked at, and may be included.
UNITY = ["--checks=-bugprone-suspicious-include",
         f"--header-filter={re.escape(str(ROOT))}/({'|'.join(TOPS)})/.*[.](h|cc)$"]


def git(*words):
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()


def is_own(path):
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in TOPS


def units(build, changed):
    """The files to look at, each with the sources of the tree in it."""
    commands = json.loads((build / "compile_commands.json").read_text())
    paths = {pathlib.Path(command["directory"], command["file"]).resolve() for command in commands}
    found = {}
    for path in paths:
        if is_own(path):
            found[path] = [path]
        elif path.parent.name == "Unity":
            names = [name.decode() for name in Fingerprints.INCLUDE.findall(path.read_bytes())]
            found[path] = [pathlib.Path(name) for name in names if is_own(pathlib.Path(name))]
    head = git("rev-parse", "HEAD")

    def turn(path):
        names = [str(source.relative_to(ROOT)) for source in found[path]]
        return (changed.isdisjoint(names), hashlib.sha256("\n".join([head, *names]).encode()).digest())

    return {path: found[path] for path in sorted(found, key=turn) if found[path]}


def changed_files(base):
    since = git("merge-base", base, "HEAD") or "HEAD"
    if since == git("rev-parse", "HEAD"):
        since = "HEAD^"
    return set(git("diff", "--name-only", since).splitlines())


class Fingerprints:
    """Of a source and all that it includes by a path in the tree."""

    INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)

    def __init__(self):
        settings = b"".join((ROOT / name).read_bytes() for name in (".clang-tidy", "tests/.clang-tidy"))
        self.base = hashlib.sha256(settings).digest()
        self.files = {}  # path -> (digest, included paths)

    def read(self, path):
        if path not in self.files:
            text = path.read_bytes()
            names = [name.decode() for name in self.INCLUDE.findall(text)]
            included = [ROOT / name for name in names if (ROOT / name).is_file()]
            self.files[path] = (hashlib.sha256(text).digest(), included)
        return self.files[path]

    def of(self, paths):
        seen = set(paths)
        queue = list(paths)
        while queue:
            for included in self.read(queue.pop())[1]:
                if included not in seen:
                    seen.add(included)
                    queue.append(included)
        names = [str(path.relative_to(ROOT)) for path in paths]
        digest = hashlib.sha256(self.base + "\n".join(names).encode())
        for each in sorted(seen):
            digest.update(self.read(each)[0])
        return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=float, default=3600)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--clang-tidy", default="clang-tidy-19")
    parser.add_argument("--base", default="origin/main", help="what the change is made against")
    parser.add_argument("build", type=pathlib.Path)
    args = parser.parse_args()
    end = time.monotonic() + args.budget
    memory = args.build / "tidy"
    memory.mkdir(exist_ok=True)
    fingerprints = Fingerprints()
    files = [(path, sources, memory / fingerprints.of(sources))
             for path, sources in units(args.build, changed_files(args.base)).items()]

    def look(file):
        path, sources, stamp = file
        if stamp.exists():
            return path, "clean"
        if time.monotonic() > end:
            return path, "left"
        options = ALWAYS if sources == [path] else ALWAYS + UNITY
        done = subprocess.run([args.clang_tidy, "--quiet", *options, "-p", str(args.build), str(path)],
                              capture_output=True, text=True)
        if done.returncode == 0:
            stamp.touch()
            return path, "clean"
        print(done.stdout + done.stderr, flush=True)
        return path, "finding"

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(look, files))
    counts = {state: sum(1 for result in results if result[1] == state) for state in ("clean", "finding", "left")}
    print(f"clang-tidy: {counts['clean']} units clean, {counts['finding']} with findings, "
          f"{counts['left']} left when the budget was spent")
    return 1 if counts["finding"] or not results else 0


if __name__ == "__main__":
    sys.exit(main())
