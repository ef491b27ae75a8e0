#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""posix_table.py prepare DIR: makes objects of every type in DIR, which becomes a lower layer, or is
copied to a disk.
posix_table.py compare EXPECTED ACTUAL: makes every call on every type of object, prepared and new ones,
as root, their owner and another user, in both trees, and compares result or errno, what becomes of the
object, and which times of it and of its directory change. Left out: chown(-1, -1), which the kernel does
not tell from a write that clears setuid. Exit code 1 if anything differs. Needs root."""
import itertools
import os
import stat
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from same_changes import RENAME_EXCHANGE, RENAME_NOREPLACE, as_user, compare_steps, fallocate, outcome, renameat2, xattrs  # noqa: E402

OWNER, OTHER, GROUP = 1000, 1001, 2000
TYPES = ["file", "dir", "full", "fifo", "char", "block", "socket", "link", "broken", "suid", "hard"]
# Long enough for every file system's clock to tick (ext4: a jiffy).
TICK_S = 0.005


def make(kind, path):
    """An object of that kind, of OWNER."""
    if kind in ("dir", "full"):
        os.mkdir(path)
        if kind == "full":
            os.mkdir(path + "/inner")
    elif kind == "link":
        os.symlink("target", path)
    elif kind == "broken":
        os.symlink("nowhere", path)
    elif kind in ("char", "block"):
        os.mknod(path, {"char": stat.S_IFCHR, "block": stat.S_IFBLK}[kind] | 0o644, os.makedev(1, 7))
    elif kind in ("fifo", "socket"):
        os.mknod(path, {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK}[kind] | 0o644)
    else:
        with open(path, "w") as file:
            file.write("content")
        if kind == "hard":
            os.link(path, path + "-2")
    os.lchown(path, OWNER, GROUP)
    if kind == "suid":
        os.chmod(path, 0o6755)
    elif kind in ("dir", "full"):
        os.chmod(path, 0o2775)


def directory_for(at, name):
    os.makedirs(f"{at}/{name}")
    with open(f"{at}/{name}/target", "w") as file:
        file.write("target")
    os.chown(f"{at}/{name}/target", OWNER, GROUP)
    os.mkdir(f"{at}/{name}/elsewhere")
    for path in (f"{at}/{name}", f"{at}/{name}/elsewhere"):
        os.chown(path, OWNER, GROUP)
        os.chmod(path, 0o777)


def opened(path, flags, call=None):
    fd = os.open(path, flags | os.O_NONBLOCK, 0o640)
    try:
        return call(fd) if call else "open"
    finally:
        os.close(fd)


def write(path):
    return opened(path, os.O_WRONLY, lambda fd: os.write(fd, b"more"))


CALLS = {
    "chmod 0": lambda p: os.chmod(p, 0), "chmod 7777": lambda p: os.chmod(p, 0o7777), "chmod 2755": lambda p: os.chmod(p, 0o2755),
    "chown root": lambda p: os.lchown(p, 0, 0), "chown other": lambda p: os.lchown(p, OTHER, -1),
    "chgrp": lambda p: os.lchown(p, -1, 2001), "chgrp own": lambda p: os.lchown(p, OWNER, 2002), "chown follow": lambda p: os.chown(p, OWNER, GROUP),
    "truncate 0": lambda p: os.truncate(p, 0), "truncate same": lambda p: os.truncate(p, 7), "truncate 100": lambda p: os.truncate(p, 100),
    "truncate -1": lambda p: os.truncate(p, -1), "ftruncate": lambda p: opened(p, os.O_RDWR, lambda fd: os.ftruncate(fd, 3)),
    "ftruncate read-only": lambda p: opened(p, os.O_RDONLY, lambda fd: os.ftruncate(fd, 3)),
    "open": lambda p: opened(p, os.O_RDONLY), "open write": lambda p: opened(p, os.O_WRONLY), "open read-write": lambda p: opened(p, os.O_RDWR),
    "open truncate": lambda p: opened(p, os.O_WRONLY | os.O_TRUNC), "open create": lambda p: opened(p, os.O_CREAT | os.O_WRONLY),
    "open exclusive": lambda p: opened(p, os.O_CREAT | os.O_EXCL), "open directory": lambda p: opened(p, os.O_DIRECTORY),
    "open nofollow": lambda p: opened(p, os.O_NOFOLLOW), "open path": lambda p: opened(p, os.O_PATH | os.O_NOFOLLOW),
    "open temporary": lambda p: opened(p, os.O_TMPFILE | os.O_RDWR), "write": write, "read": lambda p: opened(p, os.O_RDONLY, lambda fd: os.read(fd, 10)),
    "append": lambda p: opened(p, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"x")),
    "allocate": lambda p: opened(p, os.O_RDWR, lambda fd: os.posix_fallocate(fd, 2, 5000)),
    "allocate nothing": lambda p: opened(p, os.O_RDWR, lambda fd: os.posix_fallocate(fd, 2, 0)),
    "punch": lambda p: opened(p, os.O_RDWR, lambda fd: fallocate(fd, 3, 0, 5)),
    "link": lambda p: os.link(p, p + ".new", follow_symlinks=False), "link over": lambda p: os.link("target", p), "unlink": os.unlink, "rmdir": os.rmdir,
    "mkdir": os.mkdir, "mkfifo": os.mkfifo, "mknod": lambda p: os.mknod(p, stat.S_IFCHR | 0o600, 5), "symlink": lambda p: os.symlink("x", p),
    "create inside": lambda p: opened(p + "/new", os.O_CREAT | os.O_WRONLY), "mkdir inside": lambda p: os.mkdir(p + "/new"),
    "stat inside": lambda p: os.stat(p + "/none"), "stat dot": lambda p: oct(os.stat(p + "/.").st_mode), "rmdir dot": lambda p: os.rmdir(p + "/."),
    "rmdir dot dot": lambda p: os.rmdir(p + "/inner/.."), "unlink slash": lambda p: os.unlink(p + "/"), "readlink": os.readlink,
    "rename": lambda p: os.rename(p, p + ".new"), "rename itself": lambda p: os.rename(p, p), "rename below itself": lambda p: os.rename(p, p + "/x"),
    "rename elsewhere": lambda p: os.rename(p, "elsewhere/x"), "rename over": lambda p: os.rename("target", p),
    "rename over directory": lambda p: os.rename("elsewhere", p), "rename onto file": lambda p: os.rename(p, "target"),
    "rename onto directory": lambda p: os.rename(p, "elsewhere"), "rename noreplace": lambda p: renameat2(p, "target", RENAME_NOREPLACE),
    "exchange": lambda p: renameat2(p, "target", RENAME_EXCHANGE), "exchange directory": lambda p: renameat2("elsewhere", p, RENAME_EXCHANGE),
    "utime now": lambda p: os.utime(p, follow_symlinks=False), "utime": lambda p: os.utime(p, ns=(10**18 + 7, 10**18 + 9), follow_symlinks=False),
    "utime early": lambda p: os.utime(p, ns=(-5 * 10**9, 2**33 * 10**9), follow_symlinks=False),
    "setxattr": lambda p: os.setxattr(p, "user.x", b"1", follow_symlinks=False), "removexattr": lambda p: os.removexattr(p, "user.x", follow_symlinks=False),
    "chdir": lambda p: os.chdir(p), "listdir": lambda p: sorted(os.listdir(p)), "access": lambda p: [os.access(p, mode) for mode in (0, 1, 2, 4)],
}
USERS = {"root": None, "owner": (OWNER, OWNER, [2001]), "other": (OTHER, OTHER, [GROUP])}


def looks(path):
    """What the object is, its times, and those that it must not get unasked."""
    try:
        found = os.lstat(path)
    except OSError:
        return None, None
    is_directory = stat.S_ISDIR(found.st_mode)
    facts = (oct(found.st_mode), found.st_uid, found.st_gid, None if is_directory else found.st_size, found.st_nlink, found.st_rdev, xattrs(path))
    return facts, (found.st_ino, found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)


def changes(before, after, letters):
    """Those of 'amc', the times, that changed; a modification time far from now is told as it is."""
    if before is None or after is None or before[0] != after[0]:
        return None
    told = "".join(letter for letter, old, new in zip("amc", before[1:], after[1:]) if old != new and letter in letters)
    return told, after[2] if abs(after[2] - time.time_ns()) > 10**15 else "now"


def one_case(steps, name, path, call, letters):
    watched = [path, path + ".new", "target", "elsewhere", "elsewhere/x", path + "-2", "."]
    before = {one: looks(one) for one in watched}
    time.sleep(TICK_S)
    here = os.open(".", os.O_RDONLY)
    result = outcome(lambda: call(path))
    os.fchdir(here)
    os.close(here)
    after = {one: looks(one) for one in watched}
    steps.found.append((name, (result, [(one, after[one][0], changes(before[one][1], after[one][1], letters)) for one in watched])))


def cases(kinds, made):
    """The calls on objects that are there (`made`: or are made first). One process makes all calls of a user
    on a kind of object."""
    def run(steps):
        for kind in kinds:
            for user, identity in USERS.items():
                places = {name: f"{'made-' if made else ''}{kind}-{user}-{name}".replace(" ", "_") for name in CALLS}
                for where in places.values() if made else ():
                    directory_for("/p", where)
                    make(kind, f"/p/{where}/object")

                def calls(mine, kind=kind, user=user, places=places):
                    # A copy-up changes ctime, and reading a lower layer leaves no trace in it.
                    letters = "amc" if made else "m"
                    for name, call in CALLS.items():
                        os.chdir(f"/p/{places[name]}")
                        one_case(mine, f"{'new ' if made else ''}{kind}: {name} as {user}", "object", call, letters)
                if identity is None:
                    calls(steps)
                else:
                    as_user(steps, *identity, calls)
    return run


STICKY_CALLS = ("unlink", "rmdir", "rename", "rename elsewhere", "rename over", "exchange directory")


def sticky(steps):
    """Who may remove and rename what in a directory, by its owner, its mode and the object's owner."""
    table = itertools.product((0o777, 0o1777, 0o755, 0o1775), (0, OWNER, OTHER), ("file", "dir", "full"), (0, OWNER, OTHER), STICKY_CALLS)
    places = []
    for mode, directory_owner, kind, owner, call in table:
        where = f"/s/{mode:o}-{directory_owner}-{kind}-{owner}-{call.replace(' ', '_')}"
        directory_for("", where[1:])
        make(kind, where + "/object")
        os.chown(where + "/object", owner, owner)
        os.chown(where, directory_owner, directory_owner)
        os.chmod(where, mode)
        places.append((where, call))

    def calls(mine):
        for where, call in places:
            os.chdir(where)
            mine.do(f"{call} in {where}", lambda call=call: CALLS[call]("object"))
    as_user(steps, OWNER, OWNER, [], calls)


