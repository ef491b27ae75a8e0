#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""same_changes.py table EXPECTED ACTUAL: makes the same changing system calls on two trees, as
several users, and compares every result, errno and the metadata that come of it.
same_changes.py random EXPECTED ACTUAL SEED COUNT: the same with COUNT random calls.
same_changes.py compare EXPECTED ACTUAL: compares the two trees as they are; with --overlayfs LOWER
all but what an overlayfs over LOWER without the layer's index and maps cannot know: data, link counts,
and files with a name that is one of several in LOWER.

The first tree is an unpacked copy of the tests' application image on a disk, the second a writable
mount of the image. Exit code 1 if anything differs. Needs root."""
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import pickle
import random
import shutil
import signal
import stat
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW = -100, 0x1000, 0x400
ACL_ACCESS, ACL_DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def renameat2(old, new, flags):
    checked(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def fallocate(fd, mode, offset, size):
    checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(size)))


def acl(*entries):
    """(tag, permissions, id) of posix_acl_xattr.h."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
NAMED_USER_ACL = acl((1, 7, NOBODY), (2, 5, 1000), (4, 5, NOBODY), (16, 5, NOBODY), (32, 4, NOBODY))


def status(path, follow=False):
    found = os.stat(path) if follow else os.lstat(path)
    size = None if stat.S_ISDIR(found.st_mode) else found.st_size
    return (oct(found.st_mode), found.st_uid, found.st_gid, size, found.st_nlink, found.st_rdev)


def content(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in sorted(os.listxattr(path, follow_symlinks=False)) if name != "security.selinux"}


