# SPDX-License-Identifier: Apache-2.0
"""The tree as tools see it: it behaves as files do elsewhere, and a version never changes."""

import errno
import json
import mmap
import os
import pathlib
import stat
import subprocess
import sys
import threading
import time

import harness
from harness import (Executable, Link, MountCase, make_package, need, noise, run, shell,
                     version_of, write_tree)

FILES = {
    "bin/run": Executable(b"#!/bin/sh\necho \"ran in $(basename \"$PWD\")\"\n"),
    "lib/greeting": b"hello\n",
    "lib/empty": b"",
    "lib/odd": noise(4097, 2),
    "lib/large": noise((3 << 20) + 17, 3),
    "deep/er/and/deeper/file": b"deep\n",
    "current": Link("lib/greeting"),
    "dangling": Link("lib/not-there"),
    "up-and-down": Link("lib/../lib/greeting"),
    "nothing": None,
    "with space": b"1",
    "glob*[?]": b"2",
    "b\\ack=slash#": b"3",
    "uml\u00e4ut": b"4",
    "n" * 255: b"5",
}
MANIFEST = {"entry_module": "demo", "label": "1.4.0"}
VERSION = version_of(FILES, MANIFEST)


class Tree(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.dir = self.scratch()
        self.m.deploy(make_package(FILES, MANIFEST))
        self.package = self.m.package("demo", VERSION)
        self.original = self.dir / "original"
        self.original.mkdir()
        write_tree(self.original, FILES, MANIFEST)


class Reading(Tree):
    def test_every_file_reads_back(self):
        self.assert_package(self.m, FILES, MANIFEST)

    def test_diff(self):
        done = run("diff", "-r", "--no-dereference", self.original, self.package)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_through_the_route(self):
        run("diff", "-r", "--no-dereference", self.original,
            f"{self.m.path}/routes/demo/.", check=True)

    def test_find(self):
        def listing(root):
            return sorted(run("find", ".", "-printf", "%p %y %l\n", cwd=root,
                              check=True).stdout.splitlines())
        self.assertEqual(listing(self.package), listing(self.original))

    def test_grep(self):
        done = run("grep", "-r", "-l", "^deep$", self.package, check=True)
        self.assertEqual(done.stdout.strip(), f"{self.package}/deep/er/and/deeper/file")

    def test_rsync_of_the_package(self):
        need("rsync")
        run("rsync", "-a", f"{self.package}/", self.dir / "copy/", check=True)
        run("diff", "-r", "--no-dereference", self.original, self.dir / "copy", check=True)

    def test_cp_of_the_package(self):
        run("cp", "-a", self.package, self.dir / "copy", check=True)
        run("diff", "-r", "--no-dereference", self.original, self.dir / "copy", check=True)

    def test_tar_of_the_whole_mount(self):
        run("tar", "cf", self.dir / "all.tar", "-C", self.m.path, ".", check=True)
        listing = run("tar", "tf", self.dir / "all.tar", check=True).stdout
        for name in ("README", "status", "metrics", "log", f"packages/demo/{VERSION}/bin/run",
                     "routes/demo", f"archives/demo/{VERSION}.tar",
                     f"indexes/demo/{VERSION}.mtree"):
            self.assertIn(f"./{name}\n", listing)

    def test_nothing_that_walks_the_tree_complains(self):
        for argv in (["find", ".", "-type", "f", "-exec", "cat", "{}", "+"], ["du", "-s", "."],
                     ["ls", "-lR", "."], ["grep", "-r", "nobody wrote this", "."]):
            done = run(*argv, cwd=self.m.path)
            self.assertEqual(done.stderr, "", argv)

    def test_partial_reads(self):
        data = FILES["lib/large"]
        with open(self.package / "lib/large", "rb", buffering=0) as f:
            for offset, length in ((0, 1), (1 << 20, 5), ((1 << 20) - 3, 10), (len(data) - 2, 100),
                                   (len(data), 10), (len(data) + 5, 10), (12345, 1 << 21)):
                got = os.pread(f.fileno(), length, offset)
                self.assertTrue(got == data[offset:offset + len(got)])
                if offset >= len(data):
                    self.assertEqual(got, b"")

    def test_mmap(self):
        with open(self.package / "lib/large", "rb") as f, \
                mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            self.assertTrue(mapped[:] == FILES["lib/large"])

    def test_sendfile_and_copy_file_range(self):
        data = FILES["lib/large"]
        for name, copy in (("sendfile", lambda s, t, n: os.sendfile(t, s, None, n)),
                           ("copy_file_range", os.copy_file_range)):
            with open(self.package / "lib/large", "rb", buffering=0) as source, \
                    open(self.dir / name, "wb", buffering=0) as target:
                left = len(data)
                while left:
                    try:
                        count = copy(source.fileno(), target.fileno(), left)
                    except OSError as e:
                        # Between filesystems the kernel may say that it cannot; cp then reads.
                        self.assertIn(e.errno, (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL))
                        break
                    self.assertGreater(count, 0)
                    left -= count
                else:
                    self.assertTrue((self.dir / name).read_bytes() == data, name)

    def test_executing(self):
        done = run("./bin/run", cwd=self.package, check=True)
        self.assertEqual(done.stdout, f"ran in {VERSION}\n")

    def test_executing_a_binary(self):
        program = Executable(pathlib.Path("/bin/true").read_bytes())
        version = self.m.deploy(make_package({"bin/run": program}, "binary"))["version"]
        run(self.m.package("binary", version) / "bin/run", check=True)
        run(self.m / "routes/binary/bin/run", check=True)

    def test_many_readers_at_once(self):
        script = (f"import hashlib\nfor i in range(20):\n"
                  f" print(hashlib.sha256(open({str(self.package / 'lib/large')!r},'rb').read())"
                  f".hexdigest())")
        children = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
                    for _ in range(4)]
        for child in children:
            out, _ = child.communicate(timeout=harness.PATIENCE)
            self.assertEqual(set(out.decode().split()), {harness.sha256(FILES["lib/large"])})


