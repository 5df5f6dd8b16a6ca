# SPDX-License-Identifier: Apache-2.0
"""One tree, packed by everything that packs: it must always be the same version.

The trees differ only in what the formats can express: `base` goes into all of them, `long` needs
names that ustar and v7 have no room for, `full` needs names without an encoding.
"""

import io
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import zipfile

import build
import case
from build import directory, executable, file, hard, link
from case import package, tool

SCRIPT = b"#!/bin/sh\nexec cat\n"
CPIOS = ("newc", "odc", "bin", "crc")
LARGE = random.Random(3).randbytes(48 << 10) * 64  # 3 MiB that compress


def base(type_name):
    return package(
        directory("empty"), directory("lib"), directory("lib/v2"),
        file("lib/v2/data", b"data\n" * 100),
        link("current", "lib/v2"), link("latest", "current"), link("gone", "lib/nothing"),
        link("lib/up", "../bin/run"), file("nothing", b""), file("secret", b"s3cret", mode=0o600),
        file("setuid", SCRIPT, mode=0o4755),
        file("with space", b"1"), file("#hash", b"2"), file("a=b", b"3"), file("star*[q]?", b"4"),
        file("caf\u00e9", b"nfc"), file("cafe\u0301", b"nfd"), file("\u65e5\u672c", b"5"),
        file("d" * 40 + "/" + "e" * 50 + "/f", b"a path of 93 bytes"),
        executable("bin/tool", SCRIPT), hard("bin/same", "bin/tool"), type_name=type_name)


def long(type_name):
    return [*base(type_name), file("n" * 255, b"6"), file("\u00e9" * 127, b"7"),
            file("/".join("p" * 40 for _ in range(4)), b"a path over 100"),
            file("/".join("q" * 60 for _ in range(8)), b"a path over 255"),
            link("long", "/".join("q" * 60 for _ in range(8))), file("large", LARGE)]


def full(type_name):
    return [*long(type_name), file(b"caf\xe9", b"latin-1"), file("back\\slash", b"8"),
            file("new\nline", b"9"), file(b"\xff\xfe", b"10")]


def copies(entries):
    """The same tree for a format without hard links."""
    bodies = {entry.path: entry for entry in entries}
    return [build.dataclasses.replace(bodies[entry.target], path=entry.path)
            if entry.kind == "hard" else entry for entry in entries]


def lay_out(entries, root):
    """Writes the tree to a disk, for the real tools."""
    for entry in entries:
        path = os.path.join(os.fsencode(root), entry.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if entry.kind == "dir":
            os.makedirs(path, exist_ok=True)
        elif entry.kind == "link":
            os.symlink(entry.target, path)
        elif entry.kind == "hard":
            os.link(os.path.join(os.fsencode(root), entry.target), path)
        else:
            with open(path, "wb") as out:
                out.write(entry.data)
            os.chmod(path, entry.mode)
    for where, _, names in os.walk(os.fsencode(root)):
        for name in [b".", *names]:
            path = os.path.join(where, name)
            os.utime(path, (build.TIME, build.TIME), follow_symlinks=False)


def make(corpus):
    for name, tree in {"base": base, "long": long, "full": full}.items():
        ours(corpus, name, tree(f"tree-{name}"))
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="aionfs-corpus-"))
        try:
            lay_out(tree(f"tree-{name}"), scratch / "top")
            real_tools(corpus, name, tree(f"tree-{name}"), scratch)
        finally:
            shutil.rmtree(scratch)
    shuffled(corpus)
    variants(corpus)
    sparse(corpus)


def ours(corpus, name, entries):
    zipped = copies(entries)
    packers = dict(build.FORMATS, **{"crc.cpio": build.cpio_crc, "bin.cpio": build.cpio_bin,
                                     "v7.tar": build.tar_v7})
    packers["big-endian.cpio"] = lambda entries: build.cpio_bin(entries, order=">")
    if name == "full":
        del packers["zip"]
    for extension, pack in packers.items():
        chosen = zipped if extension == "zip" else entries
        for where, prefix in {"": "", "-below-a-top": "tree/"}.items():
            if where and name == "long":
                continue
            try:
                data = pack([entry.moved(prefix) for entry in chosen])
            except build.CannotExpress:
                continue
            corpus.accept(f"{name}-ours{where}.{extension}", data, entries, name)


