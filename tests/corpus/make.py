#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the corpus of archives that a mount must accept or refuse.

usage: make.py OUTDIR

Writes OUTDIR/accept/*, OUTDIR/refuse/* and OUTDIR/expected.json. A file's name says what it is.
In expected.json each file has either what the receipt and the failing close must say
({"code": ..., "errno": ...}; a list where two answers are equally right), or what must be found
after the deploy ({"type": ..., "version": ..., "files": ..., "same_version_as": GROUP}). "options"
are the mount options that the case needs. Needs GNU tar and cpio, bsdtar, zip, xz, zstd and lz4.
"""

import importlib
import shutil
import sys

import case

THEMES = ("paths", "names", "links", "damage", "zips", "formats", "filters", "foreign", "manifests",
          "limits")
TOOLS = ("tar", "bsdtar", "cpio", "zip", "xz", "zstd", "lz4", "bzip2", "gzip")


def missing_tools():
    return [name for name in TOOLS if not shutil.which(name)]


def make(outdir):
    corpus = case.Corpus(outdir)
    for theme in THEMES:
        importlib.import_module(theme).make(corpus)
    corpus.finish()
    return corpus.expected


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    if missing_tools():
        sys.exit(f"make.py needs {', '.join(missing_tools())}: install them first")
    print(f"{len(make(sys.argv[1]))} archives in {sys.argv[1]}")
