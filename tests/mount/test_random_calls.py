# SPDX-License-Identifier: Apache-2.0
"""Random system calls on names under start/ and runs/, by ordinary users, while runs run.

Every path is a fixed part below the mount and one name; no link is followed, and none is made but
to names in the mount. What a call answers is of no interest: the daemon must live, answer others
meanwhile, and a sanitizer must have nothing to say. The seed is in the failure's text.
"""

import ctypes
import fcntl
import mmap
import os
import random
import resource
import signal
import time

import harness
import workflows
from harness import MountCase
from workflows import start, workflow

USER, OTHER = 1234, 1235
SECONDS = float(os.environ.get("AIONFS_RANDOM_SECONDS", "6"))
SCRIPT = """
aionfs step one -- echo 1
aionfs sleep nap 1s
aionfs wait signal go
"""
IDS = ["a", "b", "c", "mine", "theirs"]
PARTS = ["", "package", "input", "result", "error", "log", "status", "history", "ctl", "steps",
         "timers", "signals", "wait", "wait/result", "wait/timers", "wait/signals",
         "wait/timers/nap", "wait/signals/go", "wait/signals/never", "steps/one", "steps/.one",
         "steps/two", "timers/nap", "timers/new", "signals/go", "signals/.go", "signals/new",
         "signals/.x", "signals/\u00e9", "nothing"]
LIBC = ctypes.CDLL(None, use_errno=True)
OPEN_FLAGS = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR]
MORE_FLAGS = [os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECT, os.O_SYNC,
              os.O_DIRECTORY, os.O_PATH, os.O_NONBLOCK, os.O_TMPFILE, os.O_NOATIME]
TEXTS = [b"", b"x", b"quick\n", b"cancel\n", b"pause", b"resume", b"retry", b"cancel why\0not",
         b"1s", b"@1", b"@99999999999999999999", b"30d\n", bytes(5000), bytes(70000),
         bytes(1 << 20) + b"x"]