def paths(steps):
    """Names and paths at the limits, and ways that do not lead anywhere."""
    os.makedirs("/l/dir")
    os.chdir("/l")
    with open("file", "w"):
        pass
    os.symlink("loop", "loop")
    os.symlink("dir", "to-dir")
    deep = "/".join(["d" * 200] * 19)
    os.makedirs(deep)
    fill = 4095 - len(os.path.abspath(deep)) - 1
    names = ["n" * 255, "n" * 256, "dir/" + "n" * 256, deep + "/" + "p" * min(fill, 255), os.path.abspath(deep) + "/" + "q" * fill,
             os.path.abspath(deep) + "/" + "q" * (fill + 1), "file/x", "none/x", "loop/x", "loop", "to-dir/x", "to-dir/", "file/", "none/", "", "\xe4\xff", "new\nline"]
    for name in names:
        for call in ("mkdir", "rmdir", "open create", "unlink", "mkfifo", "unlink", "symlink", "readlink", "unlink", "open", "truncate 0", "chmod 0",
                     "chown root", "rename", "utime", "setxattr", "stat inside", "open exclusive", "link", "unlink"):
            steps.do(f"{call} {name[-40:]!r} ({len(name)})", lambda name=name, call=call: CALLS[call](name))
        for target in ("none", "file", "dir"):
            steps.do(f"rename {target} to {name[-40:]!r}", lambda name=name, target=target: os.rename(target, name))
            steps.do(f"link {target} to {name[-40:]!r}", lambda name=name, target=target: os.link(target, name))


def prepare(at):
    for kind in TYPES:
        for user in USERS:
            for name in CALLS:
                where = f"{kind}-{user}-{name}".replace(" ", "_")
                directory_for(f"{at}/p", where)
                make(kind, f"{at}/p/{where}/object")
                os.utime(f"{at}/p/{where}/object", (1, 2), follow_symlinks=False)


def main(what, expected, actual=None):
    if what == "prepare":
        os.umask(0o022)
        prepare(expected)
        return 0
    return compare_steps((cases(TYPES, False), cases(TYPES, True), sticky, paths), expected, actual)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
