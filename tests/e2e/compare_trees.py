#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_trees.py [--max N] [--ignore-directory-times] EXPECTED ACTUAL: are two trees the same, in all that a layer carries?

Compares names, types, modes, owners, modification times to the nanosecond, sizes, device numbers,
symbolic link targets, hard link groups, extended attributes (ACLs and capabilities are such) and
contents. Prints each difference (the first N, 40 by default); exit code 1 if there is one.
A directory's size and link count are the file system's own affair and are left out, and so is the
link count of a file with links outside the tree, which a group comparison covers anyway.

  compare_trees.py --self-test    shows that each kind of difference is found
"""
import argparse
import os
import stat
import sys
import tempfile

CHUNK = 1 << 20


def walk(root):
    """Relative path -> lstat result, directories before what is in them."""
    entries = {b"": os.lstat(root)}
    pending = [b""]
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(root, directory)) as scan:
            for entry in scan:
                path = os.path.join(directory, entry.name)
                status = os.lstat(os.path.join(root, path))
                entries[path] = status
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
    return entries


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)}


def attributes(path, status):
    """Name -> value of everything but contents that must agree."""
    found = {
        "type": stat.S_IFMT(status.st_mode),
        "mode": oct(stat.S_IMODE(status.st_mode)),
        "owner": (status.st_uid, status.st_gid),
        "mtime": status.st_mtime_ns,
        "xattrs": xattrs(path),
    }
    if stat.S_ISREG(status.st_mode):
        found["size"] = status.st_size
    if stat.S_ISLNK(status.st_mode):
        found["target"] = os.readlink(path)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        found["device"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    if not stat.S_ISDIR(status.st_mode):
        found["links"] = status.st_nlink
    return found


def link_groups(entries):
    """Path -> the first path (in order) that is the same inode."""
    first, groups = {}, {}
    for path in sorted(entries):
        status = entries[path]
        if not stat.S_ISDIR(status.st_mode):
            groups[path] = first.setdefault((status.st_dev, status.st_ino), path)
    return groups


def first_difference(one, other):
    offset = 0
    with open(one, "rb") as a, open(other, "rb") as b:
        while True:
            x, y = a.read(CHUNK), b.read(CHUNK)
            if x != y:
                shared = os.path.commonprefix([x, y])
                return offset + len(shared)
            if not x:
                return None
            offset += len(x)


def compare_entry(expected, actual, path, status, other, report, ignore_directory_times):
    mine, theirs = os.path.join(expected, path), os.path.join(actual, path)
    a, b = attributes(mine, status), attributes(theirs, other)
    if ignore_directory_times and stat.S_ISDIR(status.st_mode):
        del a["mtime"]
    for name in a:
        if a[name] != b.get(name):
            report(path, f"{name}: {a[name]} became {b.get(name)}")
    if stat.S_ISREG(status.st_mode) and stat.S_ISREG(other.st_mode) and status.st_size == other.st_size:
        where = first_difference(mine, theirs)
        if where is not None:
            report(path, f"contents differ from byte {where} on")


def compare(expected, actual, report, ignore_directory_times=False):
    ours, theirs = walk(expected), walk(actual)
    for path in sorted(ours.keys() | theirs.keys()):
        if path not in theirs:
            report(path, "is missing")
        elif path not in ours:
            report(path, "should not be there")
        else:
            compare_entry(expected, actual, path, ours[path], theirs[path], report, ignore_directory_times)
    groups, their_groups = link_groups(ours), link_groups(theirs)
    for path in sorted(groups.keys() & their_groups.keys()):
        if groups[path] != their_groups[path]:
            report(path, f"is a hard link of {groups[path]}, became one of {their_groups[path]}")
    return len(ours)


def make_sample(root):
    os.makedirs(f"{root}/dir")
    for name in ("file", "other", "dir/inner"):
        with open(f"{root}/{name}", "w") as file:
            file.write("contents")
    os.link(f"{root}/file", f"{root}/dir/link")
    os.symlink("file", f"{root}/symlink")
    for path in ("file", "other", "dir/inner", "symlink", "dir", "."):
        os.utime(f"{root}/{path}", ns=(10**18, 10**18 + 7), follow_symlinks=False)


def relink(root):
    os.remove(f"{root}/dir/link")
    os.link(f"{root}/other", f"{root}/dir/link")


def rewrite(path, text):
    with open(path, "w") as file:
        file.write(text)
    os.utime(path, ns=(10**18, 10**18 + 7))


def retarget(root):
    os.remove(f"{root}/symlink")
    os.symlink("other", f"{root}/symlink")


# (what is changed in the second tree, what must be reported)
CHANGES = [
    (lambda r: None, None),
    (lambda r: os.remove(f"{r}/dir/inner"), "is missing"),
    (lambda r: open(f"{r}/new", "w").close(), "should not be there"),
    (lambda r: os.chmod(f"{r}/file", 0o600), "mode"),
    (lambda r: os.utime(f"{r}/file", ns=(0, 10**18 + 8)), "mtime"),
    (lambda r: os.setxattr(f"{r}/file", "user.x", b"1"), "xattrs"),
    (lambda r: rewrite(f"{r}/other", "contentz"), "contents differ from byte 7"),
    (lambda r: rewrite(f"{r}/other", "content"), "size"),
    (retarget, "target"),
    (relink, "is a hard link of"),
]


def self_test():
    failures = []
    for number, (change, want) in enumerate(CHANGES):
        with tempfile.TemporaryDirectory(dir=os.environ.get("COMPARE_TREES_DIR")) as base:
            for side in ("a", "b"):
                make_sample(f"{base}/{side}")
            change(f"{base}/b")
            found = []
            compare(os.fsencode(f"{base}/a"), os.fsencode(f"{base}/b"), lambda path, what: found.append(what))
            if (want is None and found) or (want and not any(want in what for what in found)):
                failures.append(f"change {number}: wanted {want}, found {found}")
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--max", type=int, default=40)
    parser.add_argument("--ignore-directory-times", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("trees", nargs="*")
    args = parser.parse_args()
    if args.self_test:
        failures = self_test()
        print("\n".join(failures) or f"all {len(CHANGES)} cases hold")
        return 1 if failures else 0
    differences = []
    expected, actual = map(os.fsencode, args.trees)
    count = compare(expected, actual, lambda path, what: differences.append((path, what)),
                    args.ignore_directory_times)
    for path, what in differences[:args.max]:
        print(f"{os.fsdecode(path).encode('unicode_escape').decode() or '/'}: {what}")
    print(f"{count} entries, {len(differences)} differences")
    return 1 if differences or count < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
