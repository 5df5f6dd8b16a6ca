# SPDX-License-Identifier: Apache-2.0
"""A clumsy and hostile user: a process that does random things to every part of a mount.

usage: clumsy.py MOUNTPOINT SEED STEPS UID

Errors are what it lives on; it fails only when the daemon seems to be in trouble, or when what it
reads is wrong. Every choice comes from the seed.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import random
import stat
import sys
import threading

from harness import Executable, Link, make_package, noise, sha256

TYPES = ("alpha", "beta@gamma", "delta.1")
VARIANTS = 4
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


LIBC = ctypes.CDLL(None, use_errno=True)


def libc(name, *args):
    result = getattr(LIBC, name)(*args)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


class User:
    """Each step_ method is one thing that a user does."""

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
        os.chown(self.path(), self.random.choice((-1, 0, 65534)), -1, follow_symlinks=False)

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


if __name__ == "__main__":
    if int(sys.argv[4]):
        os.setgroups([])
        os.setresgid(*[int(sys.argv[4])] * 3)
        os.setresuid(*[int(sys.argv[4])] * 3)
    User(sys.argv[1], int(sys.argv[2])).live(int(sys.argv[3]))