def real_tools(corpus, name, entries, scratch):
    """The tools that people have. `top` is the tree's directory: packed with it, or from within."""
    top = scratch / "top"
    formats = {"base": ("v7", "ustar", "gnu", "oldgnu", "pax"), "long": ("gnu", "pax"),
               "full": ("gnu", "pax")}[name]
    sort = ["--sort=name", "--numeric-owner"]

    def accept(case_name, data):
        corpus.accept(f"{name}-{case_name}", data, entries, name)
    for form in formats:
        accept(f"gnu-tar.{form}.tar", tool("tar", "-c", f"--format={form}", *sort, ".", cwd=top))
        accept(f"gnu-tar-top.{form}.tar.gz",
               case.gz(tool("tar", "-c", f"--format={form}", *sort, "top", cwd=scratch)))
    bsd = {"base": ("v7tar", "ustar", "gnutar", "pax", "newc", "odc", "bin", "zip"),
           "long": ("gnutar", "pax", "newc", "odc", "bin", "zip"),
           "full": ("gnutar", "pax", "newc", "odc")}[name]
    for form in bsd:
        # To a file: into a pipe bsdtar pads every format, and a zip then has data behind its end.
        out = scratch / "bsdtar"
        tool("bsdtar", "-cf", str(out), "--format", form, ".", cwd=top)
        data = out.read_bytes()
        extension = "zip" if form == "zip" else "cpio" if form in CPIOS else "tar"
        accept(f"bsdtar.{form}.{extension}".replace(".zip.zip", ".zip"), data)
    accept("bsdtar-top.newc.cpio.xz",
           case.xz(tool("bsdtar", "-cf", "-", "--format", "newc", "top", cwd=scratch)))
    names = b"\0".join(sorted(os.path.relpath(os.path.join(where, entry), os.fsencode(top))
                              for where, dirs, files in os.walk(os.fsencode(top))
                              for entry in dirs + files)) + b"\0"
    for form in CPIOS:
        accept(f"gnu-cpio.{form}.cpio",
               tool("cpio", "-o0", "--quiet", "-H", form, data=names, cwd=top))
    for form in ("ustar", "tar") if name == "base" else ():
        accept(f"gnu-cpio.{form}.tar",
               tool("cpio", "-o0", "--quiet", "-H", form, data=names, cwd=top))
    if name == "full":
        return
    for options in (("-r",), ("-r", "-0"), ("-r", "-X"), ("-r", "-D")):
        if name == "long" and options != ("-r",) or name == "base" and "-D" in options:
            continue
        out = scratch / "info.zip"
        tool("zip", "-q", "-y", *options, str(out), ".", cwd=top)
        accept(f"info-zip{''.join(options)}.zip", out.read_bytes())
        out.unlink()
    try:
        accept("info-zip-streamed.zip", tool("zip", "-q", "-y", "-r", "-", ".", cwd=top))
    except subprocess.CalledProcessError as error:
        # Some builds of Info-ZIP refuse to stream what they store, such as links (exit code 16).
        print(f"left out: info-zip-streamed.zip of {name}: {error.stderr.decode().strip()}")
    accept("python.zip", python_zip(copies(entries), io.BytesIO()))


def python_zip(entries, out):
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in entries:
            name = os.fsdecode(build.tar_name(entry))
            info = zipfile.ZipInfo(name, (2023, 11, 14, 22, 13, 20))
            info.external_attr = (build.FORMAT_BITS[entry.kind] | entry.mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.target if entry.kind == "link" else entry.data)
    return out.getvalue()


def shuffled(corpus):
    """Order, owners, times and the unused bits of the modes are no part of a version."""
    entries = base("tree-base")
    first, rest = entries[:2], entries[2:]
    for seed in range(3):
        mixed = [*first, *rest]
        random.Random(seed).shuffle(mixed)
        changed = [build.dataclasses.replace(
            entry, uid=1000 + seed, gid=50, mtime=seed * 86400 * 365,
            mode=entry.mode | (0o6000 if seed else 0)) for entry in mixed]
        for extension in ("pax.tar", "newc.cpio"):
            corpus.accept(f"base-shuffled-{seed}.{extension}",
                          build.FORMATS[extension](in_order(changed, extension)), entries, "base")
    modes = [build.dataclasses.replace(entry, mode=0o777 if entry.mode & 0o111 else 0o444)
             for entry in entries]
    modes = [build.dataclasses.replace(entry, mode=0o100) if entry.path == b"bin/tool" else entry
             for entry in modes]
    corpus.accept("base-other-modes.pax.tar", build.tar_pax(modes), entries, "base")
    bare = [entry for entry in entries if entry.kind != "dir" or entry.path == b"empty"]
    corpus.accept("base-directories-implied.pax.tar", build.tar_pax(bare), entries, "base")


