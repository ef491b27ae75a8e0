#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""same_privileges.py EXPECTED ACTUAL: what gives and takes a file's privileges (capabilities, setuid,
setgid), and who is shown trusted.*, in a directory of an ordinary file system and in a mount. Exit code 1
if anything differs. Needs root."""

import ctypes
import mmap
import os
import stat
import struct
import sys

CAPABILITY = "security.capability"
# struct vfs_cap_data, revision 2: cap_net_raw, effective (linux/capability.h).
NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
CAP_FSETID, CAP_SYS_ADMIN = 4, 21
PR_CAPBSET_DROP = 24
CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def state(path):
    found = os.stat(path)
    return oct(stat.S_IMODE(found.st_mode)), sorted(os.listxattr(path)), found.st_size


def attempt(call):
    try:
        call()
        return "done"
    except OSError as error:
        return os.strerror(error.errno)


def append(path):
    with open(path, "ab") as file:
        file.write(b"more")


def store(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0] = memory[0] ^ 1
        memory.flush()


def allocate(path):
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 9000)


CHANGES = {
    "append": append,
    "store through a mapping": store,
    "truncate": lambda path: os.truncate(path, 100),
    "allocate": allocate,
    "remove": lambda path: os.removexattr(path, CAPABILITY),
    "give away": lambda path: os.chown(path, 1, 1),
}


def as_other(setup, call):
    """Its result in a child that `setup` has made another."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        setup()
        os.write(write, repr(call()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as result:
        text = result.read()
    os.waitpid(child, 0)
    return text


def drop(capability):
    if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    # What the bounding set lacks, an exec takes; capset(2) does at once.
    header, data = struct.pack("<Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    libc.capget(header, data)
    sets = list(struct.unpack("<6I", data.raw))
    for i in range(3):
        sets[i] &= ~(1 << capability)
    if libc.capset(header, struct.pack("<6I", *sets)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def new_namespace():
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with open("/proc/self/setgroups", "w") as file:
        file.write("deny")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write("0 0 1")


def make(path, capability, mode):
    with open(path, "wb") as file:
        file.write(b"x" * 5000)
    os.chown(path, 0, 2000)
    os.chmod(path, mode)
    if capability is not None:
        os.setxattr(path, CAPABILITY, capability)


def run(top):
    results = {}
    for kind, capability, mode in (("good", NET_RAW, 0o755), ("empty", b"", 0o755), ("suid", None, 0o6755), ("sgid", None, 0o2767)):
        for name, change in CHANGES.items():
            path = f"{top}/{kind}-{name}".replace(" ", "-")
            make(path, capability, mode)
            said = attempt(lambda: change(path))
            results[kind, name] = said, state(path)
            if kind == "sgid" and name != "remove":
                for who, setup in (("without fsetid", lambda: drop(CAP_FSETID)), ("of a namespace", new_namespace)):
                    make(path, capability, mode)
                    as_other(setup, lambda: attempt(lambda: change(path)))
                    results[kind, name, who] = state(path)
    trusted = f"{top}/trusted"
    make(trusted, None, 0o644)
    os.setxattr(trusted, "trusted.mine", b"1")
    for who, setup in (("root", lambda: None), ("no administrator", lambda: drop(CAP_SYS_ADMIN)), ("root of a namespace", new_namespace), ("a user", lambda: os.setuid(1000))):
        results["shows trusted", who] = as_other(setup, lambda: os.listxattr(trusted))
    return results


def main():
    expected, actual = (run(top) for top in sys.argv[1:3])
    differ = [key for key in expected if expected[key] != actual[key]]
    for key in differ:
        print(f"{', '.join(key)}: {actual[key]} instead of {expected[key]}")
    print(f"{len(expected)} results, {len(differ)} differ")
    sys.exit(1 if differ else 0)


main()
