# SPDX-License-Identifier: Apache-2.0
"""What only a zip can say: each entry twice, in its local header and in the directory."""

import bz2
import lzma
import struct
import zlib

import build
import filters
from build import directory, executable, file, link, zip_archive, zip_end, zip_extra, zip_parts
from case import BAD_NAME, BROKEN, manifest, package, xz, zst

ZIP64_END, ZIP64_LOCATOR = b"PK\6\6", b"PK\6\7"
UNKNOWN = ["archive_unsupported", "entry_unsupported", "archive_corrupt"]


def make(corpus):
    encrypted(corpus)
    two_headers(corpus)
    names(corpus)
    sizes(corpus)
    methods(corpus)
    overlaps(corpus)
    end_records(corpus)
    zip64(corpus)
    kinds(corpus)
    unlisted(corpus)
    accepted(corpus)
    other_methods(corpus)


def one(name="a", data=b"data of the entry, long enough to be deflated\n" * 3, **over):
    return package(file(name, data, zip=over))


def encrypted(corpus):
    noise = bytes(range(100, 160))
    aes = zip_extra(0x9901, struct.pack("<H2sBH", 2, b"AE", 3, 8))
    cases = {
        "zipcrypto": one(flags=1, packed=noise),
        "zipcrypto-stored": one(flags=1, method=0, packed=noise),
        "zipcrypto-with-descriptor": one(flags=1 | 8, packed=noise),
        "zipcrypto-of-an-empty-file": one(data=b"", flags=1, packed=noise[:12]),
        "aes": one(flags=1, method=99, extra=aes, packed=noise, needs=51),
        "strong": one(flags=1 | 0x40, packed=noise, needs=50),
        "only-in-the-directory": one(central_flags=1),
        "only-in-the-local-header": one(local_flags=1),
        "manifest": [file("manifest.json", b"x" * 30, zip={"flags": 1}), *package()[1:]],
    }
    for name, entries in cases.items():
        code = ["archive_encrypted", *BROKEN[:1]] if name.startswith("only") \
            else "archive_encrypted"
        corpus.refuse(f"encrypted-{name}.zip", zip_archive(entries), code)
    corpus.refuse("encrypted-method-without-the-flag.zip",
                  zip_archive(one(method=99, extra=aes, packed=noise)),
                  ["archive_encrypted", *UNKNOWN])
    corpus.refuse("encrypted-directory.zip",
                  zip_archive(one(flags=1 | 0x40 | 0x2000, packed=noise, needs=62,
                                  local_crc=0, local_size=0)), "archive_encrypted")


def two_headers(corpus):
    """A local header and a directory that tell two stories."""
    cases = {
        "name": one("harmless", local_name=b"evil"),
        "name-leaving": one("harmless", local_name=b"../../evil"),
        "name-leaving-in-the-directory": one("../../evil", local_name=b"harmless"),
        "name-shorter": one("harmless", local_name=b"harm"),
        "crc": one(local_crc=12345),
        "size": one(local_size=10),
        "packed-size": one(local_packed_size=10),
        "packed-size-longer": one(local_packed_size=1000),
        "method": one(local_method=0),
        "method-in-the-directory": one(central_method=0),
    }
    for name, entries in cases.items():
        corpus.refuse(f"headers-disagree-{name}.zip", zip_archive(entries),
                      ["archive_corrupt", "entry_unsafe"])
    corpus.refuse("entry-only-in-the-directory.zip",
                  zip_archive([*package(), file("a", b"1", zip={"central_only": True})]), BROKEN)
    corpus.refuse("local-header-is-none.zip",
                  zip_archive([*package(), file("a", b"1" * 100, zip={"central_offset": 3})]),
                  BROKEN)


