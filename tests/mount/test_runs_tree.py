# SPDX-License-Identifier: Apache-2.0
"""runs/ and by-status/ as files: names, sizes, owners, reads that are held, writes that answer."""

import errno
import os
import pathlib
import signal
import subprocess
import threading
import time

import harness
from harness import MountCase, need, run, shell, wait_until
from workflows import (await_status, control, events, explain, history_bytes, path_of, result, start,
                       status, workflow)

USER, OTHER = 1234, 1235
STATUSES = ["cancelled", "completed", "failed", "parked", "paused", "pending", "running", "stranded",
            "timed_out", "waiting"]
WAITER = "aionfs wait signal go"
PYTHON = "/usr/bin/env python3"

# What a workflow in Python needs to work on its own directory.
PRELUDE = """
import errno, os, sys, time
RUN = os.environ["AION_RUN"]
def refused(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as e:
        if e.errno == number:
            return
        print(call, arguments, e, file=sys.stderr)
        raise SystemExit(100)
    print(call, arguments, "went well", file=sys.stderr)
    raise SystemExit(100)
def make(name, data=b""):
    fd = os.open(f"{RUN}/steps/.{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, data)
    os.close(fd)
def text(path):
    with open(f"{RUN}/{path}") as f:
        return f.read()
def put(path, data):
    with open(f"{RUN}/{path}", "w") as f:
        f.write(data)
"""


