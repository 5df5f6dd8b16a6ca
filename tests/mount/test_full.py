# SPDX-License-Identifier: Apache-2.0
"""A full disk: deploys fail with ENOSPC, nothing is lost, and after an unload they work again."""

import errno
import os

from harness import MountCase, make_package, noise, run, unmount_all_below, version_of

DISK = 160 << 20
PIECE = 12 << 20


class Full(MountCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        self.disk = self.scratch()
        done = run("mount", "-t", "tmpfs", "-o", f"size={DISK}", "aionfs-test", self.disk)
        if done.returncode != 0:
            self.skipTest(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        self.addCleanup(unmount_all_below, self.disk)
        self.m = self.mount(self.disk / "state")

    @staticmethod
    def files(number):
        return {"bulk": noise(PIECE, number), "number": b"%d" % number}

    def deploy(self, number):
        """Deploys number as a type of its own; returns what cp did."""
        archive = make_package(self.files(number), f"type{number}", level=0)
        done, _ = self.m.try_deploy(archive, f"x{number}")
        return done

    def fill(self):
        """Deploys until the disk is full; returns the numbers that were acknowledged."""
        for number in range(DISK // PIECE + 1):
            done = self.deploy(number)
            if done.returncode != 0:
                self.assertIn("No space left on device", done.stderr)
                return list(range(number))
        raise AssertionError("the disk never became full")

    def assert_whole(self, numbers):
        self.assertEqual(self.m.types(), sorted(f"type{number}" for number in numbers))
        for number in numbers:
            name = f"type{number}"
            self.assertEqual(self.m.route(name), version_of(self.files(number), name))
            self.assert_package(self.m, self.files(number), name)

    def unload(self, number):
        name = f"type{number}"
        version = self.m.route(name)
        os.unlink(self.m / "routes" / name)
        os.rmdir(self.m.package(name, version))

    def test_nothing_is_lost_and_an_unload_helps(self):
        numbers = self.fill()
        self.assertGreater(len(numbers), 2)
        self.assert_whole(numbers)
        # Small changes still work on a full disk: it can be inspected, and put in order.
        for number in numbers[:3]:
            self.unload(number)
        done = self.deploy(0)
        self.assertEqual(done.returncode, 0, done.stderr)
        kept = [0, *numbers[3:]]
        self.assert_whole(kept)
        self.m.remount()
        self.assert_whole(kept)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_a_full_disk_remounts(self):
        numbers = self.fill()
        self.m.remount()
        self.assert_whole(numbers)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_somebody_else_fills_the_disk(self):
        self.assertEqual(self.deploy(0).returncode, 0)
        with open(self.disk / "ballast", "wb") as f:
            with self.assertRaises(OSError) as caught:
                while True:
                    f.write(bytes(1 << 20))
                    f.flush()
            self.assertEqual(caught.exception.errno, errno.ENOSPC)
        done = self.deploy(1)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("No space left on device", done.stderr)
        self.assert_whole([0])
        os.unlink(self.disk / "ballast")
        self.assertEqual(self.deploy(1).returncode, 0)
        self.assert_whole([0, 1])
        self.m.remount()
        self.assert_whole([0, 1])

    def test_df_tells(self):
        before = os.statvfs(self.m.path)
        self.deploy(0)
        after = os.statvfs(self.m.path)
        self.assertLess(after.f_bavail * after.f_frsize, before.f_bavail * before.f_frsize)
        self.fill()
        full = os.statvfs(self.m.path)
        self.assertLess(full.f_bavail * full.f_frsize, 3 * PIECE)
