# SPDX-License-Identifier: Apache-2.0
"""Clumsy and hostile users, many at once. What they get back hardly matters; afterwards the daemon
is alive, has lost no descriptor, unmounts with exit code 0, and its state is sound.

Every choice comes from a seed and every loop has a count, so that no clock decides a test; how the
processes overtake each other differs from run to run, and must not matter. Run with arguments, this
file is one such user: test_stress.py MOUNTPOINT SEED STEPS UID.
"""

import bz2
import contextlib
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import pathlib
import random
import resource
import signal
import stat
import subprocess
import sys
import threading

import harness
from harness import (Executable, Link, MountCase, aionfs, make_package, noise, run, shell, sha256,
                     unmount_all_below, version_of, wait_until)

TYPES = ("alpha", "beta@gamma", "delta.1")
VARIANTS = 4
NOBODY = 65534
# What only a daemon in trouble answers.
TROUBLE = {errno.EIO, errno.ENOTCONN, errno.ECONNABORTED, errno.EFAULT, errno.EPROTO,
           errno.ENOMEM, errno.ESHUTDOWN, errno.EMFILE}


def files_of(variant):
    return {"bin/run": Executable(b"#!/bin/sh\necho %d\n" % variant),
            "bulk": noise(30_000 + 50_000 * variant, variant),
            "shared": noise(100_000, 77),
            "deep/a/b/c/d/leaf": b"%d" % variant,
            "deep/up": Link("a/b"),
            "dangling": Link("nowhere"),
            "empty": None,
            "space and # [x]": b"odd"}


def archive_of(type_name, variant):
    return make_package(files_of(variant), type_name, level=1)


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


# The users: each function is one step, or one life, of a process of its own.

LIBC = ctypes.CDLL(None, use_errno=True)


def libc(name, *args):
    result = getattr(LIBC, name)(*args)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


