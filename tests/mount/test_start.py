# SPDX-License-Identifier: Apache-2.0
"""start/ as a drop box: every tool that writes a file, killed writers, receipts, refusals."""

import errno
import json
import os
import signal
import subprocess
import time

import harness
from harness import MountCase, make_package, need, run, shell, wait_until
from workflows import await_status, events, path_of, result, start, workflow

USER, OTHER = 1234, 1235
INPUT = b"the input\n" * 1000

# Writes half of an input, says so, and waits to be killed.
WRITER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
if sys.argv[2] != "0":
    os.write(fd, b"x" * int(sys.argv[2]))
print(flush=True)
time.sleep(1000)
"""


def run_ids(m):
    return sorted(os.listdir(m / "runs"))


class Starting(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount()
        self.version = self.m.deploy(workflow("cat"))["version"]
        self.source = self.m.dir / "input"
        self.source.write_bytes(INPUT)

    def assert_started(self, run_id, data=INPUT):
        self.assertTrue((self.m / f"runs/{run_id}/input").read_bytes() == data)
        self.assertEqual(result(self.m, run_id).encode(), data)

    def path(self, name, type_name="demo"):
        return self.m / "start" / type_name / name

    def receipt(self, name):
        return json.loads(self.path(name).read_bytes())


class Tools(Starting):
    """Whatever a person copies with starts the run, once, and succeeds."""

    def check(self, name, script):
        done = shell(script, env={"SRC": str(self.source), "DST": str(self.path(name)),
                                  "DIR": str(self.path(""))})
        self.assertEqual((done.returncode, done.stderr), (0, ""), script)
        self.assert_started(name)
        self.assertEqual(run_ids(self.m), [name])
        self.assertEqual(self.receipt(name)["status"], "started")

    def test_cp(self):
        self.check("42", 'cp "$SRC" "$DST"')

    def test_cp_preserving(self):
        self.check("42", 'cp -p "$SRC" "$DST"')

    def test_cp_archive_mode(self):
        self.check("42", 'cp -a "$SRC" "$DST"')

    def test_cp_into_the_directory(self):
        self.check("input", 'cp "$SRC" "$DIR"')

    def test_cat(self):
        self.check("42", 'cat "$SRC" > "$DST"')

    def test_two_cats_of_halves(self):
        self.check("42", '(head -c 5000 "$SRC"; tail -c +5001 "$SRC") > "$DST"')

    def test_dd(self):
        self.check("42", 'dd if="$SRC" of="$DST" status=none bs=512')

    def test_dd_with_fsync(self):
        self.check("42", 'dd if="$SRC" of="$DST" status=none bs=64k conv=fsync')

    def test_tee(self):
        self.check("42", 'tee "$DST" < "$SRC" > /dev/null')

    def test_install(self):
        self.check("42", 'install -m 600 "$SRC" "$DST"')

    def test_mv_from_another_filesystem(self):
        self.check("42", 'cp "$SRC" "$SRC.2"; mv "$SRC.2" "$DST"')

    def test_rsync(self):
        need("rsync")
        self.check("42", 'rsync -a "$SRC" "$DST"')

    def test_rsync_in_place(self):
        need("rsync")
        self.check("42", 'rsync --inplace "$SRC" "$DST"')

    def test_curl(self):
        need("curl")
        self.check("42", 'curl -s -o "$DST" "file://$SRC"')

    def test_a_hidden_name_and_mv(self):
        self.check("42", 'cp "$SRC" "$DIR/.new"; mv "$DIR/.new" "$DST"')

    def test_python(self):
        self.check("42", "python3 -c 'import os, shutil\n"
                         'shutil.copy2(os.environ["SRC"], os.environ["DST"])\'')

    def test_python_replace(self):
        self.check("42", "python3 -c 'import os, shutil\n"
                         'shutil.copyfile(os.environ["SRC"], os.environ["DIR"] + "/.t~1")\n'
                         'os.replace(os.environ["DIR"] + "/.t~1", os.environ["DST"])\'')

    def test_on_a_version(self):
        done = run("cp", self.source, self.path(f"{self.version}/42"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assert_started("42")
        self.assertEqual(self.receipt("42"), self.receipt(f"{self.version}/42"))


class Empty(Starting):
    """An input may have no bytes: it is complete at the last close."""

    def check(self, script, name="42"):
        done = shell(script, env={"DST": str(self.path(name)), "RUN": str(self.m / "runs" / name)})
        self.assertEqual((done.returncode, done.stderr), (0, ""), script)
        self.assert_started(name, b"")

    def test_touch(self):
        self.check('touch "$DST"')

    def test_redirection(self):
        self.check(': > "$DST"')

    def test_cp_of_an_empty_file(self):
        self.check('cp /dev/null "$DST"')

    def test_the_run_is_there_as_soon_as_somebody_looks(self):
        for number in range(100):
            name = f"r{number}"
            os.close(os.open(self.path(name), os.O_WRONLY | os.O_CREAT))
            self.assertEqual((self.m / f"runs/{name}/input").read_bytes(), b"")

    def test_mknod_answers_at_once(self):
        os.mknod(self.path("42"), 0o100644)
        self.assert_started("42", b"")
        with self.assertRaises(OSError) as caught:
            os.mknod(self.path("x" * 200), 0o100644)
        self.assertEqual(caught.exception.errno, errno.EINVAL)

    def test_touching_a_run_that_is_there_changes_nothing(self):
        start(self.m, "demo", "42", "something")
        self.assertEqual(result(self.m, "42"), "something")
        run("touch", self.path("42"), check=True)
        time.sleep(0.1)
        self.assertEqual(self.receipt("42")["status"], "started")

    def test_a_duplicate_that_is_closed_before_the_first_byte_starts_nothing(self):
        fd = os.open(self.path("42"), os.O_WRONLY | os.O_CREAT)
        os.close(os.dup(fd))
        time.sleep(0.1)
        self.assertEqual(run_ids(self.m), [])
        os.write(fd, INPUT)
        os.close(fd)
        self.assert_started("42")


class Killed(Starting):
    """Half an input must never start anything: a run can't tell that it is half."""

    def kill_writer(self, name, size, number):
        writer = subprocess.Popen(["python3", "-c", WRITER, self.path(name), str(size)],
                                  stdout=subprocess.PIPE)
        writer.stdout.readline()
        os.kill(writer.pid, number)
        writer.wait()
        writer.stdout.close()
        self.assertEqual(writer.returncode, -number)

    def test_by_any_signal_with_any_size(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                       signal.SIGSEGV):
            for size in (0, 5, 200_000):
                if number != signal.SIGINT:  # Python closes in order after that one
                    self.kill_writer(f"r{number}-{size}", size, number)
        time.sleep(0.3)
        self.assertEqual(run_ids(self.m), [])
        self.assertEqual(os.listdir(self.path("")), [self.version])
        # Nothing stands in the way of the same ID.
        run("cp", self.source, self.path("r9-5"), check=True)
        self.assert_started("r9-5")

    def test_cp_that_is_killed(self):
        with open(self.m.dir / "large", "wb") as large:
            large.truncate(60 << 20)
        for number in range(20):
            copier = subprocess.Popen(["cp", self.m.dir / "large", self.path(f"r{number}")])
            time.sleep(0.001 * number)
            copier.kill()
            code = copier.wait()
            started = os.path.exists(self.m / f"runs/r{number}")
            self.assertFalse(started and code != 0 and
                             (self.m / f"runs/r{number}/input").stat().st_size != 60 << 20)

    def test_what_a_killed_child_leaves_is_its_parent_s_to_finish(self):
        script = '(sh -c "echo half; kill -9 \\$\\$"; echo whole) > "$DST"'
        shell(script, env={"DST": str(self.path("42"))})
        self.assert_started("42", b"half\nwhole\n")

    def test_a_killed_shell_s_child_does_not_start_the_half_that_it_had(self):
        shell_ = subprocess.Popen(["sh", "-c", '(echo half; cat "$0"; echo more) > "$1"; :',
                                   self.source, self.path("42")])
        shell_.wait()
        self.assertTrue((self.m / "runs/42/input").read_bytes().endswith(b"more\n"))
        script = '(echo half; sh -c "sleep 0.5; echo more"; echo whole) > "$0" & echo $!; wait'
        outer = subprocess.Popen(["bash", "-c", script, self.path("43")], stdout=subprocess.PIPE)
        inner = int(outer.stdout.readline())
        wait_until(lambda: self.path("43").exists() and self.path("43").stat().st_size == 5,
                   "the first half")
        os.kill(inner, signal.SIGKILL)
        outer.wait()
        outer.stdout.close()
        time.sleep(1)
        self.assertEqual(run_ids(self.m), ["42"])

    def test_a_killed_writer_of_a_hidden_name_leaves_it(self):
        self.kill_writer(".42", 5, signal.SIGKILL)
        self.assertEqual(run_ids(self.m), [])
        self.assertEqual(self.path(".42").read_bytes(), b"xxxxx")
        run("rm", self.path(".42"), check=True)
        self.assertFalse(self.path(".42").exists())

    def test_a_killed_daemon_forgets_what_was_not_closed(self):
        fd = os.open(self.path("42"), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"half")
        run("cp", self.source, self.path("43"), check=True)
        self.m.kill()
        with self.assertRaises(OSError):
            os.close(fd)
        self.m.start()
        self.assertEqual(run_ids(self.m), ["43"])
        self.assert_started("43")


