# SPDX-License-Identifier: Apache-2.0
"""The limits of admission: refused with EFBIG and a code, and never more memory than promised."""

import errno
import gzip
import pathlib
import tarfile

import harness
from harness import MountCase, make_package, noise, run, version_of


class Zeros:
    """A file without an end."""

    @staticmethod
    def read(size):
        return bytes(size)


class Limits(MountCase):
    def refused(self, m, archive, code):
        receipt = m.refuse(archive)
        self.assertEqual(receipt["error"]["code"], code)
        self.assertEqual(m.types(), [])
        # And it does not disturb the next deploy.
        small = {"small": b"1"}
        self.assertEqual(m.deploy(make_package(small, "small"))["version"],
                         version_of(small, "small"))

    def test_archive_bytes(self):
        m = self.mount(options="max_archive_bytes=100000")
        self.refused(m, make_package({"a": noise(150_000)}), "archive_too_large")

    def test_archive_bytes_exactly(self):
        archive = make_package({"a": noise(50_000)})
        m = self.mount(options=f"max_archive_bytes={len(archive)}")
        self.assertEqual(m.deploy(archive)["status"], "deployed")
        m.remount(f"max_archive_bytes={len(archive) - 1}")
        self.assertEqual(m.refuse(archive)["error"]["code"], "archive_too_large")

    def test_the_error_is_efbig(self):
        m = self.mount(options="max_archive_bytes=100000,max_entries=3")
        for data in (make_package({"a": noise(150_000)}),
                     make_package({f"f{i}": b"" for i in range(9)})):
            with self.assertRaises(OSError) as caught:
                (m / "deploy/x").write_bytes(data)
            self.assertEqual(caught.exception.errno, errno.EFBIG)

    def test_inflated_bytes(self):
        m = self.mount(options="max_inflated_bytes=1000000")
        self.refused(m, make_package({"a": bytes(1_100_000)}), "inflated_too_large")

    def test_inflated_bytes_are_summed(self):
        m = self.mount(options="max_inflated_bytes=1000000")
        self.refused(m, make_package({f"f{i}": bytes(110_000) for i in range(10)}),
                     "inflated_too_large")

    def test_entries(self):
        m = self.mount(options="max_entries=100")
        self.refused(m, make_package({f"f{i}": b"" for i in range(200)}), "too_many_entries")
        self.assertEqual(m.deploy(make_package({f"f{i}": b"" for i in range(80)}))["status"],
                         "deployed")

    def test_the_reload_does_not_apply_them_again(self):
        m = self.mount()
        files = {f"f{i}": noise(20_000, i) for i in range(20)}
        version = m.deploy(make_package(files))["version"]
        m.remount("max_archive_bytes=4096,max_inflated_bytes=4096,max_entries=2")
        self.assertEqual(m.route("demo"), version)
        self.assert_package(m, files)

    def peak_mib(self, m):
        text = pathlib.Path("/proc", str(m.pid), "status").read_text()
        return int(next(line.split()[1] for line in text.splitlines()
                        if line.startswith("VmHWM"))) / 1024

    def test_a_bomb_costs_little_memory(self):
        m = self.mount(options="max_inflated_bytes=300000000")
        bomb = self.scratch() / "bomb.tar.gz"
        zeros, _ = harness.tar_member("zeros", b"")
        zeros.size = 1 << 30
        with gzip.GzipFile(bomb, "wb", 1, mtime=0) as f, tarfile.open(fileobj=f, mode="w") as tar:
            tar.addfile(*harness.tar_member("manifest.json", b'{"entry_module": "demo"}'))
            tar.addfile(zeros, Zeros())
        self.refused(m, bomb, "inflated_too_large")
        if not harness.SANITIZED:
            self.assertLess(self.peak_mib(m), 600)

    def test_a_large_package_costs_little_memory(self):
        m = self.mount()
        directory = self.scratch()
        with open(directory / "zeros", "wb") as f:
            f.truncate(200 << 20)
        (directory / "noise").write_bytes(noise(40 << 20, 1))
        (directory / "manifest.json").write_text('{"entry_module": "large"}')
        archive = self.scratch() / "large.tar"
        run("tar", "cf", archive, "-C", directory, ".", check=True)
        version = m.deploy(archive)["version"]
        run("cmp", directory / "noise", m.package("large", version) / "noise", check=True)
        run("cmp", directory / "zeros", m.package("large", version) / "zeros", check=True)
        if not harness.SANITIZED:
            # What is read through the store's map counts as resident too, and is not the daemon's.
            text = pathlib.Path("/proc", str(m.pid), "status").read_text()
            anonymous = int(next(line.split()[1] for line in text.splitlines()
                                 if line.startswith("RssAnon"))) / 1024
            self.assertLess(anonymous, 600)
