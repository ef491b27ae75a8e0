#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random faults under readers that compare every byte with the unpacked image.

usage: soak.py LAYERFS NETMODEL REGISTRY TREE WORK [--seconds N] [--seed N]

Fails on a wrong byte, on a call that takes longer than it may, on an error that is not one of those
that a fault may cause, on memory or descriptors out of bounds, and when not every file can be read
once the faults have ended.
"""
import argparse
import collections
import errno
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

from soak_registry import FaultyProxy

READERS = 8
FETCH_TIMEOUT = 5
PIECE = 128 << 10
# A read is answered within its timeout; a file takes several, and a machine is busy.
LONGEST_CALL = 6 * FETCH_TIMEOUT
CACHE_SIZE = "24M"  # a third of what is read, so that there is always something to evict
# What the scheduler may hold, the kernel's requests, indexes; a sanitizer's shadow and quarantine.
MOST_MEMORY = 300 << 20
MOST_MEMORY_SANITIZED = 1500 << 20
MOST_DESCRIPTORS = 3000
PROFILES = ["lan", "wan", "cloud,break:10%", "5ms,200Mbit,break:15%,truncate:10%", "20ms,50Mbit,stall:10%:1s",
            "bad", "10ms,100Mbit,break:30%"]
# What a reader may be told while its daemon dies or its network is away.
ALLOWED = {errno.EIO, errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.ESTALE, errno.ENODEV}


class Soak:
    def __init__(self, options):
        self.options = options
        self.dice = random.Random(options.seed)
        self.work = pathlib.Path(options.work)
        self.root = self.work / "soak-mnt"
        self.root.mkdir()
        self.cache = self.work / "soak-cache"
        self.proxy = FaultyProxy(options.registry, options.seed)
        self.network = subprocess.Popen(
            [options.netmodel, "--profile", "lan", "--seed", str(options.seed),
             f"127.0.0.1:{self.proxy.server_address[1]}"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = f"127.0.0.1:{int(self.network.stdout.readline())}"
        self.files = self.list_files()
        self.sanitized = b"__asan_init" in pathlib.Path(options.layerfs).read_bytes()
        self.counts = collections.Counter()
        self.failures = []
        self.calls = {}
        self.most = collections.Counter()
        self.stopping = False
        self.readers = []
        self.leaving = False
        self.daemon = None
        self.mount()

    def list_files(self):
        tree = pathlib.Path(self.options.tree)
        files = []
        for directory, _, names in os.walk(tree):
            for name in names:
                path = pathlib.Path(directory) / name
                if not path.is_symlink() and path.is_file() and path.stat().st_size > 0:
                    files.append(str(path.relative_to(tree)))
        return sorted(files)

    def tell_network(self, word):
        self.network.stdin.write(word + "\n")
        self.network.stdin.flush()

    def fail(self, what):
        self.failures.append(what)
        print("FAILED:", what, flush=True)

    # The daemon.

    def mount(self):
        """With the registry as bad as it is; after some failures it is let be, so that there is a mount."""
        for attempt in range(12):
            if attempt == 4:
                self.heal()
            log = open(self.work / "soak.log", "ab")
            self.daemon = subprocess.Popen(
                [self.options.layerfs, "mount", "-f", "--cache", self.cache, "--cache-size", CACHE_SIZE,
                 "--fetch-timeout", str(FETCH_TIMEOUT), f"docker://{self.address}/test/app:latest", self.root],
                stdout=log, stderr=log)
            until = time.monotonic() + 30
            while self.daemon.poll() is None and time.monotonic() < until:
                if os.path.ismount(self.root):
                    return
                time.sleep(0.01)
            if self.daemon.poll() is None:
                self.fail("mounting hangs")
                self.daemon.kill()
            self.check_exit(allowed={1, 5, 6, -signal.SIGKILL})
            self.counts["mounts that failed"] += 1
        raise RuntimeError("no mount in spite of a healthy network; see soak.log")

    def check_exit(self, allowed):
        code = self.daemon.wait()
        if code not in allowed:
            self.fail(f"the daemon ended with {code}")

    def unmount(self):
        subprocess.run(["umount", "-l", self.root], check=False, stderr=subprocess.DEVNULL)

    def wait_for_end(self, allowed, when):
        try:
            self.daemon.wait(timeout=LONGEST_CALL)
        except subprocess.TimeoutExpired:
            self.fail("the daemon does not end " + when)
            self.daemon.kill()
        self.check_exit(allowed | {-signal.SIGKILL})

    def kill_and_remount(self):
        self.daemon.kill()
        self.daemon.wait()
        self.unmount()
        if self.dice.random() < 0.5:
            self.damage_cache()
        self.mount()

    def end_and_remount(self):
        self.daemon.send_signal(self.dice.choice([signal.SIGTERM, signal.SIGINT]))
        self.wait_for_end({0}, "when it is told to")
        self.unmount()
        self.mount()

    def lazy_unmount(self):
        """The daemon lives until the last reader has closed its file."""
        self.leaving = True
        self.unmount()
        self.wait_for_end({0}, "after its last reader")
        self.leaving = False
        self.mount()

    def damage_cache(self):
        """Bit rot and a crash of the machine, so that nothing in the cache can be trusted."""
        whole = [path for path in self.cache.glob("objects/*/*") if path.stat().st_size > 0]
        for path in self.dice.sample(whole, min(5, len(whole))):
            at = self.dice.randrange(path.stat().st_size)
            with open(path, "r+b") as file:
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 0x40]))
            os.utime(path, (0, 0))
        (self.cache / "boot").write_text("another-boot written 0\n")

    def prune(self):
        subprocess.run([self.options.layerfs, "cache", "prune", "--cache", self.cache], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    # The network.

    def heal(self):
        self.proxy.share = 0
        self.tell_network("up")
        self.tell_network("profile lan")

    def outage(self, word):
        self.tell_network(word)
        time.sleep(self.dice.uniform(0.3, FETCH_TIMEOUT * 1.3))
        self.tell_network("up")

    def cause_trouble(self):
        trouble = self.dice.choice(
            ["profile"] * 4 + ["answers"] * 4 + ["break"] * 2 +
            ["refuse", "silent", "kill", "end", "lazy", "prune", "heal"])
        self.counts["trouble: " + trouble] += 1
        if trouble == "profile":
            self.tell_network("profile " + self.dice.choice(PROFILES))
        elif trouble == "answers":
            self.proxy.share = self.dice.choice([0.05, 0.2, 0.4])
        elif trouble == "break":
            self.tell_network("break")
        elif trouble in ("refuse", "silent"):
            self.outage(trouble)
        else:
            {"kill": self.kill_and_remount, "end": self.end_and_remount, "lazy": self.lazy_unmount,
             "prune": self.prune, "heal": self.heal}[trouble]()

    # The readers.

    def cut_short(self, reader):
        """Whether a file need not be read to its end: the rest of a large one takes minutes on a bad network."""
        return self.leaving or (self.stopping and reader is not None)

    def read_one(self, dice, name, reader=None):
        with open(os.path.join(self.options.tree, name), "rb", buffering=0) as file:
            expected = file.readall()
        handle = os.open(self.root / name, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            if dice.random() < 0.5:
                places = [(0, len(expected))]
            else:
                places = [(dice.randrange(len(expected)), dice.choice([1, 4096, 100_000])) for _ in range(8)]
            for offset, size in places:
                got = b""
                while len(got) < size and not self.cut_short(reader):
                    if reader is not None:
                        self.calls[reader] = (time.monotonic(), name)
                    piece = os.pread(handle, min(PIECE, size - len(got)), offset + len(got))
                    if not piece:
                        break
                    got += piece
                if self.cut_short(reader):
                    size = len(got)
                if got != expected[offset:offset + size]:
                    self.fail(f"{name}: wrong bytes in {offset}+{size} ({len(got)} bytes came)")
                self.counts["bytes compared"] += len(got)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)

    def read(self, number):
        dice = random.Random(self.options.seed * 1000 + number)
        while not self.stopping:
            name = dice.choice(self.files)
            self.calls[number] = (time.monotonic(), name)
            try:
                if not os.path.ismount(self.root):
                    time.sleep(0.05)
                    continue
                self.read_one(dice, name, number)
                self.counts["files read"] += 1
            except OSError as error:
                self.counts["errors: " + errno.errorcode.get(error.errno, str(error.errno))] += 1
                if error.errno not in ALLOWED:
                    self.fail(f"{name}: {error}")
                time.sleep(0.05)
            finally:
                self.calls.pop(number, None)

    def watch(self):
        most_memory = MOST_MEMORY_SANITIZED if self.sanitized else MOST_MEMORY
        told = set()
        while not self.stopping or any(reader.is_alive() for reader in self.readers):
            now = time.monotonic()
            for began, name in list(self.calls.values()):
                if now - began > LONGEST_CALL and (began, name) not in told:
                    told.add((began, name))
                    self.fail(f"{name}: has been read for {now - began:.0f} s")
                    self.stopping = True
            try:
                process = f"/proc/{self.daemon.pid}"
                memory = int(pathlib.Path(process + "/statm").read_text().split()[1]) * 4096
                descriptors = len(os.listdir(process + "/fd"))
            except OSError:
                memory, descriptors = 0, 0
            self.most["memory"] = max(self.most["memory"], memory)
            self.most["descriptors"] = max(self.most["descriptors"], descriptors)
            time.sleep(0.25)
        if self.most["memory"] > most_memory:
            self.fail(f"the daemon used {self.most['memory'] >> 20} MiB")
        if self.most["descriptors"] > MOST_DESCRIPTORS:
            self.fail(f"the daemon had {self.most['descriptors']} descriptors")

    def run(self):
        self.readers = [threading.Thread(target=self.read, args=(i,), daemon=True) for i in range(READERS)]
        watcher = threading.Thread(target=self.watch, daemon=True)
        for thread in [*self.readers, watcher]:
            thread.start()
        until = time.monotonic() + self.options.seconds
        while time.monotonic() < until and not self.failures:
            time.sleep(self.dice.uniform(0.2, 1.5))
            self.cause_trouble()
        self.stopping = True
        # The watcher tells of a call that takes too long; this is for a reader that is stuck elsewhere.
        until = time.monotonic() + 2 * LONGEST_CALL
        for thread in self.readers:
            thread.join(timeout=max(0, until - time.monotonic()))
            if thread.is_alive():
                self.fail("a reader hangs")
        watcher.join(timeout=LONGEST_CALL)
        if not self.failures:
            self.read_everything()
        self.unmount()
        self.wait_for_end({0}, "in the end")
        self.network.stdin.close()
        self.network.wait()
        self.report()
        return 1 if self.failures else 0

    def read_everything(self):
        """Once the faults are over, all is as if they had not been. After a short run some files stand for all."""
        self.heal()
        files = self.files
        if self.options.seconds < 600:
            files = self.dice.sample(files, min(400, len(files)))
        for name in files:
            for attempt in range(20):
                try:
                    self.read_one(random.Random(0), name)
                    break
                except OSError as error:
                    # What was asked for before the network had come back may still end badly.
                    if attempt == 19:
                        self.fail(f"{name}: {error}, though the network has been good for seconds")
                    time.sleep(0.5)
            if self.failures:
                return

    def report(self):
        for what, count in sorted(self.counts.items()):
            print(f"  {count:12} {what}")
        for what, count in sorted(self.proxy.counts.items()):
            print(f"  {count:12} answers spoilt: {what}")
        print(f"  {self.most['memory'] >> 20:12} MiB, most memory of the daemon"
              f"{' (with its sanitizer)' if self.sanitized else ''}")
        print(f"  {self.most['descriptors']:12} most descriptors", flush=True)
        if self.failures:
            print("The daemons' last words:")
            print((self.work / "soak.log").read_text(errors="replace")[-20_000:])
        for failure in self.failures:
            print("FAILED:", failure)


def main():
    # A job in a shell's background ignores it, and so would the daemon.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("layerfs", "netmodel", "registry", "tree", "work"):
        parser.add_argument(name)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    return Soak(parser.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
