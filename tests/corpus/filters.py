# SPDX-License-Identifier: Apache-2.0
"""The five filters: what each may look like, what is none of them, and filters within filters."""

import bz2
import lzma
import random
import struct
import zlib

import build
from build import file
from case import BROKEN, FILTERS, gz, lz4, package, tool, xz, zst

UNSUPPORTED = "archive_unsupported"


def make(corpus):
    entries = package(file("noise", random.Random(4).randbytes(200_000)),
                      file("text", b"a line of text\n" * 20_000), type_name="filters")
    tar = build.tar_pax(entries)
    accepted(corpus, entries, tar)
    on_other_formats(corpus)
    nested(corpus, build.tar_pax(package()))
    foreign_filters(corpus, build.tar_pax(package()))
    windows(corpus)


def gz_with_header_fields(data):
    """Every optional field of RFC 1952, the header's checksum included."""
    head = (b"\x1f\x8b\x08\x1e" + struct.pack("<L", build.TIME) + b"\x02\x03"
            + struct.pack("<H", 6) + b"ab\x02\0xy" + b"order.tar\0" + b"a comment\0")
    return head + struct.pack("<H", zlib.crc32(head) & 0xffff) + build.deflate(data) \
        + struct.pack("<2L", zlib.crc32(data), len(data))


def accepted(corpus, entries, tar):
    third = len(tar) // 3
    parts = [tar[:third], tar[third:2 * third], tar[2 * third:]]
    skippable = b"\x50\x2a\x4d\x18" + struct.pack("<L", 11) + b"not content"
    xz_streams = b"".join(xz(part) + bytes(4 * n) for n, part in enumerate(parts))
    cases = {
        "none.tar": tar,
        "gz.tar.gz": gz(tar),
        "gz-fast.tar.gz": tool("gzip", "-1", "-n", data=tar),
        "gz-best.tar.gz": tool("gzip", "-9", "-n", data=tar),
        "gz-stored.tar.gz": zlib_stored(tar),
        "gz-rsyncable.tar.gz": tool("gzip", "--rsyncable", "-n", data=tar),
        "gz-with-all-header-fields.tar.gz": gz_with_header_fields(tar),
        "gz-three-members.tar.gz": b"".join(map(gz, parts)),
        "gz-with-empty-members.tar.gz": gz(b"") + gz(tar) + gz(b""),
        "gz-member-of-each-64-kibibytes.tar.gz": b"".join(
            gz(tar[n:n + 65536]) for n in range(0, len(tar), 65536)),
        "bz2.tar.bz2": bz2.compress(tar),
        "bz2-smallest-blocks.tar.bz2": bz2.compress(tar, 1),
        "bz2-three-streams.tar.bz2": b"".join(map(bz2.compress, parts)),
        "xz.tar.xz": tool("xz", "-6", data=tar),
        "xz-best.tar.xz": tool("xz", "-9", data=tar),
        "xz-crc32.tar.xz": lzma.compress(tar, preset=1, check=lzma.CHECK_CRC32),
        "xz-sha256.tar.xz": lzma.compress(tar, preset=1, check=lzma.CHECK_SHA256),
        "xz-bcj-and-delta.tar.xz": tool("xz", "--x86", "--delta=dist=2", "--lzma2=preset=1",
                                        data=tar),
        "xz-blocks-and-threads.tar.xz": tool("xz", "-1", "-T2", "--block-size=64KiB", data=tar),
        "xz-three-streams.tar.xz": b"".join(map(xz, parts)),
        "xz-three-streams-with-padding.tar.xz": xz_streams,
        "zst.tar.zst": zst(tar),
        "zst-best.tar.zst": zst(tar, "-19"),
        "zst-without-checksum.tar.zst": zst(tar, "--no-check"),
        "zst-three-frames.tar.zst": b"".join(map(zst, parts)),
        "zst-skippable-frames-between.tar.zst": b"".join(zst(part) + skippable for part in parts),
        "zst-skippable-frame-first.tar.zst": skippable + zst(tar),
        "zst-threads.tar.zst": zst(tar, "-T2", "-3"),
        "lz4.tar.lz4": lz4(tar),
        "lz4-best.tar.lz4": lz4(tar, "-9"),
        "lz4-content-checksum-and-size.tar.lz4": lz4(tar, "--content-size", "-BX"),
        "lz4-small-dependent-blocks.tar.lz4": lz4(tar, "-B4", "-BD"),
        "lz4-without-checksum.tar.lz4": lz4(tar, "--no-frame-crc"),
        "lz4-three-frames.tar.lz4": b"".join(map(lz4, parts)),
    }
    for name, data in cases.items():
        corpus.accept(f"filter-{name}", data, entries, "filters")


def zlib_stored(data):
    engine = zlib.compressobj(0, zlib.DEFLATED, 31)
    return engine.compress(data) + engine.flush()


def on_other_formats(corpus):
    entries = package(file("a", b"1"), type_name="filters-on-cpio")
    for name, pack in FILTERS.items():
        for format_name, writer in {"newc": build.cpio_newc, "odc": build.cpio_odc}.items():
            corpus.accept(f"filter-{name}.{format_name}.cpio.{name}", pack(writer(entries)),
                          entries, "filters-on-cpio")
        # A zip is read from its end, which a stream does not have.
        corpus.refuse(f"zip-inside-{name}.zip.{name}", pack(build.zip_archive(entries)),
                      UNSUPPORTED)


