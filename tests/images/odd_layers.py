#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""odd_layers.py DIR: layer tars as tools of the last thirty years wrote them, one difficulty each.

Writes DIR/NAME.N.tar, the layers of the image NAME from the bottom up. Headers are made by hand, so that
each form is there whatever today's tar(1) would choose.

odd_layers.py --estargz TAR: an eStargz layer, to standard output, and the tar in it.
"""
import gzip
import hashlib
import json
import pathlib
import struct
import sys

BLOCK = 512
MTIME = 1_600_000_000


def octal(value, width):
    return f"{value:0{width - 1}o}".encode() + b"\0"


def base256(value, width):
    return bytes([0xFF if value < 0 else 0x80]) + value.to_bytes(width - 1, "big", signed=value < 0)


def number(value, width):
    return octal(value, width) if 0 <= value < 8 ** (width - 1) else base256(value, width)


def padded(payload):
    return payload + b"\0" * (-len(payload) % BLOCK)


def header(name, kind=b"0", size=0, link=b"", mode=0o644, uid=0, gid=0, mtime=MTIME, device=(0, 0),
           magic=b"ustar\x0000", tail=b"", numbers=number):
    block = bytearray(BLOCK)

    def put(at, data):
        block[at:at + len(data)] = data

    put(0, name[:100])
    put(100, numbers(mode, 8))
    put(108, numbers(uid, 8))
    put(116, numbers(gid, 8))
    put(124, numbers(size, 12))
    put(136, numbers(mtime, 12))
    put(148, b" " * 8)
    put(156, kind)
    put(157, link[:100])
    put(257, magic)
    put(329, numbers(device[0], 8))
    put(337, numbers(device[1], 8))
    put(345, tail)
    put(148, f"{sum(block):06o}".encode() + b"\0 ")
    return bytes(block)


GNU = b"ustar  \0"


def file(name, content=b"content\n", **fields):
    return header(name, size=len(content), **fields) + padded(content)


def directory(name, mode=0o755, **fields):
    return header(name, b"5", mode=mode, **fields)


def record(key, value):
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body)
    while length != len(str(length)) + len(body):
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(records, kind=b"x"):
    payload = b"".join(record(key, value) for key, value in records)
    return header(b"PaxHeaders/0", kind, size=len(payload)) + padded(payload)


def gnu_long(kind, text):
    return header(b"././@LongLink", kind, size=len(text) + 1, magic=GNU) + padded(text + b"\0")


def sparse_old_gnu(name, real_size, pieces):
    """Four extents in the header and 21 in each block that follows."""
    data = b"".join(piece for _, piece in pieces)
    slots = [number(offset, 12) + number(len(piece), 12) for offset, piece in pieces]
    rest = slots[4:]
    tail = bytearray(BLOCK - 345)
    tail[41:41 + 24 * len(slots[:4])] = b"".join(slots[:4])
    tail[137] = 1 if rest else 0
    tail[138:150] = number(real_size, 12)
    blocks = [header(name, b"S", size=len(data), magic=GNU, tail=bytes(tail))]
    while rest:
        block = bytearray(BLOCK)
        block[:24 * len(rest[:21])] = b"".join(rest[:21])
        rest = rest[21:]
        block[504] = 1 if rest else 0
        blocks.append(bytes(block))
    return b"".join(blocks) + padded(data)


def sparse_pax(name, form, real_size, pieces):
    data = b"".join(piece for _, piece in pieces)
    size = str(real_size).encode()
    count = str(len(pieces)).encode()
    if form == "0.0":
        records = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", count)]
        for offset, piece in pieces:
            records += [("GNU.sparse.offset", str(offset).encode()), ("GNU.sparse.numbytes", str(len(piece)).encode())]
        return pax(records) + file(name, data)
    numbers = [str(each) for offset, piece in pieces for each in (offset, len(piece))]
    if form == "0.1":
        return pax([("GNU.sparse.size", size), ("GNU.sparse.numblocks", count), ("GNU.sparse.name", name),
                    ("GNU.sparse.map", ",".join(numbers).encode())]) + file(b"GNUSparseFile.1/x", data)
    head = padded("".join(line + "\n" for line in [str(len(pieces))] + numbers).encode())
    return pax([("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", name),
                ("GNU.sparse.realsize", size)]) + file(b"GNUSparseFile.1/x", head + data)


REAL_SIZE = 4096 * 2 * 30 + 12345
# The last, of no bytes, is how GNU tar says where a hole at the end ends.
PIECES = [(4096 * 2 * i, bytes([65 + i % 26]) * 512) for i in range(30)] + [(REAL_SIZE, b"")]
LONG = b"d" * 90 + b"/" + b"n" * 255

IMAGES = {
    "global-header": [
        pax([("comment", b"4b825dc642cb6eb9a060e54bf8d69288fbee4904"), ("mtime", b"1")], b"g")
        + file(b"a") + pax([("comment", b"again")], b"g") + file(b"b")],
    "sparse": [
        sparse_old_gnu(b"old-gnu", REAL_SIZE, PIECES) + sparse_pax(b"pax-0.0", "0.0", REAL_SIZE, PIECES)
        + sparse_pax(b"pax-0.1", "0.1", REAL_SIZE, PIECES) + sparse_pax(b"pax-1.0", "1.0", REAL_SIZE, PIECES)
        + sparse_pax(b"only-a-hole", "1.0", 1 << 20, [(1 << 20, b"")])],
    "contiguous": [header(b"contiguous", b"7", size=3) + padded(b"abc")],
    "long-names": [
        directory(b"d" * 90) + gnu_long(b"L", LONG) + file(LONG[:100], magic=GNU)
        + gnu_long(b"K", LONG) + header(b"link", b"2", link=LONG[:100], magic=GNU, mode=0o777)
        + gnu_long(b"K", LONG) + gnu_long(b"L", b"h" * 150) + header(b"h" * 100, b"1", link=LONG[:100], magic=GNU)
        + header(b"in-prefix", size=3, tail=b"d" * 90) + padded(b"abc")],
    "big-numbers": [
        file(b"base-256", uid=0xFFFFFFFE, gid=2 ** 21 + 7, mtime=-5, magic=GNU)
        + pax([("uid", b"4294967294"), ("gid", b"3000000"), ("mtime", b"-1.25"), ("atime", b"12.5")]) + file(b"pax")
        + pax([("size", b"8"), ("mtime", b"1234567890.123456789987")]) + header(b"size-in-pax") + padded(b"content\n")
        + header(b"block", b"4", device=(4095, 1048575)) + header(b"char", b"3", device=(259, 70000))
        + file(b"year-2242", mtime=8 ** 11 + 5)],
    "base-256-everywhere": [
        directory(b"d", numbers=base256) + file(b"d/f", numbers=base256, magic=GNU)
        + header(b"d/null", b"3", device=(1, 3), numbers=base256, magic=GNU)],
    "spellings": [
        directory(b"./", mode=0o751) + directory(b"./a/") + file(b"./a/one") + file(b"a/two") + file(b"a//three")
        + directory(b"b") + file(b"b/./four") + directory(b"c///", mode=0o700) + header(b"old-style-dir/", b"0", mode=0o711)
        + header(b"old-file", b"\0", size=3) + padded(b"abc") + file(b"no/parent/at/all"), file(b"a/./two", b"second\n") + file(b"./b//five")],
    "link-spellings": [
        directory(b"./") + directory(b"a") + file(b"a/one") + file(b"a/two") + directory(b"b/") + file(b"b//gone") + file(b"./b/./stays")
        + directory(b"c/./") + file(b"c/gone") + directory(b"//d//") + file(b"/d/./absolute")
        + header(b"./1", b"1", link=b"./a/one") + header(b"2/", b"1", link=b"/a//one") + header(b"a/./3", b"1", link=b"a/./one")
        + header(b".//4", b"1", link=b".//a/.//one") + header(b"5", b"1", link=b"a/one/")
        + header(b"symlink/", b"2", link=b"./a//one/", mode=0o777) + header(b"d/./fifo/", b"6"),
        header(b"6", b"1", link=b".//a/./two") + header(b"d//7", b"1", link=b"/a/two")
        + directory(b"b/.") + file(b"./b/./.wh.gone", b"") + directory(b"./c//") + file(b"c//.wh..wh..opq", b"") + file(b".//c/./new")],
    "duplicates": [
        file(b"file", b"first\n") + file(b"file", b"second, longer\n", mode=0o600) + directory(b"x") + file(b"x/in")
        + header(b"x", b"2", link=b"file", mode=0o777) + header(b"y", b"2", link=b"file", mode=0o777) + directory(b"y")
        + file(b"y/in") + file(b"z") + header(b"z-link", b"1", link=b"z") + file(b"z", b"not the link's\n")
        + directory(b"dir", mode=0o700) + file(b"dir/in") + directory(b"dir", mode=0o755)],
    "only-whiteouts": [
        directory(b"d") + file(b"d/a") + file(b"d/b") + file(b"top") + directory(b"gone") + file(b"gone/in"),
        file(b"d/.wh.a", b"") + file(b".wh.top", b"") + file(b".wh.gone", b"") + file(b".wh.never-there", b"")],
    "empty-layers": [b"", file(b"a"), b""],
    # What is known of them is stored in next to nothing, as a trap would be.
    "alike": [b"".join(directory(b"d%02d" % d) + b"".join(header(b"d%02d/%03d" % (d, i)) for i in range(1000))
                       for d in range(60))],
    "opaque-last": [
        directory(b"d") + file(b"d/lower") + directory(b"d/sub") + file(b"d/sub/lower"),
        directory(b"d", mode=0o711) + file(b"d/upper") + directory(b"d/sub") + file(b"d/sub/upper") + file(b"d/.wh..wh..opq", b"")],
    "type-changes": [
        directory(b"dir-to-file") + file(b"dir-to-file/in") + file(b"file-to-dir") + header(b"link-to-dir", b"2", link=b"file-to-dir")
        + directory(b"dir-to-link") + file(b"dir-to-link/in") + header(b"fifo-to-file", b"6"),
        file(b"dir-to-file") + directory(b"file-to-dir") + file(b"file-to-dir/in") + directory(b"link-to-dir")
        + header(b"dir-to-link", b"2", link=b"file-to-dir", mode=0o777) + file(b"fifo-to-file")],
    "through-symlink": [
        directory(b"usr") + directory(b"usr/lib") + header(b"lib", b"2", link=b"usr/lib", mode=0o777)
        + header(b"abs", b"2", link=b"/usr/lib", mode=0o777),
        file(b"lib/a") + file(b"abs/b") + directory(b"usr/lib/c")],
    "names-of-bytes": [
        file(b"latin-\xe9") + file(b"new\nline") + file(b"tab\there") + file(b"\xff\xfe") + file(b"back\\slash")
        + pax([("hdrcharset", b"BINARY"), ("path", b"pax-\xe9\xff")]) + file(b"x") + pax([("path", "pax-é".encode())]) + file(b"x")
        + file(b" space ") + file(b"-dash") + file(b".wh") + file(b"x.wh.y") + file(b"..twodots") + file(b"...")],
    "xattrs": [
        pax([("SCHILY.xattr.user.text", b"value"), ("SCHILY.xattr.user.binary", b"\0\n=\xff"), ("SCHILY.xattr.user.empty", b""),
             ("SCHILY.xattr.trusted.x", b"t"),
             ("SCHILY.xattr.security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))]) + file(b"schily")
        + pax([("LIBARCHIVE.xattr.user.text", b"dmFsdWU"), ("SCHILY.xattr.user.text", b"value")]) + file(b"both")
        + pax([("SCHILY.xattr.user.on-dir", b"x")]) + directory(b"dir")],
}


ESTARGZ_FILES = {"usr/bin/tool": b"#!/bin/sh\n" * 900, "etc/conf": b"key=value\n"}


def estargz():
    """The plain tar and the blob: a gzip member for each file, the table of contents, and the footer that leads
    to it (containerd/stargz-snapshotter, docs/estargz.md)."""
    plain, blob, entries = b"", b"", []

    def member(data):
        nonlocal plain, blob
        plain += data
        blob += gzip.compress(data, 6, mtime=0)

    for name, content in ESTARGZ_FILES.items():
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        entries.append({"name": name, "type": "reg", "size": len(content), "offset": len(blob), "digest": digest,
                        "chunkDigest": digest, "modtime": "2020-09-13T12:26:40Z", "mode": 0o644})
        member(file(name.encode(), content))
    toc_offset = len(blob)
    toc = json.dumps({"version": 1, "entries": entries}).encode()
    member(file(b"stargz.index.json", toc) + b"\0" * 2 * BLOCK)
    extra = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % toc_offset
    empty_deflate = b"\1\0\0\xff\xff"
    blob += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(extra)) + extra + empty_deflate + b"\0" * 8
    return plain, blob


def main():
    if sys.argv[1] == "--estargz":
        plain, blob = estargz()
        pathlib.Path(sys.argv[2]).write_bytes(plain)
        sys.stdout.buffer.write(blob)
        return
    out = pathlib.Path(sys.argv[1])
    for name, layers in IMAGES.items():
        for position, layer in enumerate(layers):
            (out / f"{name}.{position}.tar").write_bytes(layer + b"\0" * 2 * BLOCK)


if __name__ == "__main__":
    main()