def outcome(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


class Steps:
    """Runs steps one after the other and keeps what came of each."""

    def __init__(self, drop_caches=None):
        self.found = []
        self.fds = {}
        self.drop_caches = drop_caches

    def forget(self):
        """The kernel forgets all names and inodes that nobody uses."""
        os.sync()
        os.write(self.drop_caches, b"2")

    def do(self, name, call):
        self.found.append((name, outcome(call)))

    def open(self, key, path, flags, mode=0o666):
        def call():
            self.fds[key] = os.open(path, flags | os.O_CLOEXEC, mode)
            return "open"
        self.do(f"open {path} {flags:o}", call)
        return self.fds.get(key, -1)

    def close(self, key):
        if key in self.fds:
            os.close(self.fds.pop(key))

    def look(self, *paths):
        for path in paths:
            self.do(f"lstat {path}", lambda path=path: status(path))
            self.do(f"xattrs {path}", lambda path=path: xattrs(path))

    def names(self, path):
        self.do(f"names in {path}", lambda: sorted(os.listdir(path)))


def as_user(steps, uid, gid, groups, call):
    """A child process makes the steps of `call` as that user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        mine = Steps()
        call(mine)
        with os.fdopen(writer, "wb") as output:
            pickle.dump([(f"as {uid}: {name}", result) for name, result in mine.found], output)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as data:
        steps.found += pickle.load(data)
    os.waitpid(child, 0)


def image_files(s):
    """Changes of what the image brought."""
    for change, call in (("chmod", lambda: os.chmod("/etc/passwd", 0o640)), ("chown", lambda: os.chown("/etc/passwd", 5, 6)),
                         ("utimens", lambda: os.utime("/etc/passwd", ns=(10**18 + 1, 10**18 + 2))),
                         ("setxattr", lambda: os.setxattr("/etc/passwd", "user.x", b"1"))):
        s.do(change, call)
        s.look("/etc/passwd")
        s.do("content", lambda: content("/etc/passwd"))
    s.do("mtime", lambda: os.stat("/etc/passwd").st_mtime_ns)
    number = os.stat("/usr/bin/perl").st_ino
    s.open("a", "/usr/bin/perl", os.O_RDWR)
    s.do("inode number after copy-up", lambda: os.stat("/usr/bin/perl").st_ino == number)
    s.do("pwrite", lambda: os.pwrite(s.fds["a"], b"changed", 5000))
    s.do("content of perl", lambda: content("/usr/bin/perl"))
    s.close("a")
    s.open("r", "/app/main.py", os.O_RDONLY)
    s.open("w", "/app/main.py", os.O_WRONLY)
    s.do("write", lambda: os.pwrite(s.fds["w"], b"# new\n", 0))
    s.do("seen through the older handle", lambda: os.pread(s.fds["r"], 40, 0))
    s.close("r")
    s.close("w")
    s.open("t", "/etc/debian_version", os.O_WRONLY | os.O_TRUNC)
    s.look("/etc/debian_version")
    s.close("t")
    s.open("p", "/app/data/numbers.txt", os.O_WRONLY | os.O_APPEND)
    s.do("append", lambda: os.write(s.fds["p"], b"appended\n"))
    s.close("p")
    s.do("content of services", lambda: content("/app/data/numbers.txt"))
    s.do("truncate down", lambda: os.truncate("/app/data/numbers.txt", 1000))
    s.do("truncate up", lambda: os.truncate("/app/data/numbers.txt", 9000))
    s.do("content of services", lambda: content("/app/data/numbers.txt"))
    s.look("/app/kinds/link-a", "/app/kinds/link-b")
    s.do("chmod of a link", lambda: os.chmod("/app/kinds/link-a", 0o611))
    s.look("/app/kinds/link-a", "/app/kinds/link-b")
    s.do("one inode", lambda: os.stat("/app/kinds/link-a").st_ino == os.stat("/app/kinds/link-b").st_ino)
    s.do("unlink one", lambda: os.unlink("/app/kinds/link-a"))
    s.look("/app/kinds/link-a", "/app/kinds/link-b")
    s.do("link again", lambda: os.link("/app/kinds/link-b", "/app/kinds/link-c"))
    s.look("/app/kinds/link-b", "/app/kinds/link-c")
    s.do("unlink", lambda: os.unlink("/app/kinds/link-b"))
    s.look("/app/kinds/link-c")
    s.do("chown of a symlink", lambda: os.lchown("/app/kinds/dangling", 3, 4))
    s.look("/app/kinds/dangling", "/app/kinds/fifo", "/app/kinds/char")
    s.do("chmod of a device", lambda: os.chmod("/app/kinds/char", 0o600))
    s.look("/app/kinds/char")
    s.do("removexattr that is not there", lambda: os.removexattr("/etc/hostname", "user.none"))
    s.names("/app/kinds")


def names_and_types(s):
    for name in ("f", "n" * 255, "n" * 256):
        s.open("f", "/t/" + name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o777)
        s.close("f")
        s.do("mkdir", lambda name=name: os.mkdir("/t/d" + name[1:]))
        s.do("unlink", lambda name=name: os.unlink("/t/" + name))
        s.do("rmdir", lambda name=name: os.rmdir("/t/d" + name[1:]))
    s.open("f", "/t/f", os.O_CREAT | os.O_WRONLY, 0o640)
    s.look("/t/f")
    s.open("again", "/t/f", os.O_CREAT | os.O_EXCL)
    s.open("dir", "/t/f", os.O_DIRECTORY)
    s.do("mknod", lambda: os.mknod("/t/dev", stat.S_IFCHR | 0o600, os.makedev(1, 3)))
    s.do("mkfifo", lambda: os.mkfifo("/t/fifo", 0o620))
    s.do("socket", lambda: os.mknod("/t/socket", stat.S_IFSOCK | 0o666))
    s.do("symlink", lambda: os.symlink("x" * 4000, "/t/long"))
    s.do("readlink", lambda: os.readlink("/t/long"))
    s.open("nofollow", "/t/long", os.O_NOFOLLOW)
    s.look("/t/dev", "/t/fifo", "/t/socket", "/t/long")
    s.open("u", "/t/u", os.O_CREAT | os.O_RDWR)
    s.do("unlink while open", lambda: os.unlink("/t/u"))
    s.do("write", lambda: os.write(s.fds["u"], b"still there"))
    s.do("read", lambda: os.pread(s.fds["u"], 100, 0))
    s.do("links", lambda: os.fstat(s.fds["u"]).st_nlink)
    s.do("fchmod", lambda: os.fchmod(s.fds["u"], 0o600))
    s.open("img", "/usr/bin/env", os.O_RDONLY)
    s.do("unlink image file while open", lambda: os.unlink("/usr/bin/env"))
    s.do("read", lambda: hashlib.sha256(os.pread(s.fds["img"], 10000, 0)).hexdigest())
    s.do("fchmod", lambda: os.fchmod(s.fds["img"], 0o600))
    s.do("mode", lambda: (os.fstat(s.fds["img"]).st_mode, os.fstat(s.fds["img"]).st_nlink))
    s.open("tmp", "/t", os.O_TMPFILE | os.O_RDWR, 0o600)
    s.do("write", lambda: os.write(s.fds["tmp"], b"temporary"))
    s.do("linkat", lambda: checked(libc.linkat(AT_FDCWD, f"/proc/self/fd/{s.fds['tmp']}".encode(), AT_FDCWD, b"/t/linked",
                                              AT_SYMLINK_FOLLOW)))
    s.look("/t/linked")
    s.do("content", lambda: content("/t/linked"))
    s.do("link to a directory", lambda: os.link("/t", "/t/x"))
    s.do("link over", lambda: os.link("/t/f", "/t/dev"))
    s.do("unlink of a directory", lambda: os.unlink("/etc"))
    s.do("rmdir of a file", lambda: os.rmdir("/t/f"))
    s.do("rmdir not empty", lambda: os.rmdir("/etc"))
    s.names("/t")
    for key in list(s.fds):
        s.close(key)


def handle_of(path):
    """struct file_handle of name_to_handle_at(2)."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 8 + 128)
    checked(libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), handle, ctypes.byref(ctypes.c_int()), 0))
    return handle


