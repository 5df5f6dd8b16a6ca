# SPDX-License-Identifier: Apache-2.0
"""One upload after another that shares contents with a failing, a killed and an unloaded one:
nothing that a version names goes missing, nothing that no version names stays after a remount."""

import bz2
import os
import signal
import subprocess
import sys

import harness
from harness import MountCase, make_package, make_tar, noise, run, version_of

SHARED = {f"shared{number}": noise(700_000, 40 + number) for number in range(4)}
TAIL = noise(2 << 20, 50)


def files(own):
    return {**SHARED, "own": b"%d" % own}


class Sharing(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.dir = self.scratch()

    def truncated(self):
        """Brings all the shared contents, and fails in the file behind them."""
        return make_tar({**SHARED, "tail": TAIL})[:-(1 << 20)]

    def assert_nothing_left_but(self, *owns):
        """fsck finds no stray content, and what is deployed last costs what it should."""
        for own in owns:
            self.assert_package(self.m, files(own))
        self.m.remount()
        for own in owns:
            self.assert_package(self.m, files(own))
        self.assertEqual(self.m.versions("demo"), sorted(version_of(files(own)) for own in owns))
        receipt = self.m.deploy(make_package({**SHARED, "tail": TAIL}, "probe"))
        expected = len(TAIL) + (0 if owns else sum(map(len, SHARED.values())))
        self.assertGreaterEqual(receipt["new_bytes"], expected)
        self.assertLess(receipt["new_bytes"], expected + 100_000)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_after_a_failing_one(self):
        self.m.refuse(self.truncated())
        self.m.deploy(make_package(files(1)))
        self.m.refuse(self.truncated())
        self.assert_nothing_left_but(1)

    def test_a_failing_one_alone(self):
        self.m.refuse(self.truncated())
        self.assert_nothing_left_but()

    def test_beside_a_failing_one(self):
        for number in range(6):
            (self.dir / "bad").write_bytes(self.truncated())
            (self.dir / "good").write_bytes(make_package(files(number)))
            children = [subprocess.Popen(["cp", self.dir / name, self.m / "deploy" / name],
                                         stderr=subprocess.DEVNULL) for name in ("bad", "good")]
            codes = [child.wait(harness.PATIENCE) for child in children]
            self.assertNotEqual(codes[0], 0)
            self.assertEqual(codes[1], 0)
        self.assert_nothing_left_but(*range(6))

    def test_beside_a_killed_copier(self):
        slow = self.dir / "slow.tar.bz2"
        slow.write_bytes(bz2.compress(make_tar({**SHARED, "tail": TAIL}, "slow")))
        (self.dir / "good").write_bytes(make_package(files(1)))
        for _ in range(4):
            slow_child = subprocess.Popen(["cp", slow, self.m / "deploy/slow"])
            good_child = subprocess.Popen(["cp", self.dir / "good", self.m / "deploy/good"])
            self.assertEqual(good_child.wait(harness.PATIENCE), 0)
            slow_child.kill()
            slow_child.wait(harness.PATIENCE)
            self.assert_package(self.m, files(1))
        # The killed one may have been whole already; then it goes as a version does.
        for version in self.m.versions("slow"):
            if self.m.route("slow"):
                os.unlink(self.m / "routes/slow")
            os.rmdir(self.m.package("slow", version))
        self.m.umount()
        self.m.start()
        for version in self.m.versions("slow"):
            if self.m.route("slow"):
                os.unlink(self.m / "routes/slow")
            os.rmdir(self.m.package("slow", version))
        self.assert_nothing_left_but(1)

    def test_the_daemon_killed_in_the_middle(self):
        slow = self.dir / "slow.tar.bz2"
        slow.write_bytes(bz2.compress(make_tar({**SHARED, "tail": TAIL}, "slow")))
        self.m.deploy(make_package(files(1)))
        for _ in range(3):
            child = subprocess.Popen(["cp", slow, self.m / "deploy/slow"],
                                     stderr=subprocess.DEVNULL)
            # Between starting to decode and being done; anywhere in it must be safe.
            subprocess.run([sys.executable, "-c", "import time; time.sleep(0.2)"], check=True)
            os.kill(self.m.pid, signal.SIGKILL)
            self.m.wait_exit()
            code = child.wait(harness.PATIENCE)
            harness.unmount_all_below(self.m.path)
            self.m.start()
            if code == 0:
                self.assertNotEqual(self.m.versions("slow"), [])
            for version in self.m.versions("slow"):
                self.assert_package(self.m, {**SHARED, "tail": TAIL}, "slow", version)
                os.unlink(self.m / "routes/slow")
                os.rmdir(self.m.package("slow", version))
            self.assert_package(self.m, files(1))
        self.assert_nothing_left_but(1)

    def test_with_an_unloaded_one(self):
        first = self.m.deploy(make_package(files(1)))["version"]
        self.m.deploy(make_package(files(2)))
        os.rmdir(self.m.package("demo", first))
        self.m.deploy(make_package(files(3)))
        self.assert_nothing_left_but(2, 3)

    def test_an_unload_while_another_uploads(self):
        previous = self.m.deploy(make_package(files(0)))["version"]
        for number in range(1, 8):
            os.unlink(self.m / "routes/demo")
            (self.dir / "next").write_bytes(make_package(files(number)))
            child = subprocess.Popen(["cp", self.dir / "next", self.m / "deploy/next"])
            run("rmdir", self.m.package("demo", previous), check=True)
            self.assertEqual(child.wait(harness.PATIENCE), 0)
            self.assert_package(self.m, files(number))
            previous = version_of(files(number))
        self.assert_nothing_left_but(7)

    def test_the_same_version_uploaded_while_it_is_unloaded(self):
        (self.dir / "same").write_bytes(make_package(files(1)))
        version = version_of(files(1))
        self.m.deploy(self.dir / "same", box="stage")
        for _ in range(8):
            child = subprocess.Popen(["cp", self.dir / "same", self.m / "stage/same"])
            run("rmdir", self.m.package("demo", version))
            self.assertEqual(child.wait(harness.PATIENCE), 0)
            # One of both came first; the upload's word counts only if it was the last.
            if version in self.m.versions("demo"):
                self.assert_package(self.m, files(1))
            self.m.deploy(self.dir / "same", box="stage")
        self.assert_nothing_left_but(1)

    def test_everything_unloaded(self):
        for number in range(3):
            self.m.deploy(make_package(files(number)))
        os.unlink(self.m / "routes/demo")
        for version in self.m.versions("demo"):
            os.rmdir(self.m.package("demo", version))
        self.assert_nothing_left_but()
