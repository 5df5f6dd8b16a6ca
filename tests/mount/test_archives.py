# SPDX-License-Identifier: Apache-2.0
"""indexes/ and archives/: the version can be checked by hand, and travels to another mount."""

import os
import subprocess

import harness
from harness import (Executable, Link, MountCase, aionfs, canonical_index, make_package, make_tar,
                     need, noise, run, shell, version_of, write_tree)

LONG = "/".join(["directory-with-a-long-name"] * 8)
FILES = {
    "bin/run": Executable(b"#!/bin/sh\n"),
    "lib/data": noise(1_500_000, 4),
    "lib/block": b"x" * 512,
    "lib/none": b"",
    "lib-before-slash": b"sorts before lib/",
    "current": Link("lib/data"),
    "empty/inside": None,
    f"{LONG}/file": b"long path\n",
    "long-link": Link(LONG + "/file"),
    "n" * 255: b"long name\n",
    "with space": b"1",
    "hash#back\\slash=": b"2",
    "uml\u00e4ut": b"3",
}
# Names that mtree-netbsd takes for patterns even when they are escaped.
GLOBS = {"star*": b"4", "question?": b"5", "bracket[1]": b"6"}
MANIFEST = {"entry_module": "demo"}


class Archives(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.dir = self.scratch()
        self.files = {**FILES, **GLOBS}
        self.version = self.m.deploy(make_package(self.files, MANIFEST))["version"]
        self.archive = self.m / f"archives/demo/{self.version}.tar"
        self.index = self.m / f"indexes/demo/{self.version}.mtree"

    def test_the_index_is_canonical(self):
        self.assertEqual(self.index.read_bytes(), canonical_index(self.files, MANIFEST))

    def test_sha256sum_of_the_index_prints_the_version(self):
        done = run("sha256sum", self.index, check=True)
        self.assertEqual(done.stdout.split()[0], self.version)
        self.assertEqual(self.version, version_of(self.files, MANIFEST))

    def test_into_a_second_mount(self):
        second = self.mount()
        run("cp", self.archive, second / "deploy/", check=True)
        receipt = second.receipt(self.archive.name)
        self.assertEqual((receipt["type"], receipt["version"]), ("demo", self.version))
        self.assert_package(second, self.files, MANIFEST)
        promoted = second / f"archives/demo/{self.version}.tar"
        run("cmp", self.archive, promoted, check=True)

    def test_back_into_its_own_mount(self):
        run("cp", self.archive, self.m / "deploy/", check=True)
        receipt = self.m.receipt(self.archive.name)
        self.assertEqual((receipt["version"], receipt["freshly_loaded"]), (self.version, False))

    def test_the_archive_is_the_same_each_time(self):
        before = harness.sha256(self.archive.read_bytes())
        self.m.remount()
        self.assertEqual(harness.sha256(self.archive.read_bytes()), before)

    def test_reading_the_archive_in_pieces(self):
        data = self.archive.read_bytes()
        self.assertEqual(len(data) % 512, 0)
        with open(self.archive, "rb", buffering=0) as f:
            for offset in (0, 1, 511, 512, 1000, len(data) // 2, len(data) - 700, len(data)):
                got = os.pread(f.fileno(), 1234, offset)
                self.assertTrue(got == data[offset:offset + 1234], offset)

    def test_unpacking(self):
        original = self.dir / "original"
        original.mkdir()
        write_tree(original, self.files, MANIFEST)
        need("bsdtar")
        for tool in ("tar", "bsdtar"):
            with self.subTest(tool=tool):
                target = self.dir / tool
                target.mkdir()
                done = run(tool, "xf", self.archive, "-C", target, check=True)
                self.assertEqual(done.stderr, "")
                run("diff", "-r", "--no-dereference", original, target, check=True)
                self.assertEqual(
                    run("find", ".", "-type", "f", "-perm", "-100", cwd=target).stdout,
                    "./bin/run\n")

    def test_the_archive_is_deterministic(self):
        listing = run("tar", "--utc", "--numeric-owner", "-tvf", self.archive, check=True).stdout
        for line in listing.splitlines():
            mode, owner = line.split()[:2]
            self.assertEqual(owner, "0/0", line)
            self.assertIn(" 1970-01-01 00:00 ", line)
            self.assertIn(mode, ("drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx"))

    def test_mtree_accepts_the_mounted_version(self):
        need("mtree")
        version = self.m.deploy(make_package(FILES, {"entry_module": "plain"}))["version"]
        index = self.m / f"indexes/plain/{version}.mtree"
        package = self.m.package("plain", version)
        done = run("mtree", "-p", package, "-f", index)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_mtree_finds_a_difference(self):
        need("mtree")
        version = self.m.deploy(make_package(FILES, {"entry_module": "plain"}))["version"]
        run("cp", "-r", self.m.package("plain", version), self.dir / "copy", check=True)
        (self.dir / "copy/lib/block").write_bytes(b"y" * 512)
        done = run("mtree", "-p", self.dir / "copy",
                   "-f", self.m / f"indexes/plain/{version}.mtree")
        self.assertNotEqual(done.returncode, 0)

    def test_pack_makes_the_same_archive(self):
        write_tree(self.dir / "tree", self.files, MANIFEST)
        packed = self.dir / "packed.tar"
        aionfs("pack", self.dir / "tree", "-o", packed, check=True)
        run("cmp", packed, self.archive, check=True)

    def test_hash_prints_the_same_version(self):
        write_tree(self.dir / "tree", self.files, MANIFEST)
        archive = self.dir / "a.tar.gz"
        archive.write_bytes(make_package(self.files, MANIFEST))
        for what in (self.dir / "tree", archive, self.archive):
            self.assertEqual(aionfs("hash", what, check=True).stdout.split()[0], self.version)


class OneVersion(MountCase):
    """The version depends on contents alone."""

    FILES = {"bin/run": Executable(b"#!/bin/sh\n"), "lib/a": b"a" * 1000, "lib/b": noise(70_000, 5),
             "current": Link("lib/a"), "uml\u00e4ut": b"\xc3\xa4", "empty": None}

    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.dir = self.scratch()
        self.tree = self.dir / "tree"
        write_tree(self.tree, self.FILES, "demo")
        self.version = version_of(self.FILES)

    def assert_one_version(self, archive):
        self.assertEqual(self.m.deploy(archive)["version"], self.version)
        self.assertEqual(self.m.versions("demo"), [self.version])

    def make(self, name, script):
        shell(script.format(out=self.dir / name), cwd=self.tree, check=True)
        return self.dir / name

    def test_every_format_and_filter(self):
        need("bsdtar", "cpio", "zip", "zstd", "lz4", "xz", "bzip2")
        for name, script in {
            "gnu.tar": "tar cf {out} --format=gnu .",
            "posix.tar": "tar cf {out} --format=posix .",
            "bsd.tar": "bsdtar cf {out} .",
            "ustar.tar": "bsdtar --format ustar -cf {out} .",
            "a.tar.gz": "tar czf {out} .",
            "a.tar.bz2": "tar cjf {out} .",
            "a.tar.xz": "tar cJf {out} .",
            "a.tar.zst": "tar c . | zstd -q > {out}",
            "a.tar.lz4": "tar c . | lz4 -q > {out}",
            "a.zip": "zip -q -r -y {out} .",
            "stored.zip": "zip -q -0 -r -y {out} .",
            "bsd.zip": "bsdtar -c --format zip -f {out} .",
            "newc.cpio": "find . | cpio -o -H newc --quiet > {out}",
            "odc.cpio": "find . | cpio -o -H odc --quiet > {out}",
            "newc.cpio.gz": "find . | cpio -o -H newc --quiet | gzip > {out}",
        }.items():
            with self.subTest(format=name):
                self.assert_one_version(self.make(name, script))

    def test_order_times_and_owners_do_not_count(self):
        backwards = dict(reversed(list(harness.with_manifest(self.FILES, "demo").items())))
        self.assert_one_version(make_tar(backwards, None))
        run("find", self.tree, "-exec", "touch", "-h", "-d", "1999-12-31", "{}", "+", check=True)
        self.assert_one_version(self.make("old.tar", "tar cf {out} --owner=4711 --group=0815 ."))

    def test_modes_are_normalised(self):
        (self.tree / "bin/run").chmod(0o4711)
        (self.tree / "lib/a").chmod(0o666)
        (self.tree / "lib").chmod(0o1700)
        self.assert_one_version(self.make("modes.tar", "tar cf {out} ."))

    def test_hard_links_are_files(self):
        os.unlink(self.tree / "lib/a")
        (self.tree / "lib/a").write_bytes(b"a" * 1000)
        os.link(self.tree / "lib/a", self.tree / "lib/c")
        version = version_of({**self.FILES, "lib/c": b"a" * 1000})
        for name, script in {"hard.tar": "tar cf {out} .", "hard.cpio":
                             "find . | cpio -o -H newc --quiet > {out}"}.items():
            with self.subTest(format=name):
                self.assertEqual(self.m.deploy(self.make(name, script))["version"], version)

    def test_missing_parents_are_implied(self):
        files = {path: content for path, content in self.FILES.items() if content is not None}
        # The tar lists no directories at all, a full one lists each.
        bare = self.m.deploy(make_tar(files, "bare"))["version"]
        full = self.m.deploy(make_tar({"lib": None, "bin": None, **files}, "bare"))["version"]
        self.assertEqual(bare, full)
        self.assertEqual(bare, version_of(files, "bare"))

    def test_a_signature_is_not_part_of_the_version(self):
        signed = {**self.FILES, "manifest.sig": b"signature bytes\n"}
        self.assert_one_version(make_package(signed))
        self.assertNotIn("manifest.sig", os.listdir(self.m.package("demo", self.version)))
        listing = run("tar", "tf", self.m / f"archives/demo/{self.version}.tar", check=True).stdout
        self.assertTrue(listing.splitlines()[-1].endswith("manifest.sig"), listing)


class Sparse(MountCase):
    def test_a_sparse_file(self):
        m, directory = self.mount(), self.scratch()
        write_tree(directory / "tree", {"a": b"x"}, "sparse")
        with open(directory / "tree/holes", "wb") as f:
            f.write(b"begin")
            f.truncate(3 << 20)
            f.seek(2 << 20)
            f.write(b"middle")
        expected = (directory / "tree/holes").read_bytes()
        subprocess.run(["tar", "cSf", directory / "sparse.tar", "-C", directory / "tree", "."],
                       check=True)
        version = m.deploy(directory / "sparse.tar")["version"]
        self.assertTrue((m.package("sparse", version) / "holes").read_bytes() == expected)
        self.assertEqual(version, version_of({"a": b"x", "holes": expected}, "sparse"))
