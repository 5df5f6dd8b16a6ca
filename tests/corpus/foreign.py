# SPDX-License-Identifier: Apache-2.0
"""What is no package at all: other formats, text, noise, and extensions of tar gone wrong."""

import random
import struct

import build
from build import directory, file, link, pax_header, pax_record, tar_header, tar_pax
from case import BAD_NAME, BROKEN, gz, manifest, package, tool, xz

UNSUPPORTED = "archive_unsupported"


def make(corpus):
    tar = build.tar_pax(package())
    formats(corpus, tar)
    no_archive(corpus, tar)
    pax_records(corpus)
    gnu_members(corpus)
    sparse(corpus)
    odd_types(corpus)


def formats(corpus, tar):
    """Formats that libarchive reads, each with a package inside that would be sound."""
    def converted(name, *options):
        return tool("bsdtar", "-cf", "-", f"--format={name}", *options, "@-", data=tar)
    cases = {
        "7zip.7z": converted("7zip"), "iso9660.iso": converted("iso9660"),
        "shar.shar": converted("shar"), "mtree.mtree": converted("mtree"),
        "warc.warc": converted("warc"), "ar-bsd.a": ar(), "debian.deb": ar(b"debian-binary"),
        "rar.rar": b"Rar!\x1a\x07\x00" + bytes(100),
        "rar5.rar": b"Rar!\x1a\x07\x01\x00" + bytes(99),
        "xar.xar": b"xar!" + struct.pack(">HHQQL", 28, 1, 100, 200, 1) + bytes(100),
        "cab.cab": b"MSCF" + bytes(100), "lha.lzh": b"\x20\x00-lh5-" + bytes(100),
        "squashfs.img": b"hsqs" + bytes(200), "arj.arj": b"\x60\xea" + bytes(100),
        "cramfs.img": b"\x45\x3d\xcd\x28" + bytes(200),
        "mtree-that-names-a-local-file.mtree":
            b"#mtree\nmanifest.json type=file contents=/etc/passwd\n",
    }
    for name, data in cases.items():
        # An ISO begins with so many zeros that it may be taken for an empty tar.
        corpus.refuse(f"format-{name}", data, [UNSUPPORTED, "archive_corrupt"]
                      if name.startswith("iso") else UNSUPPORTED)
        if not name.startswith("iso"):
            corpus.refuse(f"format-{name}.gz", gz(data), UNSUPPORTED)


def ar(name=b"manifest.json"):
    body = manifest("refused").data
    return b"!<arch>\n" + b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644",
                                                              len(body)) + body


def no_archive(corpus, tar):
    cases = {
        "text.txt": b"#!/bin/sh\necho deploy me\n" * 40, "one-byte.bin": b"x",
        "newline.txt": b"\n", "one-zero.bin": b"\0",
        "noise.bin": random.Random(6).randbytes(20_000), "json.json": manifest("refused").data,
        "html.html": b"<!DOCTYPE html><html><body>404 not found</body></html>",
        "elf.so": b"\x7fELF\x02\x01\x01" + bytes(1000),
        "gzip-magic-only.gz": b"\x1f\x8b", "zip-magic-only.zip": b"PK", "pk34.zip": b"PK\3\4",
        "xz-magic-only.xz": b"\xfd7zXZ\0", "zst-magic-only.zst": b"\x28\xb5\x2f\xfd",
        "cpio-magic-only.cpio": b"070701", "ustar-magic-without-checksum.tar":
            bytes(257) + b"ustar\x0000" + bytes(1000),
    }
    for name, data in cases.items():
        corpus.refuse(f"no-archive-{name}", data, [UNSUPPORTED, *BROKEN, "archive_empty"])
    corpus.refuse("tar-behind-512-bytes-of-text.tar", b"x" * 512 + tar, [UNSUPPORTED, *BROKEN])
    corpus.refuse("tar-behind-512-zeros.tar", bytes(512) + tar, [UNSUPPORTED, *BROKEN,
                                                                 "archive_empty"])
    corpus.refuse("no-entries.tar", bytes(10240), ["archive_empty", UNSUPPORTED,
                                                   "manifest_missing"])
    corpus.refuse("no-entries.cpio", build.cpio_newc([]), ["archive_empty", "manifest_missing"])
    corpus.refuse("no-files.tar", build.tar_ustar([directory(".")]),
                  ["archive_empty", "manifest_missing"])


