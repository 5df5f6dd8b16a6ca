# SPDX-License-Identifier: Apache-2.0
"""Durable runs through the real mount: pins, recovery, timers, signals, parking, control, users."""

import concurrent.futures
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time

import harness
import workflows
from harness import MountCase, make_package, run, shell, wait_until
from test_damage import flip
from workflows import (await_status, control, events, history, path_of, result, start, status,
                       workflow)

USER, OTHER = 1234, 1235
ECHO = "cat"


class Basics(MountCase):
    def test_a_run_has_everything_that_it_should(self):
        m = self.mount()
        m.deploy(workflow('read -r x; echo "to the log" >&2; echo "got $x"'))
        start(m, "demo", "42", "hello\n")
        self.assertEqual(result(m, "42"), "got hello\n")
        self.assertEqual(sorted(os.listdir(path_of(m, "42"))), [
            "ctl", "history", "input", "log", "package", "result", "signals", "status", "steps",
            "timers", "wait"])
        self.assertEqual(path_of(m, "42", "input").read_text(), "hello\n")
        self.assertEqual(path_of(m, "42", "result").read_text(), "got hello\n")
        self.assertEqual(path_of(m, "42", "log").read_text(), "to the log\n")
        self.assertEqual(status(m, "42"), "completed")
        self.assertEqual(os.readlink(path_of(m, "42", "package")),
                         f"../../packages/demo/{m.route('demo')}")
        self.assertEqual(os.readlink(m / "by-status/completed/42"), "../../runs/42")
        self.assertEqual(events(m, "42"), ["WorkflowStarted", "AttemptStarted", "AttemptEnded",
                                           "WorkflowCompleted"])
        first = history(m, "42")[0]
        self.assertEqual((first["seq"], first["type"], first["version"], first["input_sha256"]),
                         (1, "demo", m.route("demo"), harness.sha256(b"hello\n")))
        for name in ("input", "result", "log", "status", "history"):
            self.assertEqual(path_of(m, "42", name).stat().st_size,
                             len(path_of(m, "42", name).read_bytes()), name)

    def test_the_environment_of_an_attempt(self):
        m = self.mount()
        m.deploy(workflow('pwd; env | sort; echo "$0"; ls /proc/self/fd | wc -w'))
        start(m, "demo", "1")
        lines = result(m, "1").splitlines()
        version = m.route("demo")
        self.assertEqual(lines[0], f"{m.path}/packages/demo/{version}")
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        self.assertEqual(values["AION_MOUNT"], str(m.path))
        self.assertEqual(values["AION_RUN"], f"{m.path}/runs/1")
        self.assertEqual((values["AION_RUN_ID"], values["AION_TYPE"], values["AION_VERSION"],
                          values["AION_ATTEMPT"]), ("1", "demo", version, "1"))
        self.assertTrue(values["PATH"].startswith(workflows.PROGRAM_DIRECTORY + ":"))
        self.assertEqual(lines[-1], "4", "stdin, stdout, stderr, and the one that ls reads with")

    def test_starting_again_is_the_same_run(self):
        m = self.mount()
        m.deploy(workflow(ECHO))
        start(m, "demo", "1", "a\n")
        result(m, "1")
        start(m, "demo", "1", "a\n")
        self.assertEqual(events(m, "1").count("WorkflowStarted"), 1)
        other = m.dir / "other"
        other.write_text("b\n")
        done = m.cp(other, "start/demo/1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("File exists", done.stderr)
        self.assertEqual(path_of(m, "1", "input").read_text(), "a\n")

    def test_what_cannot_start(self):
        m = self.mount()
        m.deploy(make_package({"file": b"x"}, "plain"))
        source = m.dir / "input"
        source.write_text("x")
        for target, words in (("start/nothing/1", "No such file"), ("start/plain/1", "Exec format"),
                              (f"start/plain/{'0' * 64}/1", "No such file")):
            done = m.cp(source, target)
            self.assertNotEqual(done.returncode, 0, target)
            self.assertIn(words, done.stderr)
        self.assertEqual(os.listdir(m / "runs"), [])

    def test_a_named_version_before_it_is_routed(self):
        m = self.mount()
        m.deploy(workflow("echo one"))
        receipt = m.deploy(workflow("echo two"), box="stage")
        source = m.dir / "input"
        source.write_text("")
        run("cp", source, m / f"start/demo/{receipt['version']}/try", check=True)
        self.assertEqual(result(m, "try"), "two\n")
        start(m, "demo", "usual")
        self.assertEqual(result(m, "usual"), "one\n")

    def test_failures_are_retried_and_then_final(self):
        m = self.mount()
        m.deploy(workflow('echo "trying $AION_ATTEMPT" >&2; exit 3', {
            "entry_module": "demo", "retry": {"max_attempts": 3, "initial_ms": 10, "max_ms": 50}}))
        start(m, "demo", "1")
        done = run("cat", path_of(m, "1", "wait/result"))
        self.assertIn("Input/output error", done.stderr)
        self.assertEqual(status(m, "1"), "failed")
        ends = events(m, "1", "AttemptEnded")
        self.assertEqual([(end["how"], end["exit_code"]) for end in ends], [("failed", 3)] * 3)
        self.assertIn("retry_at", ends[0])
        self.assertNotIn("retry_at", ends[2])
        self.assertIn("trying 3", path_of(m, "1", "error").read_text())
        self.assertEqual(path_of(m, "1", "log").read_text(), "trying 1\ntrying 2\ntrying 3\n")
        self.assertEqual(os.listdir(m / "by-status/failed"), ["1"])
        control(m, "1", "retry")
        await_status(m, "1", "failed")
        wait_until(lambda: len(events(m, "1", "AttemptEnded")) == 6, "three more attempts")
        self.assertEqual(events(m, "1").count("RunReopened"), 1)

    def test_exit_100_fails_at_once(self):
        m = self.mount()
        m.deploy(workflow("exit 100"))
        start(m, "demo", "1")
        await_status(m, "1", "failed")
        self.assertEqual(events(m, "1").count("AttemptStarted"), 1)

    def test_the_deadline_ends_a_run(self):
        m = self.mount()
        m.deploy(workflow("sleep 1000", {"entry_module": "demo",
                                         "timeout": {"secs": 1, "nanos": 0}}))
        start(m, "demo", "1")
        done = run("cat", path_of(m, "1", "wait/result"))
        self.assertIn("timed out", done.stderr.lower())
        self.assertEqual(status(m, "1"), "timed_out")
        self.assertEqual(events(m, "1", "AttemptEnded")[0]["how"], "timed_out")


class Steps(MountCase):
    def test_a_step_is_replayed_after_a_failure(self):
        m = self.mount()
        notes = self.scratch()
        m.deploy(workflow(f'''
            x=$(aionfs step once -- sh -c 'echo called >>{notes}/calls; echo value') || exit
            [ $AION_ATTEMPT = 3 ] || exit 1
            echo "$x"'''))
        start(m, "demo", "1")
        self.assertEqual(result(m, "1"), "value\n")
        self.assertEqual((notes / "calls").read_text(), "called\n")
        self.assertEqual(path_of(m, "1", "steps/once").read_text(), "value\n")
        step = events(m, "1", "StepRecorded")[0]
        self.assertEqual((step["step"], step["attempt"]), ("once", 1))
        self.assertIn("called", step["command"])

    def test_another_command_is_a_violation(self):
        m = self.mount()
        m.deploy(workflow('''
            aionfs step s -- echo "attempt $AION_ATTEMPT" || exit
            exit 1'''))
        start(m, "demo", "1")
        await_status(m, "1", "failed")
        error = path_of(m, "1", "error").read_text()
        self.assertIn("attempt 1", error)
        self.assertIn("attempt 2", error)
        self.assertIn("determinism", error)
        self.assertEqual(path_of(m, "1", "steps/s").read_text(), "attempt 1\n")
        self.assertEqual(events(m, "1", "AttemptEnded")[-1]["how"], "violated")
        self.assertEqual(events(m, "1").count("AttemptStarted"), 2)

    def test_a_name_twice_is_a_violation(self):
        m = self.mount()
        m.deploy(workflow("aionfs step s -- echo 1; aionfs step s -- echo 1; sleep 1000"))
        start(m, "demo", "1")
        await_status(m, "1", "failed")
        self.assertIn("twice", path_of(m, "1", "error").read_text())

    def test_a_command_that_fails_is_not_recorded_and_may_be_tried_again(self):
        m = self.mount()
        notes = self.scratch()
        m.deploy(workflow(f'''
            until aionfs step s -- sh -c 'mkdir {notes}/second 2>/dev/null && exit 7; echo ok'
            do echo "code $?" >&2; done'''))
        start(m, "demo", "1")
        self.assertEqual(result(m, "1"), "ok\n")
        self.assertEqual(path_of(m, "1", "log").read_text(), "code 7\n")

    def test_nobody_else_records_steps_or_arms_timers(self):
        m = self.mount()
        m.deploy(workflow("sleep 1000"))
        start(m, "demo", "1")
        await_status(m, "1", "running")
        for name in ("steps/.s", "timers/t"):
            with self.assertRaises(OSError) as caught:
                with open(path_of(m, "1", name), "wb", buffering=0) as file:
                    file.write(b"90s")
            self.assertEqual(caught.exception.errno, errno.EPERM, name)
        self.assertEqual(os.listdir(path_of(m, "1", "steps")), [])
        control(m, "1", "cancel")

    def test_a_workflow_without_our_commands(self):
        m = self.mount()
        script = '''
import os, sys
run = os.environ["AION_RUN"]
def step(name, function):
    try:
        with open(f"{run}/steps/{name}") as file:
            return file.read()
    except FileNotFoundError:
        pass
    value = function()
    with open(f"{run}/steps/.{name}", "w") as file:
        file.write(value)
    os.rename(f"{run}/steps/.{name}", f"{run}/steps/{name}")
    return value
first = step("first", lambda: "one")
with open(f"{run}/timers/nap", "w") as file:
    file.write("1s")
with open(f"{run}/wait/timers/nap") as file:
    file.read()
second = step("second", lambda: first + " two")
if os.environ["AION_ATTEMPT"] == "1":
    sys.exit(1)
print(second)'''
        m.deploy(workflow(script, interpreter="/usr/bin/env python3"))
        start(m, "demo", "1")
        self.assertEqual(result(m, "1"), "one two\n")
        self.assertEqual(events(m, "1").count("StepRecorded"), 2)
        self.assertEqual(events(m, "1").count("TimerFired"), 1)

    def test_large_values(self):
        m = self.mount()
        m.deploy(workflow('aionfs step big -- head -c 20000000 /dev/zero | tail -c 3; '
                          'head -c 3000000 /dev/zero'))
        start(m, "demo", "1", "x" * 300_000)
        wait_until(lambda: workflows.status(m, "1") == "completed", "the end")
        self.assertEqual(path_of(m, "1", "steps/big").read_bytes(), bytes(20_000_000))
        self.assertEqual(path_of(m, "1", "wait/result").read_bytes(), bytes(3_000_003))
        self.assertEqual(path_of(m, "1", "input").read_text(), "x" * 300_000)
        workflows.restart(m)
        self.assertEqual(path_of(m, "1", "result").read_bytes(), bytes(3_000_003))
        os.rmdir(path_of(m, "1"))
        m.umount()
        self.assert_silent_fsck(m)


class Pins(MountCase):
    def test_old_runs_finish_on_their_version(self):
        m = self.mount()
        wait = 'aionfs wait signal go >/dev/null; '
        m.deploy(workflow(f"{wait}echo version 1"))
        start(m, "demo", "old")
        await_status(m, "old", "running")
        m.deploy(workflow("echo version 2"))
        start(m, "demo", "new")
        self.assertEqual(result(m, "new"), "version 2\n")
        m.kill()
        m.start()
        path_of(m, "old", "signals/go").write_text("")
        self.assertEqual(result(m, "old"), "version 1\n")
        start(m, "demo", "newer")
        self.assertEqual(result(m, "newer"), "version 2\n")

    def test_a_pin_holds_its_version(self):
        m = self.mount()
        m.deploy(workflow("aionfs wait signal go"))
        old = m.route("demo")
        start(m, "demo", "holds-it", "")
        m.deploy(workflow("echo 2"))
        for _ in range(2):
            done = run("rmdir", m.package("demo", old))
            self.assertIn("busy", done.stderr)
            self.assertIn("holds-it", m.log_text())
            m.kill()
            m.start()
        path_of(m, "holds-it", "signals/go").write_text("now")
        self.assertEqual(result(m, "holds-it"), "now")
        run("rmdir", m.package("demo", old), check=True)

    def test_starts_and_reroutes_and_unloads_at_once(self):
        m = self.mount()
        packages = [workflow('basename "$PWD"', extra={"n": str(n).encode()}) for n in range(2)]
        versions = [m.deploy(package)["version"] for package in packages]
        stop = threading.Event()

        def flip():
            number = 0
            while not stop.is_set():
                number += 1
                run("ln", "-sfn", f"../packages/demo/{versions[number % 2]}", m / "routes/demo")

        def unload():
            while not stop.is_set():
                for version, package in zip(versions, packages):
                    if run("rmdir", m.package("demo", version)).returncode == 0:
                        m.try_deploy(package, f"again-{version[:6]}", "stage")
        threads = [threading.Thread(target=flip), threading.Thread(target=unload)]
        for thread in threads:
            thread.start()

        def begin(number):
            source = m.dir / f"i{number}"
            source.write_text("not empty: its verdict is told to nobody\n")
            return m.cp(source, f"start/demo/r{number}").returncode
        try:
            with concurrent.futures.ThreadPoolExecutor(40) as pool:
                codes = list(pool.map(begin, range(120)))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(len(os.listdir(m / "runs")), codes.count(0))
        self.assertGreater(codes.count(0), 20)
        for number, code in enumerate(codes):
            if code == 0:
                self.assertEqual(result(m, f"r{number}").strip(),
                                 history(m, f"r{number}")[0]["version"])

    def test_stranded_alone_and_recovered_by_a_deploy(self):
        m = self.mount()
        lost, kept = workflow("aionfs wait signal go; echo lost and found", "lost"), \
            workflow("aionfs wait signal go; echo kept", "kept")
        for name, package in (("lost", lost), ("kept", kept)):
            m.deploy(package, f"{name}.tar.gz")
            start(m, name, name)
            await_status(m, name, "running")
        version = m.route("lost")
        workflows.stop(m)
        key = b"lost\0" + bytes.fromhex(version)
        self.assertGreater(flip(m.state / "rows/data.mdb", re.escape(key), 20), 0)
        m.start()
        self.assertEqual(status(m, "lost"), "stranded")
        self.assertIn(version, path_of(m, "lost", "error").read_text())
        self.assertEqual(os.listdir(m / "by-status/stranded"), ["lost"])
        self.assertIn("run_stranded", m.log_text())
        path_of(m, "kept", "signals/go").write_text("")
        self.assertEqual(result(m, "kept"), "kept\n")
        m.deploy(lost, "lost.tar.gz")
        path_of(m, "lost", "signals/go").write_text("")
        self.assertEqual(result(m, "lost"), "lost and found\n")
        self.assertIn("RunRecovered", events(m, "lost"))


class Time(MountCase):
    def test_a_timer_set_before_a_crash_fires_at_its_time_after_it(self):
        m = self.mount()
        m.deploy(workflow('date +%s.%N; aionfs sleep nap 4s; date +%s.%N'))
        start(m, "demo", "1")
        wait_until(lambda: "TimerSet" in events(m, "1"), "the timer")
        due = events(m, "1", "TimerSet")[0]["due"]
        m.kill()
        m.start()
        self.assertNotEqual(status(m, "1"), "completed")
        result(m, "1")
        fired = events(m, "1", "TimerFired")
        self.assertEqual(len(fired), 1)
        self.assertEqual(events(m, "1", "TimerSet")[0]["due"], due)
        self.assertGreaterEqual(fired[0]["at"], due)

    def test_a_timer_that_was_due_meanwhile_fires_at_once(self):
        m = self.mount()
        m.deploy(workflow("aionfs sleep nap 2s; aionfs sleep nap 2s; echo up"))
        start(m, "demo", "1")
        wait_until(lambda: "TimerSet" in events(m, "1"), "the timer")
        m.kill()
        time.sleep(2.5)
        m.start()
        self.assertEqual(events(m, "1").count("TimerFired"), 1, "before the mount is ready")
        self.assertEqual(result(m, "1"), "up\n")
        self.assertEqual(events(m, "1").count("TimerFired"), 1)
        self.assertEqual(events(m, "1").count("TimerSet"), 1)

    def test_parking_and_waking(self):
        m = self.mount(options="park_after=1")
        m.deploy(workflow('echo "attempt $AION_ATTEMPT" >&2; aionfs step s -- echo 1; '
                          'aionfs sleep nap 5s; aionfs wait signal go; echo "end"'))
        start(m, "demo", "1")
        await_status(m, "1", "parked")
        holder = workflows.holder_of(m, "1")
        wait_until(lambda: not workflows.is_alive(holder), "the parked run's holder to be gone")
        self.assertEqual(m.status()["attempts"], 0)
        self.assertEqual(events(m, "1", "AttemptEnded")[0]["waits"], ["timers/nap"])
        wait_until(lambda: events(m, "1").count("AttemptEnded") == 2, "the second parking")
        self.assertEqual(events(m, "1", "AttemptEnded")[1]["waits"], ["signals/go"])
        workflows.restart(m)
        self.assertEqual(status(m, "1"), "parked")
        path_of(m, "1", "signals/go").write_text("told ")
        self.assertEqual(result(m, "1"), "1\ntold end\n")
        self.assertEqual(events(m, "1").count("StepRecorded"), 1)
        self.assertNotIn("failed", [end["how"] for end in events(m, "1", "AttemptEnded")])

    def test_signals(self):
        m = self.mount()
        m.deploy(workflow("aionfs wait signal b; aionfs wait signal a"))
        start(m, "demo", "1")
        path_of(m, "1", "signals/a").write_text("A")
        path_of(m, "1", "signals/a").write_text("A")
        with self.assertRaises(OSError) as caught:
            path_of(m, "1", "signals/a").write_text("other")
        self.assertEqual(caught.exception.errno, errno.EEXIST)
        m.kill()
        m.start()
        self.assertEqual(path_of(m, "1", "signals/a").read_text(), "A")
        shell(f"echo B > {path_of(m, '1', 'signals/b')}", check=True)
        self.assertEqual(result(m, "1"), "B\nA")
        with self.assertRaises(OSError) as caught:
            path_of(m, "1", "signals/late").write_text("x")
        self.assertEqual(caught.exception.errno, errno.EBUSY)

    def test_a_waiting_read_can_be_interrupted(self):
        m = self.mount()
        m.deploy(workflow("aionfs wait signal go"))
        start(m, "demo", "1")
        readers = [subprocess.Popen(["cat", path_of(m, "1", "wait/result")], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL) for _ in range(50)]
        time.sleep(0.5)
        for number, reader in enumerate(readers[:25]):
            reader.send_signal((signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[number % 3])
        for reader in readers[:25]:
            reader.wait(30)
        path_of(m, "1", "signals/go").write_text("done")
        for reader in readers[25:]:
            self.assertEqual(reader.communicate(timeout=30)[0], b"done")


class Control(MountCase):
    def test_cancel_pause_resume_retry_and_wrong_states(self):
        m = self.mount()
        m.deploy(workflow("aionfs wait signal go; echo went"))
        start(m, "demo", "1")
        await_status(m, "1", "running")
        with self.assertRaises(OSError) as caught:
            control(m, "1", "resume")
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        self.assertIn("run 1 is running", m.log_text())
        control(m, "1", "pause\n")
        self.assertEqual(status(m, "1"), "paused")
        path_of(m, "1", "signals/go").write_text("")
        time.sleep(0.5)
        self.assertEqual(status(m, "1"), "paused")
        workflows.restart(m)
        self.assertEqual(status(m, "1"), "paused")
        control(m, "1", "cancel no longer wanted")
        self.assertEqual(status(m, "1"), "cancelled")
        self.assertEqual(events(m, "1", "WorkflowCancelled")[0]["reason"], "no longer wanted")
        done = run("cat", path_of(m, "1", "wait/result"))
        self.assertIn("canceled", done.stderr)
        for word in ("cancel", "pause", "resume"):
            before = workflows.history_bytes(m, "1")
            self.assertNotEqual(shell(f"echo {word} > {path_of(m, '1', 'ctl')}").returncode, 0)
            self.assertEqual(workflows.history_bytes(m, "1"), before)
        shell(f"echo retry > {path_of(m, '1', 'ctl')}", check=True)
        self.assertEqual(result(m, "1"), "went\n")
        with self.assertRaises(OSError) as caught:
            control(m, "1", "explode")
        self.assertEqual(caught.exception.errno, errno.EINVAL)

    def test_nothing_of_an_attempt_survives(self):
        m = self.mount()
        notes = self.scratch()
        script = f'''
            for i in 1 2 3; do setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 1000; done' & done
            (setsid setsid sleep 1000 &)
            touch {notes}/$AION_RUN_ID
            read -r how
            [ "$how" = end ] || sleep 1000'''
        m.deploy(workflow(script))
        for how in ("end", "cancel", "kill"):
            start(m, "demo", how, how + "\n")
            wait_until((notes / how).exists, how)
        time.sleep(0.3)
        holders = {how: workflows.holder_of(m, how) for how in ("end", "cancel", "kill")}
        below = {how: workflows.descendants(pid) for how, pid in holders.items()}
        self.assertGreater(len(below["kill"]), 4)
        await_status(m, "end", "completed")
        control(m, "cancel", "cancel")
        for how in ("end", "cancel"):
            wait_until(lambda how=how: not any(map(workflows.is_alive, [holders[how], *below[how]])),
                       f"nothing of {how} to be left")
        self.assertTrue(workflows.is_alive(holders["kill"]))
        m.kill()
        wait_until(lambda: not any(map(workflows.is_alive, below["kill"])), "nothing to be left")

    def test_at_most_so_many_at_once(self):
        m = self.mount(options="max_attempts_running=3")
        notes = self.scratch()
        m.deploy(workflow(f'mkdir {notes}/$AION_RUN_ID; ls {notes} | wc -l; sleep 0.2; '
                          f'rmdir {notes}/$AION_RUN_ID'))
        for number in range(15):
            start(m, "demo", f"r{number}")
        most = max(int(result(m, f"r{number}")) for number in range(15))
        self.assertLessEqual(most, 3)

    def test_removing_finished_runs(self):
        m = self.mount()
        m.deploy(workflow("cat; sleep $AION_RUN_ID"))
        start(m, "demo", "0")
        start(m, "demo", "1000")
        result(m, "0")
        done = run("rmdir", path_of(m, "1000"))
        self.assertIn("busy", done.stderr)
        run("rmdir", path_of(m, "0"), check=True)
        self.assertEqual(os.listdir(m / "runs"), ["1000"])
        control(m, "1000", "cancel")
        workflows.restart(m, options="keep_runs=1s")
        wait_until(lambda: os.listdir(m / "runs") == [], "old runs to be removed by age")
        m.umount()
        self.assert_silent_fsck(m)


class Users(MountCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root to become other users")

    def test_a_run_belongs_to_the_user_who_started_it(self):
        m = self.mount(options=f"start_group={USER}")
        secret = self.scratch() / "secret"
        secret.write_text("root's own")
        secret.chmod(0o600)
        m.deploy(workflow(f'id -u; id -g; cat {secret} || true; aionfs step s -- echo private; '
                          'echo words >&2; aionfs wait signal go'))
        start(m, "demo", "mine", "input\n", uid=USER, groups=[USER])
        wait_until(lambda: "StepRecorded" in events(m, "mine"), "the step")
        for name in ("input", "steps/s", "log", "history", "status", "signals", "ctl"):
            for user, allowed in ((USER, True), (OTHER, False), (0, True)):
                path = path_of(m, "mine", name)
                done = run("ls" if name == "signals" else "cat", path, uid=user)
                if name != "ctl":
                    self.assertEqual(done.returncode == 0, allowed, f"{user} {name} {done.stderr}")
        done = shell(f"echo cancel > {path_of(m, 'mine', 'ctl')}", uid=OTHER)
        self.assertNotEqual(done.returncode, 0)
        done = shell(f"echo go > {path_of(m, 'mine', 'signals/go')}", uid=OTHER)
        self.assertNotEqual(done.returncode, 0)
        shell(f"echo go > {path_of(m, 'mine', 'signals/go')}", uid=USER, check=True)
        text = result(m, "mine")
        self.assertEqual(text.splitlines()[:2], [str(USER), str(USER)])
        self.assertNotIn("root's own", text)
        self.assertNotEqual(run("cat", path_of(m, "mine", "result"), uid=OTHER).returncode, 0)
        self.assertEqual(path_of(m, "mine").stat().st_uid, USER)

    def test_who_may_start(self):
        m = self.mount()
        m.deploy(workflow("echo"))
        source = m.dir / "input"
        source.write_text("")
        source.chmod(0o644)
        done = run("cp", source, m / "start/demo/1", uid=OTHER)
        self.assertIn("Permission denied", done.stderr)
        start(m, "demo", "roots")
        workflows.restart(m, options=f"start_group={USER}")
        start(m, "demo", "users", uid=OTHER, groups=[USER])
        done = run("cp", source, m / "start/demo/roots", uid=USER)
        self.assertNotEqual(done.returncode, 0)


class Walking(MountCase):
    def test_tools_that_walk_the_tree_end(self):
        m = self.mount()
        m.deploy(workflow("aionfs step s -- echo x; aionfs wait signal never"))
        for number in range(5):
            start(m, "demo", f"r{number}", "text\n")
            await_status(m, f"r{number}", "running")
        target = self.scratch()
        for words in (["tar", "cf", target / "all.tar", "-C", m.path, "."],
                      ["grep", "-r", "nothing here", m.path],
                      ["rsync", "-a", f"{m.path}/", target / "copy"],
                      ["find", m.path, "-ls"], ["ls", "-lR", m.path], ["du", "-s", m.path]):
            done = run(*words, timeout=60)
            self.assertLess(done.returncode, 2 if words[0] != "rsync" else 24,
                            f"{words}: {done.stderr[-2000:]}")
        for number in range(5):
            control(m, f"r{number}", "cancel")

    def test_a_run_with_many_timers_is_listed_quickly(self):
        m = self.mount(options="park_after=1")
        m.deploy(workflow(
            "import os, time\n"
            "run = os.environ['AION_RUN']\n"
            "for i in range(1500):\n"
            "    with open(f'{run}/timers/t{i}', 'wb', buffering=0) as timer:\n"
            "        timer.write(b'9d')\n"
            "open(f'{run}/wait/signals/go').read()", interpreter=sys.executable))
        start(m, "demo", "1")
        await_status(m, "1", "parked")
        begun = time.monotonic()
        lines = run("ls", "-l", path_of(m, "1", "timers"), check=True).stdout.splitlines()
        # It took a quarter of a minute when each name read the whole history; now 50 ms.
        self.assertLess(time.monotonic() - begun, 8 if not harness.SANITIZED else 60)
        self.assertEqual(len(lines), 1501)
        # What was kept for that is not taken for the truth when there is more.
        (path_of(m, "1", "signals") / "other").write_text("x")
        self.assertEqual(os.listdir(path_of(m, "1", "signals")), ["other"])
        self.assertEqual((path_of(m, "1", "signals") / "other").read_text(), "x")
        control(m, "1", "cancel")

    def test_a_run_is_removed_right_after_its_cancel(self):
        m = self.mount()
        m.deploy(workflow("sleep 1000 & sleep 1000 & sleep 1000 & aionfs wait signal go"))
        for number in range(20):
            start(m, "demo", f"r{number}")
            await_status(m, f"r{number}", "running")
            control(m, f"r{number}", "cancel")
            os.rmdir(path_of(m, f"r{number}"))
        self.assertEqual(os.listdir(m / "runs"), [])

    def test_umount_is_busy_while_attempts_run_and_stop_ends_them(self):
        m = self.mount()
        m.deploy(workflow("sleep 1000"))
        start(m, "demo", "1")
        await_status(m, "1", "running")
        self.assertIn("busy", run("umount", m.path).stderr)
        harness.aionfs("stop", m.path, check=True)
        m.expect_clean_exit()
        m.start()
        await_status(m, "1", "running")
        self.assertEqual([end["how"] for end in events(m, "1", "AttemptEnded")], ["stopped"])
        control(m, "1", "cancel")

    def test_a_run_can_not_stop_its_mount_by_a_number_of_its_own_namespace(self):
        m = self.mount()
        m.deploy(workflow('aionfs stop "$AION_MOUNT" 2>&1; echo "code $?"'))
        start(m, "demo", "1", "x")
        text = result(m, "1")
        self.assertIn("namespace", text)
        self.assertIn("code 1", text)
        self.assertTrue(m.is_alive())

    def test_a_copy_that_is_killed_starts_nothing(self):
        m = self.mount()
        m.deploy(workflow("cat"))
        for number in range(20):
            writer = subprocess.Popen(
                ["python3", "-c", "import sys,time\nf=open(sys.argv[1],'wb',buffering=0)\n"
                 "f.write(b'half')\nprint(flush=True)\ntime.sleep(1000)",
                 m / f"start/demo/r{number}"], stdout=subprocess.PIPE)
            writer.stdout.readline()
            writer.kill()
            writer.wait()
            writer.stdout.close()
        time.sleep(0.3)
        self.assertEqual(os.listdir(m / "runs"), [])
