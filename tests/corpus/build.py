# SPDX-License-Identifier: Apache-2.0
"""Writes tar, cpio and zip archives byte by byte.

The standard modules refuse to write what a hostile archive holds, or repair it silently; these
writers do neither: what an Entry says is what the archive says. A format that has no way at all
to say it raises CannotExpress. Nothing here reads the clock or the disk, so the same entries
always give the same bytes.
"""

import dataclasses
import stat
import struct
import zlib

TIME = 1_700_000_000
DOS_TIME = (2023 - 1980) << 25 | 11 << 21 | 14 << 16 | 22 << 11


class CannotExpress(Exception):
    """The format has no field for this, or the field is too small."""


def raw(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


@dataclasses.dataclass
class Entry:
    path: bytes
    kind: str = "file"  # file dir link hard char block fifo socket
    data: bytes = b""
    mode: int = 0o644
    target: bytes = b""
    uid: int = 0
    gid: int = 0
    mtime: int = TIME
    pax: dict = dataclasses.field(default_factory=dict)  # more records, for tar_pax
    zip: dict = dataclasses.field(default_factory=dict)  # overridden fields, for zip_archive

    def __post_init__(self):
        self.path, self.target = raw(self.path), raw(self.target)

    def moved(self, prefix):
        """The same entry below a directory, as an archive with a top-level directory has it."""
        target = raw(prefix) + self.target if self.kind == "hard" else self.target
        return dataclasses.replace(self, path=raw(prefix) + self.path, target=target)


def file(path, data=b"", mode=0o644, **more):
    return Entry(path, "file", data, mode, **more)


def executable(path, data=b"#!/bin/sh\ncat\n", **more):
    return Entry(path, "file", data, 0o755, **more)


def directory(path, mode=0o755, **more):
    return Entry(path, "dir", b"", mode, **more)


def link(path, target, **more):
    return Entry(path, "link", b"", 0o777, target, **more)


def hard(path, target, **more):
    return Entry(path, "hard", b"", 0o644, target, **more)


def special(path, kind):
    return Entry(path, kind, b"", 0o644)


FORMAT_BITS = {"file": stat.S_IFREG, "hard": stat.S_IFREG, "dir": stat.S_IFDIR,
               "link": stat.S_IFLNK, "char": stat.S_IFCHR, "block": stat.S_IFBLK,
               "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK}


# tar

TAR_TYPES = {"file": b"0", "hard": b"1", "link": b"2", "char": b"3", "block": b"4", "dir": b"5",
             "fifo": b"6"}
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
TAR_END = bytes(1024)


def octal(value, width):
    """A number as a tar field: octal digits and a NUL, or base 256 where those do not suffice."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value & (1 << 8 * width) - 1 | 1 << 8 * width - 1).to_bytes(width, "big")


def tar_header(name, type_flag=b"0", size=0, linkname=b"", mode=0o644, uid=0, gid=0, mtime=TIME,
               magic=USTAR, prefix=b"", checksum=None, size_field=None, tail=None):
    if len(name) > 100 or len(linkname) > 100 or len(prefix) > 155:
        raise CannotExpress(name)
    head = (name.ljust(100, b"\0") + octal(mode, 8) + octal(uid, 8) + octal(gid, 8)
            + (size_field or octal(size, 12)) + octal(mtime, 12))
    rest = type_flag + linkname.ljust(100, b"\0") + magic
    if magic != V7:
        rest += b"root".ljust(32, b"\0") * 2 + octal(0, 8) * 2
    rest += (tail if tail is not None else prefix)
    block = (head + b" " * 8 + rest).ljust(512, b"\0")
    total = sum(block) if checksum is None else checksum
    return block[:148] + b"%06o\0 " % total + block[156:]


def padded(data, unit=512):
    return data + bytes(-len(data) % unit)


def tar_body(entry):
    return padded(entry.data) if entry.kind == "file" else b""


def tar_fields(entry):
    if entry.kind not in TAR_TYPES:
        raise CannotExpress(entry.kind)
    return {"type_flag": TAR_TYPES[entry.kind], "mode": entry.mode, "uid": entry.uid,
            "gid": entry.gid, "mtime": entry.mtime,
            "size": len(entry.data) if entry.kind == "file" else 0}


def tar_name(entry):
    slash = b"/" if entry.kind == "dir" and not entry.path.endswith(b"/") else b""
    return entry.path + slash


def ustar_member(entry):
    name, prefix = tar_name(entry), b""
    if b"\0" in name + entry.target:
        raise CannotExpress("the field ends at its first NUL")
    if len(name) > 100:
        cut = name.find(b"/", len(name) - 101)
        if not 0 < cut <= 155 or cut == len(name) - 1:
            raise CannotExpress("no slash where the name could be split")
        prefix, name = name[:cut], name[cut + 1:]
    return tar_header(name, linkname=entry.target, prefix=prefix, **tar_fields(entry)) \
        + tar_body(entry)


def v7_member(entry):
    if entry.kind not in ("file", "dir", "link", "hard") or len(tar_name(entry)) > 99:
        raise CannotExpress(entry.path)
    fields = tar_fields(entry)
    if entry.kind in ("file", "dir"):
        fields["type_flag"] = b"\0"
    return tar_header(tar_name(entry), linkname=entry.target, magic=V7, **fields) + tar_body(entry)


def pax_record(key, value):
    body = b" " + raw(key) + b"=" + raw(value) + b"\n"
    length = len(body) + 1
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return b"%d" % length + body


def pax_header(records, type_flag=b"x"):
    """The extended header in front of a member; records is a dict, or the raw bytes."""
    if isinstance(records, dict):
        records = b"".join(pax_record(key, value) for key, value in records.items())
    return tar_header(b"PaxHeaders/0", type_flag, len(records)) + padded(records)


def pax_member(entry, number=0):
    """The names are in the records; the header's own fields hold names that must not be used."""
    records = dict(entry.pax)
    fields, name, linkname = tar_fields(entry), b"", b""
    if entry.path:
        records.setdefault("path", tar_name(entry))
        name = b"unused-%d" % number
    if entry.target:
        records.setdefault("linkpath", entry.target)
        linkname = b"unused"
    return (pax_header(records) if records else b"") \
        + tar_header(name, linkname=linkname, **fields) + tar_body(entry)


def gnu_long(type_flag, name):
    return tar_header(b"././@LongLink", type_flag, len(name) + 1, magic=GNU) + padded(name + b"\0")


def gnu_member(entry, number=0):
    """As pax_member: the names are in members of type L and K."""
    if b"\0" in entry.path + entry.target:
        raise CannotExpress("the name ends at its first NUL")
    fields, out, name, linkname = tar_fields(entry), b"", b"", b""
    if entry.target:
        out, linkname = gnu_long(b"K", entry.target), b"unused"
    if entry.path:
        out, name = out + gnu_long(b"L", tar_name(entry)), b"unused-%d" % number
    return out + tar_header(name, linkname=linkname, magic=GNU, **fields) + tar_body(entry)


def tar_ustar(entries, end=TAR_END):
    return b"".join(map(ustar_member, entries)) + end


def tar_v7(entries, end=TAR_END):
    return b"".join(map(v7_member, entries)) + end


def tar_pax(entries, end=TAR_END):
    return b"".join(pax_member(entry, n) for n, entry in enumerate(entries)) + end


def tar_gnu(entries, end=TAR_END):
    return b"".join(gnu_member(entry, n) for n, entry in enumerate(entries)) + end


# cpio

def newc_header(fields, name, magic):
    return magic + b"".join(b"%08X" % field for field in fields) + name


def cpio_newc(entries, magic=b"070701", bodies="last", end=True, checksum=None):
    out = [newc_member(*member, magic, checksum) for member in cpio_members(entries, bodies)]
    if end:
        out.append(newc_member(0, 0, 1, Entry("TRAILER!!!"), b"", magic, None))
    return b"".join(out)


def newc_member(number, mode, links, entry, body, magic, checksum):
    name = entry.path + b"\0"
    check = 0
    if magic == b"070702" and mode and stat.S_ISREG(mode):
        check = sum(body) & 0xffffffff if checksum is None else checksum
    head = newc_header((number, mode, entry.uid, entry.gid, links, entry.mtime if mode else 0,
                        len(body), 0, 1, 0, 0, len(name), check), name, magic)
    return padded(head, 4) + padded(body, 4)


def cpio_crc(entries, **more):
    return cpio_newc(entries, magic=b"070702", **more)


def cpio_odc(entries, bodies="all", end=True):
    out = [odc_member(*member) for member in cpio_members(entries, bodies)]
    if end:
        out.append(odc_member(0, 0, 1, Entry("TRAILER!!!"), b""))
    return b"".join(out)


def odc_member(number, mode, links, entry, body):
    name = entry.path + b"\0"
    return (b"070707%06o%06o%06o%06o%06o%06o%06o%011o%06o%011o"
            % (1, number, mode, entry.uid, entry.gid, links, 0, entry.mtime if mode else 0,
               len(name), len(body))) + name + body


def cpio_bin(entries, bodies="all", order="<"):
    """The old binary format: 16 bit words in the order of the machine that wrote it."""
    out = []
    trailer = (0, 0, 1, Entry("TRAILER!!!"), b"")
    for number, mode, links, entry, body in [*cpio_members(entries, bodies), trailer]:
        name, mtime = entry.path + b"\0", entry.mtime if mode else 0
        out.append(struct.pack(order + "13H", 0o70707, 1, number, mode, entry.uid, entry.gid,
                               links, 0, mtime >> 16, mtime & 0xffff, len(name), len(body) >> 16,
                               len(body) & 0xffff) + padded(name, 2) + padded(body, 2))
    return b"".join(out)


def cpio_members(entries, bodies):
    """Yields (inode, mode, links, entry, body). Hard links share an inode; bodies says who of a
    set carries the data: "all", or only the "first" or the "last"."""
    numbers, sets = {}, {}
    for number, entry in enumerate(entries, 1):
        if entry.kind == "hard":
            if entry.target not in numbers:
                raise CannotExpress("cpio knows hard links by inode only")
            number = numbers[entry.target]
        elif entry.path not in numbers:
            numbers[entry.path] = number
        sets.setdefault(number, []).append(entry)
    inode = {id(entry): number for number, members in sets.items() for entry in members}
    for entry in entries:
        number = inode[id(entry)]
        members = sets[number]
        carrier = {"all": entry, "first": members[0], "last": members[-1]}[bodies]
        data = next((member.data for member in members if member.kind == "file"), b"")
        body = data if stat.S_ISREG(FORMAT_BITS[entry.kind]) and carrier is entry else b""
        if entry.kind == "link":
            body = entry.target
        mode = FORMAT_BITS[entry.kind] | (members[0].mode if entry.kind == "hard" else entry.mode)
        yield number, mode, len(members), entry, body


# zip

STORED, DEFLATED = 0, 8
UTF8_NAME, DESCRIPTOR, ENCRYPTED = 0x800, 8, 1


def deflate(data):
    engine = zlib.compressobj(6, zlib.DEFLATED, -15)
    return engine.compress(data) + engine.flush()


def zip_extra(number, body):
    return struct.pack("<HH", number, len(body)) + body


def zip_fields(entry):
    """What both headers of an entry say. entry.zip overrides a field in both, or, when its name
    begins with local_ or central_, in one of them."""
    if entry.kind == "hard":
        raise CannotExpress("zip has no hard links")
    over = dict(entry.zip)
    name = tar_name(entry)
    data = entry.target if entry.kind == "link" else entry.data
    method = over.get("method", DEFLATED if len(data) > 40 else STORED)
    packed = over.pop("packed", None)
    if packed is None:
        packed = deflate(data) if method == DEFLATED else data
    try:
        name.decode("ascii")
        flags = 0
    except UnicodeDecodeError:
        flags = UTF8_NAME
    both = {"needs": 20, "flags": flags, "method": method, "time": DOS_TIME,
            "crc": zlib.crc32(data), "packed_size": len(packed), "size": len(data), "name": name,
            "extra": b""}
    local, central = dict(both), dict(both)
    central.update(made_by=3 << 8 | 30, comment=b"", disk=0, offset=None,
                   attributes=(FORMAT_BITS[entry.kind] | entry.mode) << 16
                   | (0x10 if entry.kind == "dir" else 0))
    for key, value in over.items():
        side, _, field = key.partition("_")
        if side != "central" and (field if side == "local" else key) in local:
            local[field if side == "local" else key] = value
        if side != "local" and (field if side == "central" else key) in central:
            central[field if side == "central" else key] = value
    return local, central, packed


def zip_local(f):
    return struct.pack("<4s3H4L2H", b"PK\3\4", f["needs"], f["flags"], f["method"], f["time"],
                       f["crc"], f["packed_size"], f["size"], len(f["name"]), len(f["extra"])) \
        + f["name"] + f["extra"]


def zip_central(f):
    return struct.pack("<4s4H4L5H2L", b"PK\1\2", f["made_by"], f["needs"], f["flags"], f["method"],
                       f["time"], f["crc"], f["packed_size"], f["size"], len(f["name"]),
                       len(f["extra"]), len(f["comment"]), f["disk"], 0, f["attributes"],
                       f["offset"]) + f["name"] + f["extra"] + f["comment"]


def zip_end(count, size, offset, comment=b"", disk=0, directory_disk=0, count_here=None):
    here = count if count_here is None else count_here
    return struct.pack("<4s4H2LH", b"PK\5\6", disk, directory_disk, here, count, size, offset,
                       len(comment)) + comment


def zip_parts(entries, start=0):
    """Returns (local entries, central directory) of an archive that begins at offset start."""
    body, directory_bytes = b"", b""
    for entry in entries:
        local, central, packed = zip_fields(entry)
        if central["offset"] is None:
            central["offset"] = start + len(body)
        descriptor = b""
        if local["flags"] & DESCRIPTOR:
            descriptor = struct.pack("<4s3L", b"PK\7\x08", central["crc"],
                                     central["packed_size"], central["size"])
        if not entry.zip.get("central_only"):
            body += zip_local(local) + packed + descriptor
        if not entry.zip.get("local_only"):
            directory_bytes += zip_central(central)
    return body, directory_bytes


def zip_archive(entries, comment=b"", **end):
    body, central = zip_parts(entries)
    fields = {"count": sum(not entry.zip.get("local_only") for entry in entries),
              "size": len(central), "offset": len(body), "comment": comment, **end}
    return body + central + zip_end(**fields)


# The formats that each case of the corpus is written in, where the format can express it.
FORMATS = {
    "ustar.tar": tar_ustar,
    "pax.tar": tar_pax,
    "gnu.tar": tar_gnu,
    "newc.cpio": cpio_newc,
    "odc.cpio": cpio_odc,
    "zip": zip_archive,
}
TARS = {name: FORMATS[name] for name in ("ustar.tar", "pax.tar", "gnu.tar")}


def deflated(data):
    """The shortest way to a .gz; the same bytes each time."""
    engine = zlib.compressobj(6, zlib.DEFLATED, 31)
    return engine.compress(data) + engine.flush()