def opened_by_handle(handle):
    root = os.open("/", os.O_RDONLY)
    try:
        return checked(libc.open_by_handle_at(root, handle, os.O_RDONLY))
    finally:
        os.close(root)


def by_handle(handle):
    """The inode number of what it leads to."""
    fd = opened_by_handle(handle)
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def leads_somewhere(handle):
    try:
        by_handle(handle)
    except OSError:
        return False
    return True


def handles(s):
    """A handle leads to one file, not to the next that gets its inode number."""
    for path in ("/etc/shells", "/t"):
        s.do(f"handle of {path}", lambda path=path: by_handle(handle_of(path)) == os.stat(path).st_ino)
    with open("/t/handle-0", "w"):
        pass
    number, handle = os.stat("/t/handle-0").st_ino, handle_of("/t/handle-0")
    s.do("handle of a new file", lambda: by_handle(handle) == number)
    os.unlink("/t/handle-0")
    # FUSE's kernel side closes later than close(2), and knows the file until then.
    until = time.monotonic() + 10
    while time.monotonic() < until and leads_somewhere(handle):
        time.sleep(0.01)
    s.do("after unlink", lambda: by_handle(handle))
    for i in range(1, 200):
        with open(f"/t/handle-{i}", "w"):
            pass
        if os.stat(f"/t/handle-{i}").st_ino == number:
            break
    s.do("after its number went to another", lambda: by_handle(handle))
    for name in os.listdir("/t"):
        if name.startswith("handle-"):
            os.unlink(f"/t/{name}")


def seen_by_handle(handle):
    """What is there: a directory's names, a file's digest."""
    fd = opened_by_handle(handle)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.fchdir(fd)
            seen = sorted(os.listdir(".")), os.getcwd()
            os.chdir("/")
            return seen
        return hashlib.sha256(os.pread(fd, 1 << 20, 0)).hexdigest()
    finally:
        os.close(fd)


def forgotten_handles(s):
    """A handle leads to its file when nobody has known it for long, wherever it is by now."""
    for name in ("a/b/c", "moved-before/x"):
        os.makedirs(f"/t/h/{name}")
        with open(f"/t/h/{name}/new", "w") as file:
            file.write(name)
    os.link("/t/h/a/b/c/new", "/t/h/linked")
    os.mkdir("/t/h/whole")
    changed, moved, moved_directory = "/etc/adduser.conf", "/etc/deluser.conf", "/usr/share/perl"
    inside = min(os.path.join(at, name) for at, _, names in os.walk(moved_directory) for name in names)
    paths = ["/etc/shells", "/usr/lib/python3.11/os.py", "/usr/lib/python3.11/json", changed, moved, moved_directory,
             inside, "/t/h/a", "/t/h/a/b/c", "/t/h/a/b/c/new", "/t/h/moved-before/x/new", "/t/h/whole"]
    held = {path: handle_of(path) for path in paths}
    lost = {path: handle_of(path) for path in ("/etc/profile", "/t/h/a/b/c/new")}
    os.chmod(changed, 0o600)
    os.rename(moved, "/t/h/whole/deluser.conf")
    os.rename(moved_directory, "/t/h/perl")
    os.rename("/t/h/moved-before", "/t/h/moved")
    os.rename("/t/h/a", "/t/h/z")
    s.forget()
    for path, handle in held.items():
        s.do(f"forgotten, {path}", lambda handle=handle: seen_by_handle(handle))
    os.unlink("/etc/profile")
    os.unlink("/t/h/z/b/c/new")
    s.forget()
    s.do("one name is left", lambda: seen_by_handle(lost["/t/h/a/b/c/new"]))
    os.unlink("/t/h/linked")
    s.forget()
    for path, handle in lost.items():
        s.do(f"gone, {path}", lambda handle=handle: seen_by_handle(handle))
    os.rename("/t/h/perl", moved_directory)
    shutil.rmtree("/t/h")


