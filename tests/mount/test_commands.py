# SPDX-License-Identifier: Apache-2.0
"""The command line: mounting in every way, ending it, and the commands that need no mount."""

import os
import re
import signal
import socket
import subprocess
import sys

import harness
from harness import (AIONFS, Executable, Link, Mount, MountCase, aionfs, make_package,
                     mounted_below, run, shell, version_of, wait_until, write_tree)

FILES = {"bin/run": Executable(b"#!/bin/sh\ncat\n"), "a": b"1", "link": Link("a"), "empty": None}
VERSION = version_of(FILES)


class Ends(MountCase):
    """Each way of unmounting ends the daemon cleanly."""

    def assert_ended(self, m):
        m.expect_clean_exit()
        self.assertFalse(m.is_mounted())
        self.assert_silent_fsck(m)

    def test_umount(self):
        if os.geteuid() != 0:
            self.skipTest("umount needs root")
        m = self.mount()
        m.deploy(make_package(FILES))
        run("umount", m.path, check=True)
        self.assert_ended(m)

    def test_fusermount(self):
        harness.need("fusermount3")
        m = self.mount()
        run("fusermount3", "-u", m.path, check=True)
        self.assert_ended(m)

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name):
                m = self.mount()
                m.deploy(make_package(FILES))
                os.kill(m.pid, number)
                self.assert_ended(m)

    def test_stop(self):
        for foreground in (True, False):
            with self.subTest(foreground=foreground):
                m = self.mount(foreground=foreground)
                m.deploy(make_package(FILES))
                done = aionfs("stop", m.path)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertFalse(m.is_mounted(), "stop returns when the mount is gone")
                self.assert_ended(m)

    def test_stop_of_something_else(self):
        scratch = self.scratch()
        for what in (scratch, scratch / "missing", "/proc"):
            done = aionfs("stop", what)
            self.assertGreater(done.returncode, 0, what)
            self.assertIn(str(what), done.stderr)

    def test_a_busy_mount_stays(self):
        m = self.mount()
        version = m.deploy(make_package(FILES))["version"]
        with open(m.package("demo", version) / "a", "rb") as f:
            done = run(*(["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]), m.path)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(f.read(), b"1")
            self.assertEqual(m.route("demo"), version)


class Background(MountCase):
    def test_returns_when_ready(self):
        m = Mount(foreground=False)
        self.addCleanup(self.end_mount, m)
        done = run(*m.command())  # with pipes, which the daemon must not keep open
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIs(m.status()["ready"], True)
        m.pid = m.find_daemon()
        m.remember(m.pid)
        self.assertNotEqual(os.getpgid(m.pid), os.getpgid(0), "it has a session of its own")
        self.assertEqual(os.readlink(f"/proc/{m.pid}/cwd"), "/")
        m.umount()

    def test_systemd_is_notified(self):
        m = Mount()
        self.addCleanup(self.end_mount, m)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(m.dir / "notify"))
            notify.settimeout(harness.PATIENCE)
            m.env["NOTIFY_SOCKET"] = str(m.dir / "notify")
            m.start()
            self.assertIn(b"READY=1", notify.recv(4096).split(b"\n"))
        m.umount()

    def test_relative_paths(self):
        m = Mount(foreground=False)
        self.addCleanup(self.end_mount, m)
        done = run(AIONFS, "mount", "state", "mnt", cwd=m.dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((m.dir / "state/format").exists())
        m.deploy(make_package(FILES))
        self.assertEqual(aionfs("stop", "mnt", cwd=m.dir).returncode, 0)
        self.assertFalse(m.is_mounted())

    def test_mount_helper_name(self):
        m = Mount(foreground=False)
        self.addCleanup(self.end_mount, m)
        helper = m.dir / "mount.aionfs"
        helper.symlink_to(AIONFS)
        done = run(helper, m.state, m.path, "-o",
                   "rw,nosuid,nodev,exec,noauto,nofail,_netdev,defaults,x-systemd.automount,"
                   "max_entries=5000")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIs(m.status()["ready"], True)
        m.deploy(make_package(FILES))
        self.assertEqual(aionfs("stop", m.path).returncode, 0)

    def test_a_failure_reaches_the_caller(self):
        m = Mount(foreground=False)
        self.addCleanup(self.end_mount, m)
        m.options = "package=/nonexistent.tar"
        done = run(*m.command())
        self.assertGreater(done.returncode, 0)
        self.assertIn("/nonexistent.tar", done.stderr)
        self.assertFalse(m.is_mounted())


class Refused(MountCase):
    """Mounting fails with a message that says why, and leaves nothing behind."""

    def setUp(self):
        super().setUp()
        self.dir = self.scratch()
        self.state, self.target = self.dir / "state", self.dir / "mnt"
        self.target.mkdir()

    def refused(self, *words, state=None, target=None, options=None):
        for foreground in (["-f"], []):
            done = aionfs("mount", *foreground, *(["-o", options] if options else []),
                          state or self.state, target or self.target)
            self.assertGreater(done.returncode, 0, done.stderr)
            for word in words:
                self.assertIn(str(word), done.stderr)
        return done

    def test_a_missing_mountpoint(self):
        self.refused(self.dir / "missing", target=self.dir / "missing")

    def test_a_mountpoint_that_is_a_file(self):
        (self.dir / "file").touch()
        self.refused(self.dir / "file", target=self.dir / "file")

    def test_a_mountpoint_that_is_not_empty(self):
        (self.target / "something").touch()
        self.refused(self.target, "empty")
        self.assertEqual(mounted_below(self.target), [])

    def test_a_busy_mountpoint(self):
        m = self.mount()
        self.refused(m.path, target=m.path)
        self.assertEqual(len(mounted_below(m.path)), 1)
        self.assertIs(m.status()["ready"], True)

    def test_an_unknown_option(self):
        self.refused("shiny", options="shiny=1")
        self.refused("shiny", options="rw,shiny")

    def test_values_that_make_no_sense(self):
        self.refused("max_entries", options="max_entries=many")
        self.refused("max_archive_bytes", options="max_archive_bytes=-5")
        self.refused("no-such-group-here", options="deploy_group=no-such-group-here")

    def test_a_state_in_use_names_the_pid(self):
        m = self.mount()
        done = self.refused(str(m.pid), state=m.state)
        self.assertRegex(done.stderr, rf"\b{m.pid}\b")
        self.assertEqual(mounted_below(self.target), [])
        self.assertIs(m.status()["ready"], True)

    def test_too_few_and_too_many_arguments(self):
        for argv in ([], ["mount"], ["mount", "x"], ["mount", "a", "b", "c"], ["dance"], ["fsck"],
                     ["hash"], ["stop"], ["list"], ["pack"], ["mount", "-Z", "a", "b"],
                     ["--dance"]):
            done = aionfs(*argv)
            self.assertGreater(done.returncode, 0, argv)
            self.assertTrue(done.stderr.strip(), argv)


class Unprivileged(MountCase):
    """A user mounts for himself."""

    UID = 65534  # nobody: fusermount3 takes only users that have a name

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("switching users needs root")
        super().setUp()
        harness.need("fusermount3")
        if run("id", "-nu", str(self.UID)).returncode != 0:
            self.skipTest(f"user {self.UID} has no name on this machine")
        if os.stat("/dev/fuse").st_mode & 0o006 != 0o006:
            self.skipTest("/dev/fuse is for root only on this machine")

    def test_the_owner_of_the_mount_deploys(self):
        m = self.mount(uid=self.UID)
        archive = self.scratch() / "a.tar.gz"
        archive.write_bytes(make_package(FILES))
        run("cp", archive, m / "deploy/a", uid=self.UID, check=True)
        done = run("readlink", m / "routes/demo", uid=self.UID, check=True)
        self.assertTrue(done.stdout.strip().endswith(VERSION))
        run("fusermount3", "-u", m.path, uid=self.UID, check=True)
        m.expect_clean_exit()


class NoMount(MountCase):
    """pack, hash, fsck, list and the texts."""

    def setUp(self):
        self.dir = self.scratch()  # and no setUp of MountCase: this needs no FUSE
        self.tree = self.dir / "tree"
        write_tree(self.tree, FILES, "demo")
        self.archive = self.dir / "a.tar.gz"
        self.archive.write_bytes(make_package(FILES))

    def test_help_and_version(self):
        done = aionfs("--help", check=True)
        for word in ("mount", "pack", "hash", "fsck", "list", "stop"):
            self.assertIn(word, done.stdout)
        self.assertRegex(aionfs("--version", check=True).stdout, r"\d+\.\d+")
        for command in ("mount", "pack", "hash", "fsck", "list", "stop"):
            done = aionfs(command, "--help", check=True)
            self.assertIn(command, done.stdout)

    def test_hash(self):
        for what in (self.tree, self.archive):
            done = aionfs("hash", what, check=True)
            self.assertEqual(re.findall(r"\b[0-9a-f]{64}\b", done.stdout), [VERSION])

    def test_pack_to_a_file_and_to_stdout(self):
        aionfs("pack", self.tree, "-o", self.dir / "one.tar", check=True)
        second = aionfs("pack", self.tree, check=True).stdout_bytes
        self.assertTrue((self.dir / "one.tar").read_bytes() == second)
        self.assertIn(VERSION, aionfs("hash", self.dir / "one.tar", check=True).stdout)

    def test_pack_with_a_slash_and_from_inside(self):
        one = aionfs("pack", f"{self.tree}/", check=True).stdout_bytes
        two = aionfs("pack", ".", cwd=self.tree, check=True).stdout_bytes
        self.assertTrue(one == two)

    def test_pack_into_the_packed_directory(self):
        before = sorted(os.listdir(self.tree))
        for arguments in (". -o out.tar", f"{self.tree} -o ../{self.tree.name}/out.tar"):
            done = aionfs("pack", *arguments.split(), cwd=self.tree)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn("outside", done.stderr)
            self.assertEqual(sorted(os.listdir(self.tree)), before)
        done = shell(f"cd {self.tree} && {AIONFS} pack . > out.tar")
        self.assertEqual(done.returncode, 1)
        (self.tree / "out.tar").unlink()
        done = aionfs("pack", ".", "-o", "../out.tar", cwd=self.tree, check=True)
        self.assertIn(VERSION, aionfs("hash", self.dir / "out.tar", check=True).stdout)

    def test_pack_and_hash_refuse_what_a_deploy_would(self):
        (self.tree / "manifest.json").unlink()
        for command in ("pack", "hash"):
            done = aionfs(command, self.tree)
            self.assertGreater(done.returncode, 0)
            self.assertIn("manifest", done.stderr)
        write_tree(self.tree, {"out": Link("../../etc/passwd")}, "demo")
        self.assertGreater(aionfs("pack", self.tree).returncode, 0)
        self.assertGreater(aionfs("hash", self.tree).returncode, 0)

    def test_a_failed_pack_leaves_no_file(self):
        (self.tree / "manifest.json").unlink()
        self.assertGreater(aionfs("pack", self.tree, "-o", self.dir / "out.tar").returncode, 0)
        self.assertFalse((self.dir / "out.tar").exists())

    def test_hash_of_what_is_no_archive(self):
        (self.dir / "bad").write_bytes(b"nothing\n" * 100)
        done = aionfs("hash", self.dir / "bad")
        self.assertGreater(done.returncode, 0)
        self.assertIn("bad", done.stderr)
        done = aionfs("hash", self.dir / "missing")
        self.assertGreater(done.returncode, 0)
        self.assertIn("missing", done.stderr)

    def test_fsck_and_list_of_nothing(self):
        for command in ("fsck", "list"):
            done = aionfs(command, self.dir / "missing")
            self.assertGreater(done.returncode, 0)
            self.assertIn("missing", done.stderr)
            self.assertFalse((self.dir / "missing").exists(), "they only read")

    def test_output_that_cannot_be_written(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        for command in (f"pack {self.tree}", f"hash {self.tree}", "--help"):
            done = shell(f"{AIONFS} {command} > /dev/full")
            self.assertGreater(done.returncode, 0, command)


class BesideAMount(MountCase):
    def test_list_and_fsck_work_with_and_without_the_mount(self):
        m = self.mount()
        m.deploy(make_package(FILES))
        staged = m.deploy(make_package({"b": b"2"}), box="stage")["version"]
        for mounted in (True, False):
            with self.subTest(mounted=mounted):
                done = aionfs("list", m.state, check=True)
                self.assertIn("demo", done.stdout)
                self.assertIn(VERSION, done.stdout)
                self.assertIn(staged, done.stdout)
                self.assert_silent_fsck(m)
            if mounted:
                m.umount()

    def test_fsck_beside_a_busy_mount(self):
        m = self.mount()
        script = ("import os,sys\nfor i in range(40):\n"
                  " with open(f'{sys.argv[1]}/deploy/x{i % 3}', 'wb') as f:"
                  " f.write(open(sys.argv[2] + str(i % 3), 'rb').read())\n")
        directory = self.scratch()
        for number in range(3):
            (directory / f"a{number}").write_bytes(make_package({"n": b"%d" % number}))
        child = subprocess.Popen([sys.executable, "-c", script, m.path, directory / "a"])
        while child.poll() is None:
            done = m.fsck()
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(child.returncode, 0)
        wait_until(lambda: len(m.versions("demo")) == 3, "three versions")
