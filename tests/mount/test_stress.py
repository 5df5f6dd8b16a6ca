# SPDX-License-Identifier: Apache-2.0
"""Clumsy and hostile users, many at once (clumsy.py). What they get back hardly matters; afterwards
the daemon is alive, has lost no descriptor, unmounts with exit code 0, and its state is sound.

Every choice comes from a seed and every loop has a count, so that no clock decides a test; how the
processes overtake each other differs from run to run, and must not matter.
"""

import bz2
import contextlib
import errno
import functools
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading

import clumsy
import harness
from clumsy import TYPES, VARIANTS, archive_of, files_of
from harness import (MountCase, aionfs, make_package, noise, run, sha256, shell,
                     unmount_all_below, version_of, wait_until)

NOBODY = 65534


@functools.cache
def slow_archive():
    """What the decoder needs a moment for."""
    return bz2.compress(harness.make_tar({"bulk": noise(5 << 20)}, "slow"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
            found += map(int, text.split())
    return found


class Stress(MountCase):
    """A mount with two versions of each type, and what must hold after whatever was done to it."""

    def start(self, **options):
        m = self.mount(**options)
        for name in TYPES:
            for variant in (0, 1):
                m.deploy(archive_of(name, variant), f"{name}{variant}")
        m.types()
        self.descriptors, self.memory = descriptors(m.pid), memory_kib(m.pid)
        return m

    def users(self, m, seeds, steps, uid=0):
        """Starts users, each in a process of its own, that are killed if the test ends early."""
        started = []
        for seed in seeds:
            # A user's faults are looked at, so nothing of it may get lost in a full pipe.
            errors = open(m.dir / f"user{seed}", "w+", encoding="utf-8", errors="replace")
            user = subprocess.Popen(
                [sys.executable, clumsy.__file__, m.path, str(seed), str(steps), str(uid)],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd="/")
            self.addCleanup(errors.close)
            self.addCleanup(user.kill)
            user.errors = errors
            started.append(user)
        return started

    def finish_users(self, users):
        for user in users:
            try:
                code = user.wait(harness.PATIENCE)
            except subprocess.TimeoutExpired:
                raise AssertionError("a user's process hangs") from None
            user.errors.seek(0)
            self.assertEqual(code, 0, user.errors.read()[-4000:])

    def tidy(self, m):
        """Removes what users left behind under dot names and in routes/."""
        for box in ("deploy", "stage", "routes"):
            for name in os.listdir(os.fsencode(m / box)):
                if name.startswith(b".") or box == "routes":
                    os.unlink(os.fsencode(m / box) + b"/" + name)

    def assert_sound(self, m):
        """The daemon lives, answers, deploys, and has lost nothing; then its end is clean."""
        self.tidy(m)
        self.assertTrue(m.is_alive())
        self.assertEqual(m.status()["ready"], True)
        m.deploy(archive_of(TYPES[0], 3), "last")
        self.assert_package(m, files_of(3), TYPES[0])
        wait_until(lambda: descriptors(m.pid) <= self.descriptors + 8,
                   f"the daemon to have {self.descriptors} descriptors again")
        self.assertEqual(children(m.pid), [])
        self.assertLess(memory_kib(m.pid), self.memory + 400 * 1024)
        m.umount()
        self.assert_silent_fsck(m)


class Everything(Stress):
    def test_random_users(self):
        m = self.start()
        self.finish_users(self.users(m, range(4), 200))
        self.assert_sound(m)

    def test_users_who_may_and_may_not(self):
        if os.geteuid() != 0:
            self.skipTest("other users need root")
        m = self.start(options="deploy_group=65533")
        self.finish_users(self.users(m, (10, 11), 120) + self.users(m, (12,), 120, uid=NOBODY)
                          + self.users(m, (13,), 120, uid=65533))
        self.assert_sound(m)

    def test_one_version_comes_and_goes_under_its_readers(self):
        m = self.start()
        name, version = TYPES[0], version_of(files_of(2), TYPES[0])
        archive = archive_of(name, 2)
        stop, wrong = threading.Event(), []

        def read(path):
            while not stop.is_set():
                try:
                    with open(path, "rb") as f:
                        got = sha256(f.read())
                    if got != sha256(files_of(2)["bulk"]):
                        wrong.append(got)
                except (FileNotFoundError, NotADirectoryError):
                    pass
                except OSError as e:
                    if e.errno != errno.ESTALE:
                        wrong.append(e)

        def dwell():
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    shell("cat bulk deep/a/b/c/d/leaf; ls -R; pwd", cwd=m.package(name, version))
        threads = [threading.Thread(target=read, args=(m.package(name, version) / "bulk",)),
                   threading.Thread(target=read, args=(m.package(name, version) / "deep/../bulk",)),
                   threading.Thread(target=dwell)]
        for thread in threads:
            thread.start()
        try:
            held = []
            for _ in range(12):
                m.deploy(archive, "turn", box="stage")
                held.append(open(m.package(name, version) / "bulk", "rb"))
                os.rmdir(m.package(name, version))
            for f in held:
                self.assertEqual(f.read(), files_of(2)["bulk"])
                f.close()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])
        self.assert_sound(m)

    def test_tools_that_mean_well(self):
        m = self.start()
        copies = self.scratch()
        user = self.users(m, (20,), 60)
        # Their verdicts don't matter here: routes and versions come and go under them.
        for script in ("rm -rf ./*", "find . -ls", "du -a .", "ls -lRa .", "grep -r nothing .",
                       f"cp -a packages {copies}/cp", "tar cf - . | cat", "tar xf /dev/null",
                       f"test ! -x /usr/bin/rsync || rsync -a . {copies}/rsync",
                       "test ! -x /usr/bin/git || git status; git init .",
                       "test ! -x /usr/bin/vim || vim -es -c 'normal ax' -c wq status deploy/new",
                       "cd packages && rm -rf ..", "mv deploy stage; mv packages/* /", "sync -f ."):
            shell(script + " >/dev/null 2>&1", cwd=m.path)
        self.finish_users(user)
        self.assert_sound(m)


