# SPDX-License-Identifier: Apache-2.0
"""Takes the cases of the corpus: writes each archive and notes what must become of it.

Owns the two directories and expected.json. What is expected of an accepted archive comes from a
tree that is written down here as a dict, never from reading the archive; its version is computed
by the end-to-end harness from the contract's text.
"""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import subprocess
import sys

import build

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "mount"))
import harness  # noqa: E402

ERRNO = {
    "EBADMSG": ("archive_empty", "archive_unsupported", "archive_truncated", "archive_corrupt",
                "archive_encrypted"),
    "EINVAL": ("manifest_missing", "manifest_invalid", "entry_unsafe", "entry_duplicate",
               "entry_unsupported", "name_invalid"),
    "EFBIG": ("archive_too_large", "inflated_too_large", "too_many_entries"),
}
ERRNO_OF = {code: name for name, codes in ERRNO.items() for code in codes}

# Where two tools of good faith may see the same damage differently.
BROKEN = ["archive_corrupt", "archive_truncated"]
BAD_NAME = ["name_invalid", "entry_unsafe"]


def tool(*argv, data=None, cwd=None, env=None):
    """Runs a packer on bytes and returns what it writes to its standard output."""
    return subprocess.run(argv, input=data, stdin=None if data is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, cwd=cwd,
                          env=dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC", **(env or {}))).stdout


def zst(data, *options):
    return tool("zstd", "-q", "-c", *options, data=data)


def lz4(data, *options):
    return tool("lz4", "-q", "-c", *options, data=data)


def gz(data):
    return gzip.compress(data, 6, mtime=0)


def xz(data):
    return lzma.compress(data, preset=1, check=lzma.CHECK_CRC64)


FILTERS = {"gz": gz, "bz2": bz2.compress, "xz": xz, "zst": zst, "lz4": lz4}


def manifest(type_name, **more):
    text = json.dumps({"entry_module": type_name, **more}, sort_keys=True).encode()
    return build.file("manifest.json", text)


def package(*more, type_name="refused", top=""):
    """A whole package, sound but for what is added to it."""
    entries = [manifest(type_name), build.executable("bin/run"), *more]
    return [entry.moved(top) for entry in entries] if top else entries


def tree_of(entries):
    """The tree that entries make, in the harness' terms. The entries must be sound, with names
    as they are after stripping; a hard link must follow its target."""
    tree = {}
    for entry in entries:
        path = os.fsdecode(entry.path.rstrip(b"/"))
        if entry.kind == "dir":
            tree[path] = None
        elif entry.kind == "link":
            tree[path] = harness.Link(os.fsdecode(entry.target))
        elif entry.kind == "hard":
            tree[path] = tree[os.fsdecode(entry.target)]
        else:
            tree[path] = harness.Executable(entry.data) if entry.mode & 0o111 else entry.data
    return tree


def describe(content):
    """What the reader of a mount must find: a digest, a link's target, or null for a directory."""
    if content is None:
        return None
    if isinstance(content, harness.Link):
        return f"link:{content}"
    return hashlib.sha256(content).hexdigest()


class Corpus:
    def __init__(self, outdir):
        self.outdir = pathlib.Path(outdir)
        self.expected = {}
        for name in ("accept", "refuse"):
            (self.outdir / name).mkdir(parents=True, exist_ok=True)

    def write(self, name, data):
        if name in self.expected:
            raise ValueError(f"two cases are called {name}")
        pieces = [data] if isinstance(data, bytes) else data
        with open(self.outdir / name, "wb") as out:
            out.writelines(pieces)

    def refuse(self, name, data, code, options=None, by_memory_limit=False):
        """data: bytes or pieces of bytes. code: the receipt's, or a short list of equals.
        by_memory_limit: only the limit of the decoder's address space refuses it."""
        codes = [code] if isinstance(code, str) else list(code)
        errnos = sorted({ERRNO_OF[each] for each in codes})
        self.write(f"refuse/{name}", data)
        self.expected[f"refuse/{name}"] = {
            "code": codes if len(codes) > 1 else codes[0],
            "errno": errnos if len(errnos) > 1 else errnos[0],
            **({"by_memory_limit": True} if by_memory_limit else {}),
            **({"options": options} if options else {})}

    def refuse_in_formats(self, name, entries, code, formats=None):
        """One archive in each format that can express the entries; at least one must."""
        written = 0
        for extension, pack in (formats or build.FORMATS).items():
            try:
                data = pack(entries)
            except build.CannotExpress:
                continue
            self.refuse(f"{name}.{extension}", data, code)
            written += 1
        if not written:
            raise ValueError(f"no format can express {name}")

    def accept(self, name, data, tree, group, options=None):
        """tree: entries, or a tree in the harness' terms. All of a group have one version."""
        tree = tree if isinstance(tree, dict) else tree_of(tree)
        content = json.loads(tree["manifest.json"])
        type_name = content["entry_module"].replace("/", "@")
        self.write(f"accept/{name}", data)
        self.expected[f"accept/{name}"] = {
            "type": type_name, "version": harness.version_of(tree, None),
            "files": {path: describe(content) for path, content in tree.items()},
            "executable": sorted(path for path, content in tree.items()
                                 if isinstance(content, harness.Executable)),
            "same_version_as": group, **({"options": options} if options else {})}

    def accept_in_formats(self, name, entries, group=None, formats=None, tree=None):
        written = 0
        for extension, pack in (formats or build.FORMATS).items():
            try:
                data = pack(entries)
            except build.CannotExpress:
                continue
            self.accept(f"{name}.{extension}", data, tree or entries, group or name)
            written += 1
        if not written:
            raise ValueError(f"no format can express {name}")

    def finish(self):
        groups = {}
        for name, case in self.expected.items():
            if "version" in case:
                first = groups.setdefault(case["same_version_as"], case)
                if first["version"] != case["version"]:
                    raise ValueError(f"{name} is not the tree of its group")
        text = json.dumps(self.expected, indent=1, sort_keys=True)
        (self.outdir / "expected.json").write_text(text + "\n", encoding="ascii")
