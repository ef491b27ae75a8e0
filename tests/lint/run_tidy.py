#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run_tidy.py [--budget SECONDS] [--jobs N] BUILD_DIR: clang-tidy over the sources of a build.

A file that was clean is not looked at again until it, a header of the tree or .clang-tidy changes
(BUILD_DIR/tidy remembers). The product comes before tests and benchmarks, and of each the files
changed last before the others; when the budget is spent no further file
is begun, and how many were left is said. Exit code 1 if a file has a finding.
"""
import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPS = ("index", "fetch", "fs", "tools", "tests", "bench")


def sources(build):
    commands = json.loads((build / "compile_commands.json").read_text())
    paths = {pathlib.Path(command["directory"], command["file"]).resolve() for command in commands}
    own = [path for path in paths if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in TOPS]
    return sorted(own, key=urgency, reverse=True)


def urgency(path):
    stamp = subprocess.run(["git", "-C", str(ROOT), "log", "-1", "--format=%ct", "--", str(path)],
                           capture_output=True, text=True).stdout.strip()
    product = path.relative_to(ROOT).parts[0] not in ("tests", "bench")
    return (product, int(stamp or 0), str(path))


def surroundings():
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    for top in TOPS:
        for header in sorted((ROOT / top).rglob("*.h")):
            digest.update(header.read_bytes())
    return digest


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=float, default=3600)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--clang-tidy", default="clang-tidy-19")
    parser.add_argument("build", type=pathlib.Path)
    args = parser.parse_args()
    end = time.monotonic() + args.budget
    memory = args.build / "tidy"
    memory.mkdir(exist_ok=True)
    base = surroundings()

    def look(path):
        digest = base.copy()
        digest.update(path.read_bytes())
        stamp = memory / digest.hexdigest()
        if stamp.exists():
            return path, "clean", ""
        if time.monotonic() > end:
            return path, "left", ""
        done = subprocess.run([args.clang_tidy, "--quiet", "-p", str(args.build), str(path)],
                              capture_output=True, text=True)
        if done.returncode == 0:
            stamp.touch()
            return path, "clean", ""
        return path, "finding", done.stdout + done.stderr

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(look, sources(args.build)))
    for path, state, output in results:
        if state == "finding":
            print(output)
    counts = {state: sum(1 for result in results if result[1] == state) for state in ("clean", "finding", "left")}
    print(f"clang-tidy: {counts['clean']} files clean, {counts['finding']} with findings, "
          f"{counts['left']} left when the budget was spent")
    return 1 if counts["finding"] or not results else 0


if __name__ == "__main__":
    sys.exit(main())
