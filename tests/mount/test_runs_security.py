# SPDX-License-Identifier: Apache-2.0
"""What one user may not learn of, take from or do to another's runs, nor to the mount itself."""

import errno
import os
import pathlib
import resource
import time

import harness
import workflows
from harness import MountCase, wait_until
from workflows import path_of, result, start, workflow

USER, OTHER = 1234, 1235
MOUNT = "allow_other,start_group=1234"
SETGROUPS = (1234,)


def as_user(uid, function):
    """Runs a function in a child that is the user, and returns what it returns, as a text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.setgroups(SETGROUPS)
            os.setgid(uid)
            os.setuid(uid)
            os.write(writer, str(function()).encode())
            code = 0
        except OSError as error:
            os.write(writer, f"failed: {error}".encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, text
    return text


def error_of(function):
    try:
        return f"no error: {function()!r}"
    except OSError as error:
        return errno.errorcode[error.errno]


def error_text(function):
    try:
        return f"no error: {function()!r}"
    except OSError as error:
        return str(error)


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


class ReusedIds(MountCase):
    """A user keeps descriptors of a run, removes it, and another starts one of the same ID.

    Once the kernel has seen the new run's file, the old inode is bad and all of it is EIO; until
    then the daemon answers.
    """
    NOTHING = {"", "EIO", "ENOENT", "ENODATA", "EACCES"}

    SECRET = 'cat >&2; aionfs step card -- sh -c "echo secret; : secret"; ' \
             'aionfs wait signal go; echo secret'

    def mounted(self):
        m = self.mount(options=MOUNT)
        m.deploy(workflow(self.SECRET))
        return m

    def finish(self, m, uid):
        start(m, "demo", "1", "secret\n", uid=uid, groups=SETGROUPS)
        signals = path_of(m, "1", "signals/go")
        as_user(uid, lambda: signals.write_text("secret"))
        result(m, "1")

    def reads(self, name):
        """What the first user's descriptor of a file reads, once the run is the second's."""
        m = self.mounted()
        self.finish(m, USER)
        m.dir.chmod(0o755)

        def first():
            files = [os.open(path_of(m, "1", name), os.O_RDONLY),
                     os.open(path_of(m, "1", name), os.O_PATH)]
            pathlib.Path(m.dir, "flags/opened").touch()
            wait_until(lambda: pathlib.Path(m.dir, "flags/replaced").exists(), "the other run")
            try:
                held = os.pread(files[0], 4096, 0)
            except OSError as error:
                held = errno.errorcode[error.errno].encode()
            path = f"/proc/self/fd/{files[1]}"
            return held.decode() + "|" + error_of(lambda: open(path, "rb").read()) + "|" + \
                error_of(lambda: os.getxattr(path, "user.aionfs.command"))
        flags = m.dir / "flags"
        flags.mkdir()
        flags.chmod(0o777)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, as_user(USER, first).encode())
            finally:
                os._exit(0)
        os.close(writer)
        wait_until(lambda: (flags / "opened").exists(), "the first user")
        as_user(USER, lambda: os.rmdir(m / "runs/1"))
        self.finish(m, OTHER)
        (flags / "replaced").touch()
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        return text.split("|")

    def test_the_log_stays_the_others(self):
        held, reopened, _ = self.reads("log")
        self.assertLessEqual({held, reopened}, self.NOTHING)

    def test_the_history_is_the_old_one_or_none(self):
        held, reopened, _ = self.reads("history")
        self.assertNotIn(str(OTHER), held)
        self.assertIn(reopened, self.NOTHING)

    def test_what_is_waited_for_stays_the_others(self):
        for name in ("wait/result", "wait/signals/go"):
            with self.subTest(name):
                held, reopened, _ = self.reads(name)
                self.assertLessEqual({held, reopened}, self.NOTHING)

    def test_steps_and_signals_stay_the_others(self):
        for name in ("steps/card", "signals/go"):
            with self.subTest(name):
                _, reopened, command = self.reads(name)
                self.assertLessEqual({reopened, command}, self.NOTHING)

    def test_ctl_commands_the_run_that_it_was_opened_for(self):
        m = self.mounted()
        self.finish(m, USER)
        ctl = os.open(path_of(m, "1", "ctl"), os.O_WRONLY)
        os.rmdir(m / "runs/1")
        start(m, "demo", "1", "x", uid=OTHER, groups=SETGROUPS)
        self.assertEqual(error_of(lambda: os.write(ctl, b"cancel")), "ENOENT")
        os.close(ctl)
        workflows.control(m, "1", "cancel")

    def test_an_open_file_of_the_old_run_does_not_spoil_the_new_one(self):
        m = self.mounted()
        self.finish(m, USER)
        with open(path_of(m, "1", "history"), "rb") as kept:
            os.rmdir(m / "runs/1")
            self.finish(m, USER)
            kept.read(0)
            self.assertIn("secret", path_of(m, "1", "result").read_text())


class WhatAnAttemptGets(MountCase):
    def test_no_limit_that_the_daemon_raised_for_itself(self):
        m = self.mount(options=MOUNT)
        m.deploy(workflow("ulimit -Sn"))
        start(m, "demo", "1", uid=USER, groups=SETGROUPS)
        self.assertEqual(result(m, "1"), f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]}\n")

    def test_a_session_keyring_of_its_own(self):
        keyring = pathlib.Path("/proc/keys")
        if not keyring.exists():
            self.skipTest("this kernel has no keyrings")
        m = self.mount(options=MOUNT)
        script = ("import ctypes; c = ctypes.CDLL(None); "
                  "print(c.syscall(250, 0, -3, 0))")  # KEYCTL_GET_KEYRING_ID of the session
        if os.uname().machine != "x86_64":
            self.skipTest("the number of keyctl(2) is that of x86-64")
        m.deploy(workflow(f"/usr/bin/python3 -c '{script}'"))
        for run_id in ("1", "2"):
            start(m, "demo", run_id, uid=USER, groups=SETGROUPS)
        mine = harness.run("/usr/bin/python3", "-c", script).stdout
        self.assertEqual(len({mine, result(m, "1"), result(m, "2")}), 3)


class Taking(MountCase):
    """What a user can use up is his own share."""

    def test_names_in_the_boxes(self):
        m = self.mount(options=MOUNT)
        m.deploy(workflow("cat"))
        box = m / "start/demo"

        def many():
            for i in range(1024):
                os.close(os.open(box / f".{i}", os.O_CREAT | os.O_WRONLY, 0o600))
        self.assertIn("No space left", as_user(USER, lambda: error_text(many)))
        as_user(OTHER, lambda: (box / ".mine").touch())
        as_user(OTHER, lambda: os.rename(box / ".mine", box / "mine"))
        self.assertEqual(result(m, "mine"), "")

    def test_open_files(self):
        m = self.mount(options=MOUNT)
        m.deploy(workflow("cat"))
        box = m / "start/demo"

        def many():
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
            files = []
            try:
                for i in range(4000):
                    files.append(os.open(box / f"a{i}", os.O_CREAT | os.O_WRONLY, 0o600))
            except OSError as error:
                for file in files[1:]:
                    os.close(file)
                other = error_of(lambda: (box / "b").touch())
                return f"{errno.errorcode[error.errno]} {other}"
            return "as many as it wanted"
        self.assertTrue(as_user(USER, many).startswith("ENFILE no error"))

    def test_names_of_steps_that_come_to_nothing(self):
        m = self.mount(options=MOUNT)
        m.deploy(workflow("""