def with_records(records, name=b"data"):
    """A sound package and one more member behind the raw records."""
    member = pax_header(records) + tar_header(name, b"0", 5) + build.padded(b"12345")
    return tar_pax(package(), end=member + build.TAR_END)


def pax_records(corpus):
    cases = {
        "without-a-length": b"path=evil\n", "length-too-short": b"5 path=evil\n",
        "length-too-long": b"500 path=evil\n", "length-zero": b"0 path=evil\n",
        "length-negative": b"-13 path=evil\n", "length-of-20-digits":
            b"99999999999999999999 path=evil\n",
        "without-an-equals-sign": b"11 patevil\n", "without-a-newline": b"13 path=evil!",
        "without-a-space": b"12path=evil\n", "noise": bytes(range(1, 200)),
        "second-is-cut": pax_record("path", "ok") + b"20 comment=x",
    }
    for name, records in cases.items():
        corpus.refuse(f"pax-record-{name}.tar", with_records(records), BROKEN)
    values = {
        "size-negative": {"size": "-1"}, "size-of-letters": {"size": "many"},
        "size-of-1-exbibyte": {"size": str(1 << 60)}, "size-over-64-bits": {"size": "9" * 30},
        "size-larger-than-the-archive": {"size": "100000"},
        "size-empty": {"size": ""},
    }
    for name, records in values.items():
        corpus.refuse(f"pax-{name}.tar", with_records(records), [*BROKEN, "inflated_too_large"])
    for name, path in {"absolute": "/etc/passwd", "leaving": "../../evil",
                       "duplicate": "bin/run"}.items():
        code = "entry_duplicate" if name == "duplicate" else "entry_unsafe"
        corpus.refuse(f"pax-path-{name}.tar", with_records({"path": path}), code)
        corpus.refuse(f"pax-gnu-sparse-name-{name}.tar", with_records(
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "0",
             "GNU.sparse.name": path}, b"GNUSparseFile.0/x"), [code, *BROKEN])
        corpus.refuse(f"pax-gnu-sparse-name-without-a-version-{name}.tar", with_records(
            {"GNU.sparse.name": path}), [code, *BROKEN])
    corpus.refuse("pax-linkpath-leaving.tar", tar_pax(
        [*package(), build.Entry("l", "link", target="bin/run", pax={"linkpath": "../../x"})]),
        "entry_unsafe")
    corpus.refuse("pax-path-twice-the-last-leaving.tar",
                  with_records(pax_record("path", "ok") + pax_record("path", "../evil")),
                  ["entry_unsafe", "archive_corrupt"])
    corpus.refuse("pax-header-of-64-mebibytes-declared.tar",
                  tar_pax(package(), end=tar_header(b"x", b"x", 64 << 20) + bytes(4096)),
                  [*BROKEN, UNSUPPORTED])
    corpus.refuse("pax-header-of-1-exbibyte-declared.tar",
                  tar_pax(package(), end=tar_header(b"x", b"x", 1 << 60) + bytes(4096)),
                  [*BROKEN, UNSUPPORTED])
    corpus.refuse("pax-header-twice.tar", tar_pax(package(), end=pax_header({"path": "a"})
                  + pax_header({"path": "../b"}) + tar_header(b"c") + build.TAR_END),
                  ["entry_unsafe", *BROKEN])


def gnu_members(corpus):
    base = build.tar_gnu(package(), end=b"")
    for name, size in {"1-exbibyte": 1 << 60, "64-mebibytes": 64 << 20, "negative": -5}.items():
        corpus.refuse(f"gnu-long-name-of-{name}-declared.tar",
                      base + tar_header(b"././@LongLink", b"L", size, magic=build.GNU)
                      + bytes(4096), [*BROKEN, *BAD_NAME, UNSUPPORTED])
    corpus.refuse("gnu-long-name-of-a-long-name.tar", base + build.gnu_long(b"L", b"a")
                  + build.gnu_long(b"L", b"../evil") + build.gnu_long(b"L", b"../evil")
                  + tar_header(b"b", magic=build.GNU) + build.TAR_END,
                  ["entry_unsafe", "archive_corrupt"])
    corpus.refuse("gnu-long-name-leaving.tar",
                  base + build.gnu_long(b"L", b"../evil") + tar_header(b"b", magic=build.GNU)
                  + build.TAR_END, "entry_unsafe")
    nested = build.gnu_long(b"L", b"x") * 20_000
    corpus.refuse("gnu-long-names-nested-20000-times.tar.gz",
                  gz(base + nested + build.TAR_END), [*BROKEN, "entry_unsafe", "name_invalid"])
    nested = pax_header({"comment": "x"}) * 20_000
    corpus.refuse("pax-headers-nested-20000-times.tar.gz",
                  gz(base + nested + build.TAR_END), [*BROKEN, "entry_unsafe", "name_invalid"])


