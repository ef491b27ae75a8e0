#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""container_layer_stress.py tree DIR SECONDS SEED: two processes change the same names below DIR at random, as
fsstress does; only results that such a race allows may come of it. Exit code 1 otherwise.
container_layer_stress.py kills LAYERFS IMAGE COPY WORK SECONDS SEED: a writable mount of IMAGE is ended with
SIGKILL at random moments while many processes change it, most of them below a directory of their own, and
make the same changes to COPY, the image unpacked; the others change one directory together. After each
kill and remount both trees are the same: all that was answered is there, the one change that was not is
there or not, never in part; what all changed can be read; and nothing leaks. WORK is an empty directory.
Needs root."""
import errno
import mmap
import multiprocessing
import os
import random
import shutil
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from container_layer_crash import Mount, leaks  # noqa: E402
from same_changes import RENAME_EXCHANGE, RENAME_NOREPLACE, fallocate, outcome, renameat2, tree  # noqa: E402

DEAD = {"ENOTCONN", "ECONNABORTED", "ESHUTDOWN"}
# What a name that another process changes at the same time may bring.
RACES = {"ENOENT", "EEXIST", "ENOTEMPTY", "ENOTDIR", "EISDIR", "EINVAL", "ELOOP", "ENODATA", "ENXIO", "EPERM", "EXDEV",
         "EOPNOTSUPP", "EMLINK", "EACCES", "ETXTBSY", "EBUSY", "ESPIPE", "EFAULT"}
# What each process has for itself while the daemon is killed.
OWN_DIRECTORIES = ["etc", "usr/share/perl5", "app", "usr/lib/python3.11/json", "var/lib", "usr/share/perl"]
# What some change together meanwhile, and how many.
SHARED_DIRECTORY, SHARERS = "usr/share/doc", 3
LARGEST_OFFSET = 1 << 17


def write(path, offset, size, flags):
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.pwrite(fd, bytes([size % 251]) * size, offset)
    finally:
        os.close(fd)


def with_file(path, flags, call):
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return call(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def map_and_change(fd, offset):
    """In a process of its own, which a mapping that the daemon's end, or another process, takes away ends with
    SIGBUS: EFAULT, as read(2) into it would say."""
    size = os.fstat(fd).st_size
    if size == 0:
        return
    child = os.fork()
    if child == 0:
        code = 0
        try:
            with mmap.mmap(fd, size) as mapped:
                mapped[offset % size] = 77
                mapped.flush()
        except ValueError:
            pass  # another process has cut it
        except OSError as error:
            code = error.errno
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise OSError(errno.EFAULT if code < 0 else code, "")


def read_all(path):
    with_file(path, os.O_RDONLY, lambda fd: os.pread(fd, 1 << 20, 0) and None)


# name: weight, call(path, other path, new path, number, size). None of them follows a link.
CALLS = {
    "create": (14, lambda p, o, n, number, size: write(n, 0, size % 9000, os.O_RDWR | os.O_CREAT | os.O_EXCL)),
    "mkdir": (10, lambda p, o, n, number, size: os.mkdir(n)),
    "write": (16, lambda p, o, n, number, size: write(p, number, size, os.O_RDWR)),
    "overwrite": (4, lambda p, o, n, number, size: write(p, 0, size, os.O_RDWR | os.O_TRUNC)),
    "truncate": (6, lambda p, o, n, number, size: with_file(p, os.O_RDWR, lambda fd: os.ftruncate(fd, number))),
    "fallocate": (3, lambda p, o, n, number, size: with_file(p, os.O_RDWR, lambda fd: fallocate(fd, (0, 1, 3, 16)[size % 4], number, size))),
    "mmap": (3, lambda p, o, n, number, size: with_file(p, os.O_RDWR, lambda fd: map_and_change(fd, number))),
    "fsync": (3, lambda p, o, n, number, size: with_file(p, os.O_RDWR, os.fsync)),
    "read": (6, lambda p, o, n, number, size: read_all(p)),
    "unlink": (12, lambda p, o, n, number, size: os.unlink(p)),
    "rmdir": (8, lambda p, o, n, number, size: os.rmdir(p)),
    "rename": (16, lambda p, o, n, number, size: renameat2(p, (n, o)[number % 2], (0, 0, RENAME_NOREPLACE)[size % 3])),
    "exchange": (6, lambda p, o, n, number, size: renameat2(p, o, RENAME_EXCHANGE)),
    "link": (8, lambda p, o, n, number, size: os.link(p, n, follow_symlinks=False)),
    "symlink": (4, lambda p, o, n, number, size: os.symlink("nowhere", n)),
    "mkfifo": (2, lambda p, o, n, number, size: os.mkfifo(n)),
    "chmod": (5, lambda p, o, n, number, size: None if os.path.islink(p) else os.chmod(p, number % 4096 | 0o600)),
    "lchown": (5, lambda p, o, n, number, size: os.lchown(p, number % 5, number % 7)),
    "utime": (3, lambda p, o, n, number, size: os.utime(p, ns=(number, size), follow_symlinks=False)),
    "setxattr": (4, lambda p, o, n, number, size: os.setxattr(p, f"trusted.t{number % 3}", b"v" * (size % 50), follow_symlinks=False)),
    "list": (4, lambda p, o, n, number, size: None if os.path.islink(p) or not os.path.isdir(p) else (os.listdir(p), None)[1]),
}
WEIGHTS = [weight for weight, _ in CALLS.values()]


class Chooser:
    """Random calls on names that exist below a root, or on new ones."""

    def __init__(self, root, seed):
        self.root = root
        self.chance = random.Random(seed)

    def path(self, want_new=False):
        at = ""
        for _ in range(self.chance.randrange(1, 6)):
            full = self.root + at
            try:
                names = sorted(os.listdir(full)) if not os.path.islink(full) else []
            except OSError:
                break
            if not names or (at and self.chance.random() < 0.15):
                break
            at += "/" + self.chance.choice(names)
        if want_new or not at or self.chance.random() < 0.05:
            full = self.root + at
            if at and (os.path.islink(full) or not os.path.isdir(full)):
                at = os.path.dirname(at)
            at += f"/new-{self.chance.randrange(12)}"
        return at

    def call(self):
        """A call as data: name, three paths below the root, two numbers."""
        name = self.chance.choices(list(CALLS), WEIGHTS)[0]
        return (name, self.path(), self.path(), self.path(want_new=True), self.chance.randrange(LARGEST_OFFSET),
                self.chance.randrange(1, 20000))


def make(root, call):
    name, path, other, new, number, size = call
    return outcome(lambda: CALLS[name][1](root + path, root + other, root + new, number, size))


# --- tree ---

def race(directory, seconds, seed, failures):
    chooser = Chooser(directory, seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        call = chooser.call()
        result = make(directory, call)
        if isinstance(result, str) and result not in RACES:
            failures.put(f"{call}: {result}")


def stress_tree(directory, seconds, seed):
    failures = multiprocessing.Queue()
    racers = [multiprocessing.Process(target=race, args=(directory, seconds, f"{seed}-{i}", failures)) for i in range(2)]
    for racer in racers:
        racer.start()
    found = []
    for racer in racers:
        while racer.is_alive():
            while not failures.empty():
                found.append(failures.get())
            time.sleep(0.05)
        if racer.exitcode != 0:
            found.append(f"a process ended with {racer.exitcode}")
    for line in found[:20]:
        print(line)
    return 1 if found else 0


# --- kills ---

def may_be_cut_short(call, result):
    """Whether the end of the daemon may have made that of the call. The kernel sends a write in pieces, the first
    up to a page's end, and says how much went before the one that failed."""
    name, _, _, _, _, size = call
    wanted = {"create": size % 9000, "write": size, "overwrite": size}.get(name)
    return result in ("EIO", "EFAULT") or (isinstance(result, int) and wanted is not None and result < wanted)


