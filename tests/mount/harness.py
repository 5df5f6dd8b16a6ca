# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests stand on: a private mount per test, and packages built in memory.

Owns every temporary directory, mount and daemon that a test starts, and leaves none behind,
whatever happens in the test. The expected index and version of a package are computed here a
second time from the contract's text alone, so that a test never asks the program what is right.

The environment says what is tested:
    AIONFS            the program (default: build/fs/aionfs, then build/aionfs)
    AIONFS_SANITIZED  "1": a sanitizer's report in anyone's stderr fails the test
    TMPDIR            where the mounts and states go (default /tmp)
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SANITIZED = os.environ.get("AIONFS_SANITIZED") == "1"
# How long a test waits for what must happen. Never decides a test: only ends a hopeless one.
PATIENCE = 240 if SANITIZED else 120
SANITIZER_REPORT = re.compile(
    r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|LeakSanitizer: detected|runtime error:")
CAP_SYS_ADMIN = 21


def find_program():
    if os.environ.get("AIONFS"):
        return os.path.abspath(os.environ["AIONFS"])
    for candidate in ("build/fs/aionfs", "build/aionfs"):
        if os.access(ROOT / candidate, os.X_OK):
            return str(ROOT / candidate)
    return str(ROOT / "build/fs/aionfs")


AIONFS = find_program()


def why_no_fuse():
    """Returns None when a filesystem can be mounted here, else the reason in plain English."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as e:
        return f"/dev/fuse cannot be opened ({e.strerror}), so nothing can be mounted here"
    with open("/proc/self/status", encoding="ascii") as status:
        capabilities = int(re.search(r"CapEff:\s*([0-9a-f]+)", status.read())[1], 16)
    if os.geteuid() == 0 and not capabilities >> CAP_SYS_ADMIN & 1:
        return "root has no CAP_SYS_ADMIN in this container, so nothing can be mounted here"
    return None


def clean_environment(extra=None):
    env = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC")
    env.update(extra or {})
    return env


def check_stderr(text, what):
    if SANITIZED and SANITIZER_REPORT.search(text):
        raise AssertionError(f"a sanitizer complains about {what}:\n{text[-20000:]}")


def run(*argv, check=False, stdin=None, cwd=None, env=None, uid=None, groups=(), timeout=PATIENCE):
    """Runs a tool and returns its CompletedProcess with text output. check: it must exit 0."""
    options = {}
    if uid is not None:
        options = {"user": uid, "group": uid, "extra_groups": list(groups)}
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [os.fspath(arg) for arg in argv], cwd=cwd, env=clean_environment(env), timeout=timeout,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **({"input": data} if data is not None else {"stdin": subprocess.DEVNULL}), **options)
    done.stdout_bytes = done.stdout
    done.stdout = done.stdout.decode(errors="replace")
    done.stderr = done.stderr.decode(errors="replace")
    check_stderr(done.stderr, argv[0])
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))[:2000]} exited {done.returncode}:\n"
                             f"{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done


def shell(script, **options):
    """Runs a line of sh, as a user types it."""
    return run("sh", "-c", script, **options)


def aionfs(*argv, **options):
    return run(AIONFS, *argv, **options)


def wait_until(condition, what, timeout=PATIENCE):
    """Polls until condition() is true and returns its value; otherwise fails, saying what for."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what}")
        time.sleep(0.02)


def need(*tools):
    """Skips the test when a tool that it drives is not installed."""
    for tool in tools:
        if not shutil.which(tool):
            raise unittest.SkipTest(f"{tool} is not installed")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def noise(size, seed=0):
    """Bytes that don't compress and are the same each time."""
    return random.Random(seed).randbytes(size)


# Packages. `files` maps a path to one of:
#   bytes            a plain file, mode 0644
#   Executable(b)    a file with its execute bits
#   Link("target")   a symbolic link
#   None             an empty directory

class Executable(bytes):
    pass


class Link(str):
    pass


def with_manifest(files, manifest):
    """manifest: a dict, a type's name, raw bytes, or None for a package without one."""
    if manifest is None:
        return dict(files)
    if isinstance(manifest, str):
        manifest = {"entry_module": manifest}
    if isinstance(manifest, dict):
        manifest = json.dumps(manifest, sort_keys=True).encode()
    return {"manifest.json": manifest, **files}