def renames(s):
    for name in ("a", "b"):
        os.makedirs(f"/r/{name}/sub")
        with open(f"/r/{name}/file", "w") as file:
            file.write(name)
    os.mkdir("/r/empty")
    cases = [("/r/a/file", "/r/b/file", 0), ("/r/b/file", "/r/a/new", RENAME_NOREPLACE), ("/r/a/new", "/r/b/sub", 0),
             ("/r/a", "/r/b", 0), ("/r/a", "/r/empty", 0), ("/r/empty", "/r/empty/sub", 0), ("/r/empty", "/r/none/x", 0),
             ("/r/empty/new", "/r/b", RENAME_EXCHANGE), ("/r/b", "/r/none", RENAME_EXCHANGE),
             ("/r/b", "/r/empty/sub", RENAME_NOREPLACE), ("/etc/default", "/r/default", 0), ("/r/default", "/etc/default2", 0),
             ("/etc/apt", "/r/apt", RENAME_NOREPLACE), ("/r/apt", "/etc/alternatives", RENAME_EXCHANGE),
             ("/etc/alternatives", "/etc/ssl", 0), ("/usr/share/perl5", "/usr/share/common-licenses", 0),
             ("/etc/shells", "/etc/shadow", 0), ("/etc/fstab", "/etc/hostname", RENAME_EXCHANGE),
             ("/etc/pam.d", "/etc/pam.conf", RENAME_EXCHANGE), ("/etc/pam.d", "/r/pam-file", 0), ("/etc/pam.conf", "/etc/pam.d", 0),
             ("/app/names", "/app/names2", 0), ("/app/names2/many", "/app/many", 0), ("/app/many", "/app/names2/many2", 0)]
    for old, new, flags in cases:
        s.do(f"rename {old} {new} {flags}", lambda old=old, new=new, flags=flags: renameat2(old, new, flags))
        s.look(old, new)
        s.names(os.path.dirname(old))
        s.names(os.path.dirname(new))
        s.names(new)
    os.link("/r/b", "/r/b2") if os.path.isfile("/r/b") else None
    s.do("rename over another name of itself", lambda: os.rename("/app/kinds/link-c", "/app/kinds/link-c"))
    s.do("two flags", lambda: renameat2("/r/b", "/r/c", RENAME_NOREPLACE | RENAME_EXCHANGE))


def removed_while_listed(count=2500):
    """Who lists a directory anew makes the kernel forget what it had of it; others go on in the middle."""
    os.mkdir("/listed")
    for i in range(count):
        os.mknod(f"/listed/a-name-that-takes-some-room-{i}")
    lister = os.fork()
    if lister == 0:
        while True:
            os.listdir("/listed")
            time.sleep(0.01)
    try:
        with os.scandir("/listed") as listing:
            removed = [os.unlink(entry.path) for entry in listing]
    finally:
        os.kill(lister, signal.SIGKILL)
        os.waitpid(lister, 0)
    return len(removed), os.listdir("/listed")


