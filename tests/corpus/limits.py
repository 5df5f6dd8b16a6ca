# SPDX-License-Identifier: Apache-2.0
"""What is sound and too much: bombs, and packages above the limits of their mount.

A case with options has a mount of its own, whose limits are low enough to be met quickly.
"""

import bz2
import random
import zlib

import build
from build import directory, file, tar_header, zip_archive
from case import gz, lz4, package, xz, zst

MEBIBYTE = 1 << 20
INFLATED = f"max_inflated_bytes={16 * MEBIBYTE}"
ENTRIES = "max_entries=1000"
ARCHIVE = f"max_archive_bytes={MEBIBYTE}"


def make(corpus):
    bombs(corpus)
    zip_bombs(corpus)
    holes(corpus)
    entries(corpus)
    implied(corpus)
    archive_bytes(corpus)


def bombs(corpus):
    """5 GiB of zeros as one member; the filter's stream is one piece, repeated."""
    piece, size = 16 * MEBIBYTE, 5 << 30
    head = build.tar_pax(package(), end=b"") + tar_header(b"zeros", b"0", size)
    packers = {"gz": gz, "zst": lambda data: zst(data, "-1"), "bz2": bz2.compress, "xz": xz,
               "lz4": lz4}
    for name, pack in packers.items():
        # bzip2 and xz take their time for zeros: their piece is smaller, and cut short is enough.
        length = piece if name in ("gz", "zst", "lz4") else 8 * MEBIBYTE
        count = size // length if name in ("gz", "zst") else 6
        zeros = pack(bytes(length))
        tail = [pack(build.TAR_END)] if count * length == size else []
        corpus.refuse(f"bomb-of-5-gibibytes.tar.{name}", [pack(head), *[zeros] * count, *tail],
                      "inflated_too_large", INFLATED)
    # Nothing of this is in a member: it is what a reader skips that never ends.
    zeros = gz(bytes(piece))
    sound = gz(build.tar_pax(package()))
    corpus.refuse("bomb-behind-the-end.tar.gz", [sound, *[zeros] * 320],
                  ["inflated_too_large", "archive_corrupt"], INFLATED)
    corpus.refuse("bomb-of-empty-members.tar.gz",
                  [gz(head), *[gz(b"") * 1000] * 100, gz(b"x")],
                  ["archive_truncated", "archive_corrupt"])
    record = build.pax_header({"comment": "x" * 60_000}, b"g")
    corpus.refuse("bomb-of-global-headers.tar.gz",
                  [gz(record * 20)] * 20 + [gz(build.tar_pax(package()))],
                  ["inflated_too_large", "archive_corrupt"], INFLATED)


def zip_bombs(corpus):
    size = 64 * MEBIBYTE
    kernel = build.deflate(bytes(size))
    crc = zlib.crc32(bytes(size))
    honest = {"packed": kernel, "size": size, "crc": crc, "method": 8}
    corpus.refuse("bomb-honest.zip", zip_archive(package(file("zeros", b"", zip=honest))),
                  "inflated_too_large", INFLATED)
    corpus.refuse("bomb-that-declares-1000-bytes.zip",
                  zip_archive(package(file("zeros", b"", zip={**honest, "size": 1000}))),
                  ["inflated_too_large", "archive_corrupt"], INFLATED)
    corpus.refuse("bomb-that-declares-nothing.zip",
                  zip_archive(package(file("zeros", b"", zip={
                      **honest, "flags": 8, "size": 0, "packed_size": len(kernel)}))),
                  ["inflated_too_large", "archive_corrupt", "archive_truncated"], INFLATED)
    each = build.deflate(bytes(MEBIBYTE))
    crc = zlib.crc32(bytes(MEBIBYTE))
    many = [file(f"zeros{n}", b"", zip={"packed": each, "size": MEBIBYTE, "crc": crc,
                                        "method": 8}) for n in range(40)]
    corpus.refuse("bomb-of-40-members.zip", zip_archive(package(*many)), "inflated_too_large",
                  INFLATED)


