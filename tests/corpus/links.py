# SPDX-License-Identifier: Apache-2.0
"""Where links lead: symbolic links through the finished tree, hard links through the archive."""

import build
from build import directory, file, hard, link, TARS
from case import package

CLIMBING = {
    "absolute": [link("l", "/etc/passwd")],
    "absolute-to-the-root": [link("l", "/")],
    "absolute-with-two-slashes": [link("l", "//etc")],
    "climbs-from-the-root": [link("l", "..")],
    "climbs-from-the-root-to-a-file": [link("l", "../x")],
    "climbs-from-a-directory": [link("a/b/l", "../../../x")],
    "climbs-behind-a-dot": [link("l", "./../x")],
    "climbs-and-comes-back": [link("a/l", "../../refused/bin/run")],
    "climbs-in-the-middle": [file("a/f"), link("l", "a/../../x")],
    "climbs-through-a-link-to-the-root": [link("d/up", ".."), link("l", "d/up/../x")],
    "climbs-through-a-link-that-looks-shallow": [link("a", "."), link("l", "a/../x")],
    "climbs-through-a-link-that-comes-later": [link("l", "a/../x"), link("a", ".")],
    "climbs-through-two-links": [file("d/e/f"), link("a", "d/e"), link("b", "a/.."),
                                 link("l", "b/../../x")],
    "climbs-through-a-chain-of-links": [
        link("a", "b"), link("b", "c"), link("c", "d"), link("d/up", ".."), link("l", "a/up/..")],
    "climbs-through-a-parent-made-of-links": [link("d/up", ".."), link("d/e", "up/d/up"),
                                              link("d/f", "e/..")],
    "climbs-through-a-link-to-a-link": [link("p", "q/.."), link("q", "d"), directory("d"),
                                        link("l", "p/../x")],
    "climbs-by-many-steps": [link("l", "../" * 500 + "x")],
}


def make(corpus):
    symbolic(corpus)
    after_stripping(corpus)
    endless(corpus)
    inside(corpus)
    hard_refused(corpus)
    hard_accepted(corpus)


def symbolic(corpus):
    for name, entries in CLIMBING.items():
        corpus.refuse_in_formats(f"link-{name}", package(*entries), "entry_unsafe")
        corpus.refuse(f"link-{name}-below-a-top.tar.gz",
                      build.deflated(build.tar_pax(package(*entries, top="top/"))),
                      "entry_unsafe")


def after_stripping(corpus):
    """What stays inside the archive, and climbs out of the package once its top is stripped."""
    cases = {
        "to-a-sibling": [link("top/l", "../x")],
        "to-the-outside": [link("top/l", "..")],
        "and-back": [link("top/l", "../top/bin/run")],
        "from-a-directory": [link("top/a/b/l", "../../../x")],
        "through-a-link": [link("top/d/up", ".."), link("top/l", "d/up/../top")],
    }
    for name, entries in cases.items():
        corpus.refuse_in_formats(f"link-climbs-after-stripping-{name}",
                                 [*package(top="top/"), *entries], "entry_unsafe")


def endless(corpus):
    """Chains that a resolver must not follow for ever, with a climb at their end."""
    doubling = [link(f"l{n}", f"l{n + 1}/../l{n + 1}") for n in range(60)]
    for name, end in {"to-a-directory": "bin", "to-a-directory-and-out": "bin/../.."}.items():
        entries = package(*doubling, link("l60", end), type_name="links-doubling")
        data = build.deflated(build.tar_pax(entries))
        if end == "bin":
            corpus.accept(f"links-of-two-to-the-sixty-steps-{name}.tar.gz", data, entries,
                          "links-doubling")
        else:
            corpus.refuse(f"links-of-two-to-the-sixty-steps-{name}.tar.gz", data, "entry_unsafe")
    # Each of many links goes through the same forty, whose targets are as long as can be.
    long = [link(f"l{n}", "./" * 2000 + f"l{n + 1}") for n in range(39)]
    many = [link(f"m{n}", "l0/" + "./" * 2000 + "x") for n in range(2000)]
    corpus.refuse("links-of-too-many-steps-in-all.tar.gz", build.deflated(build.tar_pax(
        package(*long, link("l39", "bin"), *many))), "entry_unsafe")
    chain = [link(f"l{n}", f"l{n + 1}") for n in range(3000)]
    corpus.refuse("link-climbs-behind-3000-links.tar.gz",
                  build.deflated(build.tar_pax(package(*chain, link("l3000", "../x")))),
                  "entry_unsafe")