class Rules(Starting):
    def test_the_same_again_is_a_success_and_nothing_more(self):
        for _ in range(3):
            run("cp", self.source, self.path("42"), check=True)
        self.assert_started("42")
        self.assertEqual(events(self.m, "42").count("WorkflowStarted"), 1)
        self.assertEqual(run("cp", self.source, self.path("42")).returncode, 0)

    def test_another_input_is_refused_and_the_receipt_says_so(self):
        run("cp", self.source, self.path("42"), check=True)
        done = shell(f'echo other > "{self.m.dir}/other"; cp "{self.m.dir}/other" '
                     f'"{self.path("42")}"')
        self.assertIn("File exists", done.stderr)
        receipt = self.receipt("42")
        self.assertEqual((receipt["status"], receipt["error"]["code"]), ("failed", "run_exists"))
        run("rm", self.path("42"), check=True)
        self.assertFalse(self.path("42").exists())
        run("cp", self.source, self.path("42"), check=True)
        self.assertEqual(self.receipt("42")["status"], "started")
        self.assert_started("42")

    def test_removing_a_receipt_stops_no_run(self):
        run("cp", self.source, self.path("42"), check=True)
        os.unlink(self.path("42"))
        self.assertFalse(self.path("42").exists())
        self.assertEqual(result(self.m, "42").encode(), INPUT)
        with self.assertRaises(FileNotFoundError):
            os.unlink(self.path("42"))
        need("mv")
        shell(f'cp "{self.source}" "{self.source}.2"; mv "{self.source}.2" "{self.path("42")}"',
              check=True)
        self.assertEqual(self.receipt("42")["status"], "started")

    def test_a_failed_close_keeps_the_bytes(self):
        start(self.m, "demo", "taken", "abc")
        fd = os.open(self.path("taken"), os.O_WRONLY)
        os.write(fd, b"ab")
        with self.assertRaises(FileExistsError):
            os.close(os.dup(fd))
        os.write(fd, b"c")
        os.close(fd)
        self.assertEqual(self.receipt("taken")["status"], "started")

    def test_after_a_success_nothing_more_is_written(self):
        fd = os.open(self.path("42"), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"abc")
        os.close(os.dup(fd))
        self.assert_started("42", b"abc")
        with self.assertRaises(OSError) as caught:
            os.write(fd, b"d")
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        os.close(fd)

    def test_a_child_that_closes_its_copy_starts_nothing(self):
        fd = os.open(self.path("42"), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"first half, ")
        run("true", check=True)
        subprocess.run(["true"], pass_fds=[fd], check=True)
        self.assertEqual(run_ids(self.m), [])
        os.write(fd, b"second half")
        os.close(fd)
        self.assert_started("42", b"first half, second half")

    def test_a_child_writes_it_all(self):
        with open(self.path("42"), "wb") as f:
            child = subprocess.Popen(["sh", "-c", "sleep 0.2; echo a; sleep 0.2; echo b"],
                                     stdout=f)
        self.assertEqual(run_ids(self.m), [])
        child.wait()
        wait_until(lambda: run_ids(self.m) == ["42"], "the run")
        self.assert_started("42", b"a\nb\n")

    def test_a_child_that_is_killed_while_it_writes(self):
        with open(self.path("42"), "wb") as f:
            child = subprocess.Popen(["sh", "-c", "sleep 0.2; echo a; exec sleep 1000"], stdout=f)
        wait_until(lambda: self.path("42").stat().st_size == 2, "the first half")
        child.kill()
        child.wait()
        time.sleep(0.3)
        self.assertEqual(run_ids(self.m), [])

    def test_programs_that_start_the_one_that_writes(self):
        for name, prefix in (("1", "timeout 10"), ("2", "env"), ("3", "nice"),
                             ("4", "sh -c 'cat; :'"), ("5", "bash -c 'cat; :'")):
            shell(f'{prefix} cat < "{self.source}" > "{self.path(name)}"', check=True)
            self.assert_started(name)

    def test_fsync_commits_a_plain_name_and_never_a_hidden_one(self):
        for name in (".42", "42"):
            fd = os.open(self.path(name), os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"abc")
            os.fsync(fd)
            self.assertEqual(run_ids(self.m), [] if name[0] == "." else ["42"])
            os.close(fd)
        self.assert_started("42", b"abc")

    def test_a_hidden_name_in_another_directory(self):
        self.m.deploy(workflow("cat", "other"))
        self.path(".42").write_bytes(b"x")
        for target in (self.path("42", "other"), self.path(f"{self.version}/42"),
                       self.m / "deploy/42", self.m.path / "routes/42"):
            with self.assertRaises(OSError) as caught:
                os.rename(self.path(".42"), target)
            self.assertEqual(caught.exception.errno, errno.EXDEV, target)
        with self.assertRaises(OSError):
            os.rename(self.path(".42"), self.m / "42")
        os.rename(self.path(".42"), self.path(".43"))
        os.rename(self.path(".43"), self.path("42"))
        self.assert_started("42", b"x")
        self.assertEqual(os.listdir(self.path("")), [self.version])

    def test_too_large_is_told_to_the_writer(self):
        fd = os.open(self.path("42"), os.O_WRONLY | os.O_CREAT)
        with self.assertRaises(OSError) as caught:
            os.pwrite(fd, b"x", 64 << 20)
        self.assertEqual(caught.exception.errno, errno.EFBIG)
        with self.assertRaises(OSError) as caught:
            os.close(fd)
        self.assertEqual(caught.exception.errno, errno.EFBIG)
        self.assertEqual(self.receipt("42")["error"]["code"], "input_too_large")
        self.assertEqual(run_ids(self.m), [])

    def test_exactly_as_large_as_allowed(self):
        with open(self.path("42"), "wb") as f:
            f.truncate(64 << 20)
        self.assertEqual((self.m / "runs/42/input").stat().st_size, 64 << 20)
        await_status(self.m, "42", "completed")
        self.assertEqual(os.stat(path_of(self.m, "42", "result")).st_size, 64 << 20)
        self.assertEqual(run("cmp", path_of(self.m, "42", "result"), path_of(self.m, "42", "input"))
                         .returncode, 0)

    def test_refused_before_the_first_byte(self):
        self.m.deploy(make_package({"data": b"x"}, "inert"))
        start(self.m, "demo", "42", "x")
        self.m.deploy(workflow("cat", "other"))
        for path, number, code in (
                (self.path("1", "inert"), errno.ENOEXEC, "executable_missing"),
                (self.path("42", "other"), errno.EEXIST, "run_exists"),
                (self.path("no spaces"), errno.EINVAL, "name_invalid"),
                (self.path("x" * 129), errno.EINVAL, "name_invalid"),
                (self.path("0" * 64), errno.EINVAL, "name_invalid")):
            with self.assertRaises(OSError) as caught:
                os.open(path, os.O_WRONLY | os.O_CREAT)
            self.assertEqual(caught.exception.errno, number, path)
            self.assertEqual(json.loads(path.read_bytes())["error"]["code"], code)
        os.unlink(self.m / "routes/demo")
        with self.assertRaises(FileNotFoundError):
            os.open(self.path("43"), os.O_WRONLY | os.O_CREAT)
        self.assertEqual(self.receipt("43")["error"]["code"], "route_missing")
        run("cp", self.source, self.path(f"{self.version}/43"), check=True)
        self.assert_started("43")
        with self.assertRaises(OSError):
            os.open(self.m / "start/nothing/1", os.O_WRONLY | os.O_CREAT)
        self.assertEqual(run_ids(self.m), ["42", "43"])

    def test_only_files_can_be_made(self):
        for make in (os.mkdir, os.mkfifo, lambda p: os.symlink("x", p),
                     lambda p: os.link(self.source, p)):
            with self.assertRaises(OSError):
                make(self.path("42"))
        for path in (self.m / "start/new", self.path("42")):
            with self.assertRaises(OSError):
                os.mkdir(path)
        for path in (self.m / "start/demo", self.path(self.version)):
            with self.assertRaises(PermissionError):
                os.rmdir(path)

    def test_what_is_listed(self):
        run("cp", self.source, self.path("42"), check=True)
        self.path(".hidden").write_bytes(b"x")
        self.path(f"{self.version}/.too").write_bytes(b"x")
        self.assertEqual(os.listdir(self.m / "start"), ["demo"])
        self.assertEqual(sorted(os.listdir(self.path(""))), [".hidden", self.version])
        self.assertEqual(os.listdir(self.path(self.version)), [".too"])
        self.assertFalse(self.path("never").exists())

    def test_a_writer_sees_his_own_file(self):
        with open(self.path("42"), "w+b", buffering=0) as f:
            f.write(b"12345")
            self.assertEqual(os.fstat(f.fileno()).st_size, 5)
            self.assertEqual(os.pread(f.fileno(), 3, 1), b"234")
        receipt = self.path("42")
        self.assertEqual(receipt.stat().st_size, len(receipt.read_bytes()))

    def test_many_starts_at_once(self):
        script = (f'for i in $(seq 50); do echo $i > "{self.path("")}/$1-$i" || exit 1; done')
        writers = [subprocess.Popen(["sh", "-c", script, "sh", str(n)]) for n in range(8)]
        self.assertEqual([writer.wait() for writer in writers], [0] * 8)
        self.assertEqual(len(run_ids(self.m)), 400)
        wait_until(lambda: len(os.listdir(self.m / "by-status/completed")) == 400, "all to end")

    def test_two_writers_of_one_name(self):
        first = os.open(self.path("42"), os.O_WRONLY | os.O_CREAT)
        second = os.open(self.path("42"), os.O_WRONLY | os.O_CREAT)
        os.write(first, b"one")
        os.write(second, b"two")
        os.close(second)
        with self.assertRaises(FileExistsError):
            os.close(first)
        self.assert_started("42", b"two")


