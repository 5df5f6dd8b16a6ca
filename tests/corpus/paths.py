# SPDX-License-Identifier: Apache-2.0
"""Where entries go: paths that leave the package, and paths that are taken already."""

from build import directory, file, hard, link, special, TARS
from case import package

ANYWHERE = {
    "absolute": "/etc/passwd",
    "absolute-with-two-slashes": "//etc/passwd",
    "absolute-below-dot-dot": "/../etc/passwd",
    "dotdot-first": "../evil",
    "dotdot-first-twice": "../../evil",
    "dotdot-in-the-middle": "bin/../evil",
    "dotdot-in-the-middle-leaving": "bin/../../evil",
    "dotdot-in-the-middle-twice": "a/../b/../evil",
    "dotdot-last": "bin/..",
    "dotdot-alone": "..",
    "dotdot-behind-a-dot": "./../evil",
    "dotdot-behind-two-slashes": "bin//../evil",
}


def make(corpus):
    leaving(corpus)
    below_top(corpus)
    specials(corpus)
    duplicates(corpus)
    conflicts(corpus)
    repeated(corpus)


def leaving(corpus):
    for name, path in ANYWHERE.items():
        corpus.refuse_in_formats(f"path-{name}", package(file(path, b"evil")), "entry_unsafe")
    for name in ("absolute", "dotdot-first", "dotdot-in-the-middle"):
        path = ANYWHERE[name]
        corpus.refuse_in_formats(f"path-{name}-of-a-directory", package(directory(path)),
                                 "entry_unsafe")
        corpus.refuse_in_formats(f"path-{name}-of-a-link", package(link(path, "bin/run")),
                                 "entry_unsafe")
    # The bad entry is the very first one, before anything is known of the package.
    corpus.refuse_in_formats("path-dotdot-in-the-first-entry", [file("../evil"), *package()],
                             "entry_unsafe")
    corpus.refuse_in_formats("path-root-is-a-file", package(file(".", b"evil")),
                             ["entry_unsafe", "entry_duplicate", "name_invalid"])
    corpus.refuse_in_formats("path-root-is-a-link", package(link("./", "bin")),
                             ["entry_unsafe", "entry_duplicate", "name_invalid",
                              "archive_corrupt"])


def below_top(corpus):
    """What a top-level directory must not hide."""
    for name, path in {"dotdot-to-the-top": "top/../evil", "dotdot-above-the-top": "top/../../evil",
                       "dotdot-back-into-the-top": "top/../top/evil"}.items():
        corpus.refuse_in_formats(f"path-{name}", [*package(top="top/"), file(path, b"evil")],
                                 "entry_unsafe")
    corpus.refuse_in_formats("path-dotdot-is-the-top", package(top="../"), "entry_unsafe")
    corpus.refuse_in_formats("path-slash-is-the-top", package(top="/"), "entry_unsafe")
    corpus.refuse_in_formats("path-absolute-top", package(top="/top/"), "entry_unsafe")


def specials(corpus):
    for kind in ("char", "block", "fifo", "socket"):
        corpus.refuse_in_formats(f"kind-{kind}", package(special("dev/x", kind)),
                                 "entry_unsupported")
        corpus.refuse_in_formats(f"kind-{kind}-as-manifest",
                                 [special("manifest.json", kind), file("bin/run")],
                                 "entry_unsupported")