def names(corpus):
    def unicode_path(claimed, header_name, wrong_crc=False):
        crc = 1 if wrong_crc else zlib.crc32(header_name)
        return zip_extra(0x7075, struct.pack("<BL", 1, crc) + claimed)
    codes = ["entry_unsafe", "archive_corrupt", "name_invalid"]
    for name, claimed in {"another-file": b"evil", "leaving": b"../../evil",
                          "absolute": b"/etc/passwd", "a-duplicate": b"bin/run",
                          "a-directory": b"evil/"}.items():
        extra = unicode_path(claimed, b"harmless")
        corpus.refuse(f"unicode-path-{name}.zip", zip_archive(one("harmless", extra=extra)),
                      [*codes, "entry_duplicate"])
        corpus.refuse(f"unicode-path-{name}-in-the-directory.zip",
                      zip_archive(one("harmless", central_extra=extra)),
                      [*codes, "entry_duplicate"])
        corpus.refuse(f"unicode-path-{name}-in-the-local-header.zip",
                      zip_archive(one("harmless", local_extra=extra)),
                      [*codes, "entry_duplicate"])
    corpus.refuse("unicode-path-of-the-manifest.zip", zip_archive([
        file("harmless", manifest("other").data,
             zip={"extra": unicode_path(b"manifest.json", b"harmless")}), *package()]),
        [*codes, "entry_duplicate"])
    # Made on MS-DOS, where the backslash separates directories.
    dos = {"central_made_by": 20, "attributes": 0x20}
    for name, path in {"": "dir\\file", "-leaving": "..\\..\\evil", "-absolute": "\\evil",
                       "-and-slashes": "dir\\sub/file"}.items():
        corpus.refuse(f"backslash{name}-made-on-dos.zip", zip_archive(one(path, **dos)), codes)
    for name, path in {"-leaving": "..\\..\\evil", "": "dir\\file"}.items():
        corpus.refuse(f"backslash{name}.zip", zip_archive(one(path)), codes)
    corpus.refuse("drive-letter-backslash.zip", zip_archive(one("C:\\evil")), codes)
    corpus.refuse("name-not-utf-8-but-flagged.zip",
                  zip_archive(one(b"bad-\xff-name", flags=build.UTF8_NAME)),
                  [*BAD_NAME, "archive_corrupt"])
    corpus.refuse("name-runs-behind-the-directory.zip",
                  zip_archive(package())[:-22].replace(b"PK\1\2", b"PK\1\2", 1)
                  + zip_end(3, 500, len(zip_parts(package())[0])), BROKEN)


def sizes(corpus):
    data = b"0123456789" * 1000
    cases = {
        "declared-smaller": one(data=data, size=10),
        "declared-larger": one(data=data, size=20000),
        "declared-smaller-stored": one(data=data, method=0, size=10),
        "declared-larger-stored": one(data=data, method=0, size=20000),
        "packed-declared-smaller": one(data=data, packed_size=20),
        "packed-declared-larger": one(data=data, packed_size=5000),
        "packed-of-a-stored-entry-differs": one(data=data, method=0, packed_size=9000),
        "packed-behind-the-end": one(data=data, packed_size=0x7fffffff),
        "declared-as-4-gibibytes": one(data=data, size=0xfffffffe),
        "zero-declared": one(data=data, size=0),
        "zero-packed": one(data=data, packed=b"", method=8),
        "deflate-stream-goes-on": one(data=data, packed=build.deflate(data) + b"more bytes"),
        "deflate-stream-ends-early": one(data=data, packed=build.deflate(data)[:-4]),
        "descriptor-with-another-crc": one(data=data, flags=8, local_crc=0, central_crc=7),
    }
    for name, entries in cases.items():
        corpus.refuse(f"size-{name}.zip", zip_archive(entries), [*BROKEN, "inflated_too_large"])
    # What a member really inflates to, whatever it declares.
    bomb = build.deflate(bytes(100_000))
    corpus.refuse("size-10-declared-100000-delivered.zip",
                  zip_archive(one(data=b"", packed=bomb, method=8, size=10,
                                  crc=zlib.crc32(bytes(10)))), BROKEN)
    corpus.refuse("directory-with-data.zip",
                  zip_archive([*package(), file("d/", b"data of a directory")]),
                  ["archive_corrupt", "entry_unsafe", "entry_unsupported"])


def methods(corpus):
    for number in (1, 6, 7, 10, 11, 15, 77, 94, 97, 65535):
        corpus.refuse(f"method-{number}.zip", zip_archive(one(method=number)), UNKNOWN)
    corpus.refuse("deflate-garbage.zip", zip_archive(one(packed=b"\xff" * 50)), BROKEN)
    corpus.refuse("deflate-reserved-block.zip", zip_archive(one(packed=b"\x07" * 50)), BROKEN)


