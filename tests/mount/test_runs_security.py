# SPDX-License-Identifier: Apache-2.0
"""What one user may not learn of, take from or do to another's runs, nor to the mount itself."""

import errno
import os
import pathlib

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