def inside(corpus):
    entries = package(
        file("d/e/f/file", b"1"), link("d/up", ".."), link("top", "."), link("dangling", "no/such"),
        link("dangling-far", "no/such/../thing"), link("to-link", "d/up/bin"),
        link("d/e/back", "../../bin/run"), link("deep", "d/e/f"), link("slash", "bin/"),
        # A reader that only counts the dots takes this for a climb; it ends in d/x.
        link("only-looks-like-climbing", "deep/../../x"),
        link("d/root", "../."), link("through-file", "bin/run/x"), link("spaces", "a b#c=d*"),
        type_name="links-inside")
    corpus.accept_in_formats("links-inside", entries)
    corpus.accept_in_formats("links-inside-below-a-top", [e.moved("top/") for e in entries],
                             tree=entries, group="links-inside")
    later = [entries[0], *reversed(entries[1:])]
    corpus.accept_in_formats("links-inside-before-their-targets", later, tree=entries,
                             group="links-inside")
    loops = package(link("self", "self"), link("a", "b"), link("b", "a"), link("c", "c/d"),
                    type_name="links-in-a-circle")
    corpus.accept_in_formats("links-in-a-circle", loops)


def hard_refused(corpus):
    cases = {
        "to-nothing": [hard("h", "no/such")],
        "to-itself": [hard("h", "h")],
        "in-a-circle": [hard("h", "i"), hard("i", "h")],
        "in-a-circle-of-three": [hard("h", "i"), hard("i", "j"), hard("j", "h")],
        "to-a-directory": [directory("d"), hard("h", "d")],
        "to-an-implied-directory": [hard("h", "bin")],
        "to-the-root": [hard("h", ".")],
        "absolute": [hard("h", "/etc/passwd")],
        "absolute-to-what-is-inside": [hard("h", "/bin/run")],
        "with-dotdot-first": [hard("h", "../x")],
        "with-dotdot-in-the-middle": [hard("h", "bin/../bin/run")],
        "with-dotdot-last": [hard("h", "bin/run/..")],
        "with-dotdot-relative-to-itself": [hard("a/h", "../bin/run")],
        "through-a-link": [link("l", "bin"), hard("h", "l/run")],
        "through-a-file": [hard("h", "bin/run/x")],
    }
    for name, entries in cases.items():
        corpus.refuse_in_formats(f"hard-link-{name}", package(*entries), "entry_unsafe",
                                 formats=TARS)
    corpus.refuse_in_formats("hard-link-outside-the-top",
                             [*package(top="top/"), hard("top/h", "bin/run")], "entry_unsafe",
                             formats=TARS)
    corpus.refuse_in_formats("hard-link-to-the-top", [*package(top="top/"), hard("top/h", "top")],
                             "entry_unsafe", formats=TARS)
    corpus.refuse_in_formats("hard-link-target-empty", package(hard("h", "")),
                             ["entry_unsafe", "name_invalid", "entry_unsupported"], formats=TARS)
    # The walk along the links must not take a time that grows with the square of their number.
    chain = [hard(f"h{n}", f"h{n + 1}") for n in range(20_000)]
    corpus.refuse("hard-link-to-nothing-behind-20000-links.tar.gz",
                  build.deflated(build.tar_ustar(package(*chain))), "entry_unsafe")


def hard_accepted(corpus):
    body = b"one body, three names"
    plain = package(file("a", body), file("d/b", body), file("c", body), type_name="hard-links")
    linked = [*plain[:2], plain[2], hard("d/b", "a"), hard("c", "a")]
    corpus.accept_in_formats("hard-links", linked, tree=plain)
    corpus.accept_in_formats("hard-links-below-a-top", [e.moved("top/") for e in linked],
                             tree=plain, group="hard-links", formats=TARS)
    corpus.accept_in_formats("hard-links-copied", plain, group="hard-links")
    corpus.accept_in_formats("hard-links-of-hard-links",
                             [*linked[:3], hard("d/b", "a"), hard("c", "d/b")], tree=plain,
                             group="hard-links", formats=TARS)
    corpus.accept_in_formats("hard-links-with-dots-in-the-target",
                             [*linked[:3], hard("d/b", "./a"), hard("c", ".//d/./b")], tree=plain,
                             group="hard-links", formats=TARS)
    corpus.accept_in_formats("hard-links-before-their-body",
                             [hard("d/b", "a"), hard("c", "d/b"), *linked[:3]], tree=plain,
                             group="hard-links", formats=TARS)
    for bodies in ("all", "first", "last"):
        for name, pack in {"newc": build.cpio_newc, "odc": build.cpio_odc,
                           "bin": build.cpio_bin}.items():
            corpus.accept(f"hard-links-body-{bodies}.{name}.cpio", pack(linked, bodies=bodies),
                          plain, "hard-links")
    script = b"#!/bin/sh\ncat\n"
    executable = package(build.executable("bin/other", script), type_name="hard-executable")
    corpus.accept_in_formats("hard-link-of-an-executable",
                             [*executable[:2], hard("bin/other", "bin/run")], tree=executable,
                             formats=TARS)
    by_link = [build.file("real.json", executable[0].data), hard("manifest.json", "real.json"),
               executable[1]]
    tree = [build.file("real.json", executable[0].data), *executable[:2]]
    corpus.accept_in_formats("hard-link-as-manifest", by_link, tree=tree, formats=TARS,
                             group="hard-link-as-manifest")
