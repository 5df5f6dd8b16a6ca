# SPDX-License-Identifier: Apache-2.0
"""rmdir packages/TYPE/VERSION unloads a version, and frees what nobody else needs."""

import errno
import os
import time

from harness import MountCase, make_package, noise, run, version_of

LARGE = {"large": noise(6 << 20, 11), "shared": noise(700_000, 12), "own": b"mine\n"}
OTHER = {"shared": LARGE["shared"], "own": b"another\n"}


class Unload(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.version = self.m.deploy(make_package(LARGE))["version"]
        self.other = self.m.deploy(make_package(OTHER))["version"]
        self.package = self.m.package("demo", self.version)
        # The route is on `other` now.

    def unload(self, version=None, type_name="demo"):
        run("rmdir", self.m.package(type_name, version or self.version), check=True)

    def test_a_routed_version_is_busy(self):
        with self.assertRaises(OSError) as caught:
            os.rmdir(self.m.package("demo", self.other))
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        self.assert_package(self.m, OTHER)
        self.assertIn(self.other, self.m.log_text())

    def test_an_unloaded_version_is_gone_everywhere(self):
        self.unload()
        self.assertEqual(self.m.versions("demo"), [self.other])
        for path in (f"packages/demo/{self.version}", f"archives/demo/{self.version}.tar",
                     f"indexes/demo/{self.version}.mtree"):
            self.assertFalse(os.path.lexists(self.m / path), path)
        self.assert_package(self.m, OTHER)
        self.assertIn(self.version, self.m.log_text())
        self.m.remount()
        self.assertEqual(self.m.versions("demo"), [self.other])
        self.assert_package(self.m, OTHER)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_once_more_is_an_error(self):
        self.unload()
        with self.assertRaises(FileNotFoundError):
            os.rmdir(self.package)

    def test_an_open_file_stays_readable(self):
        with open(self.package / "large", "rb", buffering=0) as f:
            self.assertEqual(f.read(10), LARGE["large"][:10])
            self.unload()
            data = b""
            while len(data) < len(LARGE["large"]):
                data += os.pread(f.fileno(), 1 << 20, len(data))
            self.assertTrue(data == LARGE["large"])
            # A deploy in between must not take its pages either.
            self.m.deploy(make_package({"large": noise(6 << 20, 13)}, "new"))
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self.assertTrue(os.pread(f.fileno(), 1 << 20, 5 << 20) == LARGE["large"][5 << 20:])
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_an_open_file_across_unload_and_redeploy(self):
        with open(self.package / "large", "rb", buffering=0) as f:
            self.unload()
            self.m.deploy(make_package(LARGE))
            self.assertTrue(os.pread(f.fileno(), 4096, 3 << 20)
                            == LARGE["large"][3 << 20:(3 << 20) + 4096])
            self.assert_package(self.m, LARGE)
        self.assert_package(self.m, LARGE)

    def test_an_open_directory_across_unload_and_redeploy(self):
        fd = os.open(self.package, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, fd)
        self.unload()
        self.m.deploy(make_package(LARGE))
        try:  # the old load is gone, or still there: but never half
            names = sorted(os.listdir(fd))
            self.assertIn(names, ([], sorted([*LARGE, "manifest.json"])))
        except OSError as e:
            self.assertIn(e.errno, (errno.ESTALE, errno.ENOENT))
        self.assert_package(self.m, LARGE)

    def test_contents_are_freed_but_shared_ones_stay(self):
        self.unload()
        again = self.m.deploy(make_package(LARGE))
        self.assertIs(again["freshly_loaded"], True)
        self.assertGreaterEqual(again["new_bytes"], len(LARGE["large"]))
        self.assertLess(again["new_bytes"], len(LARGE["large"]) + 100_000)
        self.assert_package(self.m, LARGE)
        self.assert_package(self.m, OTHER)

    def test_the_space_is_used_again(self):
        def size():
            return os.stat(self.m.state / "contents/data.mdb").st_blocks * 512
        before = size()
        for number in range(8):
            files = {"large": noise(6 << 20, 20 + number)}
            version = self.m.deploy(make_package(files, "passing"), box="stage")["version"]
            self.unload(version, "passing")
        self.assertLess(size(), before + 3 * (6 << 20))

    def test_the_last_version_of_a_type(self):
        version = self.m.deploy(make_package({}, "short"), box="stage")["version"]
        self.unload(version, "short")
        self.assertEqual(self.m.versions("short"), [])
        self.m.remount()
        self.assertEqual(self.m.versions("short"), [])
        self.m.deploy(make_package({}, "short"))
        self.assertEqual(self.m.route("short"), version)

    def test_after_the_route_is_removed(self):
        run("rm", self.m / "routes/demo", check=True)
        self.unload(self.other)
        self.unload()
        self.assertEqual(self.m.versions("demo"), [])
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_deployed_again_after_the_unload(self):
        self.unload()
        receipt = self.m.deploy(make_package(LARGE))
        self.assertIs(receipt["route_changed"], True)
        self.assertEqual(self.m.route("demo"), self.version)
        self.assert_package(self.m, LARGE)
        self.m.remount()
        self.assert_package(self.m, LARGE)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_unloading_and_deploying_in_turn(self):
        for _ in range(10):
            self.unload()
            self.assertFalse(self.package.exists())
            self.m.deploy(make_package(LARGE), box="stage")
            self.assertTrue((self.package / "own").read_bytes() == LARGE["own"])
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_the_directory_says_when_it_changed(self):
        def at():
            return os.stat(self.m / "packages/demo").st_mtime_ns
        before = at()
        time.sleep(0.05)
        self.unload()
        self.assertGreater(at(), before)

    def test_rm_rf_of_a_version_leaves_it_whole(self):
        run("rm", "-rf", self.m.package("demo", self.other))
        self.assert_package(self.m, OTHER)
        self.assertEqual(self.other, version_of(OTHER))