def overlaps(corpus):
    """Many entries of the directory share one stream, so that a small file inflates hugely."""
    kernel = build.deflate(bytes(1 << 20))
    shared = {"packed": kernel, "size": 1 << 20, "crc": zlib.crc32(bytes(1 << 20)), "method": 8}
    base, central = zip_parts(package(file("bomb", b"", zip=shared)))
    offset = base.rfind(b"PK\3\4")
    more = b"".join(zip_parts([file("bomb", b"", zip={**shared, "central_offset": offset})])[1]
                    for _ in range(50))
    whole = base + central + more + zip_end(53, len(central + more), len(base))
    corpus.refuse("overlap-one-stream-of-50-entries.zip", whole, [*BROKEN, "entry_duplicate"])
    more = b"".join(zip_parts([file(f"bomb{n}", b"", zip={
        **shared, "central_offset": offset, "local_name": b"bomb"})])[1] for n in range(50))
    whole = base + central + more + zip_end(53, len(central + more), len(base))
    corpus.refuse("overlap-one-stream-of-50-names.zip", whole, BROKEN)
    corpus.refuse("overlap-quoted-headers.zip", quoted_overlap(), BROKEN)
    nested = one("outer", zip_parts([file("inner", b"1")])[0], method=0)
    body, central = zip_parts(nested)
    inner = zip_parts([file("inner", b"1", zip={"central_offset": body.rfind(b"PK\3\4")})])[1]
    corpus.refuse("overlap-an-entry-inside-an-entry.zip",
                  body + central + inner + zip_end(4, len(central + inner), len(body)), BROKEN)


def quoted_overlap():
    """Fifield's construction: each entry's stream begins with a stored block that quotes the
    following local headers, and ends in one common kernel."""
    plain = bytes(1 << 16)
    kernel, body = build.deflate(plain), plain
    streams, count = [], 20
    for number in reversed(range(count)):
        name = b"quoted-%02d" % number
        fields = {"needs": 20, "flags": 0, "method": 8, "time": build.DOS_TIME,
                  "crc": zlib.crc32(body), "packed_size": len(kernel), "size": len(body),
                  "name": name, "extra": b""}
        header = build.zip_local(fields)
        streams.insert(0, (number, header, dict(fields)))
        quote = struct.pack("<BHH", 0, len(header), len(header) ^ 0xffff)
        body, kernel = header + body, quote + header + kernel
    start, sound_directory = zip_parts(package())
    blob, central, offset = b"", b"", len(start)
    for number, header, fields in streams:
        quote = b"" if number == 0 else struct.pack("<BHH", 0, len(header), len(header) ^ 0xffff)
        blob += quote + header
        offset = len(start) + len(blob) - len(header)
        central += build.zip_central({**fields, "made_by": 3 << 8 | 30, "comment": b"", "disk": 0,
                                      "offset": offset, "attributes": 0o100644 << 16})
    blob += build.deflate(plain)
    directory_bytes = sound_directory + central
    return start + blob + directory_bytes + zip_end(
        count + 2, len(directory_bytes), len(start) + len(blob))


def end_records(corpus):
    entries = one()
    body, central = zip_parts(entries)
    sound = {"count": 3, "size": len(central), "offset": len(body)}
    lies = {
        "count-too-small": {"count": 2}, "count-too-large": {"count": 4},
        "count-zero": {"count": 0}, "count-here-differs": {"count_here": 2},
        "size-too-small": {"size": len(central) - 1}, "size-too-large": {"size": len(central) + 1},
        "size-zero": {"size": 0}, "offset-too-small": {"offset": len(body) - 1},
        "offset-too-large": {"offset": len(body) + 1}, "offset-zero": {"offset": 0},
        "offset-behind-the-end": {"offset": 0x7fffffff}, "disk": {"disk": 1},
        "directory-on-another-disk": {"directory_disk": 1},
        "all-ones-without-zip64": {"count": 0xffff, "size": 0xffffffff, "offset": 0xffffffff},
    }
    for name, lie in lies.items():
        corpus.refuse(f"end-record-{name}.zip", zip_archive(entries, **lie),
                      [*BROKEN, "archive_unsupported"])
    codes = [*BROKEN, "archive_unsupported"]
    # Two end records: one reader takes the first, another the last.
    other_body, other = zip_parts(package(type_name="other"), start=len(body) + len(central) + 22)
    tail = other_body + other + zip_end(2, len(other), len(body) + len(central) + 22
                                        + len(other_body))
    corpus.refuse("two-end-records-one-in-the-comment.zip",
                  body + central + zip_end(**sound, comment=tail), codes)
    corpus.refuse("two-end-records-equal.zip",
                  body + central + zip_end(**sound) + zip_end(**sound), codes)
    corpus.refuse("two-end-records-second-is-empty.zip",
                  body + central + zip_end(**sound, comment=zip_end(0, 0, 0)), codes)
    corpus.refuse("gap-before-the-end-record.zip",
                  body + central + bytes(30) + zip_end(**sound), codes)
    corpus.refuse("directory-signature-wrong.zip",
                  body + central.replace(b"PK\1\2", b"PK\1\3", 1) + zip_end(**sound), BROKEN)
    corpus.refuse("no-entries.zip", zip_end(0, 0, 0),
                  ["manifest_missing", "archive_empty", "archive_unsupported"])


