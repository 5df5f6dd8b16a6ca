# SPDX-License-Identifier: Apache-2.0
"""A flipped byte in the store: the mount comes up, everything else is served, the damage is in
quarantine/, in the log and in fsck's report with its remedy; and never a wrong byte is read."""

import errno
import json
import os
import re

import harness
from harness import (MountCase, aionfs, canonical_index, make_package, noise, run, shell,
                     version_of)

MARK = b"a line that nothing else in the store has: 4711\n"
BAD = {"lib/marked": MARK, "lib/fine": b"fine\n", "bulk": noise(50_000, 60)}
GOOD = {"lib/good": b"good\n", "bulk": noise(50_000, 60)}


def flip(path, pattern, where=0, mask=1):
    """Flips a bit at offset `where` of each match's end; a store keeps stale copies of pages."""
    data = path.read_bytes()
    places = [match.end() + where for match in re.finditer(pattern, data, re.DOTALL)]
    with open(path, "r+b") as f:
        for place in places:
            f.seek(place)
            f.write(bytes([data[place] ^ mask]))
    return len(places)


class Damage(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.contents = self.m.state / "contents/data.mdb"
        self.rows = self.m.state / "rows/data.mdb"
        self.good = self.m.deploy(make_package(GOOD, "good"), "good.tar.gz")["version"]

    def deploy(self, files=None, type_name="demo", **options):
        return self.m.deploy(make_package(BAD if files is None else files, type_name),
                             f"{type_name}.tar.gz", **options)["version"]

    def damage(self, path, pattern, where=0):
        self.assertGreater(flip(path, pattern, where), 0, "the bytes to damage are not there")

    def damage_file(self):
        self.damage(self.contents, re.escape(MARK), -10)

    def damage_index(self, files, type_name="demo"):
        text = re.escape(canonical_index(files, type_name))
        self.damage(self.contents, text, -5)

    def damage_version_row(self, version, type_name="demo"):
        key = re.escape(type_name.encode() + b"\0" + bytes.fromhex(version))
        self.damage(self.rows, key, 20)

    def damage_route_row(self, version, type_name="demo"):
        # The key is the type; the version stands a few bytes into the row (in a version's row a NUL
        # alone lies between both).
        key = re.escape(type_name.encode()) + b"(?!\0" + re.escape(bytes.fromhex(version)) \
            + b").{1,8}?" + re.escape(bytes.fromhex(version))
        self.damage(self.rows, key, 3)

    def assert_served(self):
        """All that is not damaged works as ever."""
        self.assert_package(self.m, GOOD, "good")
        self.assertEqual(self.m.route("good"), self.good)
        self.assertIs(self.m.status()["ready"], True)
        files = {"later": b"1"}
        self.assertEqual(self.m.deploy(make_package(files, "later"))["version"],
                         version_of(files, "later"))

    def assert_reported(self, version, type_name="demo"):
        text = (self.m / "quarantine" / type_name / version).read_text(encoding="utf-8")
        self.assertIn("deploy", text, "the remedy")
        self.assertIn(version, self.m.log_text())
        done = aionfs("fsck", self.m.state)
        self.assertGreater(done.returncode, 0)
        self.assertIn(version, done.stdout + done.stderr)

    def assert_repaired(self, version, files=None, type_name="demo"):
        """Deploying the archive again is the remedy."""
        files = BAD if files is None else files
        self.assertEqual(self.deploy(files, type_name), version)
        self.assert_package(self.m, files, type_name)
        self.assertFalse((self.m / "quarantine" / type_name / version).exists())
        self.m.remount()
        self.assertEqual(self.m.route(type_name), version)
        self.assert_package(self.m, files, type_name)
        self.assertEqual(os.listdir(self.m / "quarantine"), [])
        self.m.umount()
        self.assert_silent_fsck(self.m)


class Files(Damage):
    def setUp(self):
        super().setUp()
        self.version = self.deploy()
        self.m.umount()
        self.damage_file()
        self.m.start()
        self.package = self.m.package("demo", self.version)

    def assert_unreadable(self, path):
        with self.assertRaises(OSError) as caught:
            path.read_bytes()
        self.assertEqual(caught.exception.errno, errno.EIO)

    def test_reading_it_is_an_error_and_never_wrong_bytes(self):
        for _ in range(2):
            self.assert_unreadable(self.package / "lib/marked")
            self.assertNotEqual(run("cat", self.package / "lib/marked").returncode, 0)
        self.assertEqual((self.package / "lib/fine").read_bytes(), b"fine\n")
        self.assertEqual((self.package / "bulk").read_bytes(), BAD["bulk"])
        self.assert_reported(self.version)
        self.assert_served()
        self.assertEqual(self.m.route("demo"), self.version, "the route does not move by itself")

    def test_repair(self):
        self.assert_unreadable(self.package / "lib/marked")
        self.assert_repaired(self.version)

    def test_repair_before_anybody_read_it(self):
        self.assert_repaired(self.version)

    def test_another_version_that_shares_it(self):
        other = self.deploy({"lib/marked": MARK, "lib/other": b"1"}, "other")
        # Storing it again does not trust the damaged copy.
        self.assertEqual((self.m.package("other", other) / "lib/marked").read_bytes(), MARK)
        self.assertEqual((self.package / "lib/marked").read_bytes(), MARK)

    def test_its_archive_is_an_error_too(self):
        archive = self.m / f"archives/demo/{self.version}.tar"
        done = shell(f"cat {archive} > /dev/null")
        self.assertIn("Input/output error", done.stderr)

    def test_the_scrub_finds_it_without_a_reader(self):
        path = self.m / "quarantine/demo" / self.version
        harness.wait_until(path.exists, "the scrub to find the damage")
        self.assert_reported(self.version)

    def test_unloading_it(self):
        os.unlink(self.m / "routes/demo")
        os.rmdir(self.package)
        self.assertEqual(self.m.versions("demo"), [])
        self.m.remount()
        self.assertEqual(os.listdir(self.m / "quarantine"), [])
        self.m.umount()
        self.assert_silent_fsck(self.m)


class LargeFiles(Damage):
    def test_a_bad_end_hides_the_whole_file(self):
        """It is checked before its first byte is served."""
        files = {"large": noise(5 << 20, 61) + MARK, "small": b"s"}
        version = self.deploy(files)
        self.m.umount()
        self.damage_file()
        self.m.start()
        with self.assertRaises(OSError) as caught:
            with open(self.m.package("demo", version) / "large", "rb", buffering=0) as f:
                os.pread(f.fileno(), 100, 0)
        self.assertEqual(caught.exception.errno, errno.EIO)
        self.assertEqual((self.m.package("demo", version) / "small").read_bytes(), b"s")
        self.assert_repaired(version, files)


class Indexes(Damage):
    def setUp(self):
        super().setUp()
        self.version = self.deploy()
        self.m.umount()
        self.damage_index(BAD)
        self.m.start()

    def test_the_version_is_not_loaded(self):
        self.assertEqual(self.m.versions("demo"), [])
        self.assertIsNone(self.m.route("demo"))
        self.assert_reported(self.version)
        self.assert_served()

    def test_repair(self):
        self.assert_repaired(self.version)


class Rows(Damage):
    def setUp(self):
        super().setUp()
        self.version = self.deploy()
        self.m.umount()
        self.damage_version_row(self.version)
        self.m.start()

    def test_the_version_is_not_loaded(self):
        self.assertEqual(self.m.versions("demo"), [])
        self.assertIsNone(self.m.route("demo"))
        self.assert_reported(self.version)
        self.assert_served()

    def test_repair(self):
        self.assert_repaired(self.version)

    def test_it_does_not_keep_others_of_its_type_from_loading(self):
        other = self.deploy({"other": b"1"})
        self.m.remount()
        self.assertEqual(self.m.versions("demo"), [other])
        self.assertEqual(self.m.route("demo"), other)


class RouteRows(Damage):
    def setUp(self):
        super().setUp()
        self.first = self.deploy({"n": b"1"})
        self.second = self.deploy({"n": b"2"})
        run("ln", "-sfn", self.first, self.m / "routes/demo", check=True)
        self.m.umount()
        self.damage_route_row(self.first)
        self.m.start()

    def test_the_type_has_the_route_of_its_own_reload(self):
        self.assertEqual(self.m.versions("demo"), sorted([self.first, self.second]))
        self.assertEqual(self.m.route("demo"), self.second)
        self.assertTrue(os.listdir(self.m / "quarantine/demo"))
        self.assertIn("demo", json.dumps(self.m.status()["fallbacks"]))
        done = aionfs("fsck", self.m.state)
        self.assertGreater(done.returncode, 0)
        self.assertIn("demo", done.stdout + done.stderr)
        self.assert_served()

    def test_pointing_it_again_repairs_it(self):
        run("ln", "-sfn", self.first, self.m / "routes/demo", check=True)
        self.m.remount()
        self.assertEqual(self.m.route("demo"), self.first)
        self.assertEqual(os.listdir(self.m / "quarantine"), [])
        self.m.umount()
        self.assert_silent_fsck(self.m)


class Fallback(Damage):
    """When the routed version is lost, the latest that came through deploy/ takes its place."""

    def setUp(self):
        super().setUp()
        self.first = self.deploy({"n": b"1"})
        self.second = self.deploy({"n": b"2"})
        self.routed = self.deploy(BAD)
        self.staged = self.deploy({"n": b"4"}, box="stage")
        self.m.umount()

    def assert_fallen_back(self):
        self.m.start()
        self.assertEqual(self.m.versions("demo"), sorted([self.first, self.second, self.staged]))
        self.assertEqual(self.m.route("demo"), self.second)
        self.assertIn(self.routed, json.dumps(self.m.status()["fallbacks"]))
        self.assertIn(self.routed, self.m.log_text())

    def test_of_a_damaged_index(self):
        self.damage_index(BAD)
        self.assert_fallen_back()
        self.m.umount()
        # The pointer row stayed as it was: when the version is back, so is the route.
        self.damage_index_back()
        self.m.start()
        self.assertEqual(self.m.route("demo"), self.routed)
        self.assert_package(self.m, BAD)
        self.assertFalse(self.m.status()["fallbacks"])

    def damage_index_back(self):
        text = bytearray(canonical_index(BAD))
        text[-5] ^= 1
        self.damage(self.contents, re.escape(bytes(text)), -5)

    def test_of_a_damaged_row(self):
        self.damage_version_row(self.routed)
        self.assert_fallen_back()
        self.assert_repaired(self.routed)

    def test_a_corrupt_file_is_no_reason_to_move_the_route(self):
        self.damage_file()
        self.m.start()
        self.assertEqual(self.m.route("demo"), self.routed)
