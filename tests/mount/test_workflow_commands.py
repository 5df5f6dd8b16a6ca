# SPDX-License-Identifier: Apache-2.0
"""aionfs step, sleep and wait, inside real attempts and from outside."""

import os
import shlex
import signal
import subprocess
import time

import harness
from harness import MountCase, aionfs, run, sha256, shell
from workflows import (await_status, control, events, history, path_of, result, start, status,
                       workflow)

MIB = 1 << 20


class Commands(MountCase):
    """One mount for each test, and one run in it whose workflow is the test's script."""

    def begin(self, script, manifest="demo", text="\n", **options):
        m = self.mount(**options)
        m.deploy(workflow(script, manifest))
        start(m, manifest if isinstance(manifest, str) else manifest["entry_module"], "1", text)
        return m

    def log(self, m):
        return path_of(m, "1", "log").read_text(errors="replace")


class Step(Commands):
    def test_prints_what_the_command_printed_and_replays_it(self):
        notes = self.scratch()
        m = self.begin(f'''
            out=$(aionfs step s -- sh -c 'echo x >>{notes}/calls; printf "a\\n\\tb"; echo err >&2')
            echo "code $? [$out]" >&2
            [ "$AION_ATTEMPT" = 3 ] || exit 1''')
        result(m, "1")
        self.assertEqual(self.log(m).split("\n", 1)[0], "err")
        self.assertEqual(self.log(m).count("code 0 [a\n\tb]"), 3)
        self.assertEqual(self.log(m).count("err"), 1)
        self.assertEqual((notes / "calls").read_text(), "x\n")
        self.assertEqual(path_of(m, "1", "steps/s").read_bytes(), b"a\n\tb")
        self.assertEqual(os.listdir(path_of(m, "1", "steps")), ["s"])

    def test_nothing_printed_is_a_record_too(self):
        notes = self.scratch()
        m = self.begin(f'''
            aionfs step s -- sh -c 'echo x >>{notes}/calls' || exit
            [ "$AION_ATTEMPT" = 2 ] || exit 1''')
        result(m, "1")
        self.assertEqual((notes / "calls").read_text(), "x\n")
        self.assertEqual(path_of(m, "1", "steps/s").stat().st_size, 0)

    def test_exit_codes_and_nothing_recorded_after_a_failure(self):
        m = self.begin('''
            for command in 'exit 7' 'kill -9 $$' 'kill -TERM $$' 'echo partial; exit 1'; do
                out=$(aionfs step s -- sh -c "$command"); echo "$? [$out]"
            done
            aionfs step s -- /nonexistent/program; echo $?
            aionfs step s -- no-such-program; echo $?
            aionfs step s -- /etc/passwd; echo $?
            aionfs step s -- sh -c 'ls -A "$AION_RUN/steps"'; echo $?
            ls -A "$AION_RUN/steps"''')
        self.assertEqual(result(m, "1").split("\n"), [
            "7 []", "137 []", "143 []", "1 []", "127", "127", "126", ".s", "0", "s", ""])
        self.assertEqual(len(events(m, "1", "StepRecorded")), 1)
        self.assertIn("/nonexistent/program can't be executed", self.log(m))

    def test_the_command_gets_stdin_and_the_environment(self):
        m = self.begin('''
            echo words | aionfs step a -- cat
            aionfs step b -- sh -c 'echo $AION_RUN_ID; read line; echo $line' ''', text="the input\n")
        self.assertEqual(result(m, "1"), "words\n1\nthe input\n")

    def test_the_declared_command_reads_as_a_shell_would(self):
        words = ["sh", "-c", "echo \"$#\"", "it's", "", "a b", "$HOME", "*", "plain=1", "ünï",
                 "back\\slash", "line\nbreak", "a,b:c/d@e%f+g-h_i.j"]
        m = self.begin("aionfs step s -- " + shlex.join(words))
        self.assertEqual(result(m, "1"), "9\n")
        command = events(m, "1", "StepRecorded")[0]["command"]
        self.assertEqual(shlex.split(command), words)
        self.assertTrue(command.startswith("sh -c 'echo \"$#\"' 'it'\\''s' '' 'a b' '$HOME' '*' "
                                           "plain=1 'ünï'"), command)
        self.assertTrue(command.endswith(" a,b:c/d@e%f+g-h_i.j"), command)

    def test_another_command_is_a_violation(self):
        m = self.begin('aionfs step s -- echo "in attempt $AION_ATTEMPT"; exit 1')
        await_status(m, "1", "failed")
        error = path_of(m, "1", "error").read_text()
        for words in ("determinism violation", '"s"', "in attempt 1", "in attempt 2"):
            self.assertIn(words, error)
        self.assertEqual(path_of(m, "1", "steps/s").read_text(), "in attempt 1\n")
        self.assertEqual(len(events(m, "1", "AttemptStarted")), 2)

    def test_a_name_at_two_places_at_once(self):
        m = self.begin('''
            aionfs step s -- sleep 2 &
            until [ -e "$AION_RUN/steps/.s" ]; do sleep 0.05; done
            aionfs step s -- echo other; echo "$?"
            wait''')
        self.assertEqual(result(m, "1"), "1\n")
        self.assertIn('step "s" is being executed already', self.log(m))

    def test_ended_by_a_signal_it_leaves_nothing(self):
        m = self.begin('''
            timeout --foreground 0.5 aionfs step s -- sh -c 'trap "echo told >&2; exit 9" TERM; sleep 1000 & wait'
            echo "$?"
            ls -A "$AION_RUN/steps"
            aionfs step s -- echo again''')
        self.assertEqual(result(m, "1"), "124\nagain\n")
        self.assertEqual(self.log(m), "told\n")

    def test_a_command_that_ignores_the_signal_is_recorded(self):
        m = self.begin('''
            timeout --foreground 0.3 aionfs step s -- sh -c 'trap "" TERM; sleep 1; echo done it' >/dev/null
            cat "$AION_RUN/steps/s"''')
        self.assertEqual(result(m, "1"), "done it\n")

    def test_killed_outright_it_costs_an_attempt(self):
        m = self.begin('''
            if [ "$AION_ATTEMPT" = 1 ]; then
                aionfs step s -- sleep 1000 &
                until [ -e "$AION_RUN/steps/.s" ]; do sleep 0.05; done
                kill -9 $!; wait
            fi
            aionfs step s -- sleep 0.01 && echo "attempt $AION_ATTEMPT"''')
        self.assertEqual(result(m, "1"), "attempt 2\n")

    def test_a_signal_that_is_ignored_stays_so_and_none_is_blocked(self):
        m = self.begin('''
            trap '' INT
            grep -E 'SigBlk|SigIgn' /proc/self/status
            aionfs step s -- grep -E 'SigBlk|SigIgn' /proc/self/status''')
        lines = result(m, "1").splitlines()
        masks = [int(line.split()[1], 16) & 0x7fffffff for line in lines]  # not the C library's own
        self.assertEqual(masks[:2], masks[2:])

    def test_large_outputs(self):
        m = self.begin(f'''
            aionfs step large -- sh -c 'yes 0123456789abcde | head -c {60 * MIB}' | sha256sum
            aionfs step large2 -- head -c {64 * MIB} /dev/zero | wc -c
            out=$(aionfs step over -- head -c {64 * MIB + 1} /dev/zero | wc -c); echo "$out"
            ls "$AION_RUN/steps"''')
        expected = sha256(b"0123456789abcde\n" * (60 * MIB // 16))
        self.assertEqual(result(m, "1").splitlines(),
                         [f"{expected}  -", str(64 * MIB), "0", "large", "large2"])

    def test_an_output_that_cannot_be_printed_is_recorded(self):
        m = self.begin('''
            aionfs step s -- echo words >/dev/full; echo "$?"
            aionfs step t -- yes words 2>/dev/null | head -n 1; cat "$AION_RUN/steps/s"''',
                       {"entry_module": "demo", "retry": {"max_attempts": 1}})
        self.assertEqual(result(m, "1"), "1\nwords\n")
        self.assertIn("the output could not be written: No space left on device", self.log(m))

    def test_names(self):
        m = self.begin('''
            n=$(head -c 254 /dev/zero | tr '\\0' x)
            for name in "$n" "${n}y" a/b .a '' "$(printf 'a\\tb')" "$(printf '\\377')" ünï 'a b' -x; do
                aionfs step "$name" -- echo ok >/dev/null; echo "$?"
            done''')
        self.assertEqual(result(m, "1").split(), ["0", "1", "1", "1", "1", "1", "1", "0", "0", "0"])
        self.assertEqual(self.log(m).count("can't be a name"), 6)

    def test_a_command_line_that_is_too_long(self):
        m = self.begin('''
            long=$(head -c 70000 /dev/zero | tr '\\0' x)
            aionfs step s -- echo "$long"; echo "$?"; ls -A "$AION_RUN/steps"''')
        self.assertEqual(result(m, "1"), "1\n")
        self.assertIn("more than 64 KiB", self.log(m))

    def test_outside_of_an_attempt(self):
        m = self.begin("aionfs wait signal go")
        await_status(m, "1", "running")
        outside = {"AION_RUN": str(path_of(m, "1"))}
        done = aionfs("step", "s", "--", "echo", "x", env=outside)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("not a process of the current attempt", done.stderr)
        done = aionfs("sleep", "s", "1s", env=outside)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not a process of the current attempt", done.stderr)
        for words in (("step", "s", "--", "true"), ("sleep", "s", "1s"), ("wait", "result")):
            done = aionfs(*words, env={"AION_RUN": ""})
            self.assertEqual(done.returncode, 1)
            self.assertIn("AION_RUN is not set: this is for workflows", done.stderr)
        self.assertEqual(events(m, "1"), ["WorkflowStarted", "AttemptStarted"])
        control(m, "1", "cancel")

    def test_arguments_without_sense(self):
        for words in (("step",), ("step", "s"), ("step", "s", "--"), ("step", "s", "echo", "x"),
                      ("sleep",), ("sleep", "s"), ("sleep", "s", ""), ("sleep", "s", "1s", "x"),
                      ("wait",), ("wait", "nothing"), ("wait", "signal"),
                      ("wait", "-r", "x", "result", "y"), ("wait", "-x")):
            self.assertEqual(aionfs(*words, env={"AION_RUN": "/x"}).returncode, 2, words)
        for command in ("step", "sleep", "wait"):
            done = aionfs(command, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(f"Usage: aionfs {command} ", done.stdout)


class Sleep(Commands):
    def test_sets_a_timer_once(self):
        m = self.begin('''
            before=$(date +%s%N)
            aionfs sleep nap 1s && aionfs sleep nap 1s
            echo "$? $(( ($(date +%s%N) - before) / 1000000 ))"
            aionfs sleep past @1000; echo "$?"
            aionfs sleep soon "@$(( $(date +%s) + 1 ))"; echo "$?"
            cat "$AION_RUN/timers/nap"''')
        lines = result(m, "1").splitlines()
        code, took_ms = map(int, lines[0].split())
        self.assertEqual(code, 0)
        self.assertGreaterEqual(took_ms, 1000)
        self.assertEqual(lines[1:], ["0", "0", "1s"])
        self.assertEqual([event["timer"] for event in events(m, "1", "TimerFired")],
                         ["nap", "past", "soon"])

    def test_what_is_refused(self):
        m = self.begin('''
            aionfs sleep nap 0s
            aionfs sleep nap 30d; echo "$?"
            for text in 1 1x s 1.5s -1s '1 s' @ 99999999999999999999d; do
                aionfs sleep other -- "$text"; echo "$?"
            done
            aionfs sleep a/b 1s; echo "$?"
            aionfs sleep "$(printf 'a\\nb')" 1s; echo "$?"
            ls -A "$AION_RUN/timers"''')
        self.assertEqual(result(m, "1").split(), ["1"] * 11 + ["nap"])
        self.assertIn('timer "nap" is set to "0s" already, and not to "30d"', self.log(m))
        self.assertIn('"1x" is no time: 90s, 15m, 36h, 30d or @UNIX_SECONDS', self.log(m))
        self.assertEqual(self.log(m).count("is no time"), 8)
        self.assertEqual(self.log(m).count("can't be a name"), 2)

    def test_a_stopped_sleeper_goes_on(self):
        m = self.begin('''
            aionfs sleep nap 2s & sleep 0.5
            kill -STOP $!; sleep 0.5; kill -CONT $!
            wait $!; echo "$?"''')
        self.assertEqual(result(m, "1"), "0\n")


class Wait(Commands):
    def test_a_signal(self):
        m = self.begin('aionfs wait signal go | sha256sum; aionfs wait signal empty; echo "$?"')
        await_status(m, "1", "running")
        path_of(m, "1", "signals/empty").touch()
        path_of(m, "1", "signals/go").write_bytes(b"x" * MIB)
        self.assertEqual(result(m, "1"), f"{sha256(b'x' * MIB)}  -\n0\n")
        done = aionfs("wait", "signal", "go", path_of(m, "1"))
        self.assertEqual((done.returncode, len(done.stdout)), (0, MIB))
        done = aionfs("wait", "-r", path_of(m, "1"), "signal", "never")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn('ended without signal "never"', done.stderr)

    def test_a_timer(self):
        m = self.begin('''
            printf 1s > "$AION_RUN/timers/nap"
            aionfs wait timer nap; echo "$?"''')
        done = aionfs("wait", "timer", "nap", path_of(m, "1"))
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertEqual(result(m, "1"), "0\n")

    def test_a_result_from_outside(self):
        m = self.begin('aionfs wait signal go; cat; head -c 60000000 /dev/zero', text="in\n")
        waiting = subprocess.Popen([harness.AIONFS, "wait", "result", path_of(m, "1")],
                                   stdout=subprocess.PIPE)
        path_of(m, "1", "signals/go").write_text("gone ")
        self.assertEqual(waiting.communicate(timeout=60)[0], b"gone in\n" + bytes(60000000))
        self.assertEqual(waiting.returncode, 0)
        done = aionfs("wait", "result", env={"AION_RUN": str(path_of(m, "1"))})
        self.assertEqual(len(done.stdout_bytes), 60000008)
        done = shell(f"{harness.AIONFS} wait result {path_of(m, '1')} >/dev/full")
        self.assertEqual(done.returncode, 1)
        self.assertIn("the output could not be written", done.stderr)

    def test_runs_without_a_result(self):
        m = self.mount()
        m.deploy(workflow("echo reasons >&2; exit 100", "fails"))
        m.deploy(workflow("sleep 1000", "hangs"))
        m.deploy(workflow("sleep 1000", {"entry_module": "late",
                                         "timeout": {"secs": 0, "nanos": 300000000}}))
        for type_name in ("fails", "hangs", "late"):
            start(m, type_name, type_name, "\n")
        await_status(m, "hangs", "running")
        control(m, "hangs", "cancel changed my mind")
        for run_id, words in (("fails", "it failed"), ("hangs", "it was cancelled"),
                              ("late", "it timed out")):
            done = aionfs("wait", "-r", path_of(m, run_id), "result")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"has no result: {words}", done.stderr)
        self.assertIn("reasons", aionfs("wait", "result", path_of(m, "fails")).stderr)
        done = aionfs("wait", "result", m / "runs/none")
        self.assertEqual(done.returncode, 1)
        self.assertIn("No such file or directory", done.stderr)

    def test_it_can_be_interrupted(self):
        m = self.begin("aionfs wait signal go")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            waiting = subprocess.Popen([harness.AIONFS, "wait", "result", path_of(m, "1")])
            time.sleep(0.3)
            waiting.send_signal(number)
            self.assertEqual(waiting.wait(30), -number)
        self.assertEqual(status(m, "1"), "running")
        control(m, "1", "cancel")
        self.assertEqual(history(m, "1")[-1]["event"], "WorkflowCancelled")
        self.assertNotEqual(run("cat", path_of(m, "1", "wait/result")).returncode, 0)