def change_both(mounted, copy, seed, answers):
    """Until the mount is dead: what it was asked last, or how the two differ."""
    chooser = Chooser(copy, seed)
    count = 0
    while True:
        call = chooser.call()
        ours = make(mounted, call)
        if ours in DEAD or (may_be_cut_short(call, ours) and outcome(lambda: os.statvfs(mounted)) in DEAD):
            return answers.put((mounted, call, count, None))
        want = make(copy, call)
        count += 1
        if ours != want:
            return answers.put((mounted, call, count, f"expected {want}, got {ours}"))


def is_mix(before, after, now):
    """Whether every byte is the old or the new one: a write that the kill cut short. Its file may be
    empty, where it was made or truncated before."""
    size = max(len(before), len(after))
    return len(now) in (0, *range(min(len(before), len(after)), size + 1)) and all(
        byte in (old, new) for byte, old, new in zip(now, before.ljust(size, b"\0"), after.ljust(size, b"\0")))


def settle(mounted, copy, call):
    """None where the trees are the same, with or without the last call; else how they differ."""
    now = tree(mounted)
    want = tree(copy)
    if now == want:
        return None
    before = {}
    if call[0] in ("write", "overwrite", "mmap", "truncate"):
        before = {call[1]: outcome(lambda: open(copy + call[1], "rb").read())}
    if call[0] == "create":
        before = {call[3]: b""}
    make(copy, call)
    want = tree(copy)
    if now == want:
        return None
    differing = [path for path in sorted(set(now) | set(want)) if now.get(path) != want.get(path)]
    for path, old in before.items():
        with open(mounted + path, "rb") as ours, open(copy + path, "rb") as theirs:
            got = ours.read()
            may_be = isinstance(old, bytes) and is_mix(old, theirs.read(), got)
        if may_be:
            with open(copy + path, "wb") as file:
                file.write(got)
            if now == tree(copy):  # under all names that it has
                return None
    return "\n".join(f"  {path}: {str(now.get(path))[:300]}\n    not {str(want.get(path))[:300]}" for path in differing[:10])


