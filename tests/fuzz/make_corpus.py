#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of fuzz_tar, fuzz_merge, fuzz_layer_decoder and fuzz_json. Deterministic; the files
are committed, so this runs only when a seed is added. What the fuzzer finds is added beside them.

The tars come from Python's tarfile, a writer that is not ours; `should-fail-*` are hostile."""
import base64
import io
import pathlib
import struct
import sys
import tarfile
import zlib

HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")


def write(corpus, name, content):
    folder = HERE / corpus
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def tar(members, form=tarfile.PAX_FORMAT, pax_headers=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=pax_headers or {}) as archive:
        for fields, content in members:
            info = tarfile.TarInfo(fields.pop("name"))
            for key, value in fields.items():
                setattr(info, key, value)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    # The default blocking pads to 10 KiB; two zero blocks are enough.
    return padded(out.getvalue().rstrip(b"\0")) + bytes(1024)


def block(name=b"f", typeflag=b"0", size=b"00000000000", magic=b"ustar\x0000", tail=b""):
    """One header block with its checksum; `tail` begins at byte 345."""
    raw = bytearray(512)
    for offset, field in ((0, name), (100, b"0000644\0"), (108, b"0000000\0"), (116, b"0000000\0"),
                          (124, size), (136, b"00000000000\0"), (148, b" " * 8), (156, typeflag),
                          (257, magic), (345, tail)):
        raw[offset:offset + len(field)] = field
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def padded(content):
    return content + bytes(-len(content) % 512)


def pax(*records):
    payload = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        digits = len(str(length))
        while len(str(length + digits)) != digits:
            digits += 1
        payload += b"%d %s=%s\n" % (length + digits, key, value)
    return block(b"PaxHeaders/f", b"x", b"%011o" % len(payload)) + padded(payload)