def directories(s):
    for path in ("/usr/share/doc/apt", "/usr/share/zoneinfo", "/app/names/many", "/app/attributes"):
        for top, dirs, files in sorted(os.walk(path, topdown=False), key=lambda one: (-one[0].count("/"), one[0])):
            for name in files + [d for d in dirs if os.path.islink(os.path.join(top, d))]:
                os.unlink(os.path.join(top, name))
            for name in sorted(dirs):
                if not os.path.islink(os.path.join(top, name)):
                    s.do(f"rmdir {name}", lambda full=os.path.join(top, name): os.rmdir(full))
        s.do(f"rmdir {path}", lambda: os.rmdir(path))
        s.look(path)
        s.do("mkdir again", lambda: os.mkdir(path))
        s.names(path)
        s.look(path, os.path.dirname(path))
    here = os.open("/usr/share/doc/apt", os.O_RDONLY)
    s.do("rmdir while open", lambda: os.rmdir("/usr/share/doc/apt"))
    s.do("names of a directory that is gone", lambda: os.listdir(here))
    s.do("links", lambda: os.fstat(here).st_nlink)
    s.do("create in it", lambda: os.open("x", os.O_CREAT, dir_fd=here))
    os.close(here)
    # Removing while reading loses nothing.
    os.mkdir("/many")
    for i in range(3000):
        os.mknod(f"/many/file-{i}")
    with os.scandir("/many") as listing:
        removed = [os.unlink(entry.path) for entry in listing]
    s.do("removed while reading", lambda: len(removed))
    s.do("rmdir", lambda: os.rmdir("/many"))
    s.do("removed while others list", removed_while_listed)
    deep = "/deep"
    os.mkdir(deep)
    descriptor = os.open(deep, os.O_RDONLY)
    for i in range(40):  # 40 names of 200 bytes: beyond PATH_MAX
        os.mkdir("x" * 200, dir_fd=descriptor)
        inner = os.open("x" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    s.do("create below PATH_MAX", lambda: os.close(os.open("bottom", os.O_CREAT | os.O_RDWR, dir_fd=descriptor)))
    s.do("names below PATH_MAX", lambda: os.listdir(descriptor))
    s.do("chmod below PATH_MAX", lambda: os.chmod("bottom", 0o640, dir_fd=descriptor))
    s.do("mode below PATH_MAX", lambda: os.stat("bottom", dir_fd=descriptor).st_mode)
    os.close(descriptor)
    shutil.rmtree("/deep")
    s.do("a path too long", lambda: os.stat("/" + "x/" * 2048))


def data(s):
    s.open("f", "/data", os.O_CREAT | os.O_RDWR, 0o644)
    fd = s.fds["f"]
    s.do("write", lambda: os.pwrite(fd, b"a" * 100000, 0))
    for mode, offset, size in ((0, 0, 200000), (1, 300000, 10), (3, 4096, 8192), (16, 20000, 5000), (17, 190000, 50000)):
        s.do(f"fallocate {mode}", lambda mode=mode, offset=offset, size=size: fallocate(fd, mode, offset, size))
        s.do("size", lambda: os.fstat(fd).st_size)
        s.do("content", lambda: content("/data"))
    s.do("truncate", lambda: os.ftruncate(fd, 50000))
    s.do("write past 4 GiB", lambda: os.pwrite(fd, b"far", (5 << 30) + 7))
    s.do("read past 4 GiB", lambda: os.pread(fd, 10, 5 << 30))
    s.do("hole", lambda: os.lseek(fd, 1 << 30, os.SEEK_HOLE) == 1 << 30)
    s.do("truncate", lambda: os.ftruncate(fd, 50000))
    s.open("to", "/copy", os.O_CREAT | os.O_RDWR)
    s.do("copy_file_range", lambda: os.copy_file_range(fd, s.fds["to"], 30000, 1000, 500))
    s.do("content", lambda: content("/copy"))
    s.open("image", "/app/data/noise.bin", os.O_RDWR)
    s.do("copy_file_range from the image", lambda: os.copy_file_range(s.fds["image"], s.fds["to"], 100000, 12345, 0))
    s.do("content", lambda: content("/copy"))
    with mmap.mmap(s.fds["image"], 200000) as mapped:
        mapped[150000:150005] = b"mmap!"
        mapped.flush()
        s.do("seen by read", lambda: os.pread(s.fds["image"], 10, 149998))
    s.do("content", lambda: content("/app/data/noise.bin"))
    direct = os.open("/data", os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, 8192)
    buffer[:] = b"d" * 8192
    s.do("direct write", lambda: os.pwritev(direct, [buffer], 4096))
    s.do("seen buffered", lambda: os.pread(fd, 6, 4094))
    s.do("buffered write", lambda: os.pwrite(fd, b"bbbb", 8192))
    s.do("seen direct", lambda: (os.preadv(direct, [buffer], 8192), bytes(buffer[:6])))
    os.close(direct)
    s.do("fsync", lambda: os.fsync(fd))
    s.do("fdatasync", lambda: os.fdatasync(s.fds["image"]))
    s.do("flock", lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
    other = os.open("/data", os.O_RDWR)
    s.do("flock of another handle", lambda: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB))
    s.do("lockf", lambda: fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5))
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 5, 10, 0)
    s.do("OFD lock", lambda: fcntl.fcntl(fd, 37, lock) and True)
    os.close(other)
    for key in list(s.fds):
        s.close(key)


