#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""same_calls.py UID EXPECTED ACTUAL: makes the same system calls on two trees as the user with that
number, the first a kernel file system, and compares results and errno. Both trees hold the tests'
application image. Exit code 1 if a call differs. Needs root.

Calls that would change something are among them, so both trees must be read-only as a whole, and
each process that makes calls has changed its root to the tree: an absolute symbolic link of the
image leads into the image, never to this machine's own files."""
import ctypes
import errno
import fcntl
import os
import pickle
import random
import sys

libc = ctypes.CDLL(None, use_errno=True)

FILES = ["app/data/noise.bin", "app/data/numbers.txt", "app/data/sparse.bin", "app/data/all-hole.bin", "app/data/empty",
         "app/data/one-byte", "usr/bin/perl", "etc/os-release", "app/kinds/link-b"]
DIRECTORIES = ["", "app", "app/names/many", "etc/issue", "usr/share/common-licenses", "srv", "app/attributes/sticky"]
SPECIAL = ["app/kinds/fifo", "app/kinds/char", "app/kinds/absolute", "app/kinds/dangling", "app/kinds/loop",
           "app/kinds/long-target", "usr/share/menu", "etc/issue.net"]
MISSING = ["none", "app/none", "app/main.py/none", "usr/share/doc/tar", "usr/lib/python3.11/this.py", "etc/rmt",
           "usr/share/common-licenses/GPL-3", "app/" + "n" * 255, "app/" + "n" * 256, "app/kinds/loop/x",
           "app/kinds/dangling/x", "app/data/noise.bin/", "app/./..//app/main.py", "app/names/" + "d/" * 60 + "bottom"]
ALL = FILES + DIRECTORIES + SPECIAL + MISSING


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def opened(path, flags, use):
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        return use(fd)
    finally:
        os.close(fd)


def status(path, **how):
    found = os.stat(path, **how)
    size = None if os.path.isdir(path) else found.st_size
    return (found.st_mode, found.st_uid, found.st_gid, size, found.st_mtime_ns, found.st_rdev)


def calls(path):
    """(name, function) of every call that is made on one path."""
    full = "/" + path
    name = os.fsencode(full)
    yield "stat", lambda: status(full)
    yield "lstat", lambda: status(full, follow_symlinks=False)
    yield "readlink", lambda: os.readlink(full)
    yield "listxattr", lambda: sorted(os.listxattr(full, follow_symlinks=False))
    for attribute in ("user.comment", "user.none", "security.capability", "system.posix_acl_access", "trusted.none", "wrong"):
        yield f"getxattr {attribute}", lambda attribute=attribute: os.getxattr(full, attribute)
    yield "getxattr, buffer too small", lambda: checked(libc.getxattr(name, b"user.comment", ctypes.create_string_buffer(2), 2))
    yield "listxattr, buffer too small", lambda: checked(libc.listxattr(name, ctypes.create_string_buffer(2), 2))
    yield "names", lambda: sorted(os.listdir(full))
    for mode in range(8):
        yield f"access {mode}", lambda mode=mode: checked(libc.access(name, mode))
    flags = {"O_RDONLY": 0, "O_WRONLY": os.O_WRONLY, "O_RDWR": os.O_RDWR, "O_DIRECTORY": os.O_DIRECTORY, "O_NOFOLLOW": os.O_NOFOLLOW,
             "O_CREAT": os.O_CREAT | os.O_WRONLY, "O_CREAT|O_EXCL": os.O_CREAT | os.O_EXCL, "O_TRUNC": os.O_TRUNC, "O_PATH": os.O_PATH,
             "O_TMPFILE": os.O_TMPFILE | os.O_RDWR, "O_APPEND": os.O_APPEND | os.O_WRONLY}
    for label, value in flags.items():
        # O_NONBLOCK: a FIFO would wait for its other end.
        yield f"open {label}", lambda value=value: opened(full, value | os.O_NONBLOCK, lambda fd: True)
    yield "mkdir", lambda: os.mkdir(full)
    yield "mknod", lambda: os.mknod(full)
    yield "symlink", lambda: os.symlink("x", full)
    yield "link", lambda: os.link(full, full + "-new", follow_symlinks=False)
    yield "unlink", lambda: os.unlink(full)
    yield "rmdir", lambda: os.rmdir(full)
    yield "rename", lambda: os.rename(full, full + "-new")
    yield "chmod", lambda: os.chmod(full, 0o700)
    yield "chown", lambda: os.lchown(full, 1, 1)
    yield "utimens", lambda: os.utime(full, ns=(1, 1))
    yield "truncate", lambda: os.truncate(full, 1)
    yield "setxattr", lambda: os.setxattr(full, "user.new", b"1", follow_symlinks=False)
    yield "removexattr", lambda: os.removexattr(full, "user.comment")
    yield "statfs", lambda: os.statvfs(full).f_namemax


