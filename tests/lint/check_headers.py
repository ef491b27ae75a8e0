#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_headers.py ROOT COMPILER FLAG…: every header of the tree compiles alone, and twice. A header
that its own source includes before anything else compiles alone whenever that does: of these, only
the guard is looked for."""
import concurrent.futures
import pathlib
import re
import subprocess
import sys


def compile_alone(root, compiler, flags, header):
    source = f'#include "{header}"\n#include "{header}"\n'
    done = subprocess.run([compiler, *flags, "-I", str(root), "-fsyntax-only", "-x", "c++", "-"],
                          input=source, capture_output=True, text=True)
    return header, done.returncode, done.stderr


def is_first_of_its_source(root, header):
    source = (root / header).with_suffix(".cc")
    first = re.search(r'^#include "(.*)"$|^#include', source.read_text(), re.MULTILINE) if source.exists() else None
    return first is not None and first.group(1) == header and "\n#pragma once\n" in (root / header).read_text()


def main(root, compiler, *flags):
    root = pathlib.Path(root)
    headers = [str(path.relative_to(root)) for top in ("index", "fetch", "fs", "tools", "tests", "bench")
               for path in sorted((root / top).rglob("*.h"))]
    alone = [header for header in headers if not is_first_of_its_source(root, header)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda header: compile_alone(root, compiler, flags, header), alone))
    failed = [(header, error) for header, code, error in results if code]
    for header, error in failed:
        print(f"{header} does not compile alone:\n{error}")
    print(f"{len(headers)} headers, {len(alone)} of them compiled here, {len(failed)} do not compile alone")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
