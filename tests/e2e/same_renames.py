#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""same_renames.py PLAIN MOUNT SEED STEPS: moves, links, removes and changes at random what is in two
directories that look the same, PLAIN on an ordinary file system, and looks at both after each step:
what every name leads to, and that an inode number of the one is one and the same of the other for as
long as the object lives, by its names and by descriptors that were opened under an earlier name."""

import ctypes
import os
import random
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, NOREPLACE, EXCHANGE = -100, 1, 2


def rename(top, old, new, flags):
    paths = [os.fsencode(f"{top}/{name}") for name in (old, new)]
    if libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def write(top, name, text):
    with open(f"{top}/{name}", "r+") as file:
        file.truncate(0)
        file.write(text)


def remove(top, name):
    path = f"{top}/{name}"
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)


def look(path):
    """What the name leads to, and its inode number."""
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    what = [kind, stat.S_IMODE(found.st_mode)]
    if kind == stat.S_IFREG:
        with open(path) as file:
            what += [found.st_nlink, file.read()]
    elif kind == stat.S_IFLNK:
        what.append(os.readlink(path))
    return what, found.st_ino


def tree(top):
    names = []
    for directory, subdirectories, files in os.walk(top):
        names += [os.path.relpath(f"{directory}/{name}", top) for name in subdirectories + files]
    return sorted(names)


class Pair:
    def __init__(self, plain, mount):
        self.tops = (plain, mount)
        self.numbers = {}  # of MOUNT, by those of PLAIN
        self.open = []  # descriptors of both

    def both(self, operation):
        """Does it in each; the errors have to be the same."""
        said = []
        for top in self.tops:
            try:
                said.append(operation(top) or 0)
            except OSError as error:
                said.append(error.errno)
        return said[0] == said[1], said

    def same_number(self, plain, mount):
        return self.numbers.setdefault(plain, mount) == mount

    def check(self, what):
        names = [tree(top) for top in self.tops]
        if names[0] != names[1]:
            sys.exit(f"{what}: names differ: {set(names[0]) ^ set(names[1])}")
        living = set()
        for name in names[0]:
            try:
                (plain, plain_number), (mount, mount_number) = (look(f"{top}/{name}") for top in self.tops)
            except OSError as error:
                sys.exit(f"{what}: {name}: {error}")
            if plain != mount:
                sys.exit(f"{what}: {name}: {mount} instead of {plain}")
            if not self.same_number(plain_number, mount_number):
                sys.exit(f"{what}: {name} is another inode now")
            living.add(plain_number)
        for plain, mount in self.open:
            if os.fstat(plain).st_nlink != os.fstat(mount).st_nlink:
                sys.exit(f"{what}: an open file has {os.fstat(mount).st_nlink} links")
            if os.pread(plain, 4096, 0) != os.pread(mount, 4096, 0):
                sys.exit(f"{what}: an open file has other bytes")
            living.add(os.fstat(plain).st_ino)
        # PLAIN's number may be a new object's from here on.
        self.numbers = {plain: mount for plain, mount in self.numbers.items() if plain in living}
        if len(set(self.numbers.values())) != len(self.numbers):
            sys.exit(f"{what}: two objects have one inode number")


def main():
    pair = Pair(sys.argv[1], sys.argv[2])
    chance = random.Random(int(sys.argv[3]))
    pair.check("before anything")
    for step in range(int(sys.argv[4])):
        names = tree(pair.tops[0])
        if not names:
            break
        directories = [""] + [n + "/" for n in names if os.path.isdir(f"{pair.tops[0]}/{n}") and not os.path.islink(f"{pair.tops[0]}/{n}")]
        name = chance.choice(names)
        other = chance.choice(names) if chance.random() < 0.4 else chance.choice(directories) + "name%d" % chance.randrange(8)
        kind = chance.randrange(16)
        is_file = stat.S_ISREG(os.lstat(f"{pair.tops[0]}/{name}").st_mode)
        if kind < 8:
            flags = chance.choice([0, 0, 0, NOREPLACE, EXCHANGE])
            what = f"rename {name} {other} {flags}"
            same, said = pair.both(lambda top: rename(top, name, other, flags))
        elif kind < 10:
            what = f"link {name} {other}"
            same, said = pair.both(lambda top: os.link(f"{top}/{name}", f"{top}/{other}", follow_symlinks=False))
        elif kind < 11:
            what = f"remove {name}"
            same, said = pair.both(lambda top: remove(top, name))
        elif kind < 13 and is_file:
            what = f"write {name}"
            same, said = pair.both(lambda top: write(top, name, what))
        elif kind < 14 and is_file:
            what = f"open {name}"
            pair.open.append(tuple(os.open(f"{top}/{name}", os.O_RDWR) for top in pair.tops))
            if len(pair.open) > 4:
                for descriptor in pair.open.pop(0):
                    os.close(descriptor)
            same, said = True, []
        elif kind < 15:
            mode = chance.choice([0o600, 0o644, 0o700, 0o755])
            what = f"chmod {name} {mode:o}"
            same, said = pair.both(lambda top: os.path.islink(f"{top}/{name}") or os.chmod(f"{top}/{name}", mode | 0o600))
        else:
            what = f"times of {name}"
            same, said = pair.both(lambda top: os.utime(f"{top}/{name}", (step, step), follow_symlinks=False))
        what = f"step {step}: {what}"
        if not same:
            sys.exit(f"{what}: {said[1]} instead of {said[0]}")
        pair.check(what)


main()