def tars():
    kinds = [({"name": "dir", "type": tarfile.DIRTYPE, "mode": 0o755}, b""),
             ({"name": "dir/file", "uid": 1000, "mtime": 1}, b"content"),
             ({"name": "dir/link", "type": tarfile.SYMTYPE, "linkname": "file"}, b""),
             ({"name": "dir/hard", "type": tarfile.LNKTYPE, "linkname": "dir/file"}, b""),
             ({"name": "null", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b""),
             ({"name": "fifo", "type": tarfile.FIFOTYPE}, b"")]
    copies = lambda: [(dict(fields), content) for fields, content in kinds]
    write("tar", "ustar", tar(copies(), tarfile.USTAR_FORMAT))
    write("tar", "gnu", tar(copies() + [({"name": "n" * 300, "mtime": -5}, b"")], tarfile.GNU_FORMAT))
    write("tar", "pax", tar(copies() + [({"name": "n" * 300, "uid": 1 << 31, "mtime": 0.5}, b"")],
                            pax_headers={"comment": "global"}))
    acl = b"user::rw-,user:7:r--,group::r--,mask::r--,other::---"
    write("tar", "pax-xattrs", pax((b"SCHILY.xattr.user.a", b"\0=\n"), (b"LIBARCHIVE.xattr.user.%62", b"AAEC"),
                                   (b"SCHILY.acl.access", acl), (b"RHT.security.selinux", b"u:r:t:s0")) + block())
    write("tar", "sparse-old-gnu", block(typeflag=b"S", size=b"00000000002", magic=b"ustar  \0",
          tail=bytes(41) + b"00000000001\x0000000000002\0" + bytes(72) + b"\0" + b"00000000100\0") + padded(b"ab"))
    write("tar", "sparse-old-gnu-extension", block(typeflag=b"S", size=b"00000000001", magic=b"ustar  \0",
          tail=bytes(41) + bytes(96) + b"\1" + b"00000000100\0")
          + (b"00000000001\x0000000000001\0" + bytes(480)) + padded(b"a"))
    write("tar", "sparse-pax-1.0", pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
          (b"GNU.sparse.realsize", b"99"), (b"GNU.sparse.name", b"s")) + block(size=b"%011o" % 514)
          + padded(b"1\n7\n2\n") + padded(b"ab"))
    write("tar", "sparse-pax-0.1", pax((b"GNU.sparse.size", b"99"), (b"GNU.sparse.numblocks", b"2"),
          (b"GNU.sparse.map", b"7,1,9,1"))
          + block(size=b"00000000002") + padded(b"ab"))
    write("tar", "sparse-pax-0.0", pax((b"GNU.sparse.size", b"99"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.offset", b"7"),
          (b"GNU.sparse.numbytes", b"2")) + block(size=b"00000000002") + padded(b"ab"))
    write("tar", "v7", block(b"old/", b"\0", magic=bytes(8)) + block(b"old/f", b"\0", magic=bytes(8)))
    write("tar", "go-1.7-prefix", block(magic=b"ustar  \0", tail=b"usr/share/doc"))
    write("tar", "should-fail-checksum", b"\xff" + block()[1:])
    write("tar", "should-fail-type", block(typeflag=b"Q"))
    write("tar", "should-fail-size-largest", block(size=b"\x80\0\0\0\x7f" + b"\xff" * 7))
    write("tar", "should-fail-size-negative", block(size=b"\xff" * 12))
    write("tar", "should-fail-pax-size", pax((b"size", b"9223372036854775807")) + block())
    write("tar", "should-fail-pax-nul", pax((b"path", b"a\0b")) + block())
    write("tar", "should-fail-pax-length", block(b"x", b"x", b"00000000007") + padded(b"99 a=b\n"))
    write("tar", "should-fail-extension-size", block(b"x", b"L", b"77777777777"))
    write("tar", "should-fail-sparse-overlap", pax((b"GNU.sparse.size", b"99"), (b"GNU.sparse.map", b"7,2,8,1"))
          + block(size=b"00000000003") + padded(b"abc"))
    write("tar", "should-fail-sparse-overflow", pax((b"GNU.sparse.size", b"9223372036854775807"),
          (b"GNU.sparse.map", b"1,18446744073709551615")) + block())
    write("tar", "should-fail-cut", block(size=b"00000001000") + b"abc")
    write("tar", "should-fail-garbage-behind-end", bytes(1024) + b"garbage")


def layers():
    """Layers for fuzz_merge's base: d/f, dir/file, h => d/f, l -> d, dir/link -> ../l, a <-> b,
    gone -> /no/where, f (fifo)."""
    def layer(name, *entries):
        kinds = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "s": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}
        write("merge", name, tar([({"name": path, "type": kinds[kind], "linkname": target}, b"x" if kind == "f" else b"")
                                  for kind, path, target in entries]))
    layer("whiteouts", ("f", "d/.wh.f", ""), ("f", ".wh.dir", ""), ("f", "dir/new", ""), ("f", ".wh.h", ""))
    layer("opaque", ("f", "d/new", ""), ("f", "d/.wh..wh..opq", ""), ("f", ".wh..wh.aufs", ""))
    layer("through-symlinks", ("f", "l/f", ""), ("f", "dir/link/new", ""), ("f", "gone/x", ""), ("f", "a/x", ""),
          ("f", "l/.wh.g", ""))
    layer("own-symlinks", ("s", "s", "../d/../dir"), ("f", "s/new", ""), ("s", "t", "s"), ("d", "t/sub", ""))
    layer("hard-links", ("h", "x", "d/f"), ("h", "y", "l/f"), ("h", "z", "l"), ("h", "d/f", "dir/file"), ("h", "w", "x"))
    layer("hard-links-by-aliases", ("f", "l/n", ""), ("h", "m", "d/n"), ("h", "l/p", "d/q"), ("h", "q", "h"))
    layer("replace", ("f", "d", ""), ("d", "l", ""), ("f", "l/x", ""), ("s", "dir", "l"), ("d", "f", ""), ("f", "f/g", ""))
    layer("duplicates", ("f", "d/f", ""), ("d", "d/f", ""), ("f", "d/f/g", ""), ("s", "d/f", "g"), ("d", "d/f", ""))
    layer("aufs-links", ("f", ".wh..wh.plnk/1.2", ""), ("h", "x", ".wh..wh.plnk/1.2"))
    layer("should-fail-circle", ("h", "l/x", "d/y"), ("h", "l/y", "d/x"))
    layer("should-fail-loop", ("s", "x", "y"), ("s", "y", "x"), ("f", "x/z", ""))
    layer("should-fail-up", ("f", "d/../../x", ""))