class Permissions(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount(options=f"start_group={USER}")
        self.m.deploy(workflow("cat"))
        self.source = self.m.dir / "input"
        self.source.write_bytes(b"x")

    def test_members_start_and_others_do_not(self):
        target = self.m / "start/demo"
        self.assertEqual(target.stat().st_gid, USER)
        self.assertTrue(target.stat().st_mode & 0o020)
        self.assertEqual(run("cp", self.source, target / "1", uid=USER).returncode, 0)
        self.assertEqual(run("cp", self.source, target / "2", uid=OTHER, groups=[USER]).returncode,
                         0)
        done = run("cp", self.source, target / "3", uid=OTHER)
        self.assertIn("Permission denied", done.stderr)
        self.assertIn("Permission denied",
                      run("cp", self.source, target / ".3", uid=OTHER).stderr)
        self.assertEqual(run_ids(self.m), ["1", "2"])
        self.assertEqual([os.stat(self.m / f"runs/{n}").st_uid for n in "12"], [USER, OTHER])
        self.assertFalse((target / "3").exists())

    def test_an_empty_input_of_a_member_by_a_further_group(self):
        done = run("touch", self.m / "start/demo/1", uid=OTHER, groups=[USER])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(os.stat(self.m / "runs/1").st_uid, OTHER)

    def test_another_user_s_id_and_receipt(self):
        target = self.m / "start/demo"
        run("cp", self.source, target / "1", uid=USER, check=True)
        for done in (run("cp", self.source, target / "1", uid=OTHER, groups=[USER]),
                     run("cat", target / "1", uid=OTHER, groups=[USER]),
                     run("rm", "-f", target / "1", uid=OTHER, groups=[USER])):
            self.assertIn("Permission denied", done.stderr)
        self.assertEqual(json.loads(run("cat", target / "1", uid=USER, check=True).stdout)["uid"],
                         USER)

    def test_a_run_belongs_to_who_wrote_the_file(self):
        target = self.m / "start/demo"
        run("cp", self.source, target / ".1", uid=USER, check=True)
        self.assertIn("Permission denied",
                      run("mv", target / ".1", target / "1", uid=OTHER, groups=[USER]).stderr)
        run("mv", target / ".1", target / "1", check=True)
        self.assertEqual(os.stat(self.m / "runs/1").st_uid, USER)

    def test_tools_that_change_modes_and_times_of_their_own(self):
        target = self.m / "start/demo"
        for words in (["install", "-m", "640", self.source, target / "1"],
                      ["cp", "-p", self.source, target / "2"]):
            done = run(*words, uid=USER)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        self.assertNotEqual(run("chmod", "600", target / "1", uid=OTHER).returncode, 0)


if __name__ == "__main__":
    harness.unittest.main()