class Attributes(Tree):
    def test_the_root(self):
        names = set(os.listdir(self.m.path))
        self.assertLessEqual({"README", "deploy", "stage", "packages", "archives", "indexes",
                              "routes", "quarantine", "log", "status", "metrics"}, names)

    def test_the_readmes(self):
        text = (self.m / "README").read_text(encoding="utf-8")
        self.assertEqual(len(text.encode()), (self.m / "README").stat().st_size)
        for word in ("deploy/", "routes/", "packages/"):
            self.assertIn(word, text)

    def test_sizes_and_modes(self):
        for path, content in harness.with_manifest(FILES, MANIFEST).items():
            found = os.lstat(self.package / path)
            if content is None:
                self.assertEqual(stat.S_IMODE(found.st_mode), 0o755, path)
                self.assertTrue(stat.S_ISDIR(found.st_mode))
            elif isinstance(content, Link):
                self.assertTrue(stat.S_ISLNK(found.st_mode))
                self.assertEqual(found.st_size, len(os.fsencode(content)), path)
            else:
                self.assertEqual(found.st_size, len(content), path)
                self.assertEqual(stat.S_IMODE(found.st_mode),
                                 0o755 if isinstance(content, Executable) else 0o644, path)
                if content:
                    self.assertGreater(found.st_blocks, 0, path)

    def test_du(self):
        kib = int(run("du", "-sk", self.package, check=True).stdout.split()[0])
        self.assertGreaterEqual(kib, (3 << 20) // 1024)

    def test_virtual_files_have_their_sizes(self):
        for name in ("README", f"archives/demo/{VERSION}.tar", f"indexes/demo/{VERSION}.mtree"):
            path = self.m / name
            self.assertEqual(path.stat().st_size, len(path.read_bytes()), name)

    def test_times_under_a_version_are_those_of_its_first_deploy(self):
        def times():
            return {path: os.lstat(self.package / path).st_mtime_ns for path in FILES}
        before = times()
        now = time.time()
        for path, at in before.items():
            self.assertLess(abs(at / 1e9 - now), 3600, path)
        self.m.deploy(make_package({"other": b"1"}))
        self.m.deploy(make_package(FILES, MANIFEST))
        self.assertEqual(times(), before)
        self.m.remount()
        self.assertEqual(times(), before)

    def test_ls_lt_sorts_versions_by_their_last_deploy(self):
        other = self.m.deploy(make_package({"other": b"1"}))["version"]
        third = self.m.deploy(make_package({"other": b"2"}), box="stage")["version"]

        def order():
            return run("ls", "-t", self.m / "packages/demo", check=True).stdout.split()
        self.assertEqual(order(), [third, other, VERSION])
        self.m.deploy(make_package(FILES, MANIFEST))
        self.assertEqual(order(), [VERSION, third, other])
        self.m.remount()
        self.assertEqual(order(), [VERSION, third, other])

    def test_inode_numbers_are_distinct_and_stable(self):
        def numbers():
            found = {}
            for directory, names, files in os.walk(self.m.path):
                for name in names + files:
                    path = os.path.join(directory, name)
                    found[path] = os.lstat(path).st_ino
            return found
        self.m.deploy(make_package(FILES, {"entry_module": "demo2"}))
        before = numbers()
        self.assertEqual(len(set(before.values())), len(before))
        self.m.remount()
        self.assertEqual(numbers(), before)

    def test_readdir_and_stat_agree_on_inode_numbers(self):
        for directory in (self.package, self.package / "lib", self.m / "packages",
                          self.m / "packages/demo"):
            with os.scandir(directory) as entries:
                for entry in entries:
                    self.assertEqual(entry.inode(), os.lstat(entry.path).st_ino, entry.path)

    def test_directories_count_their_links_as_find_expects(self):
        # find -noleaf must not be needed: the result is the same with and without.
        self.assertEqual(sorted(run("find", self.m.path, check=True).stdout.split("\n")),
                         sorted(run("find", self.m.path, "-noleaf", check=True).stdout.split("\n")))

    def test_df(self):
        done = run("df", "-P", "-k", self.m.path, check=True)
        size, used, free = map(int, done.stdout.splitlines()[1].split()[-5:-2])
        self.assertGreater(size, 0)
        self.assertGreater(used, 3 << 10)
        self.assertGreaterEqual(size, free)

    def test_statvfs(self):
        found = os.statvfs(self.m.path)
        state = os.statvfs(self.m.state)
        self.assertLessEqual(found.f_bavail * found.f_frsize, state.f_blocks * state.f_frsize)
        self.assertGreaterEqual(found.f_namemax, 255)

    def test_xattrs_of_a_version(self):
        self.assertEqual(os.getxattr(self.package, "user.aionfs.version"), VERSION.encode())
        self.assertEqual(os.getxattr(self.package, "user.aionfs.type"), b"demo")
        self.assertEqual(os.getxattr(self.package, "user.aionfs.label"), b"1.4.0")
        self.assertEqual({"user.aionfs.version", "user.aionfs.type", "user.aionfs.label"},
                         set(os.listxattr(self.package)))
        with self.assertRaises(OSError) as caught:
            os.getxattr(self.package, "user.nothing")
        self.assertEqual(caught.exception.errno, errno.ENODATA)

    def test_a_version_without_a_label(self):
        version = self.m.deploy(make_package({}, "plain"))["version"]
        self.assertNotIn("user.aionfs.label", os.listxattr(self.m.package("plain", version)))

    def test_status(self):
        self.assertIs(self.m.status()["ready"], True)

    def test_metrics(self):
        lines = (self.m / "metrics").read_text(encoding="utf-8").splitlines()
        samples = [line for line in lines if line and not line.startswith("#")]
        self.assertTrue(samples)
        for line in samples:
            name, value = line.rsplit(" ", 1)
            self.assertTrue(name.startswith("aionfs_"), line)
            float(value)

    def test_log(self):
        lines = [json.loads(line) for line in self.m.log_text().splitlines()]
        line = next(line for line in lines if VERSION in json.dumps(line))
        self.assertEqual((line["uid"], line["gid"]), (os.geteuid(), os.getegid()))
        self.assertGreater(line["pid"], 0)

    def test_the_log_survives_the_remount_and_grows(self):
        before = self.m.log_text()
        self.m.remount()
        self.assertIn(VERSION, self.m.log_text())
        self.m.deploy(make_package({"other": b"1"}))
        after = self.m.log_text()
        self.assertIn(version_of({"other": b"1"}), after)
        first = next(line for line in before.splitlines() if VERSION in line)
        self.assertIn(first, after)

    def test_tail_follows_the_log(self):
        child = subprocess.Popen(["tail", "-n", "0", "-f", self.m / "log"],
                                 stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        # Each deploy is another chance for a tail that was slow to start.
        lines = []
        reader = threading.Thread(target=lambda: lines.append(child.stdout.readline()))
        reader.start()
        for number in range(int(harness.PATIENCE / 0.5)):
            self.m.deploy(make_package({"n": b"%d" % number}, "followed"), box="stage")
            reader.join(0.5)
            if lines:
                break
        self.assertIn("followed", lines[0] if lines else "")
        child.kill()

    def test_tail_and_wc_see_the_whole_log(self):
        text = self.m.log_text()
        self.assertEqual(run("tail", "-n", "1000", self.m / "log", check=True).stdout, text)
        self.assertEqual(run("wc", "-l", self.m / "log", check=True).stdout.split()[0],
                         str(text.count("\n")))


class ReadOnly(Tree):
    """What nobody may do, root included, and that nothing changes by trying."""

    REFUSED = (errno.EROFS, errno.EPERM, errno.EACCES)

    def refused(self, act, *args, also=()):
        with self.assertRaises(OSError) as caught:
            act(*args)
        self.assertIn(caught.exception.errno, self.REFUSED + also, caught.exception)

    def test_inside_a_version(self):
        p = self.package
        self.refused(os.open, p / "lib/greeting", os.O_WRONLY)
        self.refused(os.open, p / "lib/greeting", os.O_RDWR)
        self.refused(os.open, p / "lib/greeting", os.O_WRONLY | os.O_TRUNC)
        self.refused(os.open, p / "new", os.O_CREAT | os.O_WRONLY)
        self.refused(os.truncate, p / "lib/greeting", 0)
        self.refused(os.unlink, p / "lib/greeting")
        self.refused(os.mkdir, p / "new")
        self.refused(os.rmdir, p / "nothing")
        self.refused(os.rename, p / "lib/greeting", p / "lib/new")
        self.refused(os.symlink, "x", p / "lib/new")
        self.refused(os.link, p / "lib/greeting", p / "lib/new")
        self.refused(os.chmod, p / "lib/greeting", 0o600)
        self.refused(os.utime, p / "lib/greeting")
        self.refused(os.mkfifo, p / "new")
        self.refused(os.setxattr, p, "user.aionfs.label", b"x", also=(errno.ENOTSUP,))
        self.refused(os.removexattr, p, "user.aionfs.label", also=(errno.ENOTSUP,))
        self.assert_package(self.m, FILES, MANIFEST)

    def test_elsewhere(self):
        m = self.m
        self.refused(os.mkdir, m / "new")
        self.refused(os.open, m / "new", os.O_CREAT | os.O_WRONLY)
        self.refused(os.open, m / "README", os.O_WRONLY)
        self.refused(os.open, m / "status", os.O_WRONLY)
        self.refused(os.open, m / "log", os.O_WRONLY)
        self.refused(os.unlink, m / "log")
        self.refused(os.rmdir, m / "packages")
        self.refused(os.rmdir, m / "packages/demo", also=(errno.ENOTEMPTY, errno.EBUSY))
        self.refused(os.mkdir, m / "packages/new")
        self.refused(os.mkdir, m / "packages/demo" / ("0" * 64))
        self.refused(os.rename, m / "packages/demo", m / "packages/other")
        self.refused(os.unlink, m / f"archives/demo/{VERSION}.tar")
        self.refused(os.open, m / f"indexes/demo/{VERSION}.mtree", os.O_WRONLY)
        self.refused(os.rename, m / "routes", m / "elsewhere")
        self.assert_package(m, FILES, MANIFEST)

    def test_touch_and_rm_of_a_package(self):
        self.assertNotEqual(run("touch", self.package / "lib/greeting").returncode, 0)
        self.assertNotEqual(run("rm", "-rf", self.package / "lib").returncode, 0)
        self.assertNotEqual(shell(f"echo x > {self.package}/lib/greeting").returncode, 0)
        self.assert_package(self.m, FILES, MANIFEST)

    def test_absent_names(self):
        for name in ("nope", "packages/nope", f"packages/demo/{'0' * 64}",
                     f"packages/nope/{VERSION}",
                     f"packages/demo/{VERSION}/nope", f"archives/demo/{VERSION}",
                     f"archives/demo/{'0' * 64}.tar", f"indexes/demo/{VERSION}.tar", "routes/nope",
                     "deploy/nope", "quarantine/demo", f"packages/demo/{VERSION[:12]}",
                     f"packages/demo/{VERSION.upper()}"):
            with self.assertRaises(FileNotFoundError, msg=name):
                os.lstat(self.m / name)


class Large(MountCase):
    def test_a_directory_with_five_thousand_entries(self):
        m = self.mount()
        files = {f"many/{number:05d}-{'x' * (number % 40)}": b"%d" % (number % 7)
                 for number in range(5000)}
        version = m.deploy(make_package(files, "many"))["version"]
        self.assertEqual(version, version_of(files, "many"))
        root = m.package("many", version)
        wanted = sorted(os.path.basename(path) for path in files)
        self.assertEqual(sorted(os.listdir(root / "many")), wanted)
        self.assertEqual(sorted(run("ls", "-U", root / "many", check=True).stdout.split()), wanted)
        done = run("find", root / "many", "-type", "f", "-size", "-2", "-printf", "x", check=True)
        self.assertEqual(len(done.stdout), 5000)
        for number in (0, 1, 2500, 4999):
            path = f"many/{number:05d}-{'x' * (number % 40)}"
            self.assertEqual((root / path).read_bytes(), files[path])

    def test_seeking_in_a_large_directory(self):
        m = self.mount()
        files = {f"{number:04d}": b"" for number in range(1500)}
        version = m.deploy(make_package(files, "many"))["version"]
        script = """
import ctypes, sys
c = ctypes.CDLL(None, use_errno=True)
c.opendir.restype = c.readdir.restype = ctypes.c_void_p
c.telldir.restype = ctypes.c_long
c.telldir.argtypes = c.rewinddir.argtypes = c.readdir.argtypes = [ctypes.c_void_p]
c.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
d = c.opendir(sys.argv[1].encode())
def name():
    e = c.readdir(d)
    return e and ctypes.string_at(e + 19)
def rest():
    return list(iter(name, None))
seen, marks = [], []
while True:
    marks.append(c.telldir(d))
    n = name()
    if not n: break
    seen.append(n)
assert len(set(seen)) == len(seen) == 1500 + 3, len(seen)
for i in (0, 1, 2, 700, 1400, 1502):
    c.seekdir(d, marks[i])
    assert rest() == seen[i:], i
c.rewinddir(d)
assert rest() == seen
"""
        run(sys.executable, "-c", script, m.package("many", version), check=True)

    def test_many_types_and_versions(self):
        m = self.mount()
        wanted = {}
        for number in range(60):
            name = f"type-{number % 20}"
            version = m.deploy(make_package({"n": b"%d" % number}, name))["version"]
            wanted.setdefault(name, set()).add(version)
        self.assertEqual(m.types(), sorted(wanted))
        for name, versions in wanted.items():
            self.assertEqual(set(m.versions(name)), versions)
            self.assertEqual(set(os.listdir(m / "archives" / name)), {f"{v}.tar" for v in versions})
            self.assertEqual(set(os.listdir(m / "indexes" / name)),
                             {f"{v}.mtree" for v in versions})
        self.assertEqual(sorted(os.listdir(m / "routes")), sorted(wanted))
