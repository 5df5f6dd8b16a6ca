# SPDX-License-Identifier: Apache-2.0
"""Archives that were sound once: flipped bits, missing ends, and bytes behind the end."""

import random
import struct

import build
from build import file, TARS
from case import BROKEN, FILTERS, gz, lz4, package, xz, zst

# Text and noise, so that every filter has both to do; spans several blocks of every format.
CONTENT = random.Random(1).randbytes(9000) + b"all work and no play\n" * 600
LENGTHS = {"gz": 8, "bz2": 10, "xz": 40, "zst": 4, "lz4": 8}  # of what ends the stream


def sound():
    return package(file("data/noise", CONTENT), file("data/text", CONTENT[9000:]))


def make(corpus):
    archive = build.tar_pax(sound())
    packed = {name: pack(archive) for name, pack in FILTERS.items()}
    for name, data in packed.items():
        flipped_filter(corpus, name, data)
        cut_filter(corpus, name, data)
        behind_filter(corpus, name, data)
    tar_headers(corpus)
    cut_tar(corpus)
    behind_tar(corpus, archive)
    cpios(corpus)
    cut_zip(corpus)
    flipped_entries(corpus)


def flip(data, offset, mask=0x10):
    return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1:]


def flipped_filter(corpus, name, data):
    end = len(data) - LENGTHS[name]
    for number, offset in enumerate(range(end // 8, end, end // 7)):
        corpus.refuse(f"flipped-bit-{number}-in-the-body.tar.{name}", flip(data, offset), BROKEN)
    # The last byte of a bzip2 stream ends in bits that mean nothing.
    for offset in range(2 if name == "bz2" else 1, LENGTHS[name] + 1, 4 if name == "xz" else 2):
        corpus.refuse(f"flipped-bit-{offset}-before-the-end.tar.{name}", flip(data, -offset + len(
            data)), BROKEN)
    if name == "gz":
        corpus.refuse("flipped-length-in-the-trailer.tar.gz",
                      data[:-4] + struct.pack("<L", 1 << 31), BROKEN)
        corpus.refuse("flipped-crc-of-a-first-member.tar.gz",
                      flip(gz(build.tar_pax(sound(), end=b"")), -8) + gz(build.TAR_END), BROKEN)
        corpus.refuse("reserved-flags-in-the-header.tar.gz", flip(data, 3, 0xe0),
                      [*BROKEN, "archive_unsupported"])
        corpus.refuse("unknown-method-in-the-header.tar.gz", flip(data, 2, 0x0f),
                      [*BROKEN, "archive_unsupported"])


def cut_filter(corpus, name, data):
    cuts = {"to-a-quarter": len(data) // 4, "to-a-half": len(data) // 2,
            "before-its-trailer": len(data) - LENGTHS[name], "by-one-byte": len(data) - 1,
            "inside-its-trailer": len(data) - LENGTHS[name] // 2}
    for where, length in cuts.items():
        corpus.refuse(f"cut-{where}.tar.{name}", data[:length], BROKEN)
    corpus.refuse(f"cut-to-the-magic.tar.{name}", data[:6],
                  [*BROKEN, "archive_unsupported", "archive_empty"])
    pack = FILTERS[name]
    # The filter's stream is whole, and what is inside ends too early.
    corpus.refuse(f"cut-before-compression.tar.{name}",
                  pack(build.tar_pax(sound(), end=b"")), BROKEN)


def behind_filter(corpus, name, data):
    pack = FILTERS[name]
    other = "bz2" if name == "gz" else "gz"
    cases = {"garbage": b"garbage", "one-byte": b"\x01", "half-a-magic": data[:2],
             "another-filter": FILTERS[other](b"x" * 100), "a-tar": build.tar_pax(sound()),
             "a-cut-second-stream": pack(bytes(100))[:-3]}
    for what, more in cases.items():
        corpus.refuse(f"behind-the-stream-{what}.tar.{name}", data + more, BROKEN)
    corpus.refuse(f"behind-the-stream-a-second-archive.tar.{name}", data + data, BROKEN)
    corpus.refuse(f"behind-the-end-in-a-second-stream.tar.{name}", data + pack(b"garbage"), BROKEN)


def tar_headers(corpus):
    for format_name, pack in TARS.items():
        archive = pack(sound())
        offset = archive.rfind(b"ustar", 0, len(archive) - 2048) - 257
        bad = archive[:offset + 148] + b"000000\0 " + archive[offset + 156:]
        corpus.refuse(f"header-checksum-wrong.{format_name}", bad, BROKEN)
        corpus.refuse(f"header-flipped-bit-in-a-name.{format_name}", flip(archive, offset + 3),
                      BROKEN)
        first = flip(archive, 3)
        corpus.refuse(f"header-checksum-wrong-in-the-first.{format_name}", first,
                      [*BROKEN, "archive_unsupported"])
    last = build.tar_header(b"last", checksum=0)
    corpus.refuse("header-checksum-wrong-in-the-last.ustar.tar",
                  build.tar_ustar(sound(), end=last + build.TAR_END), BROKEN)
    for name, field in {"letters": b"a lot\0\0\0\0\0\0\0", "negative": b"\xff" * 12,
                        "negative-octal": b"-0000000001\0", "9s": b"99999999999\0",
                        "8-exbibytes": b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7,
                        "over-64-bits": b"\x80" + b"\x7f" * 11}.items():
        member = build.tar_header(b"data/x", size_field=field)
        corpus.refuse(f"header-size-{name}.ustar.tar",
                      build.tar_ustar(sound(), end=member + build.TAR_END),
                      [*BROKEN, "inflated_too_large"])


def cut_tar(corpus):
    for format_name, pack in TARS.items():
        data = pack(sound())
        whole = len(data) - 1024
        member = data.rfind(b"ustar", 0, whole) - 257  # the header of the last member
        cuts = {"inside-the-first-data": 600 if format_name == "ustar.tar" else 2600,
                "inside-a-header": member + 200, "before-a-header": member,
                "behind-a-header": member + 512, "inside-data": member + 1300,
                "inside-the-padding": len(data) - 1024 - 8, "before-the-end": whole,
                "behind-one-zero-block": whole + 512, "inside-the-second-zero-block": whole + 600}
        for where, length in cuts.items():
            corpus.refuse(f"cut-{where}.{format_name}", data[:length], BROKEN)
        corpus.refuse(f"cut-inside-the-first-header.{format_name}", data[:300],
                      [*BROKEN, "archive_unsupported"])
    data = build.tar_pax(sound())
    long = build.pax_header({"path": "x"})
    corpus.refuse("cut-behind-a-pax-header.pax.tar", build.tar_pax(sound(), end=long), BROKEN)
    corpus.refuse("end-behind-a-pax-header.pax.tar",
                  build.tar_pax(sound(), end=long + build.TAR_END), BROKEN)
    corpus.refuse("end-behind-a-long-name.gnu.tar",
                  build.tar_gnu(sound(), end=build.gnu_long(b"L", b"x") + build.TAR_END), BROKEN)
    corpus.refuse("cut-to-511-bytes.tar", data[:511], [*BROKEN, "archive_unsupported"])
    corpus.refuse("cut-to-one-byte.tar", data[:1], [*BROKEN, "archive_unsupported"])
    corpus.refuse("cut-inside-its-compression-and-its-data.tar.gz",
                  gz(data[:7000])[:-20], BROKEN)


def behind_tar(corpus, archive):
    noise = random.Random(2).randbytes(512)
    cases = {"garbage": b"garbage", "a-block-of-noise": noise, "one-byte": b"\x01",
             "a-second-archive": archive, "a-member": build.ustar_member(file("evil", b"1")),
             "garbage-behind-zeros": bytes(20480) + b"garbage",
             "a-member-behind-zeros": bytes(9216) + build.tar_ustar([file("evil", b"1")])}
    for what, more in cases.items():
        corpus.refuse(f"behind-the-end-{what}.tar", archive + more, BROKEN)
        corpus.refuse(f"behind-the-end-{what}.tar.gz", gz(archive + more), BROKEN)
    one = build.tar_pax(sound(), end=bytes(512))
    corpus.refuse("one-zero-block-then-a-member.tar",
                  one + build.tar_pax([file("more", b"1")]), BROKEN)
    corpus.refuse("one-zero-block-then-noise.tar", one + noise, BROKEN)
    for name, pack in {"zst": zst, "xz": xz, "lz4": lz4}.items():
        corpus.refuse(f"behind-the-end-garbage.tar.{name}", pack(archive + b"garbage"), BROKEN)


def cpios(corpus):
    packers = {"newc": build.cpio_newc, "odc": build.cpio_odc, "crc": build.cpio_crc,
               "bin": build.cpio_bin}
    for name, pack in packers.items():
        data = pack(sound())
        last = data.rfind(b"data/text")
        trailer = data.rfind(b"TRAILER!!!")
        header = {"newc": 110, "crc": 110, "odc": 76, "bin": 26}[name]
        cuts = {"inside-a-header": last - 10, "inside-a-name": last + 4,
                "inside-data": last + 500, "before-the-trailer": trailer - header,
                "inside-the-trailers-header": trailer - 5, "inside-the-trailers-name": trailer + 5}
        for where, length in cuts.items():
            corpus.refuse(f"cut-{where}.{name}.cpio", data[:length], BROKEN)
        corpus.refuse(f"cut-inside-the-first-header.{name}.cpio", data[:header - 6],
                      [*BROKEN, "archive_unsupported"])
        corpus.refuse(f"cut-before-the-trailer.{name}.cpio.gz", gz(data[:trailer - header]),
                      BROKEN)
        for what, more in {"garbage": b"garbage!", "a-second-archive": data,
                           "garbage-behind-zeros": bytes(1000) + b"garbage"}.items():
            corpus.refuse(f"behind-the-trailer-{what}.{name}.cpio", data + more, BROKEN)
        magic = {"newc": b"070701", "crc": b"070702", "odc": b"070707", "bin": b"\xc7\x71"}[name]
        begin = data.rfind(magic, 0, last)
        corpus.refuse(f"header-magic-wrong.{name}.cpio",
                      data[:begin] + b"?" * len(magic) + data[begin + len(magic):], BROKEN)
    newc = build.cpio_newc(sound())
    begin = newc.rfind(b"070701", 0, newc.rfind(b"data/text"))
    for name, at, text in (("size-of-letters", 54, b"0000zzzz"), ("size-4-gibibytes", 54,
                           b"FFFFFFFF"), ("name-of-4-gibibytes", 94, b"FFFFFFFF"),
                           ("name-of-no-bytes", 94, b"00000000"),
                           ("mode-of-letters", 14, b"0000zzzz")):
        corpus.refuse(f"header-{name}.newc.cpio",
                      newc[:begin + at] + text + newc[begin + at + 8:],
                      [*BROKEN, "name_invalid", "entry_unsupported", "inflated_too_large"])
    corpus.refuse("crc-wrong.crc.cpio", build.cpio_crc(sound(), checksum=12345),
                  "archive_corrupt")
    crc = build.cpio_crc(sound())
    corpus.refuse("crc-flipped-bit-in-data.crc.cpio", flip(crc, crc.rfind(b"no play")),
                  "archive_corrupt")


def cut_zip(corpus):
    data = build.zip_archive(sound())
    central = data.find(b"PK\1\2")
    end = data.rfind(b"PK\5\6")
    cuts = {"inside-data": central // 2, "before-its-directory": central,
            "inside-its-directory": (central + end) // 2, "before-its-end-record": end,
            "inside-its-end-record": end + 10, "by-one-byte": len(data) - 1}
    for where, length in cuts.items():
        corpus.refuse(f"cut-{where}.zip", data[:length], BROKEN)
    corpus.refuse("cut-inside-the-first-header.zip", data[:20],
                  [*BROKEN, "archive_unsupported"])
    comment = build.zip_archive(sound(), comment=b"a comment of some length")
    corpus.refuse("cut-inside-its-comment.zip", comment[:-7], BROKEN)
    for what, more in {"one-byte": b"\0", "garbage": b"garbage", "zeros": bytes(512),
                       "a-second-archive": data}.items():
        corpus.refuse(f"behind-the-end-record-{what}.zip", data + more,
                      [*BROKEN, "archive_unsupported"])
    corpus.refuse("in-front-of-the-zip-garbage.zip", b"garbage!" + data,
                  [*BROKEN, "archive_unsupported"])
    corpus.refuse("in-front-of-the-zip-a-program.zip", b"\x7fELF" + bytes(60) + data,
                  [*BROKEN, "archive_unsupported"])


def flipped_entries(corpus):
    data = build.zip_archive(sound())
    central = data.find(b"PK\1\2")
    for number, offset in enumerate(range(central // 3, central - 60, central // 4)):
        corpus.refuse(f"flipped-bit-{number}-in-a-member.zip", flip(data, offset), BROKEN)
    stored = build.zip_archive(package(file("a", CONTENT, zip={"method": build.STORED})))
    corpus.refuse("flipped-bit-in-a-stored-member.zip", flip(stored, stored.find(b"no play")),
                  "archive_corrupt")
    corpus.refuse("crc-wrong.zip", build.zip_archive(package(file("a", CONTENT, zip={"crc": 1}))),
                  "archive_corrupt")
    corpus.refuse("crc-wrong-of-an-empty-file.zip",
                  build.zip_archive(package(file("a", b"", zip={"crc": 1}))), "archive_corrupt")