def tar_member(path, content):
    member = tarfile.TarInfo(path)
    member.mtime = 1_700_000_000
    body = None
    if content is None:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    elif isinstance(content, Link):
        member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, str(content)
    else:
        member.mode = 0o755 if isinstance(content, Executable) else 0o644
        member.size, body = len(content), io.BytesIO(content)
    return member, body


def make_tar(files, manifest="demo", prefix=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in with_manifest(files, manifest).items():
            tar.addfile(*tar_member(prefix + path, content))
    return out.getvalue()


def make_package(files, manifest="demo", prefix="", level=6):
    """A tar.gz of the files; the same bytes each time."""
    return gzip.compress(make_tar(files, manifest, prefix), level, mtime=0)


def escape(raw):
    return "".join(chr(b) if 0x21 <= b <= 0x7e and chr(b) not in "#\\=*?[" else f"\\{b:03o}"
                   for b in raw)


def canonical_index(files, manifest="demo"):
    """The index that the contract asks for, as bytes."""
    entries = with_manifest(files, manifest)
    for path in list(entries):
        for parent in pathlib.PurePosixPath(path).parents:
            if str(parent) != ".":
                entries.setdefault(str(parent), None)
    lines = ["#mtree", ". type=dir mode=0755"]
    for path, content in sorted(entries.items(), key=lambda item: os.fsencode(item[0])):
        name = "./" + escape(os.fsencode(path))
        if content is None:
            lines.append(f"{name} type=dir mode=0755")
        elif isinstance(content, Link):
            lines.append(f"{name} type=link mode=0777 link={escape(os.fsencode(str(content)))}")
        else:
            mode = "0755" if isinstance(content, Executable) else "0644"
            lines.append(f"{name} type=file mode={mode} size={len(content)} "
                         f"sha256={sha256(content)}")
    return ("\n".join(lines) + "\n").encode()


def version_of(files, manifest="demo"):
    return sha256(canonical_index(files, manifest))


def write_tree(directory, files, manifest=None):
    """Lays the files out on disk, as an unpacked archive would be."""
    for path, content in with_manifest(files, manifest).items():
        target = pathlib.Path(directory, path)
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            target.symlink_to(str(content))
        else:
            target.write_bytes(content)
            target.chmod(0o755 if isinstance(content, Executable) else 0o644)


def mounted_below(directory):
    """The mountpoints at or below a directory, innermost first. Touches none of them."""
    directory = os.path.realpath(directory)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            point = line.split()[4].encode().decode("unicode_escape")
            if point == directory or point.startswith(directory + "/"):
                found.append(point)
    return found[::-1]


def unmount_all_below(directory):
    for point in mounted_below(directory):
        helper = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
        subprocess.run([*helper, point], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)


class Mount:
    """A mount with its daemon in a private directory.

    with Mount() as m: ...       mounts a new, empty state, and ends it whatever happens
    state      another state directory (str or Path); default: a new one of its own
    options    the text behind -o
    user_args  further arguments of `aionfs mount`
    env        additions to the daemon's environment
    foreground False: without -f, so that the command itself returns when the mount is ready
    uid        run the daemon as this user (the state then belongs to it)
    """

    def __init__(self, state=None, options="", user_args=(), env=None, foreground=True, uid=None):
        self.options, self.user_args, self.env = options, list(user_args), dict(env or {})
        self.foreground, self.uid = foreground, uid
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="aionfs-"))
        self.dir.chmod(0o755)
        self.path = self.dir / "mnt"
        self.path.mkdir()
        self.state = pathlib.Path(state) if state else self.dir / "state"
        self.stderr_path = self.dir / "stderr"
        self.process, self.pid = None, None
        if uid is not None:
            for path in (self.dir, self.path):
                os.chown(path, uid, uid)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.explain()
            self.cleanup()
            raise
        return self

    def __exit__(self, kind, value, trace):
        failed = kind is not None and not issubclass(kind, unittest.SkipTest)
        try:
            if not failed:
                self.finish()
        except BaseException:
            failed = True
            raise
        finally:
            if failed:
                self.explain()
            self.cleanup()

    def __truediv__(self, name):
        return self.path / name

    # Life of the daemon.

    def command(self, options=None):
        text = self.options if options is None else options
        return [AIONFS, "mount", *(["-f"] if self.foreground else []),
                *(["-o", text] if text else []), *self.user_args, str(self.state), str(self.path)]

    def start(self, options=None):
        if options is not None:
            self.options = options
        user = {} if self.uid is None else \
            {"user": self.uid, "group": self.uid, "extra_groups": []}
        with open(self.stderr_path, "ab") as err:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                env=clean_environment(self.env), start_new_session=True, **user)
        self.remember(self.process.pid)
        # A daemon that hangs while it starts must not hang the test: stat would wait for it.
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            if not self.foreground and self.process.wait() != 0:
                raise AssertionError(f"the mount command exited {self.process.returncode}")
            wait_until(self.is_ready, "the mount to become ready")
        finally:
            watchdog.cancel()
        self.pid = self.process.pid if self.foreground else self.find_daemon()
        self.remember(self.pid)

    def is_ready(self):
        if self.foreground and self.process.poll() is not None:
            raise AssertionError(f"the daemon exited {self.process.returncode} while starting")
        if not self.is_mounted():
            return False
        try:
            return self.status().get("ready") is True
        except (OSError, ValueError, AssertionError):
            return False

    def is_mounted(self):
        return str(self.path.parent.resolve() / self.path.name) in mounted_below(self.dir)

    def find_daemon(self):
        """The process in the background whose command line names our mountpoint."""
        for name in os.listdir("/proc"):
            if name.isdigit() and name != str(os.getpid()):
                try:
                    words = pathlib.Path("/proc", name, "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if os.fsencode(self.path) in words and b"mount" in b" ".join(words[:2]):
                    return int(name)
        raise AssertionError("the mount is there, but no process that serves it")

    def remember(self, pid):
        """Notes the pid where tests/run_mount.py finds it should this process be killed."""
        with open(self.dir / "pids", "a", encoding="ascii") as notes:
            notes.write(f"{pid}\n")

    def wait_exit(self):
        """Waits for the daemon's end and returns its exit code (None if it is not our child)."""
        if self.foreground:
            try:
                return self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise AssertionError("the daemon did not end") from None
        wait_until(lambda: not pathlib.Path("/proc", str(self.pid)).exists(),
                   "the daemon to end")
        return None

    def umount(self):
        """Unmounts as a user does; the daemon must end by itself, with exit code 0."""
        tool = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]

        def unmounted():
            done = run(*tool, self.path)
            if done.returncode and "busy" not in done.stderr:
                raise AssertionError(f"umount: {done.stderr}")
            return done.returncode == 0
        wait_until(unmounted, "umount to find the mount idle", timeout=30)
        self.expect_clean_exit()

    def expect_clean_exit(self):
        code = self.wait_exit()
        if code not in (0, None):
            raise AssertionError(f"the daemon exited {code}")
        check_stderr(self.stderr_text(), "the daemon")

    def kill(self):
        """SIGKILL, then what an administrator does with the dead mount."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait_exit()
        unmount_all_below(self.path)
        check_stderr(self.stderr_text(), "the daemon")

    def remount(self, options=None):
        if self.is_mounted():
            self.umount()
        self.start(options)

    def is_alive(self):
        if self.process is None:
            return False
        if self.foreground:
            return self.process.poll() is None
        return bool(self.pid) and pathlib.Path("/proc", str(self.pid)).exists()

    def finish(self):
        """The end of a test that went well: what is still mounted must unmount cleanly."""
        if self.is_mounted() and self.is_alive():
            self.umount()
        check_stderr(self.stderr_text(), "the daemon")

    def cleanup(self):
        unmount_all_below(self.path)
        if self.is_alive():
            deadline = time.monotonic() + 5
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.is_alive():
            os.kill(self.pid or self.process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def explain(self):
        """Prints what a person needs after a failure."""
        text = self.stderr_text()
        print(f"---- stderr of the daemon (the last 20,000 of {len(text)} characters)\n"
              f"{text[-20000:]}----", file=sys.stderr, flush=True)

    def stderr_text(self):
        try:
            return self.stderr_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    # What tests ask for all the time.

    def cp(self, source, target, **options):
        """cp SOURCE MOUNT/TARGET, without a judgement."""
        return run("cp", source, self.path / target, **options)

    def deploy(self, archive, name=None, box="deploy"):
        """Deploys a file or bytes with cp, which must succeed; returns the receipt."""
        done, name = self.try_deploy(archive, name, box)
        if done.returncode != 0:
            raise AssertionError(f"cp to {box}/{name} failed: {done.stderr}\n"
                                 f"{self.receipt(name, box, missing_ok=True)}")
        return self.receipt(name, box)

    def refuse(self, archive, name=None, box="deploy"):
        """Deploys a file or bytes with cp, which must fail; returns the receipt."""
        done, name = self.try_deploy(archive, name, box)
        if done.returncode == 0:
            raise AssertionError(f"cp to {box}/{name} succeeded: {self.receipt(name, box)}")
        return self.receipt(name, box)

    def try_deploy(self, archive, name=None, box="deploy"):
        if isinstance(archive, (bytes, bytearray)):
            source = self.dir / "upload"
            source.write_bytes(archive)
            name = name or "upload.tar.gz"
        else:
            source = pathlib.Path(archive)
            name = name or source.name
        return self.cp(source, f"{box}/{name}"), name

    def receipt(self, name, box="deploy", missing_ok=False):
        path = self.path / box / name
        if missing_ok and not path.exists():
            return None
        return json.loads(path.read_bytes())

    def status(self):
        if self.uid is not None:  # not even root may enter another user's mount
            return json.loads(run("cat", self.path / "status", uid=self.uid, check=True).stdout)
        return json.loads((self.path / "status").read_bytes())

    def types(self):
        return sorted(os.listdir(self.path / "packages"))

    def versions(self, type_name):
        try:
            return sorted(os.listdir(self.path / "packages" / type_name))
        except FileNotFoundError:
            return []

    def route(self, type_name):
        """The routed version, or None."""
        try:
            target = os.readlink(self.path / "routes" / type_name)
        except FileNotFoundError:
            return None
        prefix, version = target.rsplit("/", 1)
        if prefix != f"../packages/{type_name}":
            raise AssertionError(f"routes/{type_name} reads {target}")
        return version

    def package(self, type_name, version):
        return self.path / "packages" / type_name / version

    def log_text(self):
        return (self.path / "log").read_text(encoding="utf-8")

    def fsck(self):
        """Checks the state (it must be unmounted); returns the CompletedProcess."""
        return aionfs("fsck", self.state)


class MountCase(unittest.TestCase):
    """A test with mounts that are ended after it, and whose stderr is shown if it fails."""

    maxDiff = 4000

    def setUp(self):
        reason = why_no_fuse()
        if reason:
            self.skipTest(reason)

    def scratch(self):
        """A temporary directory that everybody can enter, removed after the test."""
        path = pathlib.Path(tempfile.mkdtemp(prefix="aionfs-scratch-"))
        path.chmod(0o755)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def mount(self, *args, **options):
        m = Mount(*args, **options)
        self.addCleanup(self.end_mount, m)
        m.start()
        return m

    def end_mount(self, m):
        failed = not self._outcome.success
        try:
            if not failed:
                m.finish()
        except BaseException:
            failed = True
            raise
        finally:
            if failed:
                m.explain()
            m.cleanup()

    def assert_silent_fsck(self, m):
        done = m.fsck()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout + done.stderr, "", "fsck of a sound state is silent")

    def assert_package(self, m, files, manifest="demo", version=None):
        """The version is served exactly as the files say, read through plain system calls."""
        type_name = manifest if isinstance(manifest, str) else manifest["entry_module"]
        expected = with_manifest(files, manifest)
        root = m.package(type_name, version or version_of(files, manifest))
        for path, content in expected.items():
            target = root / path
            if content is None:
                self.assertTrue(target.is_dir(), path)
            elif isinstance(content, Link):
                self.assertEqual(os.readlink(target), str(content))
            else:
                self.assertTrue(target.read_bytes() == content, f"{path} reads differently")
                self.assertEqual(target.stat().st_mode & 0o111 != 0,
                                 isinstance(content, Executable), path)
        found = set()
        for directory, _, names in os.walk(root):
            found.update(os.path.relpath(os.path.join(directory, n), root) for n in names)
        wanted = {path for path, content in expected.items()
                  if content is not None and not (isinstance(content, Link)
                                                  and (root / path).is_dir())}
        self.assertEqual(found - wanted, set(), "files that nobody deployed")