class User:
    """One process that does random things to the whole tree."""

    def __init__(self, mountpoint, seed):
        self.root = os.fsencode(mountpoint)
        self.random = random.Random(seed)
        self.open = []
        self.archives = [archive_of(name, variant) for name in TYPES for variant in
                         self.random.sample(range(VARIANTS), 2)]
        self.steps = [getattr(type(self), name) for name in sorted(dir(self))
                      if name.startswith("step_")]

    # What the steps choose from.

    def name(self):
        pick = self.random.random()
        if pick < 0.5:
            return b"%s%d" % (self.random.choice((b"x", b".x", b"y", b".y")),
                              self.random.randrange(6))
        if pick < 0.6:
            return self.random.choice((b".", b"..", b"...", b"-rf", b"\xff\xfe", b"\n", b"a\tb"))
        if pick < 0.7:
            return self.random.choice((b"a", b".", b"\xf0")) * self.random.choice((254, 255, 256))
        if pick < 0.9:
            return os.fsencode(self.random.choice(TYPES))
        return os.fsencode(sha256(b"%d" % self.random.randrange(4)))

    def directory(self):
        fixed = (b"", b"deploy", b"stage", b"packages", b"archives", b"indexes", b"routes",
                 b"quarantine")
        path = self.root + b"/" + self.random.choice(fixed)
        for _ in range(self.random.randrange(5)):
            with contextlib.suppress(OSError):
                names = os.listdir(path)
                if not names:
                    break
                deeper = path + b"/" + self.random.choice(names)
                if not stat.S_ISDIR(os.stat(deeper).st_mode):
                    break
                path = deeper
        return path

    def path(self):
        directory = self.directory()
        if self.random.random() < 0.6:
            with contextlib.suppress(OSError):
                names = os.listdir(directory)
                if names:
                    return directory + b"/" + self.random.choice(names)
        if self.random.random() < 0.02:
            return directory + b"/" + b"/".join([b"d"] * 1500)
        return directory + b"/" + self.name()

    def box_path(self):
        return (self.root + b"/" + self.random.choice((b"deploy", b"stage")) + b"/" + self.name())

    def descriptor(self):
        if not self.open or (len(self.open) < 12 and self.random.random() < 0.4):
            flags = self.random.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR))
            for flag in (os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECT,
                         os.O_NOFOLLOW, os.O_DIRECTORY, os.O_PATH, os.O_SYNC, os.O_TMPFILE):
                if self.random.random() < 0.2:
                    flags |= flag
            self.open.append(os.open(self.path() if self.random.random() < 0.5
                                     else self.box_path(), flags, 0o600))
        return self.random.choice(self.open)

    def piece(self):
        archive = self.random.choice(self.archives)
        at = self.random.choice((0, 0, 0, self.random.randrange(len(archive))))
        return archive[at:at + self.random.choice((1, 4096, 131_073, 1 << 30))]

    # The steps.

    def step_deploy(self):
        path = self.box_path()
        archive = self.random.choice(self.archives)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            for at in range(0, len(archive), 70_001):
                os.write(fd, archive[at:at + 70_001])
        finally:
            os.close(fd)

    def step_deploy_by_rename(self):
        hidden = self.root + b"/deploy/.r%d" % self.random.randrange(3)
        with open(hidden, "wb") as f:
            f.write(self.random.choice(self.archives))
        os.rename(hidden, self.root + b"/deploy/r%d" % self.random.randrange(3))

    def step_two_halves(self):
        archive = self.random.choice(self.archives)
        fd = os.open(self.box_path(), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            other = os.dup(fd)
            os.write(fd, archive[:1000])
            with contextlib.suppress(OSError):
                os.close(other)  # half an archive
            os.pwrite(fd, archive[1000:], 1000)
            if self.random.random() < 0.5:
                os.fsync(fd)
        finally:
            os.close(fd)

    def step_inherited(self):
        fd = os.open(self.box_path(), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.write(fd, self.piece())
            child = os.fork()
            if child == 0:
                with contextlib.suppress(OSError):
                    os.write(fd, b"more")
                    os.close(fd)
                os._exit(0)
            os.waitpid(child, 0)
        finally:
            os.close(fd)

    def step_closes_in_threads(self):
        fd = os.open(self.box_path(), os.O_RDWR | os.O_CREAT, 0o644)
        copies = [fd] + [os.dup(fd) for _ in range(3)]
        with contextlib.suppress(OSError):
            os.write(fd, self.random.choice(self.archives))

        def close(number):
            with contextlib.suppress(OSError):
                if number % 2:
                    os.fsync(copies[number])
            with contextlib.suppress(OSError):
                os.close(copies[number])
        threads = [threading.Thread(target=close, args=(i,)) for i in range(len(copies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def step_read(self):
        fd = self.descriptor()
        os.read(fd, self.random.choice((0, 1, 4096, 1 << 20)))

    def step_pread(self):
        os.pread(self.descriptor(), self.random.choice((1, 5000, 300_000)),
                 self.random.choice((0, 1, 4095, 1 << 20, (1 << 63) - 1 - 300_000)))

    def step_write(self):
        os.write(self.descriptor(), self.piece())

    def step_pwrite(self):
        os.pwrite(self.descriptor(), b"hole", self.random.choice((0, 7, 1 << 20, 1 << 40)))

    def step_close(self):
        if self.open:
            os.close(self.open.pop(self.random.randrange(len(self.open))))

    def step_dup(self):
        if len(self.open) < 20:
            self.open.append(os.dup(self.descriptor()))

    def step_fsync(self):
        self.random.choice((os.fsync, os.fdatasync))(self.descriptor())

    def step_fstat(self):
        os.fstat(self.descriptor())

    def step_ftruncate(self):
        os.ftruncate(self.descriptor(), self.random.choice((0, 1, 4096, 1 << 20, 1 << 50)))

    def step_truncate(self):
        os.truncate(self.path(), self.random.choice((0, 5, 1 << 20)))

    def step_rename(self):
        flags = self.random.choice((0, 0, 0, 1, 2, 4, 3))
        libc("renameat2", -100, self.path(), -100,
             self.box_path() if self.random.random() < 0.5 else self.path(), flags)

    def step_rename_in_routes(self):
        routes = self.root + b"/routes/"
        os.rename(routes + self.name(), routes + self.name())

    def step_unlink(self):
        os.unlink(self.path())

    def step_unlink_in_box(self):
        os.unlink(self.box_path())

    def step_rmdir(self):
        os.rmdir(self.path())

    def step_mkdir(self):
        os.mkdir(self.path(), self.random.randrange(0o10000))

    def step_mknod(self):
        kind = self.random.choice((stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, 0))
        os.mknod(self.path(), kind | 0o644, os.makedev(1, 3))

    def step_symlink(self):
        target = self.random.choice((b"x", b"/", b"../packages", self.path(), b"t" * 4095,
                                     b"/" * 4095))
        os.symlink(target, self.path())

    def step_route(self):
        kind = os.fsencode(self.random.choice(TYPES))
        version = self.random.choice(os.listdir(self.root + b"/packages/" + kind))
        link = self.root + b"/routes/.new%d" % self.random.randrange(3)
        target = self.random.choice((version, version[:9], b"../packages/" + kind + b"/" + version))
        os.symlink(target, link)
        os.rename(link, self.root + b"/routes/" + kind)

    def step_route_from_inside(self):
        kind = os.fsencode(self.random.choice(TYPES))
        version = self.random.choice(os.listdir(self.root + b"/packages/" + kind))
        os.symlink(version, self.root + b"/routes/" + kind + b"/" + version)

    def step_unroute(self):
        os.unlink(self.root + b"/routes/" + os.fsencode(self.random.choice(TYPES)))

    def step_unload(self):
        kind = self.root + b"/packages/" + os.fsencode(self.random.choice(TYPES))
        os.rmdir(kind + b"/" + self.random.choice(os.listdir(kind)))

    def step_link(self):
        os.link(self.path(), self.path(), follow_symlinks=False)

    def step_chmod(self):
        os.chmod(self.path(), self.random.randrange(0o10000))

    def step_chown(self):
        os.chown(self.path(), self.random.choice((-1, 0, NOBODY)), -1, follow_symlinks=False)

    def step_utime(self):
        os.utime(self.path(), ns=(self.random.choice((0, -1, 1 << 62)),) * 2, follow_symlinks=False)

    def step_access(self):
        os.access(self.path(), self.random.randrange(8))

    def step_xattr(self):
        path = self.path()
        name = self.random.choice(("user.aionfs.type", "user.aionfs.label", "user.x", "trusted.x",
                                   "security.capability", "system.posix_acl_access",
                                   "user." + "n" * 250))
        pick = self.random.randrange(4)
        if pick == 0:
            os.getxattr(path, name, follow_symlinks=False)
        elif pick == 1:
            os.listxattr(path, follow_symlinks=False)
        elif pick == 2:
            os.setxattr(path, name, b"v" * self.random.choice((0, 1, 65536)))
        else:
            os.removexattr(path, name)

    def step_xattr_sizes(self):
        for size in (0, 1, 3, 65536):
            with contextlib.suppress(OSError):
                libc("lgetxattr", self.path(), b"user.aionfs.version",
                     ctypes.create_string_buffer(size + 1), size)
            with contextlib.suppress(OSError):
                libc("llistxattr", self.path(), ctypes.create_string_buffer(size + 1), size)

    def step_statfs(self):
        os.statvfs(self.path())

    def step_fallocate(self):
        libc("fallocate", self.descriptor(), self.random.choice((0, 1, 3, 0x10)),
             ctypes.c_long(0), ctypes.c_long(self.random.choice((1, 1 << 20, 1 << 45))))

    def step_lseek(self):
        os.lseek(self.descriptor(), self.random.choice((0, 5, -1, 1 << 62)),
                 self.random.choice((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA,
                                     os.SEEK_HOLE)))

    def step_copy_file_range(self):
        os.copy_file_range(self.descriptor(), self.descriptor(), 100_000, 0, 0)

    def step_splice(self):
        ours, theirs = os.pipe()
        try:
            os.splice(self.descriptor(), theirs, 50_000, flags=os.SPLICE_F_NONBLOCK)
            os.splice(ours, self.descriptor(), 50_000, flags=os.SPLICE_F_NONBLOCK)
        finally:
            os.close(ours)
            os.close(theirs)

    def step_sendfile(self):
        os.sendfile(self.descriptor(), self.descriptor(), 0, 50_000)

    def step_mmap(self):
        fd = self.descriptor()
        how = self.random.choice((mmap.MAP_PRIVATE, mmap.MAP_SHARED))
        with mmap.mmap(fd, 0, how, mmap.PROT_READ):
            pass

    def step_mmap_package(self):
        kind = os.fsencode(self.random.choice(TYPES))
        version = self.random.choice(os.listdir(self.root + b"/packages/" + kind))
        with open(self.root + b"/indexes/" + kind + b"/" + version + b".mtree", "rb") as f:
            index = f.read()
        with open(self.root + b"/packages/" + kind + b"/" + version + b"/shared", "rb") as f:
            with mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
                if b"sha256=" + os.fsencode(sha256(mapped[:])) not in index:
                    raise AssertionError("a package's file is not what its index says")

    def step_flock(self):
        fcntl.flock(self.descriptor(), self.random.choice((fcntl.LOCK_SH, fcntl.LOCK_EX,
                                                           fcntl.LOCK_UN)) | fcntl.LOCK_NB)

    def step_lockf(self):
        fcntl.lockf(self.descriptor(), fcntl.LOCK_EX | fcntl.LOCK_NB, 10)

    def step_ioctl(self):
        fcntl.ioctl(self.descriptor(), self.random.choice((0x80086601, 0x5401, 0x541b, 0, 0x4C00)),
                    bytes(64))

    def step_handle(self):
        handle = ctypes.create_string_buffer(8 + 128)
        handle[0:4] = (128).to_bytes(4, sys.byteorder)
        where = ctypes.c_int()
        libc("name_to_handle_at", -100, self.path(), handle, ctypes.byref(where), 0)
        directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.close(libc("open_by_handle_at", directory, handle, os.O_RDONLY))
        finally:
            os.close(directory)

    def step_readdir(self):
        path = self.directory()
        with os.scandir(path) as entries:
            for number, entry in enumerate(entries):
                if number == 2:
                    with contextlib.suppress(OSError):
                        os.unlink(path + b"/" + entry.name)
                with contextlib.suppress(OSError):
                    entry.stat(follow_symlinks=False)

    def step_seekdir(self):
        fd = os.open(self.directory(), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.lseek(fd, self.random.choice((0, 1, 2, 3, 1 << 31, (1 << 63) - 1)), os.SEEK_SET)
            os.listdir(fd)
        finally:
            os.close(fd)

    def step_chdir(self):
        os.chdir(self.directory())
        with contextlib.suppress(OSError):
            os.stat(b"..")
            os.listdir(b".")
        os.chdir("/")

    def step_texts(self):
        for name in (b"status", b"metrics", b"log", b"README"):
            with open(self.root + b"/" + name, "rb") as f:
                f.read()

    def step_archive(self):
        kind = self.root + b"/archives/" + os.fsencode(self.random.choice(TYPES))
        with open(kind + b"/" + self.random.choice(os.listdir(kind)), "rb") as f:
            archive = f.read()
        with open(self.box_path(), "wb") as f:
            f.write(archive)

    def step_index(self):
        kind = self.root + b"/indexes/" + os.fsencode(self.random.choice(TYPES))
        name = self.random.choice(os.listdir(kind))
        with open(kind + b"/" + name, "rb") as f:
            if os.fsencode(sha256(f.read())) != name.partition(b".")[0]:
                raise AssertionError("an index does not hash to its version")

    def live(self, steps):
        for _ in range(steps):
            step = self.random.choice(self.steps)
            try:
                step(self)
            except (IndexError, ValueError, OverflowError):
                pass  # nothing to choose from, or Python itself refuses
            except OSError as e:
                if e.errno in TROUBLE:
                    raise AssertionError(f"{step.__name__}: {e}") from e
        while self.open:
            with contextlib.suppress(OSError):
                os.close(self.open.pop())


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
                [sys.executable, __file__, m.path, str(seed), str(steps), str(uid)],
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
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    signal.signal(signal.SIGINT, signal.SIG_DFL)
                    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)
                    for piece in pieces:
                        os.write(fd, piece)
                        os.write(tell, b".")
                    os.write(tell, b"...")
                    os.close(fd)
                os._exit(0)
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


if __name__ == "__main__":
    if int(sys.argv[4]):
        os.setgroups([])
        os.setresgid(*[int(sys.argv[4])] * 3)
        os.setresuid(*[int(sys.argv[4])] * 3)
    User(sys.argv[1], int(sys.argv[2])).live(int(sys.argv[3]))