def sparse(corpus):
    """Holes cost nothing in the archive, and everything in whatever fills them with zeros."""
    codes = ["inflated_too_large", *BROKEN]
    for name, size in {"1-exbibyte": 1 << 60, "8-exbibytes": (1 << 63) - 1,
                       "17-gibibytes": 17 << 30}.items():
        old = struct.pack("12s12s", b"%011o" % 0, b"%011o" % 0) + bytes(72)
        tail = bytes(41) + old + b"\0" + build.octal(size, 12)
        member = tar_header(b"holes", b"S", 0, magic=build.GNU, tail=bytes(0) + tail)
        corpus.refuse(f"sparse-of-{name}-in-gnu.tar",
                      build.tar_gnu(package(), end=member + build.TAR_END), codes)
        for version, records in {
                "0.0": {"GNU.sparse.size": str(size), "GNU.sparse.numblocks": "1",
                        "GNU.sparse.offset": str(size - 5), "GNU.sparse.numbytes": "5"},
                "0.1": {"GNU.sparse.size": str(size), "GNU.sparse.numblocks": "1",
                        "GNU.sparse.map": f"{size - 5},5", "GNU.sparse.name": "holes"},
                }.items():
            corpus.refuse(f"sparse-of-{name}-in-pax-{version}.tar", with_records(records), codes)
        table = build.padded(b"1\n%d\n5\n" % (size - 5))
        member = pax_header({"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                             "GNU.sparse.name": "holes", "GNU.sparse.realsize": str(size)}) \
            + tar_header(b"x", b"0", len(table) + 5) + table + build.padded(b"12345")
        corpus.refuse(f"sparse-of-{name}-in-pax-1.0.tar",
                      tar_pax(package(), end=member + build.TAR_END), codes)
    maps = {"going-backwards": "100,3,10,2", "overlapping": "0,3,1,2", "negative": "-5,5",
            "odd": "0,3,5", "of-letters": "a,b", "over-64-bits": "9" * 25 + ",5",
            "wrapping-around": f"{(1 << 63) - 2},5"}
    for name, text in maps.items():
        corpus.refuse(f"sparse-map-{name}.tar", with_records(
            {"GNU.sparse.size": "1000", "GNU.sparse.numblocks": "2", "GNU.sparse.map": text}),
            codes)
    blocks = b"9999999999\n" + b"0\n0\n" * 100
    member = pax_header({"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                         "GNU.sparse.name": "holes", "GNU.sparse.realsize": "10"}) \
        + tar_header(b"x", b"0", len(build.padded(blocks))) + build.padded(blocks)
    corpus.refuse("sparse-map-of-ten-billion-blocks.tar",
                  tar_pax(package(), end=member + build.TAR_END), codes)


def odd_types(corpus):
    codes = ["entry_unsupported", *BROKEN]
    for flag, name in {b"M": "continuation-of-another-volume", b"N": "old-long-name"}.items():
        corpus.refuse(f"type-{name}.tar", build.tar_gnu(package(), end=tar_header(
            b"part", flag, 0, magic=build.GNU) + build.TAR_END), codes)
    corpus.refuse("kind-of-no-kind.newc.cpio",
                  no_kind(build.cpio_newc(package(file("a", b"1")))), codes)
    corpus.refuse("link-with-a-body.tar", build.tar_ustar(package(), end=tar_header(
        b"l", b"2", 600, b"bin/run") + b"x" * 600 + bytes(424) + build.TAR_END),
        [*codes, "entry_unsafe"])
    tree = package(link("l", "bin/run"))
    corpus.refuse("link-below-a-top-beside-it.tar.xz",
                  xz(tar_pax([*[e.moved("top/") for e in tree], link("beside", "top")])),
                  "manifest_missing")


def no_kind(data):
    at = data.rfind(b"000081A4")
    return data[:at] + b"0000F1A4" + data[at + 8:]