def owners(s):
    """Set-group-ID directories, setuid clearing, umask and default ACLs, sticky directories."""
    os.mkdir("/o", 0o777)
    os.chmod("/o", 0o777)
    os.mkdir("/o/sgid")
    os.chown("/o/sgid", 0, 50)
    os.chmod("/o/sgid", 0o2777)
    os.mkdir("/o/sticky")
    os.chmod("/o/sticky", 0o1777)
    os.mkdir("/o/acl")
    os.chmod("/o/acl", 0o777)
    s.do("default ACL", lambda: os.setxattr("/o/acl", ACL_DEFAULT, NAMED_USER_ACL))
    with open("/o/setuid", "w"), open("/o/sticky/root", "w"), open("/o/private", "w"):
        pass
    os.chmod("/o/private", 0o640)
    os.chown("/o/private", 0, 70)
    for uid, gid, groups in ((1000, 1000, []), (1001, 1001, [70, 50]), (1002, 50, [])):
        os.chmod("/o/setuid", 0o6777)

        def steps(mine, uid=uid):
            for mask in (0o022, 0o077):
                os.umask(mask)
                for place in ("/o", "/o/sgid", "/o/acl", "/o/sticky"):
                    base = f"{place}/{uid}-{mask}"
                    mine.open("f", base, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o6775)
                    mine.close("f")
                    mine.do("mkdir", lambda: os.mkdir(base + "-d", 0o777))
                    mine.do("mkfifo", lambda: os.mkfifo(base + "-p", 0o666))
                    mine.do("symlink", lambda: os.symlink("x", base + "-l"))
                    mine.look(base, base + "-d", base + "-p", base + "-l")
                    mine.do("chgrp to a group of one's own", lambda: os.chown(base, -1, 50))
                    mine.do("setgid by chmod", lambda: os.chmod(base, 0o2755))
                    mine.do("chown away", lambda: os.chown(base, 0, -1))
                    mine.look(base)
            mine.open("s", "/o/setuid", os.O_WRONLY)
            mine.do("write to a setuid file", lambda: os.write(mine.fds["s"], b"x"))
            mine.look("/o/setuid")
            for name, call in (("read private", lambda: content("/o/private")), ("write private", lambda: os.truncate("/o/private", 0)),
                               ("chmod another's", lambda: os.chmod("/o/private", 0o777)), ("unlink sticky", lambda: os.unlink("/o/sticky/root")),
                               ("rename sticky", lambda: os.rename("/o/sticky/root", "/o/sticky/x")), ("create in /etc", lambda: os.mkdir("/etc/x")),
                               ("unlink in /etc", lambda: os.unlink("/etc/hosts")), ("read shadow", lambda: content("/etc/shadow")),
                               ("trusted xattr", lambda: os.setxattr("/o/setuid", "trusted.x", b"1")),
                               ("utime now of another's", lambda: os.utime("/o/setuid")), ("utime of another's", lambda: os.utime("/o/setuid", (1, 1))),
                               ("mknod device", lambda: os.mknod("/o/dev", stat.S_IFCHR | 0o666, os.makedev(1, 3))),
                               ("truncate setuid", lambda: os.truncate("/o/setuid", 0))):
                mine.do(name, call)
            mine.look("/o/setuid")
        as_user(s, uid, gid, groups, steps)
    os.chmod("/o/setuid", 0o6755)
    s.do("chown clears", lambda: os.chown("/o/setuid", 1, 1))
    s.look("/o/setuid")
    os.chmod("/o/setuid", 0o6777)
    as_user(s, 1000, 1000, [], lambda mine: (mine.open("s", "/o/setuid", os.O_WRONLY),
                                             mine.do("fallocate a setuid file", lambda: fallocate(mine.fds["s"], 0, 0, 100)),
                                             mine.look("/o/setuid")))
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    s.do("capability", lambda: os.setxattr("/o/setuid", "security.capability", capability))
    s.look("/o/setuid")
    s.open("w", "/o/setuid", os.O_WRONLY)
    s.do("write drops capabilities", lambda: os.write(s.fds["w"], b"y"))
    s.look("/o/setuid")
    s.close("w")
    lost_privileges(s, capability)
    s.do("access ACL", lambda: os.setxattr("/o/private", ACL_ACCESS, NAMED_USER_ACL))
    s.look("/o/private")
    as_user(s, 1000, 1000, [], lambda mine: mine.do("read by ACL", lambda: content("/o/private")))
    s.do("chmod with ACL", lambda: os.chmod("/o/private", 0o700))
    s.look("/o/private")
    s.do("remove ACL", lambda: os.removexattr("/o/private", ACL_ACCESS))
    s.look("/o/private")
    for name in ("user.a", "trusted.a", "security.a"):
        s.do(f"set {name}", lambda name=name: os.setxattr("/o/private", name, b"v"))
        s.do(f"create {name}", lambda name=name: os.setxattr("/o/private", name, b"w", os.XATTR_CREATE))
        s.do(f"replace {name}", lambda name=name: os.setxattr("/o/private", name, b"w", os.XATTR_REPLACE))
        s.do(f"replace missing {name}", lambda name=name: os.setxattr("/o/private", name + "x", b"w", os.XATTR_REPLACE))
    s.look("/o/private")
    for name in ("user.a", "trusted.a", "user.none"):
        s.do(f"remove {name}", lambda name=name: os.removexattr("/o/private", name))
    s.do("user xattr on a symlink", lambda: os.setxattr("/app/kinds/dangling", "user.a", b"1", follow_symlinks=False))
    s.look("/o/private")


def with_file(path, flags, call):
    fd = os.open(path, flags)
    try:
        return call(fd)
    finally:
        os.close(fd)


# Each changes the file's content, or could.
UNPRIVILEGING_CHANGES = {
    "write": lambda p: with_file(p, os.O_WRONLY, lambda fd: os.write(fd, b"y")), "truncate": lambda p: os.truncate(p, 10),
    "allocate": lambda p: with_file(p, os.O_RDWR, lambda fd: fallocate(fd, 0, 0, 20000)),
    "punch": lambda p: with_file(p, os.O_RDWR, lambda fd: fallocate(fd, 3, 0, 10)),
    "copy": lambda p: with_file(p, os.O_RDWR, lambda fd: with_file("/etc/shells", os.O_RDONLY, lambda source: os.copy_file_range(source, fd, 9, 0, 0))),
    "open truncate": lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)), "open": lambda p: os.close(os.open(p, os.O_RDWR)),
    "give to a group": lambda p: os.chown(p, -1, os.getgroups()[0] if os.getgroups() else os.getgid()),
}


