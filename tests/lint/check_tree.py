#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of the source tree that no compiler knows.

  check_tree.py ROOT          prints each breach as FILE:LINE: WHAT, exit code 1 if there is one
  check_tree.py --self-test   shows that each rule catches its breach

The rules: includes point down only; each library has one door; a header begins with its licence,
says what it is for and how threads may use it; a type's name is defined once; files stay short; shell
scripts stop at errors.
"""
import pathlib
import re
import sys
import tempfile

# What a directory may include besides itself. A name that ends in .h is that header alone.
ALLOWED = {
    "index/base": [],
    "index": ["index/base"],
    "fetch": ["index/base", "index/chunk_ref.h"],
    "fs": ["index/base", "index", "fetch"],
    "tools": ["index/base", "index", "fetch", "fs"],
    "bench": ["index/base", "index", "fetch", "fs", "tools", "tests"],
    "tests": ["index/base", "index", "fetch", "fs", "tools"],
}
# Library -> what its headers are called, and what may include them: one file of the product.
DOORS = {
    "libcurl": r"curl/",
    "libfuse": r"(fuse3/)?fuse(_lowlevel|_common|_opt|_log)?\.h$",
    "OpenSSL": r"openssl/",
    "zstd": r"(zstd|zstd_errors|zdict)\.h$",
    "ISA-L": r"(isa-l|isa-l/.*|igzip_lib\.h)$",
    "libdeflate": r"libdeflate\.h$",
    "zlib": r"zlib\.h$",
    "xxHash": r"xxhash\.h$",
    "spdlog": r"spdlog/",
    "libarchive": r"archive(_entry)?\.h$",
}
# A door of several files, by the beginning of their paths: FUSE's edge is one idea in three files.
WIDE_DOORS = {"libfuse": "fs/fuse_"}
PRODUCT = ("index", "fetch", "fs", "tools")
MAX_LINES = 500
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
THREADS = re.compile(r"thread|immutable|stateless|\bvalues?\b|pure function", re.IGNORECASE)


def directory_of(path):
    """The entry of ALLOWED that a path relative to the root belongs to."""
    if path.startswith("index/base/"):
        return "index/base"
    return path.split("/", 1)[0]


def check_includes(path, lines, report, doors):
    own = directory_of(path)
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(2)
        if match.group(1) == '"':
            theirs = directory_of(target)
            if theirs not in ALLOWED:
                report(path, number, f'"{target}" is not written from the top of the tree')
            elif theirs != own and theirs not in ALLOWED[own] and target not in ALLOWED[own]:
                report(path, number, f'{own} must not include "{target}"')
        if own.split("/")[0] in PRODUCT:
            for library, pattern in DOORS.items():
                if re.match(pattern, target):
                    doors.setdefault(library, {}).setdefault(path, number)


def check_doors(doors, report):
    for library, users in doors.items():
        if library in WIDE_DOORS and all(path.startswith(WIDE_DOORS[library]) for path in users):
            continue
        if len(users) > 1:
            for path, number in sorted(users.items()):
                report(path, number, f"{library} has more than one door: {', '.join(sorted(users))}")


def opening_comment(lines):
    comment = []
    for line in lines:
        if not line.startswith("//"):
            break
        comment.append(line)
    return "\n".join(comment[1:])


def check_header(path, lines, report):
    if not lines or lines[0] != "// SPDX-License-Identifier: Apache-2.0":
        report(path, 1, "does not begin with the SPDX line")
    # The purpose and the sentence on threads come before the code, or before the class that they
    # are about.
    comments = "\n".join(line for line in lines if line.lstrip().startswith("//"))
    if path.split("/")[0] in PRODUCT:
        if not opening_comment(lines).strip("/ \n"):
            report(path, 2, "does not say what it is for")
        if not THREADS.search(comments):
            report(path, 1, "does not say how threads may use it")
    if not any(line.startswith("#pragma once") or line.startswith("#ifndef LAYERFS_") for line in lines):
        report(path, 1, "has no include guard")


def check_file(path, text, report, doors):
    lines = text.split("\n")
    if path.endswith((".h", ".cc")):
        check_includes(path, lines, report, doors)
        if len(lines) > MAX_LINES + 1:
            report(path, MAX_LINES, f"has {len(lines) - 1} lines; files stop at {MAX_LINES}")
    if path.endswith(".h"):
        check_header(path, lines, report)
    elif "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:3]):
        report(path, 1, "has no SPDX line")
    if text.startswith("#!") and "bash" in lines[0] and "set -euo pipefail" not in text:
        report(path, 1, "does not stop at errors (set -euo pipefail)")
    for number, line in enumerate(lines, 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not path.startswith("tests/lint/"):
            report(path, number, "unfinished work is not marked in the code")


class Types:
    """Where the product's types are defined. Two of one name are one to the linker, which then keeps
    the inline functions of either for both."""

    DEFINITION = re.compile(r"(?:class|struct|enum class) ([A-Z]\w+)(?: final)?(?: :.*)? ?\{")

    def __init__(self):
        self.places = {}

    def note(self, path, text):
        anonymous = False
        for number, line in enumerate(text.split("\n"), 1):
            if line == "namespace {" or line == "}  // namespace":
                anonymous = line == "namespace {"
            found = self.DEFINITION.match(line)
            if found and not anonymous:
                self.places.setdefault(found[1], []).append((path, number))

    def check(self, report):
        for name, places in self.places.items():
            for path, number in places[1:]:
                report(path, number, f"{name} is defined in {places[0][0]}, too")


def source_files(root):
    for top in list(PRODUCT) + ["bench", "tests"]:
        for file in sorted((root / top).rglob("*")):
            name = file.name
            if file.is_file() and (name.endswith((".h", ".cc", ".sh", ".py")) or name == "CMakeLists.txt"):
                yield file


def check(root):
    breaches, doors, types = [], {}, Types()
    report = lambda path, line, what: breaches.append(f"{path}:{line}: {what}")
    count = 0
    for file in source_files(root):
        count += 1
        path, text = str(file.relative_to(root)), file.read_text()
        check_file(path, text, report, doors)
        if path.endswith((".h", ".cc")) and path.split("/")[0] in PRODUCT:
            types.note(path, text)
    check_doors(doors, report)
    types.check(report)
    return count, breaches


GOOD = "// SPDX-License-Identifier: Apache-2.0\n// What it is for. Thread-safe.\n#pragma once\n"
# (file, text, what must be reported)
BAD = [
    ("index/base/a.h", GOOD + '#include "index/index.h"\n', "index/base must not include"),
    ("index/a.h", GOOD + '#include "fetch/scheduler.h"\n', "index must not include"),
    ("fetch/a.h", GOOD + '#include "index/index.h"\n', "fetch must not include"),
    ("fs/a.h", GOOD + '#include "tools/args.h"\n', "fs must not include"),
    ("tools/a.h", GOOD + '#include "tests/fake.h"\n', "tools must not include"),
    ("fs/a.h", GOOD + '#include "a.h"\n', "from the top of the tree"),
    ("fs/a.h", GOOD.replace("SPDX", "X"), "SPDX line"),
    ("fs/a.h", GOOD.replace("// What it is for. Thread-safe.\n", ""), "what it is for"),
    ("fs/a.h", GOOD.replace(" Thread-safe.", ""), "how threads may use it"),
    ("fs/a.h", GOOD.replace("#pragma once", ""), "include guard"),
    ("fs/a.h", GOOD + "\n" * 500, "files stop at"),
    ("fs/a.cc", "int x;\n", "no SPDX line"),
    ("fs/a.cc", GOOD + "// TODO\n", "unfinished work"),
    ("tools/a.sh", "#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache-2.0\n", "stop at errors"),
]


def breaches_of(files):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for path, text in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return check(root)[1]


def self_test():
    failed = []
    for path, text, want in BAD:
        found = breaches_of([(path, text)])
        if not any(want in breach for breach in found):
            failed.append(f"{path}: wanted '{want}', found {found}")
    curl = GOOD + "#include <curl/curl.h>\n"
    if breaches_of([("fetch/a.cc", curl)]):
        failed.append("one door was reported")
    if not any("more than one door" in b for b in breaches_of([("fetch/a.cc", curl), ("fetch/b.cc", curl)])):
        failed.append("two doors were not reported")
    fuse = GOOD + "#include <fuse_lowlevel.h>\n"
    if breaches_of([("fs/fuse_a.cc", fuse), ("fs/fuse_b.cc", fuse)]):
        failed.append("the FUSE edge was reported")
    if not breaches_of([("fs/fuse_a.cc", fuse), ("fs/b.cc", fuse)]):
        failed.append("libfuse beside the FUSE edge was not reported")
    child = GOOD + "namespace layerfs {\nclass Child {\n};\n"
    if not any("is defined in" in b for b in breaches_of([("fs/a.h", child), ("tools/b.h", child)])):
        failed.append("two types of one name were not reported")
    hidden = child.replace("class", "namespace {\nstruct")
    if breaches_of([("fs/a.cc", hidden), ("fs/b.cc", hidden)]):
        failed.append("types of anonymous namespaces were reported")
    if breaches_of([("fetch/a.h", GOOD + '#include "index/chunk_ref.h"\n')]):
        failed.append("fetch may include the chunk reference")
    return failed


def main(args):
    if args == ["--self-test"]:
        failures = self_test()
        print("\n".join(failures) or f"all {len(BAD) + 7} cases hold")
        return 1 if failures else 0
    count, breaches = check(pathlib.Path(args[0]))
    print("\n".join(breaches) or f"{count} files, no breach")
    if count == 0:
        print(f"no source file below {args[0]}")
    return 1 if breaches or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
