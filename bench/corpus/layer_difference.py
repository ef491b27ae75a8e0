#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layer_difference.py LOWER FULL OUT: the layer (a tar) that makes the system FULL of the system LOWER.

All three are tars. Members that are the same in both are left out; what is gone in FULL becomes a whiteout.
Two passes over FULL, nothing is unpacked.
"""
import hashlib
import io
import sys
import tarfile


def name_of(member):
    return member.name.removeprefix("./").strip("/")


def fingerprint(archive, member):
    content = None
    if member.isreg():
        content = hashlib.sha256(archive.extractfile(member).read()).hexdigest()
    mtime = None if member.isdir() else member.mtime
    xattrs = sorted((key, value) for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr"))
    return (member.type, member.mode, member.uid, member.gid, mtime, member.linkname, content,
            member.devmajor, member.devminor, xattrs)


def main(lower_path, full_path, out_path):
    with tarfile.open(lower_path) as lower:
        below = {name_of(member): fingerprint(lower, member) for member in lower}
    with tarfile.open(full_path) as full:
        members = {name_of(member): member for member in full}
        changed = {name for name, member in members.items() if below.get(name) != fingerprint(full, member)}
    # A hard link needs its target in the same layer, and the target its other names.
    for name in list(changed):
        if members[name].islnk():
            changed.add(name_of(tarfile.TarInfo(members[name].linkname)))
    changed |= {name for name, member in members.items()
                if member.islnk() and name_of(tarfile.TarInfo(member.linkname)) in changed}
    gone = [name for name in below if name not in members]
    gone = [name for name in gone if name.rpartition("/")[0] not in gone]
    with tarfile.open(full_path) as full, tarfile.open(out_path, "w", format=tarfile.PAX_FORMAT) as out:
        for member in full:
            if name_of(member) in changed and name_of(member):
                out.addfile(member, full.extractfile(member) if member.isreg() else None)
        for name in sorted(gone):
            directory, _, last = name.rpartition("/")
            out.addfile(tarfile.TarInfo(f"{directory}/.wh.{last}" if directory else f".wh.{last}"), io.BytesIO())


if __name__ == "__main__":
    main(*sys.argv[1:])