def lost_privileges(s, capability):
    """Setuid, setgid and capabilities, when the content or the group changes: by root, the group's and others."""
    for mode in (0o6777, 0o6666, 0o2766, 0o4777):
        for owner, group in ((0, 0), (1000, 2000)):
            for user in (None, (1000, 1000, [2000]), (1000, 1000, []), (1000, 1000, [3000]), (1001, 1001, [2000])):
                for name, change in UNPRIVILEGING_CHANGES.items():
                    with open("/o/privileged", "w") as file:
                        file.write("content of a file")
                    os.chown("/o/privileged", owner, group)
                    os.chmod("/o/privileged", mode)
                    s.do("capability", lambda: os.setxattr("/o/privileged", "security.capability", capability))
                    title = f"{name} a file {mode:o} of {owner}:{group} as {user}"
                    if user:
                        as_user(s, *user, lambda mine: mine.do(title, lambda: change("/o/privileged")))
                    else:
                        s.do(title, lambda: change("/o/privileged"))
                    s.look("/o/privileged")
                    os.unlink("/o/privileged")

    def made_so(mine):
        mine.open("new", "/o/new-privileged", os.O_CREAT | os.O_RDWR, 0o6777)
        mine.do("write to a new setuid file", lambda: os.write(mine.fds["new"], b"x"))
        mine.look("/o/new-privileged")
    as_user(s, 1000, 1000, [], made_so)
    s.open("image", "/etc/ld.so.conf", os.O_RDWR)
    s.do("capability of an open file", lambda: os.setxattr("/etc/ld.so.conf", "security.capability", capability))
    s.do("write to it", lambda: os.write(s.fds["image"], b"x"))
    s.look("/etc/ld.so.conf")
    s.close("image")


def link_counts(s):
    for path in ("/", "/etc", "/usr", "/usr/share"):
        s.look(path)
        s.do("mkdir", lambda: os.mkdir(path + "/new-directory"))
        s.look(path)
        s.do("rmdir", lambda: os.rmdir(path + "/new-directory"))
        s.look(path)
    s.do("files are gone", lambda: os.path.exists("/etc/new-directory"))


TABLE = [image_files, names_and_types, handles, forgotten_handles, data, owners, link_counts, directories, renames]