def fails(call, *arguments):
    """The errno that a call fails with."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0


def read_once(path, flags=0):
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


class Tree(MountCase):
    """A run that has one of everything, and what is seen of it."""

    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.version = self.m.deploy(workflow("""
            echo "a line" >&2
            aionfs step one -- echo first >/dev/null
            aionfs step two -- echo second >/dev/null
            aionfs sleep nap 1s
            echo "result of $(cat)"
            """ + WAITER + " >/dev/null"))["version"]
        start(self.m, "demo", "42", "the input")
        self.run_path = self.m / "runs/42"

    def finish(self):
        (self.run_path / "signals/go").write_text("now\n")
        self.assertEqual(result(self.m, "42"), "result of the input\n")

    def test_names_and_modes(self):
        self.assertEqual(sorted(os.listdir(self.run_path)),
                         ["ctl", "history", "input", "log", "package", "signals", "status", "steps",
                          "timers", "wait"])
        self.finish()
        self.assertEqual(sorted(os.listdir(self.run_path)),
                         ["ctl", "history", "input", "log", "package", "result", "signals", "status",
                          "steps", "timers", "wait"])
        modes = {name: f"{(self.run_path / name).lstat().st_mode:o}"
                 for name in os.listdir(self.run_path)}
        self.assertEqual(modes, {
            "ctl": "100200", "history": "100400", "input": "100400", "log": "100400",
            "package": "120777", "result": "100400", "signals": "40700", "status": "100400",
            "steps": "40700", "timers": "40700", "wait": "40500"})
        self.assertEqual(os.readlink(self.run_path / "package"),
                         f"../../packages/demo/{self.version}")
        self.assertTrue((self.run_path / "package/bin/run").exists())
        self.assertEqual(os.listdir(self.run_path / "steps"), ["one", "two"])
        self.assertEqual(os.listdir(self.run_path / "timers"), ["nap"])
        self.assertEqual(os.listdir(self.run_path / "signals"), ["go"])
        self.assertEqual((self.run_path / "steps/one").read_text(), "first\n")
        self.assertEqual((self.run_path / "timers/nap").read_text(), "1s\n")
        self.assertEqual((self.run_path / "signals/go").read_text(), "now\n")
        self.assertEqual((self.run_path / "wait/signals/go").read_text(), "now\n")
        self.assertEqual((self.run_path / "wait/timers/nap").read_text(), "1s\n")

    def test_every_size_is_what_a_read_gives(self):
        self.finish()
        seen = 0
        for directory, _, names in os.walk(self.run_path):
            for name in names:
                path = pathlib.Path(directory, name)
                if not path.is_symlink():
                    self.assertEqual(path.stat().st_size, len(path.read_bytes()), path)
                    seen += 1
        self.assertEqual(seen, 10)
        for link in (self.run_path / "package", self.m / "by-status/completed/42"):
            self.assertEqual(link.lstat().st_size, len(os.readlink(link)))

    def test_wait_lists_nothing_and_opens_by_name(self):
        for name in ("wait", "wait/timers", "wait/signals"):
            self.assertEqual(os.listdir(self.run_path / name), [])
        self.assertEqual((self.run_path / "wait/result").stat().st_size, 0)
        self.assertFalse((self.run_path / "wait/nothing").exists())
        for name in ("wait/signals/.x", "wait/timers/a\nb"):
            self.assertFalse((self.run_path / name).exists())
        self.finish()

    def test_by_status(self):
        self.assertEqual(sorted(os.listdir(self.m / "by-status")), STATUSES)
        await_status(self.m, "42", "running")
        self.assertEqual(os.listdir(self.m / "by-status/running"), ["42"])
        link = self.m / "by-status/running/42"
        self.assertEqual(os.readlink(link), "../../runs/42")
        self.assertEqual((link / "input").read_text(), "the input")
        self.finish()
        self.assertFalse(os.path.lexists(link))
        self.assertEqual(os.listdir(self.m / "by-status/completed"), ["42"])
        self.assertFalse((self.m / "by-status/nonsense").exists())

    def test_times_and_xattrs(self):
        before = self.run_path.stat().st_mtime_ns
        self.finish()
        self.assertGreater(self.run_path.stat().st_mtime_ns, before)
        self.assertLess(abs(self.run_path.stat().st_mtime - time.time()), 60)
        self.assertEqual({name: os.getxattr(self.run_path, name)
                          for name in os.listxattr(self.run_path)},
                         {"user.aionfs.type": b"demo", "user.aionfs.status": b"completed",
                          "user.aionfs.version": self.version.encode()})
        step = self.run_path / "steps/one"
        self.assertEqual(os.listxattr(step), ["user.aionfs.command"])
        self.assertEqual(os.getxattr(step, "user.aionfs.command"), b"echo first")
        self.assertEqual(fails(os.setxattr, step, "user.aionfs.command", b"x"), errno.ENOTSUP)
        self.assertEqual(fails(os.setxattr, self.run_path, "user.x", b"x"), errno.ENOTSUP)

    def test_history_and_log_grow_under_a_reader(self):
        need("tail")
        with open(self.m.dir / "followed", "wb") as out:
            tail = subprocess.Popen(["tail", "-c", "+1", "-s", "0.05", "-f",
                                     self.run_path / "history"], stdout=out)
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        self.finish()
        whole = history_bytes(self.m, "42")
        wait_until(lambda: (self.m.dir / "followed").read_bytes() == whole, "tail to have it all")
        tail.kill()
        tail.wait()
        with open(self.run_path / "history", "rb", buffering=0) as f:
            f.seek(len(whole) // 2)
            self.assertEqual(f.read(), whole[len(whole) // 2:])
            self.assertEqual(f.read(), b"")
        self.assertEqual((self.run_path / "log").read_text(), "a line\n")

    def test_what_cannot_be_written_or_removed(self):
        self.finish()
        for name in ("input", "result", "history", "log", "status", "steps/one"):
            self.assertIn(fails(os.open, self.run_path / name, os.O_WRONLY),
                          (errno.EPERM, errno.EACCES), name)
        for name in ("input", "result", "ctl", "steps/one", "timers/nap", "signals/go", "package"):
            self.assertEqual(fails(os.unlink, self.run_path / name), errno.EPERM, name)
        for name in ("steps", "wait", "wait/signals"):
            self.assertEqual(fails(os.rmdir, self.run_path / name), errno.EPERM, name)
        for name in ("new", "wait/new", "wait/signals/new"):
            self.assertEqual(fails(os.open, self.run_path / name, os.O_WRONLY | os.O_CREAT),
                             errno.EPERM, name)
        self.assertEqual(fails(os.mkdir, self.m / "runs/new"), errno.EPERM)
        self.assertEqual(fails(os.rename, self.run_path, self.m / "runs/43"), errno.EPERM)
        self.assertIn(fails(os.rename, self.run_path / "input", self.run_path / "signals/x"),
                      (errno.EPERM, errno.EXDEV))
        self.assertEqual(fails(os.unlink, self.m / "by-status/completed/42"), errno.EPERM)
        self.assertEqual(fails(os.truncate, self.run_path / "input", 0), errno.EPERM)
        self.assertEqual(fails(os.open, self.run_path / "signals/late", os.O_WRONLY | os.O_CREAT),
                         errno.EBUSY)

    def test_removing(self):
        self.assertEqual(fails(os.rmdir, self.run_path), errno.EBUSY)
        fd = os.open(self.run_path / "history", os.O_RDONLY)
        self.finish()
        whole = history_bytes(self.m, "42")
        self.assertEqual(os.pread(fd, 1 << 20, 0), whole)
        os.rmdir(self.run_path)
        self.assertEqual(os.listdir(self.m / "runs"), [])
        self.assertFalse(self.run_path.exists())
        self.assertFalse(os.path.lexists(self.m / "by-status/completed/42"))
        self.assertEqual(os.pread(fd, 1 << 20, 0), whole)
        os.close(fd)
        self.assertEqual(fails(os.rmdir, self.run_path), errno.ENOENT)
        start(self.m, "demo", "42", "another input")
        self.assertEqual((self.run_path / "input").read_text(), "another input")
        (self.run_path / "signals/go").write_text("again\n")
        self.assertEqual(result(self.m, "42"), "result of another input\n")

    def test_numbers_of_files(self):
        def used():
            numbers = os.statvfs(self.m.path)
            self.assertGreater(numbers.f_ffree, 0, "df -i does not call it full")
            return numbers.f_files - numbers.f_ffree
        before = used()
        start(self.m, "demo", "43", "x")
        self.assertEqual(used(), before + 1)
        control(self.m, "43", "cancel")
        self.finish()


class Held(MountCase):
    """Reads of wait/ are held, cost no thread, and end exactly once."""

    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.m.deploy(workflow(WAITER))
        start(self.m, "demo", "1")
        await_status(self.m, "1", "running")
        self.addCleanup(self.cancel)

    def cancel(self):
        if self.m.is_mounted() and os.listdir(self.m / "by-status/running"):
            control(self.m, "1", "cancel")

    def reader(self, name, **options):
        return subprocess.Popen(["cat", path_of(self.m, "1", name)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)

    def test_what_is_not_there_yet_without_waiting(self):
        for name in ("wait/result", "wait/signals/x", "wait/timers/x"):
            path = path_of(self.m, "1", name)
            self.assertEqual(fails(read_once, path, os.O_NONBLOCK), errno.EAGAIN)

    def test_interrupted_by_any_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for name in ("wait/result", "wait/signals/x", "wait/timers/x"):
                reader = self.reader(name)
                time.sleep(0.05)
                self.assertIsNone(reader.poll())
                reader.send_signal(number)
                self.assertEqual(reader.wait(10), -number)
                reader.communicate()
        done = run("timeout", "0.2", "cat", path_of(self.m, "1", "wait/result"))
        self.assertEqual(done.returncode, 124)

    def test_many_readers_cost_no_threads_and_all_are_answered(self):
        before = len(os.listdir(f"/proc/{self.m.pid}/task"))
        script = """