class Caller:
    """One process's random calls. Every call may fail, and none may take for ever."""

    def __init__(self, root, seed):
        self.random, self.root, self.files = random.Random(seed), root, []

    def name(self):
        kind = self.random.randrange(10)
        if kind == 0:
            return random.choice(["start", "runs", "by-status", "by-status/failed"])
        if kind < 4:
            dot = self.random.choice(["", "", "."])
            version = self.random.choice(["", "", "0" * 64 + "/"])
            return f"start/{self.random.choice(['demo', 'none'])}/{version}{dot}" \
                   f"{self.random.choice([*IDS, 'x' * 128, 'y' * 200, 'f' * 64, '..x'])}"
        if kind == 4:
            return f"by-status/{self.random.choice(['failed', 'running'])}/" \
                   f"{self.random.choice(IDS)}"
        return f"runs/{self.random.choice(IDS)}/{self.random.choice(PARTS)}".rstrip("/")

    def path(self):
        return f"{self.root}/{self.name()}"

    def file(self):
        if not self.files or self.random.random() < 0.3:
            return self.open()
        return self.random.choice(self.files)

    def open(self):
        flags = self.random.choice(OPEN_FLAGS) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        for _ in range(self.random.randrange(4)):
            flags |= self.random.choice(MORE_FLAGS)
        file = os.open(self.path(), flags, self.random.randrange(0o1000))
        self.files.append(file)
        if len(self.files) > 24:
            os.close(self.files.pop(self.random.randrange(24)))
        return file

    def close(self):
        if self.files:
            os.close(self.files.pop(self.random.randrange(len(self.files))))

    def offset(self):
        return self.random.choice([0, 0, 0, 1, 4095, 65536, 1 << 20, (64 << 20) - 1, 64 << 20,
                                   (1 << 62), (1 << 63) - 1])

    def read(self):
        os.pread(self.file(), self.random.choice([0, 1, 4096, 1 << 20]), self.offset())

    def write(self):
        os.write(self.file(), self.random.choice(TEXTS))

    def pwrite(self):
        os.pwrite(self.file(), self.random.choice(TEXTS), self.offset())

    def truncate(self):
        os.ftruncate(self.file(), self.offset())

    def truncate_path(self):
        path = self.path()
        if not os.path.islink(path):
            os.truncate(path, self.offset())

    def fallocate(self):
        LIBC.fallocate64(self.file(), self.random.choice([0, 1, 3, 8, 16, 32]),
                         ctypes.c_long(self.offset()), ctypes.c_long(self.offset() or 1))

    def seek(self):
        os.lseek(self.file(), self.offset(), self.random.choice(
            [os.SEEK_SET, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE]))

    def copy_range(self):
        os.copy_file_range(self.file(), self.file(), 5000)

    def splice(self):
        os.sendfile(self.file(), self.file(), 0, 5000)

    def map(self):
        with mmap.mmap(self.file(), 4096, flags=self.random.choice(
                [mmap.MAP_SHARED, mmap.MAP_PRIVATE]), prot=self.random.choice(
                    [mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE])):
            pass  # made and taken away: touching what has no page behind it is SIGBUS

    def lock(self):
        fcntl.flock(self.file(), self.random.choice([fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN])
                    | fcntl.LOCK_NB)

    def record_lock(self):
        fcntl.lockf(self.file(), self.random.choice([fcntl.LOCK_EX, fcntl.LOCK_UN])
                    | fcntl.LOCK_NB, 10, self.random.randrange(100))

    def sync(self):
        self.random.choice([os.fsync, os.fdatasync])(self.file())

    def duplicate(self):
        os.close(os.dup(self.file()))

    def stat(self):
        self.random.choice([os.fstat, os.fstatvfs])(self.file())

    def stat_path(self):
        os.lstat(self.path())

    def list(self):
        os.listdir(self.path() if self.random.random() < 0.5 else self.file())

    def access(self):
        os.access(self.path(), self.random.randrange(8), follow_symlinks=False)

    def chmod(self):
        os.fchmod(self.file(), self.random.randrange(0o10000))

    def chown(self):
        os.lchown(self.path(), self.random.choice([-1, USER, OTHER, 0]), -1)

    def times(self):
        os.utime(self.path(), self.random.choice([None, (0, 0), (1 << 40, -5)]),
                 follow_symlinks=False)

    def rename(self):
        LIBC.renameat2(-100, self.path().encode(), -100, self.path().encode(),
                       self.random.randrange(8))

    def rename_near(self):
        box = self.random.choice(["start/demo", "runs/a/signals", "runs/mine/steps"])
        a, b = (self.random.choice([".t", ".u", "go", "a", "mine", ".one", "one"])
                for _ in range(2))
        os.rename(f"{self.root}/{box}/{a}", f"{self.root}/{box}/{b}")

    def link(self):
        os.link(self.path(), self.path(), follow_symlinks=False)

    def symlink(self):
        os.symlink("a", self.path())

    def unlink(self):
        os.unlink(self.path())

    def make(self):
        kind = self.random.choice([0o100000, 0o10000, 0o140000])
        os.mknod(self.path(), kind | self.random.randrange(0o1000))

    def mkdir(self):
        os.mkdir(self.path())

    def rmdir(self):
        os.rmdir(self.path())

    def attribute(self):
        path = self.path()
        kind = self.random.randrange(4)
        name = self.random.choice(["user.aionfs.command", "user.aionfs.type", "user.x",
                                   "system.posix_acl_access", "security.capability"])
        if kind == 0:
            os.setxattr(path, name, self.random.choice(TEXTS[:13]), follow_symlinks=False)
        elif kind == 1:
            os.getxattr(path, name, follow_symlinks=False)
        elif kind == 2:
            os.listxattr(path, follow_symlinks=False)
        else:
            os.removexattr(path, name, follow_symlinks=False)

    def reopen(self):
        path = f"/proc/self/fd/{self.file()}"
        if not os.path.islink(os.readlink(path)):
            os.close(os.open(path, self.random.choice(OPEN_FLAGS) | os.O_NONBLOCK))

    def control(self):
        fcntl.ioctl(self.file(), self.random.choice([0x5401, 0x80086601, 0x40049409]), bytes(64))

    def advise(self):
        os.posix_fadvise(self.file(), 0, 1 << 20, self.random.randrange(6))

    def die(self):
        """A child that dies in the middle of something."""
        child = os.fork()
        if child == 0:
            try:
                os.read(os.open(f"{self.root}/runs/{self.random.choice(IDS)}/wait/result",
                                os.O_RDONLY), 10)
            finally:
                os._exit(0)
        time.sleep(self.random.random() * 0.02)
        os.kill(child, self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        os.waitpid(child, 0)

    CALLS = [open, open, open, close, read, read, write, write, write, pwrite, truncate,
             truncate_path, fallocate, seek, copy_range, splice, map, lock, record_lock, sync,
             duplicate, stat, stat_path, list, access, chmod, chown, times, rename, rename_near,
             rename_near, link, symlink, unlink, make, mkdir, rmdir, attribute, reopen, control,
             advise, die]

    def go(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                self.random.choice(self.CALLS)(self)
            except (OSError, ValueError, OverflowError):
                pass


class RandomCalls(MountCase):
    def child(self, m, uid, seed):
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.setgroups([USER])
            os.setgid(uid)
            os.setuid(uid)
            resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 20, 128 << 20))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            signal.alarm(int(SECONDS) + 100)
            Caller(str(m.path), seed).go(SECONDS)
            code = 0
        finally:
            os._exit(code)

    def test_the_daemon_lives_and_answers(self):
        if os.geteuid() != 0:
            self.skipTest("calls by two users need root")
        m = self.mount(options="allow_other,start_group=1234,park_after=1s")
        m.deploy(workflow(SCRIPT))
        start(m, "demo", "mine", uid=USER, groups=(USER,))
        start(m, "demo", "theirs", uid=OTHER, groups=(USER,))
        seed = int.from_bytes(os.urandom(4), "big")
        children = [self.child(m, uid, seed + i)
                    for i, uid in enumerate((USER, USER, OTHER, 1236))]
        ended, slowest = {}, 0
        while len(ended) < len(children):
            begun = time.monotonic()
            m.status()
            os.listdir(m / "runs")
            slowest = max(slowest, time.monotonic() - begun)
            for child in children:
                if child not in ended:
                    pid, code = os.waitpid(child, os.WNOHANG)
                    if pid:
                        ended[child] = os.waitstatus_to_exitcode(code)
            time.sleep(0.05)
        self.assertEqual(set(ended.values()), {0}, f"seed {seed}")
        self.assertLess(slowest, 10, f"seed {seed}")
        self.assertTrue(m.is_alive(), f"seed {seed}")
        self.assertEqual(len([name for name in os.listdir(f"/proc/{m.pid}/fd")
                              if is_spool(m, name)]) < 500, True)
        workflows.stop(m)
        done = harness.aionfs("fsck", m.state)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def is_spool(m, name):
    try:
        return os.readlink(f"/proc/{m.pid}/fd/{name}").startswith(str(m.state))
    except OSError:
        return False