def nested(corpus, tar):
    codes = [UNSUPPORTED, "archive_corrupt"]
    for outer, pack in FILTERS.items():
        for inner in FILTERS:
            corpus.refuse(f"filter-{inner}-inside-{outer}.{inner}.{outer}",
                          pack(FILTERS[inner](tar)), codes)
    deep = tar
    for _ in range(200):
        deep = gz(deep)
    corpus.refuse("filter-200-times-gz.tar.gz", deep, codes)
    mixed = build.tar_pax(package())
    for name in [*FILTERS, *FILTERS, *FILTERS]:
        mixed = FILTERS[name](mixed)
    corpus.refuse("filter-three-times-all.tar.lz4", mixed, codes)
    corpus.refuse("archive-inside-an-archive.tar.gz",
                  gz(build.tar_pax([file("order.tar", tar)])), "manifest_missing")


def foreign_filters(corpus, tar):
    """Filters that libarchive knows, and nobody allowed."""
    cases = {
        "lzma-alone.tar.lzma": lzma.compress(tar, format=lzma.FORMAT_ALONE),
        "zlib.tar.zlib": zlib.compress(tar),
        "raw-deflate.tar.deflate": build.deflate(tar),
        "compress.tar.Z": tool("bsdtar", "-cZf", "-", "--format=pax", "@-", data=tar),
        "lzip.tar.lz": tool("bsdtar", "-cf", "-", "--lzip", "--format=pax", "@-", data=tar),
        "uuencode.tar.uu": tool("bsdtar", "-cf", "-", "--uuencode", "--format=pax", "@-",
                                data=tar),
        "base64.tar.b64": tool("bsdtar", "-cf", "-", "--b64encode", "--format=pax", "@-",
                               data=tar),
        "lzop.tar.lzo": b"\x89LZO\0\r\n\x1a\n" + bytes(60),
        "grzip.tar.grz": b"GRZipII\0\x02\x04:)" + bytes(60),
        "lrzip.tar.lrz": b"LRZI\0\x06" + bytes(60),
        "rpm.rpm": b"\xed\xab\xee\xdb\3\0\0\0" + bytes(100) + gz(tar),
        "lz4-legacy.tar.lz4": lz4(tar, "-l"),
        "zst-of-an-old-version.tar.zst": b"\x27\xb5\x2f\xfd" + zst(tar)[4:],
        "zst-with-a-dictionary.tar.zst": b"\x28\xb5\x2f\xfd\x03\x40" + b"dict" + bytes(20),
        "only-a-skippable-frame.tar.zst": b"\x50\x2a\x4d\x18\x04\0\0\0more",
    }
    for name, data in cases.items():
        corpus.refuse(f"filter-unknown-{name}", data, [UNSUPPORTED, *BROKEN])
    for name, pack in FILTERS.items():
        corpus.refuse(f"compressed-text.txt.{name}", pack(b"just a text\n" * 100), UNSUPPORTED)
        corpus.refuse(f"compressed-noise.bin.{name}", pack(random.Random(5).randbytes(5000)),
                      UNSUPPORTED)
        corpus.refuse(f"compressed-nothing.{name}", pack(b""),
                      ["archive_empty", UNSUPPORTED, "archive_truncated"])
        corpus.refuse(f"compressed-zeros.{name}", pack(bytes(10240)),
                      ["archive_empty", UNSUPPORTED, "manifest_missing"])


def zst_frame(content, window):
    """A frame of raw blocks that declares a window; 0xa8 is 2 GiB, 0xb0 4 GiB, 0xff 3.75 TiB."""
    out = b"\x28\xb5\x2f\xfd\x00" + bytes([window])
    for start in range(0, len(content), 1 << 16):
        block = content[start:start + (1 << 16)]
        is_last = start + len(block) == len(content)
        out += struct.pack("<L", len(block) << 3 | is_last)[:3] + block
    return out


def xz_with_dictionary(data, size_code):
    """The first block's header says another dictionary size; code 40 is 4 GiB - 1, 37 1.5 GiB."""
    packed = bytearray(lzma.compress(data, preset=1))
    length = (packed[12] + 1) * 4
    at = packed.index(b"\x21\x01", 12, 12 + length) + 2  # LZMA2, one byte of properties
    packed[at] = size_code
    packed[12 + length - 4:12 + length] = struct.pack("<L", zlib.crc32(
        bytes(packed[12:12 + length - 4])))
    return bytes(packed)


def windows(corpus):
    """A decoder takes the memory that the stream asks for, unless it is told not to."""
    codes = ["archive_corrupt", UNSUPPORTED]
    tar = build.tar_pax(package())
    for name, window in {"2-gibibytes": 0xa8, "4-gibibytes": 0xb0, "3-tebibytes": 0xff}.items():
        corpus.refuse(f"window-of-{name}.tar.zst", zst_frame(tar, window), codes)
    for name, code in {"2-gibibytes": 38, "4-gibibytes": 40, "41-is-no-code": 41}.items():
        corpus.refuse(f"dictionary-of-{name}.tar.xz", xz_with_dictionary(tar, code), codes)
    entries = package(type_name="windows")
    sound = build.tar_pax(entries)
    corpus.accept("window-of-8-mebibytes.tar.zst", zst_frame(sound, 0x68), entries, "windows")
    corpus.accept("dictionary-of-64-mebibytes.tar.xz", xz_with_dictionary(sound, 28), entries,
                  "windows")