class Boxes(Stress):
    def test_writers_are_killed(self):
        m = self.start()
        choice = random.Random(1)
        for number in range(24):
            archive = archive_of(TYPES[number % 3], choice.randrange(VARIANTS))
            pieces = [archive[at:at + 9_000] for at in range(0, len(archive), 9_000)]
            stop_at = choice.randrange(len(pieces) + 3)
            name = m.path / "deploy" / choice.choice(("x", "y", ".x", ".y"))
            told, tell = os.pipe()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    signal.signal(signal.SIGINT, signal.SIG_DFL)
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)
                    for piece in pieces:
                        os.write(fd, piece)
                        os.write(tell, b".")
                    os.write(tell, b"...")
                    os.close(fd)
                os._exit(0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            os.close(tell)
            while stop_at > 0:
                got = os.read(told, stop_at)
                if not got:
                    break
                stop_at -= len(got)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, choice.choice((signal.SIGINT, signal.SIGKILL)))
            os.waitpid(child, 0)
            os.close(told)
        self.assert_sound(m)

    def test_hundreds_of_forgotten_dot_names(self):
        m = self.start()
        made = 0
        with self.assertRaises(OSError) as caught:
            for made in range(5000):
                os.close(os.open(m.path / "deploy" / f".forgotten{made}",
                                 os.O_WRONLY | os.O_CREAT))
        self.assertIn(caught.exception.errno, (errno.ENOSPC, errno.ENFILE, errno.EMFILE))
        self.assertGreater(made, 100)
        self.assertEqual(len(os.listdir(m / "deploy")), made + 2 * len(TYPES))
        self.assert_sound(m)

    def test_a_storm_of_fsyncs_and_renames_on_one_file(self):
        m = self.start()
        archive = archive_of(TYPES[1], 2)
        plain = os.open(m.path / "deploy/plain", os.O_RDWR | os.O_CREAT)
        hidden = os.open(m.path / "deploy/.hidden", os.O_RDWR | os.O_CREAT)
        verdicts = set()

        def storm(number):
            choice = random.Random(number)
            for _ in range(15):
                try:
                    choice.choice((
                        lambda: os.fsync(plain), lambda: os.fsync(hidden),
                        lambda: os.pwrite(hidden, archive, 0), lambda: os.pwrite(plain, archive, 0),
                        lambda: os.close(os.dup(plain)), lambda: os.close(os.dup(hidden)),
                        lambda: os.ftruncate(hidden, 0), lambda: os.ftruncate(plain, 0),
                        lambda: os.rename(m.path / "deploy/.hidden", m.path / "deploy/.hidden2"),
                        lambda: os.rename(m.path / "deploy/.hidden2", m.path / "deploy/.hidden"),
                        lambda: os.rename(m.path / "deploy/.hidden", m.path / "deploy/seen"),
                        lambda: os.unlink(m.path / "deploy/.hidden2")))()
                except OSError as e:
                    verdicts.add(e.errno)
        threads = [threading.Thread(target=storm, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for fd in (plain, hidden):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.assertLessEqual(verdicts, {errno.EBADMSG, errno.EBUSY, errno.ENOENT})
        self.assert_sound(m)

    def test_the_decoder_is_killed_or_stopped(self):
        m = self.start()
        source = m.dir / "slow"
        source.write_bytes(slow_archive())
        for sent in (signal.SIGKILL, signal.SIGSTOP):
            with subprocess.Popen(["cp", source, m.path / "stage/slow"],
                                  stderr=subprocess.DEVNULL) as copy:
                wait_until(lambda: children(m.pid) or copy.poll() is not None, "a decoder")
                for decoder in children(m.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(decoder, sent)
                if sent == signal.SIGSTOP:
                    copy.kill()
                copy.wait(harness.PATIENCE)
            wait_until(lambda: not children(m.pid), "the decoder to be gone")
        self.assert_sound(m)


class Limits(Stress):
    """Limits of the daemon's process are errors of single requests."""

    def limited(self, name, limit):
        harness.need("prlimit")
        m = harness.Mount()
        command = m.command
        m.command = lambda options=None: ["prlimit", f"--{name}={limit}", *command(options)]
        self.addCleanup(self.end_mount, m)
        m.start()
        return m

    def test_few_descriptors(self):
        m = self.limited("nofile", "64:64")
        self.descriptors, self.memory = descriptors(m.pid), memory_kib(m.pid)
        opened, refused = [], set()
        for number in range(100):
            try:
                opened.append(os.open(m.path / "deploy" / f".d{number}", os.O_WRONLY | os.O_CREAT))
            except OSError as e:
                refused.add(e.errno)
        self.assertTrue(opened and refused)
        self.assertLessEqual(refused, {errno.EMFILE, errno.ENFILE})
        self.assertTrue(m.status()["ready"])
        for fd in opened:
            os.close(fd)
        self.tidy(m)
        source = m.dir / "upload"
        source.write_bytes(archive_of(TYPES[0], 0))
        copies = [subprocess.Popen(["cp", source, m.path / "deploy" / f"p{number}"],
                                   stderr=subprocess.DEVNULL) for number in range(30)]
        for copy in copies:
            copy.wait(harness.PATIENCE)
        self.assert_sound(m)

    def test_small_files_only(self):
        m = self.limited("fsize", 3_000_000)
        self.descriptors, self.memory = descriptors(m.pid), memory_kib(m.pid)
        done, _ = m.try_deploy(make_package({"bulk": noise(8 << 20)}, "large"))
        self.assertIn("File too large", done.stderr)
        for number in range(4):  # here the store grows over the limit
            done, _ = m.try_deploy(make_package({"bulk": noise(1 << 20, number)}, "middle"))
            if done.returncode != 0:
                self.assertIn("Input/output error", done.stderr)
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(m.status()["ready"])
        m.umount()
        self.assert_silent_fsck(m)
        del m.command  # without the limit it goes on
        m.start()
        self.assert_sound(m)


class Inherited(Stress):
    """What the daemon's caller left open, or closed."""

    def mount_through(self, script, foreground):
        m = harness.Mount(foreground=foreground)
        command = m.command
        m.command = lambda options=None: ["sh", "-c", script, *command(options)]
        self.addCleanup(self.end_mount, m)
        m.start()
        self.descriptors, self.memory = descriptors(m.pid), memory_kib(m.pid)
        return m

    def test_closed_standard_descriptors(self):
        for foreground in (True, False):
            with self.subTest(foreground=foreground):
                m = self.mount_through('exec "$0" "$@" 0<&- 1>&- 2>&-', foreground)
                for number in range(3):
                    self.assertEqual(os.readlink(f"/proc/{m.pid}/fd/{number}"), "/dev/null")
                m.refuse(b"rubbish")
                self.assert_sound(m)

    def test_a_lock_of_the_caller_is_not_held(self):
        lock = self.scratch() / "lock"
        m = self.mount_through(f'exec 9>"{lock}"; exec "$0" "$@"', foreground=False)
        self.assertNotIn(str(lock), [os.readlink(f"/proc/{m.pid}/fd/{number}")
                                     for number in os.listdir(f"/proc/{m.pid}/fd")])
        self.assert_sound(m)


class Endings(Stress):
    """The mount is ended while everybody is busy: what was acknowledged is there afterwards."""

    def end_busy(self, end):
        m = self.start()
        source = m.dir / "slow"
        source.write_bytes(slow_archive())
        copies = [subprocess.Popen(["cp", source, m.path / "deploy" / f"slow{number}"],
                                   stderr=subprocess.DEVNULL) for number in range(2)]
        users = self.users(m, (30, 31), 100_000, uid=NOBODY if os.geteuid() == 0 else 0)
        wait_until(lambda: children(m.pid) or copies[0].poll() is not None, "a decoder")
        end(m)
        codes = [copy.wait(harness.PATIENCE) for copy in copies]
        for user in users:
            user.kill()
            user.wait()
        m.expect_clean_exit()
        unmount_all_below(m.path)
        self.assert_silent_fsck(m)
        m.start()
        for name in TYPES:
            self.assertEqual(m.route(name), version_of(files_of(1), name))
            self.assert_package(m, files_of(0), name)
        if 0 in codes:
            self.assertIn("slow", m.types())
        self.assert_sound(m)

    def test_sigterm(self):
        self.end_busy(lambda m: os.kill(m.pid, signal.SIGTERM))

    def test_stop(self):
        self.end_busy(lambda m: aionfs("stop", m.path, check=True))

    def test_aborted(self):
        if os.geteuid() != 0:
            self.skipTest("umount -f needs root")
        self.end_busy(lambda m: (run("umount", "-f", m.path), run("umount", "-l", m.path)))

    def test_umount_is_busy(self):
        def end(m):
            with open(m.path / "README", "rb"):
                self.assertNotEqual(run("umount", m.path).returncode, 0)
            os.kill(m.pid, signal.SIGTERM)
        self.end_busy(end)