def holes(corpus):
    """Sparse files of a size that is allowed by default, and not here."""
    size = 1 << 30
    table = build.padded(b"1\n%d\n5\n" % (size - 5))
    member = build.pax_header({"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                               "GNU.sparse.name": "holes", "GNU.sparse.realsize": str(size)}) \
        + tar_header(b"x", b"0", len(table) + 5) + table + build.padded(b"12345")
    corpus.refuse("holes-of-1-gibibyte.tar",
                  build.tar_pax(package(), end=member + build.TAR_END), "inflated_too_large",
                  INFLATED)
    # Each is small enough alone, and shares its bytes with all the others.
    same = [file(f"f{n}", bytes(MEBIBYTE)) for n in range(40)]
    corpus.refuse("sum-of-equal-files.tar.gz", gz(build.tar_pax(package(*same))),
                  "inflated_too_large", INFLATED)
    links = [build.hard(f"f{n}", "f0") for n in range(1, 200)]
    tree = package(file("f0", bytes(MEBIBYTE)), *[file(f"f{n}", bytes(MEBIBYTE))
                                                  for n in range(1, 200)], type_name="many-links")
    corpus.accept("hard-links-cost-nothing.tar.gz",
                  gz(build.tar_pax([*tree[:3], *links])), tree, "many-links", INFLATED)
    noise = random.Random(7).randbytes(12 * MEBIBYTE)
    large = package(file("noise", noise), type_name="below-the-limit")
    corpus.accept("below-the-limit.tar", build.tar_pax(large), large, "below-the-limit", INFLATED)


def entries(corpus):
    many = package(*[file(f"f{n:07}", b"") for n in range(1500)])
    for extension, pack in build.FORMATS.items():
        corpus.refuse(f"entries-1500.{extension}", pack(many), "too_many_entries", ENTRIES)
    # A million entries, all of them the same directory: repeating it is no error by itself.
    piece = build.ustar_member(directory("d")) * 10_000
    pieces = [zst(build.tar_ustar(package(), end=b"")), *[zst(piece)] * 100, zst(build.TAR_END)]
    corpus.refuse("entries-a-million-times-one-directory.tar.zst", pieces, "too_many_entries",
                  ENTRIES)
    count = 50_000
    names = [file(f"{n}", b"") for n in range(count)]
    corpus.refuse("entries-50000-empty-files.tar.xz", xz(build.tar_ustar(package(*names))),
                  "too_many_entries", ENTRIES)
    _, central = build.zip_parts(package())
    liar = zip_archive(package(), count=0xfffe)
    corpus.refuse("entries-65534-declared.zip", liar, ["too_many_entries", "archive_corrupt"],
                  ENTRIES)
    few = package(*[file(f"f{n}", b"") for n in range(900)], type_name="below-the-entries")
    corpus.accept_in_formats("entries-900", few, group="entries-900")


def implied(corpus):
    """Each entry implies its directories, which nobody sent and somebody must keep."""
    deep = package(*[file(f"{n}/" + "d/" * 500 + "f") for n in range(100)])
    corpus.refuse("entries-50000-implied-directories.tar.xz", xz(build.tar_pax(deep)),
                  "too_many_entries", ENTRIES)
    deep = package(*[file(f"{n}/" + "d/" * 2000 + "f") for n in range(1000)])
    corpus.refuse("entries-two-million-implied-directories.tar.gz", gz(build.tar_pax(deep)),
                  ["too_many_entries", "inflated_too_large", "archive_too_large"])


def archive_bytes(corpus):
    noise = random.Random(8).randbytes(3 * MEBIBYTE)
    corpus.refuse("archive-of-3-mebibytes.tar",
                  build.tar_pax(package(file("noise", noise))), "archive_too_large", ARCHIVE)
    corpus.refuse("archive-of-3-mebibytes-of-noise.bin", noise, "archive_too_large", ARCHIVE)
    small = package(file("noise", noise[:900_000]), type_name="below-the-archive")
    corpus.accept("archive-of-900000-bytes.tar", build.tar_pax(small), small, "below-the-archive",
                  ARCHIVE)
    zeros = package(file("zeros", bytes(8 * MEBIBYTE)), type_name="inflates-above-the-archive")
    corpus.accept("archive-small-inflated-above-it.tar.gz", gz(build.tar_pax(zeros)), zeros,
                  "inflates-above-the-archive", ARCHIVE)
