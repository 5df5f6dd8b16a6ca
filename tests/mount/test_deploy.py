# SPDX-License-Identifier: Apache-2.0
"""deploy/ and stage/ through the tools that people have: success means durable, failure is seen."""

import array
import bz2
import errno
import fcntl
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import termios
import time

import harness
from harness import (Executable, Link, MountCase, make_package, make_tar, need, noise, run,
                     shell, version_of, wait_until, write_tree)

FILES = {
    "bin/run": Executable(b"#!/bin/sh\ncat\n"),
    "lib/greeting": b"hello\n",
    "lib/data": noise(300_000, 1),
    "current": Link("lib/greeting"),
    "empty": None,
}
MANIFEST = {"entry_module": "demo", "label": "1.0", "other": [1, 2]}
VERSION = version_of(FILES, MANIFEST)


class Boxes(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.dir = self.scratch()
        self.good = self.dir / "good.tar.gz"
        self.good.write_bytes(make_package(FILES, MANIFEST))
        self.bad = self.dir / "bad.tar.gz"
        self.bad.write_bytes(b"this is no archive at all\n" * 5000)
        self.deploy = self.m.path / "deploy"

    def assert_deployed(self, name, status="deployed", version=VERSION):
        receipt = self.m.receipt(name)
        self.assertEqual(receipt["status"], status, receipt)
        self.assertEqual(receipt["version"], version)
        self.assertEqual(self.m.versions("demo"), [version])
        self.assert_package(self.m, FILES, MANIFEST, version)

    def assert_nothing_stored(self):
        self.assertEqual(self.m.types(), [])
        self.assertEqual(os.listdir(self.m / "routes"), [])


class Tools(Boxes):
    """Every tool deploys; and the same tool fails visibly when the archive is bad."""

    def both(self, deploy):
        """deploy(source, target) runs the tool and returns its CompletedProcess."""
        done = deploy(self.bad, self.deploy / "bad")
        self.assertNotEqual(done.returncode, 0, "a refused archive must fail the tool")
        self.assertEqual(self.m.receipt("bad")["error"]["code"], "archive_unsupported")
        self.assert_nothing_stored()
        done = deploy(self.good, self.deploy / "good")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_deployed("good")
        self.assertEqual(self.m.route("demo"), VERSION)

    def test_cp(self):
        self.both(lambda source, target: run("cp", source, target))

    def test_cp_is_told_to_write_in_large_pieces(self):
        """cp takes st_blksize for its buffer: small requests cost more than decoding some archives."""
        with open(self.deploy / "good", "wb") as file:
            self.assertEqual(os.fstat(file.fileno()).st_blksize, 1 << 20)
            file.write(self.good.read_bytes())
        self.assert_deployed("good")

    def test_cp_preserving(self):
        self.both(lambda source, target: run("cp", "-p", source, target))

    def test_cp_archive_mode(self):
        self.both(lambda source, target: run("cp", "-a", source, target))

    def test_cp_sparse(self):
        self.both(lambda source, target: run("cp", "--sparse=always", source, target))

    def test_cp_remove_destination(self):
        self.both(lambda source, target: run("cp", "--remove-destination", source, target))

    def test_cat(self):
        self.both(lambda source, target: shell(f"cat {source} > {target}"))

    def test_cat_append(self):
        self.both(lambda source, target: shell(f"cat {source} >> {target}"))

    def test_bash_cat(self):
        need("bash")
        self.both(lambda source, target: run("bash", "-c", f"cat {source} > {target}"))

    def test_dd(self):
        self.both(lambda source, target: run("dd", f"if={source}", f"of={target}", "bs=4k"))

    def test_dd_fsync(self):
        self.both(lambda source, target:
                  run("dd", f"if={source}", f"of={target}", "bs=64k", "conv=fsync"))

    def test_dd_stdout(self):
        self.both(lambda source, target: shell(f"dd if={source} bs=64k > {target}"))

    def test_install(self):
        self.both(lambda source, target: run("install", "-m", "0640", source, target))

    def test_install_into_directory(self):
        self.assertNotEqual(run("install", self.bad, self.deploy).returncode, 0)
        run("install", self.good, self.deploy, check=True)
        self.assert_deployed("good.tar.gz")

    def test_tee(self):
        self.both(lambda source, target: shell(f"tee {target} < {source} > /dev/null"))

    def test_curl(self):
        need("curl")
        self.both(lambda source, target: run("curl", "-sS", "-o", target, f"file://{source}"))

    def test_mv_from_outside(self):
        done = run("mv", self.bad, self.deploy / "bad")
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(self.bad.exists(), "a failed mv keeps its source")
        run("mv", self.good, self.deploy / "good", check=True)
        self.assertFalse(self.good.exists())
        self.assert_deployed("good")

    def test_rsync(self):
        need("rsync")
        self.both(lambda source, target: run("rsync", source, target))

    def test_rsync_archive(self):
        need("rsync")
        self.both(lambda source, target: run("rsync", "-a", source, target))

    def test_rsync_inplace(self):
        need("rsync")
        self.both(lambda source, target: run("rsync", "--inplace", source, target))

    def test_busybox_cp(self):
        need("busybox")
        self.both(lambda source, target: run("busybox", "cp", source, target))

    def test_busybox_cat(self):
        need("busybox")
        self.both(lambda source, target: run("busybox", "sh", "-c", f"cat {source} > {target}"))

    def test_vim(self):
        need("vim")
        self.both(lambda source, target: run(
            "vim", "-u", "NONE", "-es", "-b", "-i", "NONE", "-n",
            "-c", f"try | write! {target} | catch | cquit | endtry", "-c", "qall!", source))

    def test_shutil_copy(self):
        self.python("shutil.copy")

    def test_shutil_copy2(self):
        self.python("shutil.copy2")

    def test_shutil_copyfile(self):
        self.python("shutil.copyfile")

    def python(self, function):
        self.both(lambda source, target: run(
            sys.executable, "-c", f"import shutil, sys; {function}(sys.argv[1], sys.argv[2])",
            source, target))

    def test_path_write_bytes(self):
        with self.assertRaises(OSError) as caught:
            (self.deploy / "bad").write_bytes(self.bad.read_bytes())
        self.assertEqual(caught.exception.errno, errno.EBADMSG)
        (self.deploy / "good").write_bytes(self.good.read_bytes())
        self.assert_deployed("good")

    def test_two_halves_in_one_redirection(self):
        data = self.good.read_bytes()
        (self.dir / "a").write_bytes(data[:1000])
        (self.dir / "b").write_bytes(data[1000:])
        # The first cat may complain: its close looks like an end. What counts is the last one.
        done = shell(f"(cat {self.dir}/a; cat {self.dir}/b) > {self.deploy}/x")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_deployed("x")


class TarAndZip(Boxes):
    """Tools that make the archive straight into the box."""

    def setUp(self):
        super().setUp()
        write_tree(self.dir / "tree", FILES, MANIFEST)

    def test_tar_to_stdout(self):
        shell(f"tar czf - . > {self.deploy}/x", cwd=self.dir / "tree", check=True)
        self.assert_deployed("x")

    def test_tar_file(self):
        run("tar", "czf", self.deploy / "x.tar.gz", ".", cwd=self.dir / "tree", check=True)
        self.assert_deployed("x.tar.gz")

    def test_tar_plain(self):
        run("tar", "cf", self.deploy / "x.tar", ".", cwd=self.dir / "tree", check=True)
        self.assert_deployed("x.tar")

    def test_tar_with_top_directory(self):
        run("tar", "czf", self.deploy / "x.tar.gz", "tree", cwd=self.dir, check=True)
        self.assert_deployed("x.tar.gz")

    def test_tar_without_manifest_fails(self):
        (self.dir / "tree/manifest.json").unlink()
        done = run("tar", "czf", self.deploy / "x.tar.gz", ".", cwd=self.dir / "tree")
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.m.receipt("x.tar.gz")["error"]["code"], "manifest_missing")
        self.assert_nothing_stored()

    def test_bsdtar_zip(self):
        need("bsdtar")
        shell(f"bsdtar -c --format zip -f - . > {self.deploy}/x.zip", cwd=self.dir / "tree",
              check=True)
        self.assert_deployed("x.zip")

    def test_infozip_to_stdout(self):
        need("zip")
        shell(f"zip -q -r -y - . > {self.deploy}/x.zip", cwd=self.dir / "tree", check=True)
        self.assert_deployed("x.zip")

    def test_cpio(self):
        need("cpio")
        shell(f"find . | cpio -o -H newc --quiet > {self.deploy}/x.cpio", cwd=self.dir / "tree",
              check=True)
        self.assert_deployed("x.cpio")

    def test_aionfs_pack(self):
        shell(f"{harness.AIONFS} pack {self.dir}/tree > {self.deploy}/x", check=True)
        self.assert_deployed("x")

    def test_aion_archive(self):
        need("zip")
        run("zip", "-q", "-r", "-y", self.dir / "demo.aion", ".", cwd=self.dir / "tree",
            check=True)
        self.m.deploy(self.dir / "demo.aion")
        self.assert_deployed("demo.aion")


