# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments while deploying, re-routing and unloading several types.

After each remount: what was acknowledged is there, what was under way happened whole or not at
all, every version reads back, and fsck is silent. (Killing the process proves nothing about fsync:
that is the store's unit tests' matter.)
"""

import os
import random
import signal
import subprocess
import threading
import time

import harness
from harness import MountCase, make_package, noise, version_of

CYCLES = int(os.environ.get("AIONFS_KILLS", "30" if harness.SANITIZED else "200"))
TYPES = ("alpha", "beta", "gamma")
SHARED = noise(60_000, 70)
KEPT = 6


class Worker:
    """One type and what is known about it. Only its own thread changes it while a mount lives."""

    def __init__(self, name, seed):
        self.name, self.random, self.count = name, random.Random(seed), 0
        self.files, self.archives = {}, {}
        self.present = set()         # versions whose deploy was acknowledged
        self.route = None
        self.pending = None          # (act, version) that was not acknowledged
        self.acknowledged = 0

    def next_files(self):
        self.count += 1
        own = self.random.randbytes(self.random.choice((10, 5_000, 120_000)))
        files = {"shared": SHARED, "own": own, "number": f"{self.name} {self.count}".encode()}
        version = version_of(files, self.name)
        self.files[version] = files
        self.archives[version] = make_package(files, self.name, level=1)
        return version

    def choose(self):
        spare = sorted(self.present - {self.route})
        dice = self.random.random()
        if len(self.present) > KEPT and spare:
            return "unload", self.random.choice(spare)
        if spare and dice < 0.35:
            return "route", self.random.choice(spare)
        if spare and dice < 0.45:
            return "deploy", self.random.choice(spare)
        return "deploy", self.next_files()

    def act(self, m, act, version):
        if act == "deploy":
            fd = os.open(m / "deploy" / f"{self.name}-{self.count % 5}",
                         os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            try:
                data = self.archives[version]
                while data:
                    data = data[os.write(fd, data):]
            finally:
                os.close(fd)
            self.present.add(version)
            self.route = version
        elif act == "route":
            link = m / "routes" / f"{self.name}.new"
            os.symlink(f"../packages/{self.name}/{version}", link)
            os.replace(link, m / "routes" / self.name)
            self.route = version
        else:
            os.rmdir(m.package(self.name, version))
            self.present.discard(version)

    def work(self, m, failures):
        """Until the daemon dies under it."""
        while True:
            self.pending = self.choose()
            try:
                self.act(m, *self.pending)
            except OSError as e:
                if m.process.poll() is None and not m.dying:
                    failures.append(f"{self.name}: {self.pending} failed: {e}")
                return
            self.pending = None
            self.acknowledged += 1

    def settle(self, test, m):
        """Compares the remounted truth with what was acknowledged; the pending act may be done."""
        found, route = set(m.versions(self.name)), m.route(self.name)
        act, version = self.pending or (None, None)
        may_be = {version} if act in ("deploy", "unload") else set()
        test.assertLessEqual(found ^ self.present, may_be,
                             f"{self.name}: {act} {version} was under way")
        routes = {self.route} | ({version} if act in ("deploy", "route") else set())
        test.assertIn(route, routes, f"{self.name}: {act} {version} was under way")
        if act == "deploy" and version not in self.present:
            test.assertEqual(version in found, route == version,
                             "a version and its route arrive together")
        fresh = found - self.present
        self.present, self.route, self.pending = found, route, None
        return fresh


class Kill(MountCase):
    def test_kill_at_any_moment(self):
        m = self.mount()
        m.dying = False
        dice = random.Random(4)
        workers = [Worker(name, index) for index, name in enumerate(TYPES)]
        failures = []
        for cycle in range(CYCLES):
            threads = [threading.Thread(target=worker.work, args=(m, failures))
                       for worker in workers]
            for thread in threads:
                thread.start()
            time.sleep(dice.random() ** 2 * 0.25)
            m.dying = True
            os.kill(m.pid, signal.SIGKILL)
            m.wait_exit()
            for thread in threads:
                thread.join(harness.PATIENCE)
                self.assertFalse(thread.is_alive(), "a request outlived the daemon")
            self.assertEqual(failures, [])
            harness.unmount_all_below(m.path)
            if dice.random() < 0.1:
                self.kill_while_mounting(m, dice)
            if cycle % 10 == 9:
                m.start()
                m.umount()
                self.assert_silent_fsck(m)
            m.start()
            m.dying = False
            for worker in workers:
                fresh = worker.settle(self, m)
                # Whole: those that just arrived, the routed one, and from time to time all.
                for version in (worker.present if cycle % 10 == 0
                                else {*fresh, worker.route} - {None}):
                    self.assert_package(m, worker.files[version], worker.name, version)
        for worker in workers:
            self.assertGreater(worker.acknowledged, 0)
        self.assertEqual(os.listdir(m / "quarantine"), [])
        m.umount()
        self.assert_silent_fsck(m)

    def kill_while_mounting(self, m, dice):
        child = subprocess.Popen(m.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        m.remember(child.pid)
        time.sleep(dice.random() * 0.08)
        child.kill()
        child.wait()
        harness.unmount_all_below(m.path)