def zip64_record(count, size, offset, length=44):
    return struct.pack("<4sQ2H2L4Q", ZIP64_END, length, 45, 45, 0, 0, count, count, size, offset)


def zip64(corpus):
    entries = one()
    body, central = zip_parts(entries)
    ones = zip_end(0xffff, 0xffffffff, 0xffffffff)
    at = len(body) + len(central)

    def archive(record, locator_offset=at, disks=1, end=ones):
        return body + central + record + struct.pack("<4sLQL", ZIP64_LOCATOR, 0, locator_offset,
                                                     disks) + end
    true = zip64_record(3, len(central), len(body))
    cases = {
        "locator-behind-the-end": archive(true, locator_offset=1 << 40),
        "locator-of-all-ones": archive(true, locator_offset=(1 << 64) - 1),
        "locator-to-nothing": archive(true, locator_offset=3),
        "locator-without-a-record": archive(b""),
        "two-disks": archive(true, disks=2),
        "count-of-2-to-the-60": archive(zip64_record(1 << 60, len(central), len(body))),
        "size-of-2-to-the-63": archive(zip64_record(3, 1 << 63, len(body))),
        "offset-of-2-to-the-63": archive(zip64_record(3, len(central), 1 << 63)),
        "offset-that-wraps-around": archive(zip64_record(3, len(central) + 16, (1 << 64) - 16)),
        "record-of-2-to-the-64-bytes": archive(zip64_record(3, len(central), len(body),
                                                            length=(1 << 64) - 1)),
        "record-disagrees-with-the-end": archive(
            zip64_record(2, len(central), len(body)), end=zip_end(3, len(central), len(body))),
    }
    for name, data in cases.items():
        corpus.refuse(f"zip64-{name}.zip", data,
                      [*BROKEN, "archive_unsupported", "too_many_entries"])
    huge = zip_extra(1, struct.pack("<2Q", 1 << 60, 1 << 60))
    corpus.refuse("zip64-entry-of-2-to-the-60-bytes.zip",
                  zip_archive(one(extra=huge, size=0xffffffff, packed_size=0xffffffff)),
                  [*BROKEN, "inflated_too_large"])
    corpus.refuse("zip64-entry-without-its-field.zip",
                  zip_archive(one(size=0xffffffff, packed_size=0xffffffff)),
                  [*BROKEN, "inflated_too_large"])
    corpus.refuse("zip64-entry-field-cut.zip",
                  zip_archive(one(extra=zip_extra(1, b"1234"), size=0xffffffff)), BROKEN)
    corpus.refuse("extra-longer-than-its-field.zip",
                  zip_archive(one(extra=struct.pack("<HH", 0x5455, 500) + b"x")), BROKEN)
    tree = package(file("a", b"small", zip={"flags": 0}), type_name="zip64")
    body, central = zip_parts(tree)
    at = len(body) + len(central)
    corpus.accept("zip64-end-record-for-a-small-archive.zip",
                  body + central + zip64_record(3, len(central), len(body))
                  + struct.pack("<4sLQL", ZIP64_LOCATOR, 0, at, 1) + ones, tree, "zip64")


def lzma_of_a_zip(data):
    """Method 14: a version, the length of the properties, the properties, and a raw stream."""
    alone = lzma.compress(data, format=lzma.FORMAT_ALONE)
    return b"\x09\x14" + struct.pack("<H", 5) + alone[:5] + alone[13:]


def other_methods(corpus):
    """Compression that is rare in zips; each is a decoder more, with limits of its own."""
    text = b"a line of text\n" * 3000
    tree = package(file("text", text), type_name="zip-methods")
    packers = {"bzip2": (12, bz2.compress), "lzma": (14, lzma_of_a_zip), "zstd": (93, zst),
               "xz": (95, xz)}
    for name, (number, pack) in packers.items():
        def archive(packed, **more):
            over = {"method": number, "packed": packed, "needs": 63, **more}
            return zip_archive([*tree[:2], file("text", text, zip=over)])
        sound = pack(text)
        half = len(sound) // 2
        corpus.accept(f"zip-method-{name}.zip", archive(sound), tree, "zip-methods")
        corpus.refuse(f"method-{name}-flipped-bit.zip", archive(
            sound[:half] + bytes([sound[half] ^ 0x10]) + sound[half + 1:]), BROKEN)
        corpus.refuse(f"method-{name}-cut.zip", archive(sound[:-12]), BROKEN)
        corpus.refuse(f"method-{name}-crc-wrong.zip", archive(sound, crc=1), BROKEN)
        corpus.refuse(f"method-{name}-declared-smaller.zip", archive(sound, size=100), BROKEN)
        corpus.refuse(f"method-{name}-garbage.zip", archive(b"\xff" * 200), BROKEN)
    huge = [build.zip_archive([*tree[:2], file("text", text, zip={
        "method": number, "packed": packed, "needs": 63})]) for number, packed in (
            (14, b"\x09\x14\x05\0\x5d\xff\xff\xff\xff" + lzma_of_a_zip(text)[9:]),
            (93, filters.zst_frame(text, 0xb0)), (95, filters.xz_with_dictionary(text, 40)))]
    for name, data in zip(("lzma", "zstd", "xz"), huge):
        corpus.refuse(f"method-{name}-dictionary-of-4-gibibytes.zip", data, UNKNOWN,
                      by_memory_limit=True)


