# SPDX-License-Identifier: Apache-2.0
"""Operator packages (-o package=FILE): they win their route for this mount and leave no trace."""

import errno
import os

from harness import Mount, MountCase, aionfs, make_package, run, version_of

OLD, NEW = {"which": b"persisted"}, {"which": b"operator", "bulk": b"x" * 100_000}


class Operator(MountCase):
    def setUp(self):
        super().setUp()
        self.dir = self.scratch()
        self.file = self.dir / "operator.tar.gz"
        self.file.write_bytes(make_package(NEW))
        self.m = self.mount()

    def test_wins_the_route_for_this_mount_only(self):
        old = self.m.deploy(make_package(OLD))["version"]
        self.m.remount(f"package={self.file}")
        self.assertEqual(self.m.route("demo"), version_of(NEW))
        self.assert_package(self.m, NEW)
        self.assert_package(self.m, OLD)
        self.assertEqual(self.m.versions("demo"), sorted([old, version_of(NEW)]))
        self.assertEqual((self.m / f"indexes/demo/{version_of(NEW)}.mtree").stat().st_size,
                         len((self.m / f"indexes/demo/{version_of(NEW)}.mtree").read_bytes()))
        listing = aionfs("list", self.m.state, check=True).stdout
        self.assertNotIn(version_of(NEW), listing)
        self.m.remount("")
        self.assertEqual(self.m.route("demo"), old)
        self.assertEqual(self.m.versions("demo"), [old])
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_of_a_new_type(self):
        self.m.remount(f"package={self.file}")
        self.assertEqual(self.m.route("demo"), version_of(NEW))
        self.m.remount("")
        self.assertEqual(self.m.types(), [])
        self.assertEqual(os.listdir(self.m / "routes"), [])

    def test_after_a_kill_there_is_no_trace_either(self):
        self.m.remount(f"package={self.file}")
        self.m.kill()
        self.m.start("")
        self.assertEqual(self.m.types(), [])
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_several_in_order(self):
        second = self.dir / "second.tar.gz"
        second.write_bytes(make_package(OLD))
        third = self.dir / "third.tar.gz"
        third.write_bytes(make_package(OLD, "third"))
        self.m.remount(f"package={self.file},package={second},package={third}")
        self.assertEqual(self.m.route("demo"), version_of(OLD))
        self.assertEqual(self.m.versions("demo"), sorted([version_of(OLD), version_of(NEW)]))
        self.assertEqual(self.m.types(), ["demo", "third"])

    def test_cannot_be_unloaded(self):
        self.m.deploy(make_package(OLD))
        self.m.remount(f"package={self.file}")
        run("ln", "-sfn", version_of(OLD), self.m / "routes/demo", check=True)
        self.assertEqual(self.m.route("demo"), version_of(OLD))
        with self.assertRaises(OSError) as caught:
            os.rmdir(self.m.package("demo", version_of(NEW)))
        self.assertEqual(caught.exception.errno, errno.EPERM)
        self.assert_package(self.m, NEW)

    def test_deployed_too_it_persists(self):
        self.m.remount(f"package={self.file}")
        receipt = self.m.deploy(self.file)
        self.assertEqual(receipt["version"], version_of(NEW))
        self.m.remount("")
        self.assertEqual(self.m.route("demo"), version_of(NEW))
        self.assert_package(self.m, NEW)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_a_bad_one_fails_the_mount(self):
        self.m.deploy(make_package(OLD))
        self.m.umount()
        bad = self.dir / "bad.tar.gz"
        bad.write_bytes(b"no archive\n" * 100)
        for path in (bad, self.dir / "missing.tar.gz", self.dir):
            with self.subTest(path=path):
                other = Mount(self.m.state, f"package={self.file},package={path}")
                self.addCleanup(other.cleanup)
                done = run(*other.command())
                self.assertGreater(done.returncode, 0)
                self.assertIn(str(path), done.stderr)
                self.assertFalse(other.is_mounted())
        self.m.start("")
        self.assertEqual(self.m.versions("demo"), [version_of(OLD)])