class Empty(Boxes):
    """A close with nothing written answers 0 and deploys nothing."""

    def assert_empty(self, name):
        receipt = self.m.receipt(name)
        self.assertEqual(receipt["status"], "failed", receipt)
        self.assertEqual(receipt["error"]["code"], "archive_empty")
        self.assert_nothing_stored()

    def test_redirection(self):
        shell(f": > {self.deploy}/x", check=True)
        self.assert_empty("x")

    def test_touch(self):
        run("touch", self.deploy / "x", check=True)
        self.assert_empty("x")

    def test_cp_of_an_empty_file(self):
        (self.dir / "empty").touch()
        run("cp", self.dir / "empty", self.deploy / "x", check=True)
        self.assert_empty("x")

    def test_printf_nothing(self):
        shell(f"printf '' > {self.deploy}/x", check=True)
        self.assert_empty("x")


class Receipts(Boxes):
    def test_fields_of_a_deploy(self):
        receipt = self.m.deploy(self.good)
        self.assertEqual(receipt["status"], "deployed")
        self.assertEqual(receipt["type"], "demo")
        self.assertEqual(receipt["version"], VERSION)
        self.assertEqual(receipt["label"], "1.0")
        self.assertIs(receipt["freshly_loaded"], True)
        self.assertIs(receipt["route_changed"], True)
        contents = [c for c in harness.with_manifest(FILES, MANIFEST).values()
                    if isinstance(c, bytes)]
        self.assertEqual(receipt["bytes"], sum(map(len, contents)))
        # Four files, a link, and the directories bin, lib and empty.
        self.assertEqual(receipt["entries"], 8)
        self.assertGreaterEqual(receipt["new_bytes"], receipt["bytes"])
        self.assertGreaterEqual(receipt["took_ms"], 0)
        self.assertEqual(receipt["uid"], os.geteuid())
        self.assertIn("at", receipt)
        self.assertNotIn("error", receipt)

    def test_fields_of_a_failure(self):
        receipt = self.m.refuse(self.bad)
        self.assertEqual(receipt["status"], "failed")
        self.assertEqual(receipt["error"]["code"], "archive_unsupported")
        self.assertTrue(receipt["error"]["message"])

    def test_the_entry_at_fault_is_named(self):
        receipt = self.m.refuse(make_package({"../escape": b"x"}))
        self.assertEqual(receipt["error"]["code"], "entry_unsafe")
        self.assertIn("escape", receipt["error"]["entry"])

    def test_the_same_archive_again(self):
        self.m.deploy(self.good, "one")
        receipt = self.m.deploy(self.good, "two")
        self.assertIs(receipt["freshly_loaded"], False)
        self.assertIs(receipt["route_changed"], False)
        self.assertEqual(receipt["new_bytes"], 0)
        self.assert_deployed("two")

    def test_the_same_archive_again_routes_to_it(self):
        self.m.deploy(self.good)
        self.m.deploy(make_package({"other": b"1"}))
        self.assertNotEqual(self.m.route("demo"), VERSION)
        receipt = self.m.deploy(self.good)
        self.assertIs(receipt["freshly_loaded"], False)
        self.assertIs(receipt["route_changed"], True)
        self.assertEqual(self.m.route("demo"), VERSION)

    def test_stage_does_not_route(self):
        receipt = self.m.deploy(self.good, box="stage")
        self.assertEqual(receipt["status"], "staged")
        self.assertIs(receipt["route_changed"], False)
        self.assertEqual(self.m.versions("demo"), [VERSION])
        self.assertIsNone(self.m.route("demo"))

    def test_stage_leaves_the_route_where_it_is(self):
        first = self.m.deploy(make_package({"other": b"1"}))["version"]
        self.m.deploy(self.good, box="stage")
        self.assertEqual(self.m.route("demo"), first)

    def test_deploy_after_stage_routes(self):
        self.m.deploy(self.good, box="stage")
        receipt = self.m.deploy(self.good)
        self.assertIs(receipt["freshly_loaded"], False)
        self.assertIs(receipt["route_changed"], True)
        self.assertEqual(self.m.route("demo"), VERSION)

    def test_new_bytes_counts_only_what_is_new(self):
        self.m.deploy(self.good)
        index = harness.canonical_index({**FILES, "lib/greeting": b"hullo\n"}, MANIFEST)
        receipt = self.m.deploy(make_package({**FILES, "lib/greeting": b"hullo\n"}, MANIFEST))
        # The changed file and the index, and some bookkeeping, but nothing near the large file.
        self.assertGreaterEqual(receipt["new_bytes"], len(index) + 6)
        self.assertLess(receipt["new_bytes"], len(index) + 6 + 4096)

    def test_rm_removes_the_receipt_and_nothing_else(self):
        self.m.deploy(self.good, "x")
        run("rm", self.deploy / "x", check=True)
        self.assertEqual(os.listdir(self.deploy), [])
        self.assertEqual(self.m.route("demo"), VERSION)
        self.assert_package(self.m, FILES, MANIFEST, VERSION)
        self.m.remount()
        self.assertEqual(os.listdir(self.deploy), [])
        self.assertEqual(self.m.route("demo"), VERSION)

    def test_rm_of_a_failure(self):
        self.m.refuse(self.bad, "x")
        run("rm", self.deploy / "x", check=True)
        self.assertEqual(os.listdir(self.deploy), [])

    def test_successes_persist_and_failures_vanish(self):
        first = self.m.deploy(self.good, "good")
        staged = self.m.deploy(self.good, "good", box="stage")
        self.m.refuse(self.bad, "bad")
        self.assertEqual(sorted(os.listdir(self.deploy)), ["bad", "good"])
        self.m.remount()
        self.assertEqual(os.listdir(self.deploy), ["good"])
        self.assertEqual(self.m.receipt("good"), first)
        self.assertEqual(self.m.receipt("good", box="stage"), staged)

    def test_a_receipt_looks_like_a_file(self):
        self.m.deploy(self.good, "x")
        text = (self.deploy / "x").read_bytes()
        self.assertEqual((self.deploy / "x").stat().st_size, len(text))
        self.assertTrue(text.endswith(b"\n"))
        self.assertEqual(run("cat", self.deploy / "x", check=True).stdout_bytes, text)
        self.assertEqual(run("grep", "-c", VERSION, self.deploy / "x").returncode, 0)

    def test_mode_owner_and_times_may_be_changed_after_the_close(self):
        self.m.deploy(self.good, "x")
        run("chmod", "0600", self.deploy / "x", check=True)
        run("touch", "-d", "2001-02-03", self.deploy / "x", check=True)
        if os.geteuid() == 0:
            run("chown", "root", self.deploy / "x", check=True)
        self.assertEqual(self.m.receipt("x")["status"], "deployed")

    def test_strange_names(self):
        for name in ("with space", "näme.tar.gz", "a" * 255, "quote\"and\\slash", "new\nline"):
            with self.subTest(name=name):
                self.assertEqual(self.m.deploy(self.good, name)["status"], "deployed")
                self.assertIn(name, os.listdir(self.deploy))
        self.m.remount()
        self.assertEqual(len(os.listdir(self.deploy)), 5)

    def test_a_name_that_is_no_utf8(self):
        name = os.fsdecode(b"caf\xe9.tar.gz")
        self.assertEqual(self.m.deploy(self.good, name)["status"], "deployed")

    def test_the_boxes_take_files_only(self):
        for make in (lambda: os.mkdir(self.deploy / "d"),
                     lambda: os.symlink("x", self.deploy / "l"),
                     lambda: os.mkfifo(self.deploy / "f")):
            with self.assertRaises(OSError):
                make()
        self.assertEqual(os.listdir(self.deploy), [])

    def test_manifest_errors(self):
        cases = {
            "manifest_missing": make_package({"a": b"x"}, None),
            "manifest_invalid": make_package({}, b'{"entry_module": "a", "entry_module": "b"}'),
        }
        for code, archive in cases.items():
            with self.subTest(code=code):
                self.assertEqual(self.m.refuse(archive)["error"]["code"], code)
        for text in (b"", b"[]", b"{}", b'{"entry_module": 1}', b'{"entry_module": ".x"}',
                     b'{"entry_module": "a b"}', b'{"entry_module": "x", "format_version": 2}',
                     b'{"entry_module": "' + b"a" * 64 + b'"}',
                     b'{"entry_module": "' + b"x" * 129 + b'"}'):
            with self.subTest(text=text):
                self.assertIn(self.m.refuse(make_package({}, text))["error"]["code"],
                              ("manifest_invalid", "name_invalid"))
        self.assert_nothing_stored()

    def test_a_slash_in_the_module_becomes_an_at(self):
        receipt = self.m.deploy(make_package({}, {"entry_module": "shop/order"}))
        self.assertEqual(receipt["type"], "shop@order")
        self.assertEqual(self.m.types(), ["shop@order"])
        self.assertEqual(os.readlink(self.m / "routes/shop@order"),
                         f"../packages/shop@order/{receipt['version']}")

    def test_one_top_directory_is_stripped(self):
        receipt = self.m.deploy(make_package(FILES, MANIFEST, prefix="package/"))
        self.assertEqual(receipt["version"], VERSION)
        receipt = self.m.deploy(make_package(FILES, MANIFEST, prefix="./demo-1.0/"))
        self.assertEqual(receipt["version"], VERSION)