import os
steps = os.environ["AION_RUN"] + "/steps/"
for i in range(1500):
    path = steps + f".{i}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.setxattr(path, "user.aionfs.command", b"x" * 60000)
    os.unlink(path)
print("done")
""", interpreter="/usr/bin/python3"))
        before = resident(m.pid)
        start(m, "demo", "1", uid=USER, groups=SETGROUPS)
        wait_until(lambda: workflows.status(m, "1") in workflows.FINAL, "the end")
        self.assertEqual(result(m, "1"), "done\n")
        # A sanitizer keeps what was freed for a while: 256 MB by default.
        self.assertLess(resident(m.pid) - before, (400 if harness.SANITIZED else 60) << 20)

    def test_room_that_is_reserved_behind_the_end_of_the_output(self):
        harness.need("fallocate")
        m = self.mount(options=MOUNT)
        m.deploy(workflow("fallocate -n -l 300M /dev/stdout && sleep 60", {
            "entry_module": "demo", "retry": {"max_attempts": 1}}))
        start(m, "demo", "1", uid=USER, groups=SETGROUPS)
        workflows.await_status(m, "1", "failed")
        self.assertIn("64 MiB", path_of(m, "1", "error").read_text())


class FullDisk(MountCase):
    def test_the_mount_can_be_stopped(self):
        disk = self.scratch()
        done = harness.run("mount", "-t", "tmpfs", "-o", "size=64m", "aionfs-test", disk)
        if done.returncode != 0:
            self.skipTest(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        self.addCleanup(harness.unmount_all_below, disk)
        m = self.mount(disk / "state", options=MOUNT)
        m.deploy(workflow('[ "$AION_ATTEMPT" = 1 ] && exec sleep 600; echo again'))
        start(m, "demo", "1")
        workflows.await_status(m, "1", "running")
        with open(disk / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(1 << 12))
            except OSError:
                pass
        begun = time.monotonic()
        harness.aionfs("stop", m.path, check=True, timeout=60)
        self.assertLess(time.monotonic() - begun, 30)
        m.expect_clean_exit()
        os.unlink(disk / "ballast")
        m.start()
        self.assertEqual(result(m, "1"), "again\n")
        self.assertNotIn("failed", [event.get("how") for event in workflows.history(m, "1")])
        workflows.stop(m)
