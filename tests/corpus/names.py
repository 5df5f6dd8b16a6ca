# SPDX-License-Identifier: Apache-2.0
"""What entries are called: empty names, long names, NUL bytes, and all that is merely unusual."""

import build
from build import directory, executable, file, link
from case import BAD_NAME, package

NAME_255 = "n" * 255
# The names of the directories on the way do not matter, only the sum does.
PATH_4095 = "/".join(["d" * 255] * 15 + ["e" * 255])
PATH_4096 = "/".join(["d" * 255] * 15 + ["e" * 254, "f"])
PATH_5000 = "/".join(["d" * 249] * 20)


def make(corpus):
    empty(corpus)
    too_long(corpus)
    with_nul(corpus)
    link_targets(corpus)
    unusual(corpus)


def empty(corpus):
    corpus.refuse_in_formats("name-empty", package(file("", b"1")), BAD_NAME)
    corpus.refuse_in_formats("name-empty-of-a-link", package(link("", "bin/run")), BAD_NAME)
    corpus.refuse_in_formats("name-empty-of-the-first-entry", [file("", b"1"), *package()],
                             BAD_NAME)


def too_long(corpus):
    cases = {
        "name-of-256-bytes": file("n" * 256, b"1"),
        "name-of-256-bytes-in-a-directory": file("d/" + "n" * 256 + "/f", b"1"),
        "name-of-256-bytes-of-a-directory": directory("n" * 256),
        "name-of-256-bytes-of-a-link": link("n" * 256, "bin/run"),
        "name-of-256-bytes-in-128-characters": file("\u00e9" * 128, b"1"),
        "name-of-60000-bytes": file("n" * 60000, b"1"),
        "path-of-5000-bytes": file(PATH_5000, b"1"),
    }
    for name, entry in cases.items():
        corpus.refuse_in_formats(name, package(entry), BAD_NAME)
    corpus.refuse_in_formats("path-of-4096-bytes", package(file(PATH_4096, b"1")), BAD_NAME)
    corpus.refuse("name-of-900000-bytes.pax.tar",
                  build.tar_pax(package(file("n" * 900_000, b"1"))),
                  [*BAD_NAME, "archive_corrupt"])
    corpus.refuse("name-of-900000-bytes.gnu.tar",
                  build.tar_gnu(package(file("n" * 900_000, b"1"))),
                  [*BAD_NAME, "archive_corrupt"])


def with_nul(corpus):
    """The reader that stops at the NUL sees another name than the one that does not."""
    codes = [*BAD_NAME, "archive_corrupt"]
    formats = {name: build.FORMATS[name] for name in ("pax.tar", "newc.cpio", "odc.cpio", "zip")}
    cases = {"name-with-nul": file("a\0b", b"1"),
             "name-with-nul-before-dotdot": file("a\0/../../evil", b"1"),
             "name-with-nul-first": file("\0a", b"1"),
             "name-with-nul-of-a-directory": directory("a\0b"),
             "name-with-nul-of-a-link": link("a\0b", "bin/run")}
    for name, entry in cases.items():
        corpus.refuse_in_formats(name, package(entry), codes, formats)


def link_targets(corpus):
    codes = [*BAD_NAME, "archive_corrupt"]
    formats = {name: pack for name, pack in build.FORMATS.items() if name != "ustar.tar"}
    corpus.refuse_in_formats("link-target-empty", package(link("a", "")), codes,
                             build.FORMATS)
    corpus.refuse_in_formats("link-target-of-5000-bytes", package(link("a", PATH_5000)), codes,
                             formats)
    corpus.refuse_in_formats("link-target-with-nul", package(link("a", "bin\0/../../x")), codes,
                             {name: formats[name] for name in
                              ("pax.tar", "newc.cpio", "odc.cpio", "zip")})


def unusual(corpus):
    longest = package(file(PATH_4095, b"deep"), file(NAME_255, b"1"),
                      file("\u00e9" * 127 + "e", b"2"), link("long-link", PATH_4095),
                      type_name="longest")
    corpus.accept_in_formats("names-as-long-as-allowed", longest)
    odd = package(file("...", b"1"), file(".hidden", b"2"), file("..a/b..", b"3"),
                  file("a\nb", b"4"), file("tab\there", b"5"), file("-rf", b"6"),
                  file("%s%n%x", b"7"), file("$(reboot)", b"8"), file("\x01\x7f", b"9"),
                  file("d./.d/..d", b"10"), file(" ", b"11"), file("con.txt ", b"12"),
                  file("\u202egpj.exe", b"13"), file("C:", b"14"), file("~", b"15"),
                  file("#mtree", b"16"), file("a type=dir", b"17"), executable("[*?]", b"18"),
                  directory("empty dir="), link("link\n", "a\nb"), type_name="odd-names")
    corpus.accept_in_formats("names-odd", odd)
    bytes_of_no_text = package(file(b"latin-\xe9", b"1"), file(b"\xff\xfe", b"2"),
                               file(b"over-\xc0\xaf-long", b"3"), file(b"half-\xe2\x82", b"4"),
                               file(b"half-surrogate-\xed\xa0\x80", b"5"),
                               link(b"to-\xff", b"\xff\xfe"), type_name="no-utf-8")
    # A zip has two ways to say what its bytes mean, and neither is "none".
    formats = {name: pack for name, pack in build.FORMATS.items() if name != "zip"}
    corpus.accept_in_formats("names-without-an-encoding", bytes_of_no_text, formats=formats)
    backslash = package(file("a\\b", b"1"), file("\\", b"2"), file("..\\x", b"3"),
                        type_name="backslash")
    corpus.accept_in_formats("names-with-backslashes", backslash, formats=formats)
