#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""container_layer_crash.py LAYERFS IMAGE COPY WORK: ends the daemon of a writable mount at every
fail point that an operation passes, one after the other, mounts again, and checks that the tree is
as before or as after the operation, never between, and that nothing leaks. COPY is the image
unpacked; WORK is an empty directory. Needs root and a build with fail points."""
import os
import shutil
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from same_changes import RENAME_EXCHANGE, content, renameat2, status, xattrs  # noqa: E402

FAIL_EXIT = 86
MOST_POINTS = 60
STARTED = time.time_ns()


def write(path, data, flags=os.O_WRONLY):
    fd = os.open(path, flags, 0o644)
    try:
        os.pwrite(fd, data, 0)
    finally:
        os.close(fd)


def prepare_upper(at):
    """Objects that are in the upper directory before the operation."""
    os.mkdir(f"{at}/new")
    os.mkdir(f"{at}/new/dir")
    write(f"{at}/new/file", b"file", os.O_CREAT | os.O_WRONLY)
    write(f"{at}/new/other", b"other", os.O_CREAT | os.O_WRONLY)
    os.unlink(f"{at}/etc/profile")
    shutil.rmtree(f"{at}/etc/pam.d")
    os.chmod(f"{at}/app/kinds/link-b", 0o640)
    os.chmod(f"{at}/app/data/numbers.txt", 0o640)
    shutil.rmtree(f"{at}/etc/default")
    os.mkdir(f"{at}/etc/default")


OPERATIONS = {
    "create": lambda at: write(f"{at}/etc/created", b"", os.O_CREAT | os.O_WRONLY),
    "create over a whiteout": lambda at: os.mknod(f"{at}/etc/profile", stat.S_IFREG | 0o600),
    "mkdir": lambda at: os.mkdir(f"{at}/usr/share/created"),
    "mkdir over a whiteout": lambda at: os.mkdir(f"{at}/etc/pam.d"),
    "symlink over a whiteout": lambda at: os.symlink("x", f"{at}/etc/profile"),
    "link over a whiteout": lambda at: os.link(f"{at}/new/file", f"{at}/etc/profile"),
    "link of an image file": lambda at: os.link(f"{at}/etc/passwd", f"{at}/etc/passwd-link"),
    "link of an image file with several names": lambda at: os.link(f"{at}/app/kinds/link-a", f"{at}/app/kinds/new-link"),
    "chmod of an image file": lambda at: os.chmod(f"{at}/usr/bin/perl", 0o700),
    "chown of an image directory": lambda at: os.chown(f"{at}/usr/share/perl5", 3, 4),
    "chmod of a deep image file": lambda at: os.chmod(f"{at}/usr/share/doc/apt/copyright", 0o600),
    "chown of an image symlink": lambda at: os.lchown(f"{at}/app/kinds/dangling", 3, 4),
    "setxattr of an image file": lambda at: os.setxattr(f"{at}/app/main.py", "user.x", b"1"),
    "truncate of an image file": lambda at: os.truncate(f"{at}/app/data/noise.bin", 5000),
    "truncate of a partial file": lambda at: os.truncate(f"{at}/app/data/numbers.txt", 3),
    "unlink of an image file": lambda at: os.unlink(f"{at}/etc/passwd"),
    "unlink of a copied-up file": lambda at: os.unlink(f"{at}/app/data/numbers.txt"),
    "unlink of a new file": lambda at: os.unlink(f"{at}/new/file"),
    "unlink of one name of several": lambda at: os.unlink(f"{at}/app/kinds/link-a"),
    "unlink of a copied-up name of several": lambda at: os.unlink(f"{at}/app/kinds/link-b"),
    "rmdir of an image directory": lambda at: os.rmdir(f"{at}/media"),
    "rmdir of a directory with whiteouts": lambda at: os.rmdir(f"{at}/etc/default"),
    "rename of an image file": lambda at: os.rename(f"{at}/etc/passwd", f"{at}/passwd"),
    "rename of an image file over an image file": lambda at: os.rename(f"{at}/etc/passwd", f"{at}/etc/group"),
    "rename over a whiteout": lambda at: os.rename(f"{at}/etc/passwd", f"{at}/etc/profile"),
    "rename of an image directory": lambda at: os.rename(f"{at}/usr/share/perl5", f"{at}/perl5"),
    "rename of a directory over a whiteout": lambda at: os.rename(f"{at}/new/dir", f"{at}/etc/pam.d"),
    "rename of a directory over an empty one": lambda at: os.rename(f"{at}/new/dir", f"{at}/etc/default"),
    "rename of one name of several": lambda at: os.rename(f"{at}/app/kinds/link-a", f"{at}/app/kinds/moved"),
    "rename over one name of several": lambda at: os.rename(f"{at}/new/file", f"{at}/app/kinds/link-a"),
    "exchange": lambda at: renameat2(f"{at}/usr/share/perl5", f"{at}/new/file", RENAME_EXCHANGE),
}


TOPS = ["etc/passwd", "etc/group", "etc/profile", "etc/pam.d", "etc/default", "etc/passwd-link", "etc/created", "app/kinds",
        "app/data/noise.bin", "app/data/numbers.txt", "app/main.py", "new", "usr/share/perl5", "perl5", "usr/share/doc/apt", "media",
        "usr/bin/perl", "usr/share/created", "passwd"]


def changed(path):
    """The modification time of what the image brought; of what is newer, that it is."""
    moment = os.lstat(path).st_mtime_ns
    return moment if moment < STARTED else "since"


def tree(at):
    """All that the operations can change; modification times of directories are left out."""
    found = {}
    for top in TOPS:
        path = f"{at}/{top}"
        if not os.path.lexists(path):
            continue
        paths = [path] + [os.path.join(where, name) for where, dirs, files in os.walk(path) for name in dirs + files]
        for one in paths:
            facts = [status(one), xattrs(one)]
            if stat.S_ISREG(os.lstat(one).st_mode):
                facts += [content(one), changed(one)]
            found[os.path.relpath(one, at)] = facts
    return found


class Mount:
    def __init__(self, layerfs, image, work):
        self.layerfs, self.image, self.at = layerfs, image, f"{work}/mnt"
        self.layer = f"{work}/layer"
        os.makedirs(self.at, exist_ok=True)

    def start(self, fail_at=None):
        environment = dict(os.environ, LAYERFS_FAIL_AT=fail_at or "")
        self.daemon = subprocess.Popen([self.layerfs, "mount", "-f", "--container-layer", self.layer, self.image, self.at],
                                       env=environment, stderr=subprocess.PIPE)
        line = self.daemon.stderr.readline()
        if b"is mounted" not in line:
            sys.exit(f"no mount: {line.decode()}")

    def stop(self):
        # Not `layerfs umount`: starting it with the sanitizers takes as long as all else.
        subprocess.run(["umount", self.at], check=True)
        self.daemon.wait()
        return self.daemon.returncode

    def lives(self):
        try:
            os.statvfs(self.at)
            return True
        except OSError:
            return False

    def clean(self):
        self.daemon.wait()
        subprocess.run(["umount", "-l", self.at], check=False)
        return self.daemon.returncode


def leaks(layer):
    left = [f"work/{name}" for name in os.listdir(f"{layer}/work")]
    named = set()
    for where, dirs, files in os.walk(f"{layer}/upper"):
        named |= {os.lstat(os.path.join(where, name)).st_ino for name in files}
    left += [f"index/{name}" for name in os.listdir(f"{layer}/index")
             if os.lstat(f"{layer}/index/{name}").st_ino not in named and os.lstat(f"{layer}/index/{name}").st_nlink > 1]
    return left


def run_to_the_end(mount, prepared, operation, fail_at=None):
    shutil.rmtree(mount.layer, ignore_errors=True)
    subprocess.run(["cp", "-a", prepared, mount.layer], check=True)
    mount.start(fail_at)
    try:
        operation(mount.at)
    except OSError:
        if fail_at is None:
            raise


def main(layerfs, image, work, *wanted):
    mount = Mount(layerfs, image, work)
    prepared = f"{work}/prepared"
    mount.start()
    prepare_upper(mount.at)
    before = tree(mount.at)
    mount.stop()
    subprocess.run(["cp", "-a", mount.layer, prepared], check=True)
    wrong = points = 0
    for name, operation in OPERATIONS.items():
        if wanted and name not in wanted:
            continue
        run_to_the_end(mount, prepared, operation)
        after = tree(mount.at)
        mount.stop()
        if after == before:
            sys.exit(f"{name}: changes nothing")
        passed = 0
        for hit in range(1, MOST_POINTS):
            run_to_the_end(mount, prepared, operation, f"*:{hit}")
            if mount.lives():
                # All fail points lie behind it.
                mount.stop()
                break
            code = mount.clean()
            if code != FAIL_EXIT:
                sys.exit(f"{name}: the daemon ended with {code}")
            passed += 1
            mount.start()
            left = leaks(mount.layer)
            now = tree(mount.at)
            mount.stop()
            if now not in (before, after) or left:
                wrong += 1
                print(f"{name}: point {hit}: leaks {left}; neither before nor after:")
                for path in sorted(set(now) | set(before) | set(after)):
                    if not now.get(path) == before.get(path) == after.get(path):
                        print(f"  {path}: {now.get(path)}\n    before {before.get(path)}\n    after {after.get(path)}"[:700])
        if passed == 0:
            sys.exit(f"{name}: passed no fail point; was this built with them?")
        points += passed
    print(f"{len(OPERATIONS)} operations, {points} kills, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