def kinds(corpus):
    corpus.refuse("kind-of-no-kind.zip",
                  zip_archive(one(attributes=0o170644 << 16)),
                  ["entry_unsupported", "archive_corrupt"])
    target = b"../" * 30 + b"evil"
    corpus.refuse("link-deflated-and-leaving.zip",
                  zip_archive(package(link("l", target, zip={"method": 8}))), "entry_unsafe")
    corpus.refuse("link-of-2-mebibytes.zip",
                  zip_archive(package(link("l", b"x" * (2 << 20), zip={"method": 8}))),
                  [*BAD_NAME, "archive_corrupt"])


def unlisted(corpus):
    """What a streaming reader sees, and the directory does not name."""
    tree = package(file("a", b"1"))
    body, central = zip_parts(tree)
    hidden = file("hidden", b"1", zip={"local_only": True})
    gap = b"nobody's bytes"
    first, first_directory = zip_parts(tree[:2])
    last, last_directory = zip_parts(tree[2:], start=len(first) + len(gap))
    cases = {
        "entry": zip_archive([*tree[:2], hidden, tree[2]]),
        "entry-at-the-end": zip_archive([*tree, hidden]),
        "bytes-before-the-directory": body + gap + central
        + zip_end(3, len(central), len(body) + len(gap)),
        "bytes-between-entries": first + gap + last + first_directory + last_directory
        + zip_end(3, len(first_directory + last_directory), len(first + gap + last)),
    }
    for name, data in cases.items():
        corpus.refuse(f"unlisted-{name}.zip", data, BROKEN)


def accepted(corpus):
    tree = package(file("a", b"some text\n" * 20), directory("d"), link("l", "d"),
                   executable("d/x"), type_name="zip-variants")

    def changed(**over):
        return [build.dataclasses.replace(entry, zip=over) for entry in tree]
    corpus.accept("zip-plain.zip", zip_archive(tree), tree, "zip-variants")
    corpus.accept("zip-with-a-comment.zip", zip_archive(tree, comment=b"a comment"), tree,
                  "zip-variants")
    corpus.accept("zip-stored.zip", zip_archive(changed(method=0)), tree, "zip-variants")
    files = [entry if entry.kind != "file" else build.dataclasses.replace(
        entry, zip={"flags": 8, "local_crc": 0, "local_size": 0, "local_packed_size": 0})
        for entry in tree]
    corpus.accept("zip-with-data-descriptors.zip", zip_archive(files), tree, "zip-variants")
    extra = zip_extra(0x5455, struct.pack("<BL", 1, build.TIME)) + zip_extra(0x7875, b"\1\4"
                                                                             + bytes(4) + b"\4"
                                                                             + bytes(4))
    corpus.accept("zip-with-times-and-owners.zip", zip_archive(changed(extra=extra)), tree,
                  "zip-variants")
    plain = package(file("a", b"1"), directory("d"), type_name="zip-from-dos")
    plain[1] = file("bin/run", plain[1].data)  # MS-DOS has no execute bit
    dos = [build.dataclasses.replace(entry, zip={
        "central_made_by": 20, "attributes": 0x10 if entry.kind == "dir" else 0x20})
        for entry in plain]
    corpus.accept("zip-made-on-dos.zip", zip_archive(dos), plain, "zip-from-dos")
    aion = [manifest("counter", format_version=1, entry_function="run", label="1.4.0",
                     timeout={"secs": 3600, "nanos": 0},
                     retry={"max_attempts": 3, "initial_ms": 1000, "max_ms": 300000}),
            file("beam/counter.beam", b"FOR1" + bytes(range(256)) * 8),
            executable("bin/run")]
    corpus.accept("a-package-of-the-rust-system.aion", zip_archive(aion), aion, "aion")
