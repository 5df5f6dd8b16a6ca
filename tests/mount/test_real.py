# SPDX-License-Identifier: Apache-2.0
"""Real archives that nobody here wrote: packages of the npm registry and a Debian source tarball,
in every format, deploy and read back byte for byte, and all formats give one version."""

import json
import os
import shutil
import unittest

import harness
from harness import MountCase, need, run, shell

FORMATS = {
    "tar": "tar cf {out} .",
    "tar.gz": "tar c . | gzip -1 > {out}",
    "tar.bz2": "tar c . | bzip2 -1 > {out}",
    "tar.xz": "tar c . | xz -T0 -0 > {out}",
    "tar.zst": "tar c . | zstd -q -1 > {out}",
    "tar.lz4": "tar c . | lz4 -q > {out}",
    "zip": "zip -q -1 -r -y {out} .",
    "cpio": "find . | cpio -o -H newc --quiet > {out}",
}


class Real(MountCase):
    def setUp(self):
        super().setUp()
        need("zip", "cpio", "zstd", "lz4", "xz", "bzip2")
        self.dir = self.scratch()
        self.tree = self.dir / "tree"

    def npm(self, name, type_name):
        need("npm")
        done = run("npm", "pack", "--silent", "--pack-destination", self.dir, name,
                   env={"npm_config_fetch_retries": "1", "npm_config_update_notifier": "false"})
        archives = list(self.dir.glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            self.skipTest(f"the npm registry did not give {name}: {done.stderr.strip()[-200:]}")
        self.tree.mkdir()
        run("tar", "xzf", archives[0], "-C", self.tree, "--strip-components=1",
            "--no-same-owner", check=True)
        self.add_manifest(type_name)

    def add_manifest(self, type_name):
        (self.tree / "manifest.json").write_text(json.dumps({"entry_module": type_name}))

    def check_every_format(self, type_name, formats=FORMATS):
        m = self.mount()
        version = None
        for suffix in formats:
            with self.subTest(format=suffix):
                archive = self.dir / f"archive.{suffix}"
                shell(FORMATS[suffix].format(out=archive), cwd=self.tree, check=True)
                receipt = m.deploy(archive)
                version = version or receipt["version"]
                self.assertEqual(receipt["version"], version)
                if m.versions(type_name) == [version] and receipt["freshly_loaded"]:
                    self.assert_same(m, type_name, version)
                archive.unlink()
        self.assertEqual(m.versions(type_name), [version])
        self.assertEqual(harness.aionfs("hash", self.tree, check=True).stdout.split()[0], version)
        done = run("sha256sum", m / f"indexes/{type_name}/{version}.mtree", check=True)
        self.assertEqual(done.stdout.split()[0], version)
        m.remount()
        self.assert_same(m, type_name, version)
        return m

    def assert_same(self, m, type_name, version):
        done = run("diff", "-r", "--no-dereference", self.tree, m.package(type_name, version))
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_express(self):
        self.npm("express@4.19.2", "express")
        m = self.check_every_format("express")
        m.umount()
        self.assert_silent_fsck(m)

    def test_next(self):
        """6,300 files, 87 MB; with the sanitizers in three formats only, for they are slow."""
        self.npm("next@14.2.3", "next")
        m = self.check_every_format("next", ["tar.gz", "tar.zst", "zip"] if harness.SANITIZED
                                    else FORMATS)
        before = m.status()["store"]["used_bytes"]
        target = self.tree / "dist/server/next.js"
        target.write_bytes(target.read_bytes() + b"// changed\n")
        archive = self.dir / "changed.tar"
        run("tar", "cf", archive, "-C", self.tree, ".", check=True)
        receipt = m.deploy(archive)
        version = receipt["version"]
        index = (m / f"indexes/next/{version}.mtree").stat().st_size
        added = index + target.stat().st_size
        self.assertGreaterEqual(receipt["new_bytes"], added)
        self.assertLess(receipt["new_bytes"], added + 65536, "only the file and the index are new")
        self.assertLess(m.status()["store"]["used_bytes"] - before, added + (1 << 20))
        self.assert_same(m, "next", version)

    def test_a_debian_source_package(self):
        need("apt-get")
        apt = self.dir / "apt"
        for name in ("lists/partial", "archives/partial"):
            (apt / name).mkdir(parents=True)
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        if not os.path.exists(keyring):
            self.skipTest("this is no Debian: there is no debian-archive-keyring")
        (apt / "sources.list").write_text(
            f"deb-src [signed-by={keyring}] http://deb.debian.org/debian bookworm main\n")
        options = [f"-oDir::Etc::sourcelist={apt}/sources.list",
                   "-oDir::Etc::sourceparts=/dev/null",
                   f"-oDir::State::lists={apt}/lists", f"-oDir::Cache::archives={apt}/archives",
                   "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=",
                   "-oAPT::Sandbox::User=", "-oAcquire::Retries=1", "-oAcquire::http::Timeout=20"]
        for argv in (["update"], ["source", "--download-only", "--only-source", "hello"]):
            done = run("apt-get", "-q", *options, *argv, cwd=self.dir)
            if done.returncode != 0:
                self.skipTest(f"Debian's archive does not answer: {done.stderr.strip()[-200:]}")
        original = next(self.dir.glob("hello_*.orig.tar.gz"), None)
        if original is None:
            raise unittest.SkipTest("Debian's archive gave no hello_*.orig.tar.gz")
        self.tree.mkdir()
        run("tar", "xzf", original, "-C", self.tree, "--strip-components=1", "--no-same-owner",
            check=True)
        self.add_manifest("hello")
        shutil.rmtree(apt)
        self.check_every_format("hello")