def in_tree(root, make):
    """What `make(steps)` found in a process that is confined to the tree."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        drop_caches = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
        os.chroot(root)
        os.chdir("/")
        os.umask(0o022)
        os.makedirs("/t", exist_ok=True)
        os.makedirs("/r", exist_ok=True)
        steps = Steps(drop_caches)
        make(steps)
        with os.fdopen(writer, "wb") as output:
            pickle.dump(steps.found, output)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as found:
        result = pickle.loads(found.read() or pickle.dumps([("the process ended early", root)]))
    os.waitpid(child, 0)
    return result


def differences(ours, theirs):
    differing = 0
    for (name, want), (_, got) in zip(ours, theirs):
        if want != got:
            differing += 1
            print(f"{name}: expected {str(want)[:160]}, got {str(got)[:160]}")
    if len(ours) != len(theirs):
        differing += 1
        print(f"{len(ours)} steps against {len(theirs)}")
    return differing


class RandomCalls:
    """Random changes below a few directories of the image; the same for the same seed."""

    TOPS = ["/etc", "/app", "/usr/share/doc", "/usr/lib/python3.11", "/var/lib", "/usr/share/perl"]

    def __init__(self, seed, count):
        self.chance = random.Random(seed)
        self.count = count

    def path(self, want_new=False):
        """A random path, found by walking down; perhaps one that does not exist."""
        at = self.chance.choice(self.TOPS)
        for _ in range(self.chance.randrange(1, 5)):
            if not os.path.isdir(at) or os.path.islink(at):
                break
            names = sorted(os.listdir(at))
            if not names or self.chance.random() < 0.1:
                break
            at += "/" + self.chance.choice(names)
        if want_new or self.chance.random() < 0.15:
            if not os.path.isdir(at) or os.path.islink(at):
                at = os.path.dirname(at)
            at += "/new-" + str(self.chance.randrange(8))
        return at

    def remove_all(self, path):
        for top, dirs, files in os.walk(path, topdown=False):
            for name in sorted(files):
                os.unlink(os.path.join(top, name))
            for name in sorted(dirs):
                full = os.path.join(top, name)
                os.unlink(full) if os.path.islink(full) else os.rmdir(full)
        os.rmdir(path)

    def write(self, path, offset, size, flags):
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
        try:
            return os.pwrite(fd, bytes([size % 256]) * size, offset)
        finally:
            os.close(fd)

    def step(self, s):
        c = self.chance
        path, other, fresh = self.path(), self.path(), self.path(want_new=True)
        number, size = c.randrange(1 << 16), c.randrange(1, 20000)
        flags = c.choice([os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT | os.O_EXCL])
        rename_flags = c.choice([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])
        calls = {
            "create": (12, lambda: self.write(fresh, 0, size % 9000, os.O_RDWR | os.O_CREAT)), "mkdir": (8, lambda: os.mkdir(fresh)),
            "write": (12, lambda: self.write(path, number, size, flags)), "truncate": (4, lambda: self.truncate(path, number)),
            "unlink": (12, lambda: os.unlink(path)), "rmdir": (5, lambda: os.rmdir(path)),
            "rename": (20, lambda: renameat2(path, fresh if number % 2 else other, rename_flags)),
            "link": (8, lambda: os.link(path, fresh, follow_symlinks=False)), "symlink": (3, lambda: os.symlink(other, fresh)),
            "mkfifo": (2, lambda: os.mkfifo(fresh)), "chmod": (5, lambda: self.chmod(path, number % 4096)),
            "lchown": (4, lambda: os.lchown(path, number % 5, number % 7)),
            "setxattr": (3, lambda: os.setxattr(path, f"trusted.t{number % 3}", b"v" * (number % 50), follow_symlinks=False)),
            "remove all": (2, lambda: self.remove_all(path) if path.count("/") > 2 else None),
        }
        name = c.choices(list(calls), [weight for weight, _ in calls.values()])[0]
        s.do(f"{name} {path} {other} {fresh} {rename_flags} {number} {size}", calls[name][1])
        for one in {path, other, fresh}:
            s.do(f"lstat {one}", lambda one=one: status(one))

    def truncate(self, path, size):
        if not os.path.islink(path) and os.path.isfile(path):
            os.truncate(path, size)

    def chmod(self, path, mode):
        if not os.path.islink(path):
            os.chmod(path, mode | 0o700)

    def __call__(self, s):
        for _ in range(self.count):
            self.step(s)


def tree(root):
    """path -> what there is to know of it."""
    found = {}
    groups = {}
    for top, dirs, files in os.walk(root):
        for name in ["."] * (top == root) + dirs + files:
            path = os.path.normpath(os.path.join(top, name))
            told = os.lstat(path)
            facts = [status(path), xattrs(path)]
            if not stat.S_ISDIR(told.st_mode):
                groups.setdefault(told.st_ino, []).append(os.path.relpath(path, root))
            if stat.S_ISREG(told.st_mode) and told.st_size < 64 << 20:
                facts.append(content(path))
            if stat.S_ISLNK(told.st_mode):
                facts.append(os.readlink(path))
            found[os.path.relpath(path, root)] = facts
    for names in groups.values():
        for name in names:
            found[name].append(sorted(names))
    return found


def as_overlayfs_knows(found, several):
    known = {}
    for path, (told, attributes, *_) in found.items():
        if os.path.basename(path) in several:
            continue
        mode, uid, gid, size, _, device = told
        known[path] = (mode, uid, gid, size, device,
                       {name: value for name, value in attributes.items() if not name.startswith("trusted.layerfs.")})
    return known


def names_of_hard_links(root):
    return {name for top, _, files in os.walk(root) for name in files if os.lstat(os.path.join(top, name)).st_nlink > 1}


def compare(expected, actual, lower=None):
    ours, theirs = tree(expected), tree(actual)
    if lower:
        several = names_of_hard_links(lower)
        ours, theirs = as_overlayfs_knows(ours, several), as_overlayfs_knows(theirs, several)
    differing = 0
    for path in sorted(set(ours) | set(theirs)):
        if ours.get(path) != theirs.get(path):
            differing += 1
            if differing < 40:
                print(f"{path}: expected {str(ours.get(path))[:300]}, got {str(theirs.get(path))[:300]}")
    print(f"{len(ours)} objects, {differing} differ")
    return 1 if differing else 0


def compare_steps(makes, expected, actual):
    """Does the steps of each in both trees; the exit status."""
    differing = count = 0
    for make in makes:
        ours, theirs = in_tree(expected, make), in_tree(actual, make)
        count += len(ours)
        differing += differences(ours, theirs)
    print(f"{count} results, {differing} differ")
    return 1 if differing else 0


def main(what, expected, actual, *rest):
    if what == "compare":
        return compare(expected, actual, lower=rest[1] if rest else None)
    makes = TABLE if what == "table" else [RandomCalls(int(rest[0]), int(rest[1]))]
    return compare_steps(makes, expected, actual)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