import os, sys, threading
threading.stack_size(65536)
def read(path):
    fd = os.open(path, os.O_RDONLY)
    data = os.read(fd, 100)
    os.close(fd)
    results.append(data)
results = []
threads = [threading.Thread(target=read, args=(sys.argv[1],)) for _ in range(int(sys.argv[2]))]
for thread in threads: thread.start()
print("waiting", flush=True)
for thread in threads: thread.join()
print(len(results), set(results))
"""
        readers = [subprocess.Popen(["python3", "-c", script,
                                     path_of(self.m, "1", "wait/signals/all"), "500"],
                                    stdout=subprocess.PIPE, text=True) for _ in range(4)]
        for reader in readers:
            reader.stdout.readline()
        time.sleep(0.5)
        self.assertLessEqual(len(os.listdir(f"/proc/{self.m.pid}/task")), before + 2)
        self.assertEqual(status(self.m, "1"), "running")
        (self.m / "runs/1/signals/all").write_text("here")
        for reader in readers:
            self.assertEqual(reader.communicate(timeout=60)[0], "500 {b'here'}\n")

    def test_a_race_of_ends(self):
        for number in range(60):
            name = f"r{number}"
            readers = [self.reader(f"wait/signals/{name}") for _ in range(4)]
            if number % 3:
                time.sleep(0.002 * (number % 10))
            killer = threading.Thread(target=lambda some=readers[:2]: [r.terminate() for r in some])
            killer.start()
            (self.m / f"runs/1/signals/{name}").write_text(name)
            killer.join()
            for index, reader in enumerate(readers):
                out, _ = reader.communicate(timeout=20)
                expected = {name.encode()} if index > 1 else {name.encode(), b""}
                self.assertIn(out, expected)
        self.assertTrue(self.m.is_alive())

    def test_a_result_that_is_large(self):
        self.m.deploy(workflow("head -c 5000000 /dev/zero | tr '\\0' x", "large"))
        start(self.m, "large", "2")
        done = run("cat", self.m / "runs/2/wait/result")
        self.assertTrue(done.stdout_bytes == b"x" * 5_000_000)

    def test_ends_without_what_was_waited_for(self):
        readers = [self.reader(name) for name in ("wait/result", "wait/signals/x", "wait/timers/x")]
        time.sleep(0.2)
        control(self.m, "1", "cancel no more")
        for reader in readers:
            self.assertIn(b"Operation canceled", reader.communicate(timeout=20)[1])
        self.assertEqual(fails(read_once, path_of(self.m, "1", "wait/result")), errno.ECANCELED)
        self.m.deploy(workflow("exit 100", "bad"))
        start(self.m, "bad", "2")
        self.assertEqual(fails(read_once, path_of(self.m, "2", "wait/result")), errno.EIO)

    def test_the_end_of_the_mount_ends_them(self):
        readers = [self.reader("wait/result") for _ in range(50)]
        time.sleep(0.5)
        harness.aionfs("stop", self.m.path, check=True)
        self.m.expect_clean_exit()
        for reader in readers:
            reader.communicate(timeout=20)
            self.assertNotEqual(reader.returncode, 0)
        self.m.start()
        self.assertEqual([end["how"] for end in events(self.m, "1", "AttemptEnded")], ["stopped"])
        control(self.m, "1", "cancel")

    def test_a_removed_run(self):
        control(self.m, "1", "cancel")
        wait_until(lambda: fails(os.rmdir, self.m / "runs/1") == 0, "its processes to end")
        self.assertEqual(fails(os.open, self.m / "runs/1/wait/result", os.O_RDONLY), errno.ENOENT)


class Writing(MountCase):
    """ctl, timers and signals."""

    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.m.deploy(workflow(WAITER))
        start(self.m, "demo", "1")
        await_status(self.m, "1", "running")

    def tearDown(self):
        if status(self.m, "1") not in ("cancelled", "completed"):
            control(self.m, "1", "cancel")

    def test_the_error_of_a_command_reaches_a_shell(self):
        ctl = path_of(self.m, "1", "ctl")
        for text, words in (("dance", "Invalid argument"), ("retry", "busy")):
            for tool in ("sh", "bash"):
                done = run(tool, "-c", f"echo {text} > {ctl}")
                self.assertNotEqual(done.returncode, 0)
            self.assertIn(words, done.stderr)
        self.assertEqual(shell(f"echo pause >> {ctl}").returncode, 0)
        self.assertEqual(status(self.m, "1"), "paused")
        self.assertEqual(shell(f"printf resume | tee {ctl}").returncode, 0)
        (self.m.dir / "command").write_text("cancel for a test\n")
        self.assertEqual(run("cp", "-p", self.m.dir / "command", ctl).returncode, 0)
        self.assertEqual(events(self.m, "1", "WorkflowCancelled")[0]["reason"], "for a test")
        self.assertEqual(ctl.read_bytes(), b"")

    def test_nobody_else_arms_a_timer(self):
        path = path_of(self.m, "1", "timers/t")
        self.assertEqual(fails(os.open, path, os.O_WRONLY | os.O_CREAT), errno.EPERM)
        self.assertFalse(path.exists())

    def test_timers(self):
        self.m.deploy(workflow(PRELUDE + r'''
path = f"{RUN}/timers/t"
with open(path, "wb") as f:
    os.fstat(f.fileno())
assert not os.path.exists(path)
def arm(name, data):
    fd = os.open(f"{RUN}/timers/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
refused(errno.EINVAL, arm, "t", b"soon")
refused(errno.EINVAL, arm, ".t", b"1s")
assert not os.path.exists(path)
arm("t", b"3600s\n")
arm("t", b"3600s")
refused(errno.EEXIST, arm, "t", b"2s")
refused(errno.EPERM, os.unlink, path)
assert text("timers/t") == "3600s\n" and os.path.getsize(path) == 6
arm("past", b"@1")
assert text("wait/timers/past") == "@1\n"
os.system(f"echo 1s > {RUN}/timers/shell")
assert text("wait/timers/shell") == "1s\n"
print("done")
''', "timers", interpreter=PYTHON))
        start(self.m, "timers", "2")
        self.assertEqual(result(self.m, "2"), "done\n", explain(self.m, "2"))

    def test_signals_by_the_rules_of_a_drop_box(self):
        signals = path_of(self.m, "1", "signals")
        source = self.m.dir / "source"
        source.write_text("yes")
        for name, script in (("a", 'cp -p "$SRC" "$DST"'), ("b", 'cat "$SRC" > "$DST"'),
                             ("c", 'install -m 600 "$SRC" "$DST"'),
                             ("d", 'cp "$SRC" "$DIR/.t~"; mv "$DIR/.t~" "$DST"'),
                             ("e", 'rsync -a "$SRC" "$DST"')):
            done = shell(script, env={"SRC": str(source), "DIR": str(signals),
                                      "DST": str(signals / name)})
            self.assertEqual((done.returncode, done.stderr), (0, ""), script)
            self.assertEqual((signals / name).read_text(), "yes")
            self.assertEqual((signals / name).stat().st_size, 3)
        run("touch", signals / "empty", check=True)
        wait_until(lambda: "empty" in os.listdir(signals), "the empty signal")
        self.assertEqual(path_of(self.m, "1", "wait/signals/empty").read_bytes(), b"")
        self.assertEqual(run("cp", source, signals / "a").returncode, 0)
        source.write_text("no")
        self.assertIn("File exists", run("cp", source, signals / "a").stderr)
        self.assertEqual((signals / "a").read_text(), "yes")
        self.assertEqual(sorted(os.listdir(signals)), ["a", "b", "c", "d", "e", "empty"])
        with open(signals / "large", "wb", buffering=0) as f:
            self.assertEqual(fails(os.pwrite, f.fileno(), b"x", 1 << 20), errno.EFBIG)
            self.assertEqual(fails(os.close, os.dup(f.fileno())), errno.EFBIG)
            os.ftruncate(f.fileno(), 0)
            f.write(b"x" * (1 << 20))
        self.assertEqual((signals / "large").stat().st_size, 1 << 20)

    def test_a_killed_sender_delivers_nothing(self):
        sender = subprocess.Popen(["sh", "-c", 'echo half > "$0"; kill -9 $$',
                                   path_of(self.m, "1", "signals/.x")])
        sender.wait()
        script = "import os, sys\nfd = os.open(sys.argv[1], 65)\nos.write(fd, b'half')\nos.kill(0, 9)"
        for name in ("x", "y"):
            subprocess.run(["python3", "-c", script, path_of(self.m, "1", f"signals/{name}")],
                           start_new_session=True, check=False)
        time.sleep(0.2)
        self.assertEqual(os.listdir(path_of(self.m, "1", "signals")), [".x"])


class Steps(MountCase):
    def run_workflow(self, script, type_name="steps"):
        m = self.mount()
        m.deploy(workflow(PRELUDE + script, type_name, interpreter=PYTHON))
        start(m, type_name, "1")
        self.assertEqual(result(m, "1"), "done\n", explain(m, "1"))
        return m

    def test_the_rules_of_the_directory(self):
        m = self.run_workflow(r'''
steps = f"{RUN}/steps"
refused(errno.EPERM, os.open, f"{steps}/plain", os.O_WRONLY | os.O_CREAT)
refused(errno.EPERM, os.mknod, f"{steps}/plain", 0o100600)
make("a", b"value")
assert os.listdir(steps) == [".a"] and os.path.getsize(f"{steps}/.a") == 5
refused(errno.EEXIST, make, "a")
os.setxattr(f"{steps}/.a", "user.aionfs.command", b"the command")
refused(errno.ENOTSUP, os.setxattr, f"{steps}/.a", "user.other", b"x")
for name in ("b", ".b", "A"):
    refused(errno.EINVAL, os.rename, f"{steps}/.a", f"{steps}/{name}")
os.rename(f"{steps}/.a", f"{steps}/a")
assert os.listdir(steps) == ["a"] and text("steps/a") == "value"
refused(errno.EPERM, os.unlink, f"{steps}/a")
refused(errno.EPERM, os.rename, f"{steps}/a", f"{steps}/b")
make("gone")
os.unlink(f"{steps}/.gone")
make("gone", b"second try")
os.rename(f"{steps}/.gone", f"{steps}/gone")
make("empty")
os.rename(f"{steps}/.empty", f"{steps}/empty")
os.fsync(os.open(f"{steps}/.open", os.O_WRONLY | os.O_CREAT))
print("done")
''')
        self.assertEqual(sorted(os.listdir(m / "runs/1/steps")), ["a", "empty", "gone"])
        self.assertEqual(os.getxattr(m / "runs/1/steps/a", "user.aionfs.command"), b"the command")

    def test_what_an_attempt_left_is_not_there_for_the_next(self):
        m = self.run_workflow(r'''
if os.environ["AION_ATTEMPT"] == "1":
    make("left", b"half")
    make("other", b"half")
    raise SystemExit(1)
assert os.listdir(f"{RUN}/steps") == []
make("left", b"whole")
os.rename(f"{RUN}/steps/.left", f"{RUN}/steps/left")
assert text("steps/left") == "whole"
print("done")
''')
        self.assertEqual(os.listdir(m / "runs/1/steps"), ["left"])

    def test_spools_of_dead_attempts_do_not_pile_up(self):
        m = self.mount()
        m.deploy(workflow(PRELUDE + r'''
for i in range(20):
    make(f"s{i}", b"x")
raise SystemExit(100)
''', interpreter=PYTHON))
        for number in range(80):
            start(m, "demo", str(number))
        wait_until(lambda: len(os.listdir(m / "by-status/failed")) == 80, "all runs to fail")
        self.assertLess(len(os.listdir(f"/proc/{m.pid}/fd")), 600)
        self.assertNotIn("No space", "".join((m / f"runs/{n}/log").read_text() for n in range(80)))

    def test_nobody_else(self):
        m = self.mount()
        m.deploy(workflow("aionfs step a -- echo 1; " + WAITER))
        start(m, "demo", "1")
        wait_until(lambda: os.listdir(m / "runs/1/steps") == ["a"], "the step")
        self.assertEqual(fails(os.open, m / "runs/1/steps/.b", os.O_WRONLY | os.O_CREAT), errno.EPERM)
        self.assertEqual(fails(os.unlink, m / "runs/1/steps/a"), errno.EPERM)
        control(m, "1", "cancel")


class Users(MountCase):
    def test_a_run_is_its_user_s(self):
        m = self.mount(options=f"start_group={USER}")
        m.deploy(workflow("aionfs step a -- echo 1; " + WAITER))
        source = m.dir / "input"
        source.write_text("x")
        run("cp", source, m / "start/demo/1", uid=USER, check=True)
        wait_until(lambda: os.listdir(m / "runs/1/steps") == ["a"], "the step")
        for directory, names, files in os.walk(m / "runs/1"):
            for name in names + files:
                self.assertEqual(os.lstat(os.path.join(directory, name)).st_uid, USER, name)
        self.assertIn("1", run("ls", "-l", m / "runs", uid=OTHER, check=True).stdout)
        self.assertIn("1", run("ls", m / "by-status/running", uid=OTHER, check=True).stdout)
        for words in (["ls", m / "runs/1"], ["cat", m / "runs/1/input"],
                      ["cat", m / "runs/1/steps/a"], ["cat", m / "runs/1/history"],
                      ["cat", m / "runs/1/wait/result"], ["readlink", "-v", m / "runs/1/package"],
                      ["cp", source, m / "runs/1/signals/go"],
                      ["sh", "-c", f"echo cancel > {m.path}/runs/1/ctl"], ["rmdir", m / "runs/1"]):
            done = run(*words, uid=OTHER)
            self.assertIn("Permission denied", done.stderr, words)
        for words in (["ls", "-la", m / "runs/1"], ["cat", m / "runs/1/steps/a"],
                      ["test", "-w", m / "runs/1/ctl"], ["test", "-x", m / "runs/1"],
                      ["cp", source, m / "runs/1/signals/go"], ["cat", m / "runs/1/wait/result"]):
            self.assertEqual(run(*words, uid=USER).returncode, 0, words)
        self.assertEqual(run("test", "-w", m / "runs/1/ctl", uid=OTHER).returncode, 1)
        self.assertEqual(run("rmdir", m / "runs/1", uid=USER).returncode, 0)


if __name__ == "__main__":
    harness.unittest.main()