class Descriptors(Boxes):
    """What the drop box promises beyond open, write, close."""

    def create(self, name="x", flags=0):
        fd = os.open(self.deploy / name, os.O_CREAT | os.O_RDWR | flags, 0o644)
        self.addCleanup(self.close_quietly, fd)
        return fd

    @staticmethod
    def close_quietly(fd):
        try:
            os.close(fd)
        except OSError:
            pass

    def write_all(self, fd, data, offset=0):
        while offset < len(data):
            offset += os.pwrite(fd, data[offset:offset + (1 << 20)], offset)

    def test_fsync_commits(self):
        fd = self.create()
        self.write_all(fd, self.good.read_bytes())
        self.assertEqual(self.m.versions("demo"), [])
        os.fsync(fd)
        self.assert_deployed("x")
        os.close(fd)
        self.assert_deployed("x")

    def test_fsync_of_a_bad_archive_fails(self):
        fd = self.create()
        self.write_all(fd, self.bad.read_bytes())
        with self.assertRaises(OSError) as caught:
            os.fsync(fd)
        self.assertEqual(caught.exception.errno, errno.EBADMSG)

    def test_fsync_of_a_dot_name_never_commits(self):
        fd = self.create(".x")
        self.write_all(fd, self.good.read_bytes())
        os.fsync(fd)
        os.close(fd)
        self.assert_nothing_stored()

    def test_a_failed_commit_keeps_the_bytes(self):
        data = self.good.read_bytes()
        fd = self.create()
        self.write_all(fd, data[:5000])
        with self.assertRaises(OSError) as caught:
            os.close(os.dup(fd))
        self.assertEqual(caught.exception.errno, errno.EBADMSG)
        self.write_all(fd, data, 5000)
        os.close(fd)
        self.assert_deployed("x")

    def test_a_removed_failure_is_gone_while_its_file_is_still_open(self):
        fd = self.create()
        self.write_all(fd, self.bad.read_bytes())
        with self.assertRaises(OSError):
            os.close(os.dup(fd))
        os.unlink(self.deploy / "x")
        self.assertEqual(os.listdir(self.deploy), [])
        self.assertFalse(os.path.lexists(self.deploy / "x"))
        self.assertNotEqual(run("stat", self.deploy / "x").returncode, 0)
        # The writer may yet make it good.
        os.ftruncate(fd, 0)
        self.write_all(fd, self.good.read_bytes())
        os.close(fd)
        self.assert_deployed("x")

    def test_writes_after_a_success_are_busy(self):
        fd = self.create()
        self.write_all(fd, self.good.read_bytes())
        os.close(os.dup(fd))
        self.assert_deployed("x")
        with self.assertRaises(OSError) as caught:
            os.write(fd, b"more")
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        os.close(fd)
        self.assert_deployed("x")

    def test_each_open_has_its_own_spool(self):
        other = {"other": b"1"}
        first, second = self.create(), self.create()
        self.write_all(first, self.good.read_bytes())
        self.write_all(second, make_package(other))
        os.close(first)
        self.assertEqual(self.m.receipt("x")["version"], VERSION)
        os.close(second)
        self.assertEqual(self.m.receipt("x")["version"], version_of(other))
        self.assertEqual(self.m.versions("demo"), sorted([VERSION, version_of(other)]))

    def test_writers_read_their_spool_and_others_the_receipt(self):
        self.m.deploy(self.good, "x")
        # Started first: a fork would close a duplicate of the descriptor, and so ask for a verdict.
        other = subprocess.Popen(
            [sys.executable, "-c", "import sys; input(); print(open(sys.argv[1]).read())",
             self.deploy / "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        fd = self.create()
        self.write_all(fd, b"0123456789")
        self.assertEqual(os.pread(fd, 100, 2), b"23456789")
        self.assertEqual(os.fstat(fd).st_size, 10)
        out, _ = other.communicate(b"now\n", timeout=harness.PATIENCE)
        self.assertEqual(json.loads(out)["version"], VERSION)
        with self.assertRaises(OSError):
            os.close(fd)

    def test_written_backwards(self):
        data = self.good.read_bytes()
        fd = self.create()
        half = len(data) // 2
        os.pwrite(fd, data[half:], half)
        os.pwrite(fd, data[:half], 0)
        os.close(fd)
        self.assert_deployed("x")

    def test_truncated_to_its_length(self):
        data = self.good.read_bytes()
        fd = self.create()
        self.write_all(fd, data + b"rubbish")
        os.ftruncate(fd, len(data))
        os.close(fd)
        self.assert_deployed("x")

    def test_trailing_rubbish_is_refused(self):
        receipt = self.m.refuse(self.good.read_bytes() + b"rubbish")
        self.assertIn(receipt["error"]["code"], ("archive_corrupt", "archive_unsupported"))
        self.assert_nothing_stored()

    def test_truncating_open_starts_anew(self):
        self.m.deploy(self.good, "x")
        fd = self.create(flags=os.O_TRUNC)
        self.write_all(fd, make_package({"other": b"1"}))
        os.close(fd)
        self.assertEqual(self.m.receipt("x")["version"], version_of({"other": b"1"}))


class DotNames(Boxes):
    def test_a_dot_name_commits_at_the_rename(self):
        run("cp", self.good, self.deploy / ".x.partial", check=True)
        self.assert_nothing_stored()
        run("mv", self.deploy / ".x.partial", self.deploy / "x", check=True)
        self.assert_deployed("x")
        self.assertEqual(os.listdir(self.deploy), ["x"])

    def test_in_stage_too(self):
        run("cp", self.good, self.m / "stage/.x", check=True)
        run("mv", self.m / "stage/.x", self.m / "stage/x", check=True)
        self.assertEqual(self.m.receipt("x", box="stage")["status"], "staged")
        self.assertIsNone(self.m.route("demo"))

    def test_a_bad_archive_fails_the_rename(self):
        run("cp", self.bad, self.deploy / ".x", check=True)
        with self.assertRaises(OSError) as caught:
            os.rename(self.deploy / ".x", self.deploy / "x")
        self.assertEqual(caught.exception.errno, errno.EBADMSG)
        self.assertNotEqual(run("mv", self.deploy / ".x", self.deploy / "y").returncode, 0)
        self.assert_nothing_stored()

    def test_a_dot_name_renamed_to_another(self):
        run("cp", self.good, self.deploy / ".x", check=True)
        run("mv", self.deploy / ".x", self.deploy / ".y", check=True)
        self.assert_nothing_stored()
        run("mv", self.deploy / ".y", self.deploy / "z", check=True)
        self.assert_deployed("z")

    def test_over_an_existing_receipt(self):
        self.m.deploy(make_package({"other": b"1"}), "x")
        run("cp", self.good, self.deploy / ".x", check=True)
        run("mv", "-f", self.deploy / ".x", self.deploy / "x", check=True)
        self.assertEqual(self.m.receipt("x")["version"], VERSION)

    def test_removed_instead(self):
        run("cp", self.good, self.deploy / ".x", check=True)
        run("rm", self.deploy / ".x", check=True)
        self.assertEqual(os.listdir(self.deploy), [])
        self.assert_nothing_stored()

    def test_forgotten_ones_are_gone_after_the_remount(self):
        run("cp", self.good, self.deploy / ".x", check=True)
        self.m.remount()
        self.assertEqual(os.listdir(self.deploy), [])
        self.assert_nothing_stored()
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_from_one_box_to_another(self):
        run("cp", self.good, self.deploy / ".x", check=True)
        self.m.deploy(self.good, "receipt")
        for name in (".x", "receipt"):
            with self.assertRaises(OSError) as caught:
                os.rename(self.deploy / name, self.m / "stage" / "y")
            self.assertEqual(caught.exception.errno, errno.EXDEV)
        self.assertEqual(os.listdir(self.m / "stage"), [])


class Killed(Boxes):
    """A copy that is killed half-way stores nothing, and the next one works."""

    def half_copied(self, script, archive, name, signal_number):
        fifo = self.dir / f"fifo-{name}"
        os.mkfifo(fifo)
        child = subprocess.Popen(["sh", "-c", f"exec {script.format(fifo=fifo, name=name)}"],
                                 cwd=self.deploy, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Opening waits for the reader; the pipe is drained when all bytes went into the spool.
        with open(fifo, "wb", buffering=0) as pipe:
            pipe.write(archive)
            left = array.array("i", [1])

            def drained():
                fcntl.ioctl(pipe, termios.FIONREAD, left)
                return left[0] == 0
            wait_until(drained, "the copier to read its pipe")
            time.sleep(0.05)  # usually it is waiting for more by now; nothing depends on it
            child.send_signal(signal_number)
            child.wait(harness.PATIENCE)
        self.assertNotEqual(child.returncode, 0)

    def test_killed_half_way(self):
        archives = {"tar.gz": self.good.read_bytes(), "tar": make_tar(FILES, MANIFEST)}
        tools = {"cat": "cat {fifo} > {name}", "dd": "dd if={fifo} of={name} bs=4096",
                 "cp": "cp {fifo} {name}"}
        if shutil.which("busybox"):
            tools["busybox"] = "busybox cat {fifo} > {name}"
        for kind, data in archives.items():
            # The last tar cut is at a member's boundary, where libarchive sees no damage.
            cuts = [1, len(data) // 2, len(data) - 1] if kind == "tar.gz" else \
                [len(data) // 2, 1024]
            for tool, script in tools.items():
                for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
                    cut = cuts[(number + len(tool)) % len(cuts)]
                    with self.subTest(kind=kind, tool=tool, signal=number.name, cut=cut):
                        self.half_copied(script, data[:cut], f"{tool}-{kind}-{int(number)}", number)
                        self.assert_nothing_stored()
        self.m.remount()
        self.assert_nothing_stored()
        self.m.deploy(self.good, "good")
        self.assert_deployed("good")
        self.m.umount()
        self.assert_silent_fsck(self.m)

    CHILD = ("import os, signal, sys\n"
             "signal.signal(signal.SIGINT, lambda *_: None)\n"
             "data = open(sys.argv[1], 'rb').read()\n"
             "fd = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)\n"
             "while data: data = data[os.write(fd, data):]\n"
             "print('closing', flush=True)\n"
             "try: os.close(fd)\n"
             "except OSError as e: os._exit(e.errno)\n"
             "os._exit(0)  # at once: a later signal would find no handler any more\n")

    def in_close(self, name, archive):
        """Starts a process that waits in close(2) of deploy/NAME, and returns it."""
        child = subprocess.Popen([sys.executable, "-c", self.CHILD, archive, self.deploy / name],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(child.stdout.close)
        self.assertEqual(child.stdout.readline(), b"closing\n")
        number = {"x86_64": b"3 ", "aarch64": b"57 "}.get(platform.machine())
        waiting = pathlib.Path("/proc", str(child.pid), "syscall")

        def closing():
            try:
                return child.poll() is not None or number is None \
                    or waiting.read_bytes().startswith(number)
            except OSError:
                return True  # not ours to see: the signal may then come too early, which is fine
        wait_until(closing, "the child to call close")
        return child

    def test_a_decoder_that_is_killed_fails_the_deploy_and_nothing_else(self):
        archive = self.slow_archive({"large": noise(12 << 20, 10)})

        def decoders():
            children = pathlib.Path(f"/proc/{self.m.pid}/task").glob("*/children")
            return [int(pid) for path in children for pid in path.read_text().split()]
        for _ in range(5):  # it may be done before it is seen
            child = subprocess.Popen(["cp", archive, self.m / "stage/x"],
                                     stderr=subprocess.DEVNULL)
            found = wait_until(lambda: decoders() or child.poll() is not None, "a decoder")
            if found is not True:
                break
            self.assertEqual(child.returncode, 0)
            run("rmdir", self.m.package("demo", self.m.versions("demo")[0]), check=True)
        self.assertIsNot(found, True, "no decoder was ever seen")
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        self.assertNotEqual(child.wait(harness.PATIENCE), 0)
        self.assertEqual(self.m.receipt("x", box="stage")["status"], "failed")
        self.assert_nothing_stored()
        self.m.deploy(self.good, "good")
        self.assert_deployed("good")

    def slow_archive(self, files):
        archive = self.dir / "slow.tar.bz2"
        archive.write_bytes(bz2.compress(make_tar(files), 9))
        return archive

    def test_interrupted_while_it_waits_for_the_verdict(self):
        files = {"large": noise(12 << 20, 7)}
        archive = self.slow_archive(files)
        codes = []
        for attempt in range(3):
            child = self.in_close(f"x{attempt}", archive)
            while child.poll() is None:
                child.send_signal(signal.SIGINT)
                time.sleep(0.05)
            codes.append(child.returncode)
            if child.returncode == errno.EINTR:
                self.assert_nothing_stored()
                break
            # The last transaction had begun: then all of it is there.
            self.assertEqual(child.returncode, 0)
            self.assertEqual(self.m.versions("demo"), [version_of(files)])
            run("rm", self.m / "routes/demo", check=True)
            run("rmdir", self.m.package("demo", version_of(files)), check=True)
        self.assertIn(errno.EINTR, codes, "a signal never cancelled a waiting close")
        self.m.deploy(self.good, "good")
        self.assert_deployed("good")
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_killed_while_it_waits_for_the_verdict(self):
        files = {"large": noise(8 << 20, 8)}
        child = self.in_close("x", self.slow_archive(files))
        child.kill()
        child.wait(harness.PATIENCE)
        # Whole or not at all; which of both is a matter of the moment.
        receipt = wait_until(lambda: self.m.receipt("x", missing_ok=True) or True, "a receipt")
        self.assertIn(self.m.versions("demo"), ([], [version_of(files)]), receipt)
        self.m.remount()
        self.assertIn(self.m.versions("demo"), ([], [version_of(files)]))
        if self.m.versions("demo"):
            self.assert_package(self.m, files)
        self.m.umount()
        self.assert_silent_fsck(self.m)


class Together(Boxes):
    def test_eight_archives_at_once(self):
        children, wanted = [], {}
        for number in range(8):
            files = {"shared": noise(500_000, 3), "own": noise(200_000, 100 + number)}
            source = self.dir / f"{number}.tar.gz"
            source.write_bytes(make_package(files, f"type{number}"))
            wanted[f"type{number}"] = files
            children.append(subprocess.Popen(["cp", source, self.deploy]))
        self.assertEqual([child.wait(harness.PATIENCE) for child in children], [0] * 8)
        for name, files in wanted.items():
            self.assertEqual(self.m.versions(name), [version_of(files, name)])
            self.assertEqual(self.m.route(name), version_of(files, name))
            self.assert_package(self.m, files, name)
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_the_same_archive_eight_times_at_once(self):
        children = [subprocess.Popen(["cp", self.good, self.deploy / f"x{number}"])
                    for number in range(8)]
        self.assertEqual([child.wait(harness.PATIENCE) for child in children], [0] * 8)
        receipts = [self.m.receipt(f"x{number}") for number in range(8)]
        self.assertEqual({receipt["version"] for receipt in receipts}, {VERSION})
        self.assertEqual(sum(receipt["freshly_loaded"] for receipt in receipts), 1)
        self.assert_deployed("x0")
        self.m.umount()
        self.assert_silent_fsck(self.m)

    def test_good_and_bad_at_once(self):
        children = []
        for number in range(8):
            source = self.bad if number % 2 else self.dir / f"{number}.tar.gz"
            if number % 2 == 0:
                source.write_bytes(make_package({"own": noise(100_000, number)}, f"type{number}"))
            children.append(subprocess.Popen(["cp", source, self.deploy / f"x{number}"],
                                             stderr=subprocess.DEVNULL))
        codes = [child.wait(harness.PATIENCE) for child in children]
        self.assertEqual([code != 0 for code in codes], [False, True] * 4)
        self.assertEqual(self.m.types(), ["type0", "type2", "type4", "type6"])

    def test_readers_are_answered_while_a_large_archive_is_decoded(self):
        self.m.deploy(self.good, "good")
        large = self.dir / "large.tar.bz2"
        large.write_bytes(bz2.compress(make_tar({"large": noise(8 << 20, 9)}, "large"), 9))
        child = subprocess.Popen(["cp", large, self.deploy])
        reads = 0
        while child.poll() is None:
            self.assert_package(self.m, FILES, MANIFEST, VERSION)
            self.assertEqual(self.m.route("demo"), VERSION)
            reads += 1
        self.assertEqual(child.returncode, 0)
        self.assertGreater(reads, 0)


class Leaks(Boxes):
    def test_no_descriptor_is_left_behind(self):
        def descriptors():
            return len(os.listdir(f"/proc/{self.m.pid}/fd"))

        def a_round():
            self.m.deploy(self.good, "good")
            self.m.deploy(self.good, "staged", box="stage")
            self.m.refuse(self.bad, "bad")
            self.m.refuse(self.good.read_bytes()[:-9], "cut")
            run("cp", self.good, self.deploy / ".x", check=True)
            os.rename(self.deploy / ".x", self.deploy / "x")
            run("cp", self.bad, self.deploy / ".y", check=True)
            os.unlink(self.deploy / ".y")
            shell(f"cat {self.m.path}/packages/demo/*/lib/data {self.m.path}/archives/demo/* "
                  f"{self.m.path}/log > /dev/null", check=True)
            run("ls", "-lR", self.m.path, check=True)
        for _ in range(3):
            a_round()
        before = descriptors()
        for _ in range(12):
            a_round()
        # The kernel may still be about to say that the last files are closed.
        wait_until(lambda: descriptors() <= before, f"the daemon to hold {before} of them again")


class Members(Boxes):
    """Who may deploy: root, the owner of the mount, and members of deploy_group."""

    USER, GROUP = 12345, 23456

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("switching users needs root")
        super().setUp()
        self.m.remount(f"deploy_group={self.GROUP}")
        self.good.chmod(0o644)

    def test_a_member_deploys(self):
        run("cp", self.good, self.deploy / "x", uid=self.USER, groups=[self.GROUP], check=True)
        self.assert_deployed("x")
        self.assertEqual(self.m.receipt("x")["uid"], self.USER)

    def test_every_tool_works_for_a_member(self):
        need("rsync")
        who = {"uid": self.USER, "groups": [self.GROUP]}
        run("install", "-m", "0640", self.good, self.deploy / "a", check=True, **who)
        run("rsync", self.good, self.deploy / "b", check=True, **who)
        run("dd", f"if={self.good}", f"of={self.deploy}/c", "conv=fsync", check=True, **who)
        shell(f"cat {self.good} > {self.deploy}/d", check=True, **who)
        run("rm", self.deploy / "a", check=True, **who)
        self.assertEqual(sorted(os.listdir(self.deploy)), ["b", "c", "d"])

    def test_anybody_else_is_refused(self):
        done = run("cp", self.good, self.deploy / "x", uid=self.USER)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Permission denied", done.stderr)
        self.assert_nothing_stored()

    def test_anybody_may_read(self):
        self.m.deploy(self.good, "x")
        run("diff", "-r", self.m.package("demo", VERSION), f"{self.m.path}/routes/demo/.",
            uid=self.USER, check=True)
        run("cat", self.deploy / "x", uid=self.USER, check=True)

    def test_anybody_else_cannot_remove_receipts_or_versions(self):
        self.m.deploy(self.good, "x", box="stage")
        self.assertNotEqual(run("rm", "-f", self.m / "stage/x", uid=self.USER).returncode, 0)
        self.assertNotEqual(run("rmdir", self.m.package("demo", VERSION),
                                uid=self.USER).returncode, 0)
        self.assertEqual(self.m.versions("demo"), [VERSION])
        self.assertEqual(os.listdir(self.m / "stage"), ["x"])

    def test_a_denial_is_in_the_log_until_the_unmount(self):
        run("cp", self.good, self.deploy / "x", uid=self.USER)
        self.assertIn(str(self.USER), self.m.log_text())
        self.m.remount()
        self.assertNotIn(str(self.USER), self.m.log_text())
