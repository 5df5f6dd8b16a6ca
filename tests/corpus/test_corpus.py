# SPDX-License-Identifier: Apache-2.0
"""Every archive of the corpus, copied into a mount.

What must be refused fails in close(2) with the errno of the contract, says why in its receipt and
leaves nothing behind; what must be accepted is served byte for byte, and equal trees are one
version. All of it goes through one daemon, whose memory is watched; archives that need mount
options have mounts of their own.
"""

import concurrent.futures
import errno
import hashlib
import json
import os
import pathlib
import shutil
import stat
import sys
import tempfile
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "mount")]
import case  # noqa: E402
import harness  # noqa: E402
import make  # noqa: E402

MEMORY_MEBIBYTES = 600
AT_ONCE = 2
BATCH = 60
PIECE = 1 << 20


class Watch(threading.Thread):
    """Notes the most memory that the daemon and the processes which it starts had at once."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.children_kib, self.stopped = pid, 0, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()

    def run(self):
        while not self.stopped.wait(0.05):
            self.children_kib = max(self.children_kib, sum(map(high_water_kib, self.children())))

    def children(self):
        found = set()
        for listing in pathlib.Path("/proc", str(self.pid), "task").glob("*/children"):
            try:
                found.update(listing.read_text(encoding="ascii").split())
            except OSError:
                continue
        return found

    def peak_mebibytes(self):
        """The daemon's own peak and the largest of its children's may be at different times."""
        return (high_water_kib(self.pid) + self.children_kib) / 1024


def high_water_kib(pid):
    try:
        for line in pathlib.Path("/proc", str(pid), "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0  # gone, or a process that has no memory left


def send(source, target):
    """Copies as cp does. Returns the errno of the first call that failed, or 0."""
    failed = 0
    with open(source, "rb") as data:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            while not failed and (piece := data.read(PIECE)):
                while piece:
                    piece = piece[os.write(fd, piece):]
        except OSError as e:
            failed = e.errno
        try:
            os.close(fd)
        except OSError as e:
            failed = failed or e.errno
    return failed


def open_below(root, path):
    """Opens the directory of a path that may be too long for one call: (descriptor, name)."""
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    *parents, name = path.split("/")
    for parent in parents:
        deeper = os.open(parent, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = deeper
    return here, name


def describe(root, path):
    """What is there, in the words of expected.json, and if it is a file that can be executed."""
    here, name = open_below(root, path)
    try:
        state = os.stat(name, dir_fd=here, follow_symlinks=False)
        if stat.S_ISDIR(state.st_mode):
            return None, False
        if stat.S_ISLNK(state.st_mode):
            return f"link:{os.readlink(name, dir_fd=here)}", False
        digest = hashlib.sha256()
        with open(os.open(name, os.O_RDONLY, dir_fd=here), "rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest(), bool(state.st_mode & 0o111)
    finally:
        os.close(here)


def list_below(root):
    found = set()
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for where, directories, files, _ in os.fwalk(".", dir_fd=here):
            found.update(os.path.normpath(os.path.join(where, name))
                         for name in directories + files)
    finally:
        os.close(here)
    return found


def with_parents(paths):
    found = set()
    for path in paths:
        while path:
            found.add(path)
            path = os.path.dirname(path)
    return found


class CorpusTest(harness.MountCase):
    @classmethod
    def setUpClass(cls):
        missing = make.missing_tools()
        if missing:
            raise unittest.SkipTest(f"the corpus is made with {', '.join(missing)}, which this "
                                    "machine does not have")
        if harness.why_no_fuse():
            return
        cls.corpus = pathlib.Path(tempfile.mkdtemp(prefix="aionfs-corpus-"))
        cls.addClassCleanup(shutil.rmtree, cls.corpus, ignore_errors=True)
        cls.expected = make.make(cls.corpus)

    def setUp(self):
        super().setUp()
        self.problems = []

    def cases(self, kind, options):
        return [name for name, want in sorted(self.expected.items())
                if name.startswith(kind) and want.get("options", "") == options
                # A sanitizer needs an address space without a limit.
                and not (harness.SANITIZED and want.get("by_memory_limit"))]

    def run_all(self, mount, options):
        """Every case that runs with these mount options."""
        with Watch(mount.pid) as watch:
            self.refuse_all(mount, self.cases("refuse/", options))
            self.accept_all(mount, self.cases("accept/", options))
            self.good_deploy(mount, "at the end")
            peak = watch.peak_mebibytes()
        if not harness.SANITIZED:
            self.problem_unless(peak < MEMORY_MEBIBYTES, f"the daemon and its children had "
                                f"{peak:.0f} MiB")
        mount.umount()
        done = mount.fsck()
        self.problem_unless(done.returncode == 0 and not done.stdout + done.stderr,
                            f"fsck exits {done.returncode}: {done.stdout}{done.stderr}")
        self.assertEqual("", "\n".join(self.problems))

    def problem_unless(self, is_right, text):
        if not is_right:
            self.problems.append(text)

    def good_deploy(self, mount, when):
        receipt = mount.deploy(harness.make_package({}, "good"), "good.tar.gz")
        self.problem_unless(receipt["version"] == harness.version_of({}, "good"),
                            f"a sound package deployed {when} has version {receipt['version']}")

    def refuse_all(self, mount, names):
        self.good_deploy(mount, "at the beginning")
        stored = [f"good/{harness.version_of({}, 'good')}"]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(names), BATCH):
                batch = names[start:start + BATCH]
                list(pool.map(lambda name: self.refuse(mount, name), batch))
                before, stored = stored, [f"{type_name}/{version}" for type_name in mount.types()
                                          for version in mount.versions(type_name)]
                self.problem_unless(stored == before, "something between "
                                    f"{batch[0]} and {batch[-1]} was stored: {stored}")
                self.good_deploy(mount, f"behind {batch[-1]}")

    def refuse(self, mount, name):
        want, base = self.expected[name], os.path.basename(name)
        failed = send(self.corpus / name, mount / "deploy" / base)
        if failed == 0:
            self.problems.append(f"{name} was accepted, not refused with {want['code']}")
            return
        error = mount.receipt(base).get("error") or {}
        code, codes = error.get("code"), want["code"]
        self.problem_unless(code in ([codes] if isinstance(codes, str) else codes),
                            f"{name} is {code} ({error.get('message')}), not {codes}")
        if code in case.ERRNO_OF:
            self.problem_unless(
                errno.errorcode[failed] == case.ERRNO_OF[code],
                f"{name} is {code}, and close() said {errno.errorcode[failed]}")
        self.problem_unless(error.get("message"), f"the receipt of {name} says no reason")

    def accept_all(self, mount, names):
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self.accept(mount, name), names))
        served = {}
        for name in names:
            served.setdefault(self.expected[name]["same_version_as"], self.expected[name])
        for group, want in served.items():
            root = mount.package(want["type"], want["version"])
            if not root.is_dir():
                self.problems.append(f"no archive of the group {group} became its version")
                continue
            self.read_back(root, group, want)
        types = {want["type"] for want in served.values()} | {"good"}
        self.problem_unless(set(mount.types()) == types,
                            f"types that nobody deployed: {set(mount.types()) ^ types}")

    def accept(self, mount, name):
        want, base = self.expected[name], os.path.basename(name)
        failed = send(self.corpus / name, mount / "deploy" / base)
        receipt = mount.receipt(base)
        if failed:
            error = receipt.get("error", {})
            self.problems.append(f"{name} was refused: {error.get('code')} "
                                 f"({error.get('message')}), {errno.errorcode[failed]}")
            return
        found = (receipt["status"], receipt["type"], receipt["version"])
        self.problem_unless(found == ("deployed", want["type"], want["version"]),
                            f"{name} became {found}, not version {want['version']} "
                            f"of its group {want['same_version_as']}")

    def read_back(self, root, group, want):
        for path, content in want["files"].items():
            try:
                found = describe(root, path)
            except OSError as e:
                found = (e.strerror, False)
            self.problem_unless(found == (content, path in want["executable"]),
                                f"{path!r} of the group {group} reads {found}, not {content}")
        extra = list_below(root) ^ with_parents(want["files"])
        self.problem_unless(not extra, f"in the group {group}, missing or too many: "
                            f"{sorted(extra)[:5]!r}")

    def test_all_with_default_options(self):
        self.run_all(self.mount(), "")

    def test_those_with_limits(self):
        for options in sorted({want.get("options", "") for want in self.expected.values()}):
            if options:
                with self.subTest(options=options):
                    self.problems = []
                    self.run_all(self.mount(options=options), options)

    def test_expectations_are_written_down(self):
        """What other tools read instead of importing the modules."""
        written = json.loads((self.corpus / "expected.json").read_text(encoding="ascii"))
        self.assertEqual(written, self.expected)
        files = {f"{kind}/{name}" for kind in ("accept", "refuse")
                 for name in os.listdir(self.corpus / kind)}
        self.assertEqual(files, set(written))


if __name__ == "__main__":
    unittest.main()