def share(directory, seed):
    """Until the mount is dead."""
    chooser = Chooser(directory, seed)
    while make(directory, chooser.call()) not in DEAD:
        pass


def unreadable(directory):
    """What fails below it with anything but success."""
    wrong = []
    for where, _, files in os.walk(directory, onerror=lambda error: wrong.append(str(error))):
        for name in files:
            path = os.path.join(where, name)
            result = outcome(lambda path=path: read_all(path) if stat.S_ISREG(os.lstat(path).st_mode) else None)
            if result is not None:
                wrong.append(f"{path}: {result}")
    return wrong


def one_kill(mount, copy, seed, wait):
    """Returns how many calls were made, and what was wrong."""
    answers = multiprocessing.Queue()
    pairs = [(f"{mount.at}/{own}", f"{copy}/{own}") for own in OWN_DIRECTORIES]
    workers = [multiprocessing.Process(target=change_both, args=(*pair, f"{seed}-{pair[1]}", answers)) for pair in pairs]
    sharers = [multiprocessing.Process(target=share, args=(f"{mount.at}/{SHARED_DIRECTORY}", f"{seed}-{i}")) for i in range(SHARERS)]
    for worker in workers + sharers:
        worker.start()
    time.sleep(wait)
    mount.daemon.kill()
    found = [answers.get(timeout=60) for _ in workers]
    for worker in workers + sharers:
        worker.join()
    mount.clean()
    mount.start()
    wrong = [f"{call}: {why}" for _, call, _, why in found if why]
    if not wrong:
        for mounted, call, _, _ in found:
            why = settle(mounted, copy + mounted[len(mount.at):], call)
            if why:
                wrong.append(f"after the kill during {call} in {mounted}:\n{why}")
    wrong += [f"leaks {one}" for one in leaks(mount.layer)]
    wrong += unreadable(f"{mount.at}/{SHARED_DIRECTORY}")
    return sum(count for _, _, count, _ in found), wrong


def kills(layerfs, image, copy, work, seconds, seed):
    mount = Mount(layerfs, image, work)
    chance = random.Random(seed)
    mount.start()
    end = time.monotonic() + seconds
    rounds = calls = 0
    while time.monotonic() < end:
        count, wrong = one_kill(mount, copy, f"{seed}-{rounds}", chance.uniform(0.02, 1.5))
        rounds += 1
        calls += count
        if wrong:
            print(f"round {rounds} of seed {seed}:", *wrong[:10], sep="\n")
            mount.stop()
            return 1
    for directory in [*OWN_DIRECTORIES, SHARED_DIRECTORY]:
        shutil.rmtree(f"{mount.at}/{directory}")
    left = [one for one in [*OWN_DIRECTORIES, SHARED_DIRECTORY] if os.path.lexists(f"{mount.at}/{one}")]
    mount.stop()
    print(f"{rounds} kills, {calls} calls, all as before or after{'; left: ' + str(left) if left else ''}")
    return 1 if left else 0


def main(what, *rest):
    if what == "tree":
        return stress_tree(rest[0], float(rest[1]), rest[2])
    layerfs, image, copy, work, seconds, seed = rest
    return kills(layerfs, image, copy, work, float(seconds), seed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