def file_calls(path):
    """Calls on an open regular file."""
    full = "/" + path
    size = os.stat(full).st_size
    reading = lambda use: opened(full, os.O_RDONLY, use)
    chance = random.Random(path)
    extents = [(0, 1), (0, size + 10), (size, 10), (size + 5000, 10), (max(size - 3, 0), 100)]
    extents += [(chance.randrange(size + 1), chance.randrange(1, 300000)) for _ in range(40)]
    for offset, length in extents:
        yield f"pread {offset}+{length}", lambda o=offset, n=length: reading(lambda fd: os.pread(fd, n, o))
    yield "pread at a negative offset", lambda: reading(lambda fd: os.pread(fd, 1, -1))
    yield "lseek end", lambda: reading(lambda fd: os.lseek(fd, 0, os.SEEK_END))
    yield "lseek before the start", lambda: reading(lambda fd: os.lseek(fd, -1, os.SEEK_SET))
    yield "lseek data behind the end", lambda: reading(lambda fd: os.lseek(fd, size, os.SEEK_DATA))
    yield "lseek hole behind the end", lambda: reading(lambda fd: os.lseek(fd, size + 1, os.SEEK_HOLE))
    yield "write", lambda: reading(lambda fd: os.write(fd, b"x"))
    yield "ftruncate", lambda: reading(lambda fd: os.ftruncate(fd, 0))
    yield "fallocate", lambda: reading(lambda fd: os.posix_fallocate(fd, 0, 1))
    yield "fsync", lambda: reading(os.fsync)
    yield "fdatasync", lambda: reading(os.fdatasync)
    yield "fadvise", lambda: reading(lambda fd: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED))
    yield "flock", lambda: reading(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB))
    yield "lockf", lambda: reading(lambda fd: fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB))
    yield "readdir", lambda: reading(lambda fd: os.listdir(fd))
    yield "holes are zeros", lambda: reading(lambda fd: holes_are_zeros(fd, size))
    yield "sendfile", lambda: reading(lambda fd: sent(fd, min(size, 100000)))


def holes_are_zeros(fd, size):
    """What a file system reports as a hole is its own choice, but it must read as zeros, and the
    last hole ends at the end."""
    position = 0
    while position < size:
        hole = os.lseek(fd, position, os.SEEK_HOLE)
        if hole >= size:
            return True
        try:
            data = os.lseek(fd, hole, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size
        if any(os.pread(fd, min(data - hole, 1 << 20), hole)):
            return False
        position = data
    return True


def sent(fd, count):
    reader, writer = os.pipe()
    try:
        done = os.sendfile(writer, fd, 0, min(count, 60000))
        return os.read(reader, done)
    finally:
        os.close(reader)
        os.close(writer)


def outcome(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


def outcomes(root, uid):
    """(call, outcome) of every call on the tree, made in a process of its own that is confined to it."""
    if not os.statvfs(root).f_flag & os.ST_RDONLY:
        sys.exit(f"{root} is not read-only as a whole")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        found = [(f"{name} of /{path[:60]}", outcome(call)) for generate, paths in ((calls, ALL), (file_calls, FILES))
                 for path in paths for name, call in generate(path)]
        with os.fdopen(writer, "wb") as output:
            pickle.dump(found, output)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as data:
        found = pickle.load(data)
    os.waitpid(child, 0)
    return found


def main(uid, expected, actual):
    ours, theirs = outcomes(expected, int(uid)), outcomes(actual, int(uid))
    differing = 0
    for (name, want), (_, got) in zip(ours, theirs, strict=True):
        if want != got:
            differing += 1
            print(f"{name}: expected {str(want)[:80]}, got {str(got)[:80]}")
    print(f"{len(ours)} calls as user {uid}, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