def in_order(entries, extension):
    """cpio knows a set of hard links by its inode, and the writer by the name of its first."""
    return sorted(entries, key=lambda entry: entry.kind == "hard") \
        if extension.endswith("cpio") else entries


def variants(corpus):
    entries = package(file("a", b"1"), directory("d"), type_name="variants")
    tar = build.tar_pax(entries)
    plain = build.tar_pax(entries, end=b"")
    comment = build.pax_header({"comment": "0123456789" * 4}, type_flag=b"g")
    times = {"mtime": "1700000000.123456789", "atime": "1.5", "ctime": "-3", "uid": "4000000000",
             "uname": "r\u00f6\u00f6t", "SCHILY.dev": "1", "LIBARCHIVE.creationtime": "7",
             "SCHILY.xattr.user.colour": b"red\0blue", "SCHILY.xattr.security.capability":
             b"\1\0\0\2\0\4\0\0", "SCHILY.acl.access": "user::rwx,group::r-x,other::r-x",
             "LIBARCHIVE.xattr.user.x": "cmVk", "SCHILY.fflags": "nodump", "unknown.key": "x"}
    with_more = [build.dataclasses.replace(entry, pax=dict(times)) for entry in entries]
    cases = {
        "plain.tar": tar,
        "10-kibibyte-blocks.tar": build.padded(tar, 10240),
        "1-mebibyte-of-zeros-behind-the-end.tar": tar + bytes(1 << 20),
        "zeros-behind-the-end-and-compressed.tar.gz": case.gz(tar + bytes(1 << 20)),
        "global-header.tar": comment + tar,
        "global-header-below-a-top.tar": comment + build.tar_pax(
            [entry.moved("repo-1.0/") for entry in entries]),
        "global-headers-between.tar": comment + plain + comment + build.TAR_END,
        "times-xattrs-acls-and-flags.tar": build.tar_pax(with_more),
        "top-behind-a-dot.tar": build.tar_pax([entry.moved("./x/") for entry in entries]),
        "top-listed-last.tar": build.tar_pax(
            [*[entry.moved("x/") for entry in entries], directory("x")]),
        "512-byte-blocks-of-cpio.cpio": build.padded(build.cpio_newc(entries), 512),
        "contiguous-file.tar": build.tar_ustar(entries[:2], end=b"") + build.tar_header(
            b"a", b"7", 1) + build.padded(b"1") + build.ustar_member(directory("d")) +
        build.TAR_END,
        "old-directory-by-its-slash.tar": build.tar_ustar(entries[:3], end=b"")
        + build.tar_header(b"d/", b"\0", magic=build.V7) + build.TAR_END,
    }
    for name, data in cases.items():
        corpus.accept(f"variant-{name}", data, entries, "variants")
    signed = [*entries, file("manifest.sig", b"not checked here")]
    corpus.accept("variant-with-a-signature.tar", build.tar_pax(signed), entries, "variants")
    corpus.accept("variant-with-a-signature-below-a-top.tar",
                  build.tar_pax([entry.moved("v/") for entry in signed]), entries, "variants")


def sparse(corpus):
    content = bytes(200_000) + b"island" + bytes(300_000) + b"end"
    entries = package(file("holes", content), type_name="sparse")
    corpus.accept("sparse-packed-plainly.tar", build.tar_pax(entries), entries, "sparse")
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="aionfs-corpus-"))
    try:
        lay_out([entry for entry in entries if entry.path != b"holes"], scratch)
        with open(scratch / "holes", "wb") as out:
            out.seek(200_000)
            out.write(b"island")
            out.seek(500_006)
            out.write(b"end")
        for name, options in {
                "gnu": ["--format=gnu"], "oldgnu": ["--format=oldgnu"],
                "pax-0.0": ["--format=posix", "--sparse-version=0.0"],
                "pax-0.1": ["--format=posix", "--sparse-version=0.1"],
                "pax-1.0": ["--format=posix", "--sparse-version=1.0"]}.items():
            corpus.accept(f"sparse-{name}.tar",
                          tool("tar", "-c", "-S", *options, ".", cwd=scratch), entries, "sparse")
        corpus.accept("sparse-bsdtar.tar",
                      tool("bsdtar", "-cf", "-", "--read-sparse", "--format=pax", ".",
                           cwd=scratch), entries, "sparse")
    finally:
        shutil.rmtree(scratch)
