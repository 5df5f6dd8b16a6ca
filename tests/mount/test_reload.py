# SPDX-License-Identifier: Apache-2.0
"""What a remount brings back, and what it refuses to open."""

import json
import os
import shutil
import signal

import harness
from harness import MountCase, aionfs, make_package, mounted_below, noise, run, unmount_all_below


class Reload(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()

    def deploy(self, type_name, which, box="deploy"):
        return self.m.deploy(make_package({"which": which.encode(), "bulk": noise(90_000, 5)},
                                          type_name), f"{type_name}-{which}", box)["version"]

    def everything(self):
        """All that is to survive, as one value."""
        found = {}
        for directory, names, files in os.walk(self.m.path):
            for name in names + files:
                path = os.path.join(directory, name)
                key = os.path.relpath(path, self.m.path)
                if key in ("status", "metrics", "log"):
                    continue
                if os.path.islink(path):
                    found[key] = os.readlink(path)
                elif os.path.isdir(path):
                    found[key] = os.stat(path).st_mode
                else:
                    with open(path, "rb") as f:
                        found[key] = (os.stat(path).st_mode, harness.sha256(f.read()))
        return found

    def fill(self):
        first = self.deploy("rolled-back", "1")
        self.deploy("rolled-back", "2")
        run("ln", "-sfn", f"../packages/rolled-back/{first}", self.m / "routes/rolled-back",
            check=True)
        self.deploy("plain", "1")
        self.deploy("plain", "2")
        self.deploy("staged-only", "1", "stage")
        self.deploy("removed", "1")
        os.unlink(self.m / "routes/removed")
        gone = self.deploy("unloaded", "1", "stage")
        os.rmdir(self.m.package("unloaded", gone))
        return {"rolled-back": first}

    def test_everything_comes_back(self):
        routes = self.fill()
        before = self.everything()
        for _ in range(2):
            self.m.remount()
            after = self.everything()
            self.assertEqual({k: v for k, v in after.items() if before.get(k) != v}, {})
            self.assertEqual(set(before) - set(after), set())
        self.assertEqual(self.m.route("rolled-back"), routes["rolled-back"])
        self.assertEqual(sorted(os.listdir(self.m / "routes")), ["plain", "rolled-back"])
        self.assertEqual(os.listdir(self.m / "quarantine"), [])
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_everything_comes_back_after_a_kill(self):
        self.fill()
        before = self.everything()
        self.m.kill()
        self.m.start()
        self.assertEqual(self.everything(), before)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_a_staged_only_type_has_no_route(self):
        version = self.deploy("staged-only", "1", "stage")
        self.m.remount()
        self.assertIsNone(self.m.route("staged-only"))
        self.assertEqual(self.m.versions("staged-only"), [version])

    def test_a_dead_mount_of_the_same_state_is_replaced(self):
        version = self.deploy("plain", "1")
        os.kill(self.m.pid, signal.SIGKILL)
        self.m.wait_exit()
        self.assertTrue(self.m.is_mounted(), "the dead mount stays until somebody replaces it")
        self.m.start()
        self.assertEqual(self.m.route("plain"), version)
        self.assertEqual(len(mounted_below(self.m.path)), 1)

    def test_the_state_may_be_moved_and_copied(self):
        version = self.deploy("plain", "1")
        self.m.umount()
        moved = self.m.dir / "moved"
        copied = self.m.dir / "copied"
        os.rename(self.m.state, moved)
        run("cp", "-a", moved, copied, check=True)
        for state in (moved, copied):
            other = self.mount(state)
            self.assertEqual(other.route("plain"), version)
            other.umount()

    def test_leftover_spools_are_removed(self):
        self.m.umount()
        (self.m.state / "spool" / "leftover").write_bytes(b"x" * 1000)
        self.m.start()
        self.assertEqual(os.listdir(self.m.state / "spool"), [])

    def test_the_state_directory_is_private(self):
        self.assertEqual(os.stat(self.m.state).st_mode & 0o007, 0)

    def test_another_format_is_refused(self):
        version = self.deploy("plain", "1")
        self.m.umount()
        path = self.m.state / "format"
        kept = path.read_text()
        for number in ("999", "0"):
            with self.subTest(format=number):
                path.write_text(number + "\n")
                done = run(*self.m.command())
                self.assertGreater(done.returncode, 0, done.stderr)
                self.assertIn("format", done.stderr)
                self.assertFalse(self.m.is_mounted())
                self.assertGreater(self.m.fsck().returncode, 0)
        path.write_text(kept)
        self.m.start()
        self.assertEqual(self.m.route("plain"), version)

    def test_an_older_format_is_upgraded(self):
        version = self.deploy("plain", "1")
        self.m.umount()
        path = self.m.state / "format"
        kept = path.read_text()
        path.write_text("1\n")
        self.assertEqual(self.m.fsck().returncode, 0)
        self.assertEqual(path.read_text(), "1\n", "looking changes nothing")
        self.m.start()
        self.assertEqual(self.m.route("plain"), version)
        self.assertEqual(path.read_text(), kept)

    def test_a_new_state_is_made(self):
        m = self.mount(self.m.dir / "new")
        self.assertEqual(m.types(), [])
        self.assertIs(m.status()["ready"], True)

    def test_a_state_that_cannot_be_made(self):
        (self.m.dir / "file").write_bytes(b"x")
        target = self.m.dir / "elsewhere"
        target.mkdir()
        for state in (self.m.dir / "missing/parent", self.m.dir / "file", self.m.dir / "file/x"):
            done = aionfs("mount", "-f", state, target)
            self.assertGreater(done.returncode, 0, state)
            self.assertIn(str(state), done.stderr)
            self.assertEqual(mounted_below(target), [])

    def test_a_lost_table_never_comes_up_empty(self):
        self.deploy("plain", "1")
        self.m.umount()
        for name in ("rows", "contents"):
            with self.subTest(environment=name):
                path = self.m.state / name / "data.mdb"
                shutil.copy(path, self.m.dir / "kept")
                with open(path, "r+b") as f:
                    f.write(bytes(8192))  # both meta pages
                done = run(*self.m.command())
                self.assertGreater(done.returncode, 0, f"ended with {done.returncode}")
                self.assertTrue(done.stderr.strip())
                unmount_all_below(self.m.path)
                self.assertNotEqual(self.m.fsck().returncode, 0)
                shutil.copy(self.m.dir / "kept", path)
        self.m.start()
        self.assertEqual(self.m.types(), ["plain"])

    def test_torn_pages_never_kill_the_mount(self):
        """Random damage to the rows: refused with a message, or mounted; never a crash."""
        for number in range(12):
            self.deploy(f"type{number}", "1")
        self.m.umount()
        path = self.m.state / "rows/data.mdb"
        whole = path.read_bytes()
        for page in range(2, len(whole) // 4096, max(1, len(whole) // 4096 // 12)):
            with self.subTest(page=page):
                damaged = bytearray(whole)
                damaged[page * 4096:page * 4096 + 64] = noise(64, page)
                path.write_bytes(damaged)
                child = self.start_anyhow()
                if child is None:
                    self.assertTrue(json.loads((self.m / "status").read_bytes())["ready"])
                    self.m.umount()
                else:
                    self.assertGreater(child, 0, "the mount command died of a signal")
        path.write_bytes(whole)
        self.m.start()
        self.assertEqual(len(self.m.types()), 12)

    def start_anyhow(self):
        """Returns None when it mounted, else the exit code."""
        try:
            self.m.start()
        except AssertionError:
            code = self.m.process.poll()
            if code is None:
                raise
            return code
        return None