def duplicates(corpus):
    cases = {
        "plain": ["a", "a"],
        "behind-a-dot": ["a", "./a"],
        "before-a-dot": ["./a", "a"],
        "with-a-dot-inside": ["d/a", "d/./a"],
        "with-two-slashes": ["d/a", "d//a"],
        "with-three-slashes-and-dots": ["d/e/a", "./d/.//./e///a"],
    }
    for name, (one, two) in cases.items():
        corpus.refuse_in_formats(f"duplicate-{name}",
                                 package(file(one, b"1"), file(two, b"2")), "entry_duplicate")
        top = [entry.moved("top/") for entry in (file(one, b"1"), file(two, b"2"))]
        corpus.refuse_in_formats(f"duplicate-{name}-after-stripping",
                                 [*package(top="top/"), *top], "entry_duplicate")
    corpus.refuse_in_formats("duplicate-of-the-same-bytes",
                             package(file("a", b"1"), file("a", b"1")), "entry_duplicate")
    corpus.refuse_in_formats("duplicate-manifest",
                             [*package(), package(type_name="other")[0]], "entry_duplicate")
    corpus.refuse_in_formats("duplicate-manifest-behind-a-dot",
                             [*package(), *[e.moved("./") for e in package(type_name="other")]],
                             "entry_duplicate")
    corpus.refuse_in_formats("duplicate-signature",
                             package(file("manifest.sig", b"1"), file("manifest.sig", b"2")),
                             "entry_duplicate")
    corpus.refuse_in_formats("duplicate-link", package(link("a", "bin"), link("a", "bin/run")),
                             "entry_duplicate")
    corpus.refuse_in_formats("duplicate-link-and-file",
                             package(link("a", "bin/run"), file("a", b"1")), "entry_duplicate")
    corpus.refuse_in_formats("duplicate-file-and-link",
                             package(file("a", b"1"), link("a", "bin/run")), "entry_duplicate")
    corpus.refuse_in_formats("duplicate-hard-link",
                             package(file("a", b"1"), hard("a", "bin/run")), "entry_duplicate")
    # The last of two equal names wins elsewhere: the first one is harmless here.
    corpus.refuse_in_formats("duplicate-apart",
                             package(file("a", b"1"), *[file(f"f{n}") for n in range(300)],
                                     file("a", b"2")), "entry_duplicate")


def conflicts(corpus):
    """One path used both as a directory and as something else."""
    either = ["entry_duplicate", "entry_unsafe"]
    cases = {
        "file-then-directory": [file("a", b"1"), directory("a")],
        "directory-then-file": [directory("a"), file("a", b"1")],
        "link-then-directory": [link("a", "bin"), directory("a")],
        "directory-then-link": [directory("a"), link("a", "bin")],
        "file-used-as-directory": [file("a", b"1"), file("a/b", b"2")],
        "file-used-as-directory-deeply": [file("a", b"1"), file("a/b/c/d", b"2")],
        "implied-directory-then-file": [file("a/b", b"1"), file("a", b"2")],
        "implied-directory-then-link": [file("a/b", b"1"), link("a", "bin")],
        "link-used-as-directory": [link("a", "bin"), file("a/b", b"2")],
        "link-to-root-used-as-directory": [link("a", "."), file("a/b", b"2")],
        "manifest-used-as-directory": [file("manifest.json/x", b"1")],
    }
    for name, entries in cases.items():
        corpus.refuse_in_formats(f"conflict-{name}", package(*entries), either)
    corpus.refuse_in_formats("conflict-hard-link-used-as-directory",
                             package(hard("a", "bin/run"), file("a/b")), either, formats=TARS)
    corpus.refuse_in_formats("conflict-top-level-directory-is-a-link",
                             [link("top", "real"), *package(top="top/")],
                             [*either, "manifest_missing"])


def repeated(corpus):
    """What looks like a duplicate and is none."""
    entries = package(file("a", b"1"), file("A", b"2"), file("d/é", b"3"), file("d/É", b"4"),
                      file("d/e\u0301", b"5"), type_name="case-differs")
    corpus.accept_in_formats("duplicate-but-for-case", entries)
    tree = package(directory("d"), directory("d/e"), file("d/f", b"1"), type_name="repeated")
    again = [directory("./"), directory("d"), *tree, directory("d/"), directory("./d//e"),
             directory("bin"), directory(".")]
    corpus.accept_in_formats("directories-repeated", again, tree=tree)
    normal = [entry.moved("././/") for entry in tree]
    corpus.accept_in_formats("paths-with-dots-and-slashes", normal, tree=tree,
                             group="directories-repeated")