def gzip_member(content, strategy=zlib.Z_DEFAULT_STRATEGY, header=b"\x1f\x8b\x08\0\0\0\0\0\2\3"):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    body = deflate.compress(content) + deflate.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content) & 0xffffffff)


# `zstd -19 --no-check`, and with a checksum, of b"hello hello hello\n" * 20.
ZSTD = base64.b64decode("KLUv/QBohQAAOGhlbGxvIAoCAFM1lUhcig==")
ZSTD_CHECKED = base64.b64decode("KLUv/QRohQAAOGhlbGxvIAoCAFM1lUhcivjr08U=")


def blobs():
    text = b"".join(b"line %d\n" % (i % 37) for i in range(900))
    full_header = b"\x1f\x8b\x08\x1e\0\0\0\0\2\3" + b"\4\0AB\0\0" + b"name\0" + b"comment\0"
    full_header += struct.pack("<H", zlib.crc32(full_header) & 0xffff)
    stored = b"\x1f\x8b\x08\0\0\0\0\0\2\3\1\5\0\xfa\xffhello" + struct.pack("<II", zlib.crc32(b"hello"), 5)
    skippable = struct.pack("<II", 0x184D2A5E, 4) + b"skip"
    write("layer_decoder", "tar", block() + bytes(1024))
    write("layer_decoder", "gzip-dynamic", gzip_member(text))
    write("layer_decoder", "gzip-fixed", gzip_member(b"hello hello", zlib.Z_FIXED))
    write("layer_decoder", "gzip-stored", stored)
    write("layer_decoder", "gzip-header-fields", gzip_member(b"x", header=full_header))
    write("layer_decoder", "gzip-members", gzip_member(b"a" * 500) + gzip_member(b"") + stored)
    write("layer_decoder", "zstd", ZSTD)
    write("layer_decoder", "zstd-checksum-and-skippable", skippable + ZSTD_CHECKED + skippable + ZSTD)
    write("layer_decoder", "should-fail-gzip-cut", gzip_member(text)[:60])
    write("layer_decoder", "should-fail-gzip-garbage", stored + b"garbage")
    write("layer_decoder", "should-fail-gzip-crc", stored[:-8] + bytes(8))
    write("layer_decoder", "should-fail-gzip-bomb", gzip_member(bytes(3 << 20)))
    write("layer_decoder", "should-fail-zstd-cut", ZSTD[:-2])
    write("layer_decoder", "should-fail-zstd-window", b"\x28\xb5\x2f\xfd\0\xf8\1\0\0")
    write("layer_decoder", "should-fail-xz", b"\xfd7zXZ\0\0\4\0\0")


def documents():
    descriptor = b'{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:' + b"0" * 64 + b'","size":7}'
    write("json", "manifest", b'{"schemaVersion":2,"mediaType":"m","config":' + descriptor + b',"layers":[' + descriptor
          + b'],"annotations":{"k":"v\\u00e9\\ud83d\\ude00"}}')
    write("json", "types", b'{"size":-1,"mediaType":null,"layers":{},"config":[],"annotations":1.5e300,"a":true}')
    write("json", "largest-number", b'{"size":18446744073709551615}')
    write("json", "same-key-twice", b'{"size":1,"size":2}')
    write("json", "should-fail-number-too-large", b'{"size":1e999}')
    write("json", "should-fail-deep", b"[" * 200)
    write("json", "should-fail-deep-in-objects", b'{"a":' * 200)
    write("json", "should-fail-cut", b'{"layers":[{"siz')
    write("json", "should-fail-not-utf8", b'{"mediaType":"\xff\xfe"}')
    write("json", "should-fail-lone-surrogate", b'{"mediaType":"\\ud800"}')
    write("json", "should-fail-behind-the-end", b"{} {}")
    write("json", "should-fail-empty", b"")


tars()
layers()
blobs()
documents()
