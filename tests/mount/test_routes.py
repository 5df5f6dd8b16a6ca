# SPDX-License-Identifier: Apache-2.0
"""routes/: re-pointed by whatever makes a symlink; atomic, durable, for members only."""

import errno
import grp
import hashlib
import os
import subprocess
import sys

import harness
from harness import MountCase, canonical_index, make_package, need, run

USER, GROUP = 12345, 23456

# Each way is a line of sh; {new} the version, {mnt} the mount.
WAYS = {
    "ln -sf": "ln -sf ../packages/demo/{new} {mnt}/routes/demo",
    "ln -sfn": "ln -sfn ../packages/demo/{new} {mnt}/routes/demo",
    "ln -sfT": "ln -sfT ../packages/demo/{new} {mnt}/routes/demo",
    "os.replace": "{python} -c 'import os, sys; os.symlink(sys.argv[1], sys.argv[2] + \".new\"); "
                  "os.replace(sys.argv[2] + \".new\", sys.argv[2])' "
                  "../packages/demo/{new} {mnt}/routes/demo",
    "mv -T": "ln -s ../packages/demo/{new} {mnt}/routes/.demo && "
             "mv -T {mnt}/routes/.demo {mnt}/routes/demo",
}
MORE_WAYS = {
    "ln -sf in routes/": "cd {mnt}/routes && ln -sf ../packages/demo/{new} demo",
    "ln -sf in routes/ with ./": "cd {mnt}/routes && ln -sf ../packages/demo/{new} ./demo",
    "ln -sfr": "cd {mnt} && ln -sfr packages/demo/{new} routes/demo",
    "ln -sfrn": "cd {mnt} && ln -sfrn packages/demo/{new} routes/demo",
    "ln -sfrT": "cd {mnt} && ln -sfrT packages/demo/{new} routes/demo",
    "ln -sf with a slash": "ln -sf ../packages/demo/{new} {mnt}/routes/demo/",
    "ln -sf of an absolute target": "ln -sf {mnt}/packages/demo/{new} {mnt}/routes/demo",
    "ln -sfn of an absolute target": "ln -sfn {mnt}/packages/demo/{new} {mnt}/routes/demo",
    "ln -sf of a bare version": "ln -sf {new} {mnt}/routes/demo",
    "ln -sfn of a bare version": "ln -sfn {new} {mnt}/routes/demo",
    "ln -sf of a prefix": "ln -sf {prefix} {mnt}/routes/demo",
    "ln -sfn of a prefix": "ln -sfn {prefix} {mnt}/routes/demo",
    "ln -sfn of a path with a prefix": "ln -sfn ../packages/demo/{prefix} {mnt}/routes/demo",
    "ln -sfn of a target with a slash": "ln -sfn ../packages/demo/{new}/ {mnt}/routes/demo",
    "rm, ln -s": "rm {mnt}/routes/demo && ln -s ../packages/demo/{new} {mnt}/routes/demo",
    "cp -a of a link": "d=$(mktemp -d) && ln -s ../packages/demo/{new} $d/demo && "
                       "cp -a $d/demo {mnt}/routes/ && rm -r $d",
    "tar of a link": "d=$(mktemp -d) && ln -s ../packages/demo/{new} $d/demo && "
                     "tar cf - -C $d demo | tar xf - -C {mnt}/routes && rm -r $d",
}
TOOL_WAYS = {
    "busybox": {
        "busybox ln -sf": "busybox ln -sf ../packages/demo/{new} {mnt}/routes/demo",
        "busybox ln -sfn": "busybox ln -sfn ../packages/demo/{new} {mnt}/routes/demo",
        "busybox mv": "busybox ln -s ../packages/demo/{new} {mnt}/routes/tmp && "
                      "busybox mv -T {mnt}/routes/tmp {mnt}/routes/demo",
    },
    "rsync": {
        "rsync -l": "d=$(mktemp -d) && ln -s ../packages/demo/{new} $d/demo && "
                    "rsync -l $d/demo {mnt}/routes/ && rm -r $d",
    },
    "perl": {
        "perl": "perl -e 'symlink($ARGV[0], \"$ARGV[1].t\") && rename(\"$ARGV[1].t\", $ARGV[1]) "
                "or die $!' ../packages/demo/{new} {mnt}/routes/demo",
    },
}

# Everybody may run this one; the one that runs the tests may be at home in /root.
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable

READER = """
import os, select, sys
link, seen, contents, count = sys.argv[1], set(), set(), 0
print("reading", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    seen.add(os.readlink(link))
    with open(link + "/which") as f:
        contents.add(f.read())
    count += 1
print(count)
print(*sorted(seen))
print(*sorted(contents))
"""


class Routes(MountCase):
    options = ""

    def setUp(self):
        super().setUp()
        self.m = self.mount(options=self.options)
        self.routes = self.m / "routes"
        self.old = self.deploy("old")
        self.new = self.deploy("new")
        self.route_to(self.old)

    def deploy(self, which, type_name="demo", box="deploy"):
        return self.m.deploy(make_package({"which": which.encode()}, type_name), box=box)["version"]

    def route_to(self, version, type_name="demo"):
        run("ln", "-sfn", f"../packages/{type_name}/{version}", self.routes / type_name, check=True)
        self.assertEqual(self.m.route(type_name), version)

    def repoint(self, script, version, **who):
        return harness.shell(script.format(new=version, prefix=version[:12], mnt=self.m.path,
                                           python=PYTHON), **who)

    def assert_way(self, script, **who):
        for version in (self.new, self.old):
            done = self.repoint(script, version, **who)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.m.route("demo"), version)
            self.assertEqual(os.listdir(self.routes), ["demo"])
            self.assertEqual(sorted(os.listdir(self.m.package("demo", version))),
                             ["manifest.json", "which"])
        done = self.repoint(script, self.new, **who)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.m.remount()
        self.assertEqual(self.m.route("demo"), self.new)
        self.route_to(self.old)


class Ways(Routes):
    def test_ways(self):
        for name, script in {**WAYS, **MORE_WAYS}.items():
            with self.subTest(way=name):
                self.assert_way(script)

    def ways_of(self, tool):
        need(tool)
        for name, script in TOOL_WAYS[tool].items():
            with self.subTest(way=name):
                self.assert_way(script)

    def test_busybox(self):
        self.ways_of("busybox")

    def test_rsync(self):
        self.ways_of("rsync")

    def test_perl(self):
        self.ways_of("perl")

    def test_readlink_always_answers_the_same(self):
        for target in (f"{self.m.path}/packages/demo/{self.new}", self.new, self.new[:8],
                       f"../packages/demo/{self.new}"):
            with self.subTest(target=target):
                self.route_to(self.old)
                run("ln", "-sfn", target, self.routes / "demo", check=True)
                self.assertEqual(os.readlink(self.routes / "demo"), f"../packages/demo/{self.new}")

    def test_the_link_leads_to_the_package(self):
        self.assertEqual((self.routes / "demo/which").read_text(), "old")
        done = run("ls", "-l", self.routes, check=True)
        self.assertIn(f"demo -> ../packages/demo/{self.old}", done.stdout)


class Readers(Routes):
    """A reader in another process sees the old or the new target, never anything else."""

    def assert_only_old_or_new(self, script, **who):
        reader = subprocess.Popen([sys.executable, "-c", READER, self.routes / "demo"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(reader.stdout.readline(), "reading\n")
            for version in [self.new, self.old] * 8:
                done = self.repoint(script, version, **who)
                self.assertEqual(done.returncode, 0, done.stderr)
                # And each change is seen at once, from here too.
                self.assertEqual(self.m.route("demo"), version)
            out, _ = reader.communicate("stop\n", timeout=harness.PATIENCE)
        finally:
            reader.kill()
            reader.wait()
        self.assertEqual(reader.returncode, 0, "the reader failed to read")
        count, seen, contents = out.split("\n")[:3]
        self.assertGreater(int(count), 0)
        self.assertLessEqual(set(seen.split()),
                             {f"../packages/demo/{v}" for v in (self.old, self.new)})
        self.assertLessEqual(set(contents.split()), {"old", "new"})

    def test_each_way(self):
        for name, script in WAYS.items():
            with self.subTest(way=name):
                self.assert_only_old_or_new(script)


class Refusals(Routes):
    def refused(self, act, *codes):
        with self.assertRaises(OSError) as caught:
            act()
        self.assertIn(caught.exception.errno, codes, caught.exception)
        self.assertEqual(self.m.route("demo"), self.old)

    def replace(self, target):
        temporary = self.routes / "temporary.new"
        try:
            os.symlink(target, temporary)
            os.replace(temporary, self.routes / "demo")
        finally:
            if os.path.lexists(temporary):
                os.unlink(temporary)

    def refused_everywhere(self, target, *codes):
        self.refused(lambda: self.replace(target), *codes)
        for options in ("-sf", "-sfn", "-sfT"):
            done = run("ln", options, target, self.routes / "demo")
            self.assertNotEqual(done.returncode, 0, f"ln {options} {target}")
            self.assertEqual(self.m.route("demo"), self.old)
        self.assertEqual(os.listdir(self.routes), ["demo"])

    def test_a_version_that_is_not_loaded(self):
        self.refused_everywhere(f"../packages/demo/{'0' * 64}", errno.ENOENT)

    def test_a_prefix_of_nothing(self):
        self.refused_everywhere("0" * 16, errno.ENOENT)

    def test_a_version_of_another_type(self):
        other = self.deploy("other", "other")
        self.refused(lambda: self.replace(f"../packages/other/{other}"), errno.EINVAL)
        done = run("ln", "-sfn", f"../packages/other/{other}", self.routes / "demo")
        self.assertNotEqual(done.returncode, 0)
        self.refused(lambda: self.replace(other), errno.EINVAL, errno.ENOENT)
        self.assertEqual(sorted(os.listdir(self.routes)), ["demo", "other"])

    def test_no_version_at_all(self):
        for target in ("hello", "../packages/demo", "/", ".", self.new[:7],
                       f"../packages/demo/{self.new}0", f"../packages/demo/{self.new}/lib"):
            with self.subTest(target=target):
                self.refused(lambda t=target: self.replace(t), errno.EINVAL, errno.ENOENT)

    def test_an_ambiguous_prefix(self):
        seen, number = {}, 0
        template = canonical_index({"which": b"?"}, "demo").decode()
        digest = harness.sha256(b"?")
        while True:  # about 80,000 rounds: two versions that begin with the same eight digits
            content = b"%d." % number
            index = template.replace(f"size=1 sha256={digest}", f"size={len(content)} sha256="
                                     + hashlib.sha256(content).hexdigest())
            prefix = hashlib.sha256(index.encode()).hexdigest()[:8]
            if prefix in seen:
                break
            seen[prefix] = content
            number += 1
        for which in (seen[prefix], content):
            version = self.m.deploy(make_package({"which": which}), box="stage")["version"]
            self.assertEqual(version[:8], prefix)
        self.refused(lambda: self.replace(prefix), errno.EINVAL)
        self.route_to(version)

    def test_a_live_route_cannot_be_renamed_away(self):
        self.refused(lambda: os.rename(self.routes / "demo", self.routes / "else"), errno.EPERM)
        self.deploy("other", "other")
        self.refused(lambda: os.rename(self.routes / "demo", self.routes / "other"), errno.EPERM)

    def test_only_links_fit_into_routes(self):
        for make in (lambda: os.mkdir(self.routes / "d"),
                     lambda: (self.routes / "f").write_bytes(b"x"),
                     lambda: os.link(self.m / "README", self.routes / "h")):
            with self.assertRaises(OSError):
                make()
        self.assertEqual(os.listdir(self.routes), ["demo"])


class Life(Routes):
    def test_a_rollback_survives_the_remount(self):
        for _ in range(2):
            self.m.remount()
            self.assertEqual(self.m.route("demo"), self.old)

    def test_the_next_deploy_takes_the_route(self):
        third = self.deploy("third")
        self.assertEqual(self.m.route("demo"), third)
        self.m.remount()
        self.assertEqual(self.m.route("demo"), third)

    def test_rm_removes_the_route_for_good(self):
        run("rm", self.routes / "demo", check=True)
        self.assertIsNone(self.m.route("demo"))
        self.assertEqual(self.m.versions("demo"), sorted([self.old, self.new]))
        self.m.remount()
        self.assertIsNone(self.m.route("demo"))
        self.assertEqual(self.m.versions("demo"), sorted([self.old, self.new]))

    def test_an_unrouted_type_is_routed_by_a_link(self):
        os.unlink(self.routes / "demo")
        os.symlink(f"../packages/demo/{self.new}", self.routes / "demo")
        self.assertEqual(self.m.route("demo"), self.new)
        self.m.remount()
        self.assertEqual(self.m.route("demo"), self.new)

    def test_an_unrouted_type_is_routed_by_the_next_deploy(self):
        os.unlink(self.routes / "demo")
        self.deploy("old")
        self.assertEqual(self.m.route("demo"), self.old)

    def test_a_staged_type_is_routed_by_a_link(self):
        version = self.deploy("staged", "other", box="stage")
        self.assertIsNone(self.m.route("other"))
        run("ln", "-s", f"../packages/other/{version}", self.routes / "other", check=True)
        self.assertEqual(self.m.route("other"), version)
        self.m.remount()
        self.assertEqual(self.m.route("other"), version)

    def test_ln_without_force_respects_what_is_there(self):
        with self.assertRaises(FileExistsError):
            os.symlink(f"../packages/demo/{self.new}", self.routes / "demo")
        self.assertEqual(self.m.route("demo"), self.old)

    def test_staged_links_are_readable_and_removable(self):
        link = self.routes / "CuA1b2C3"
        os.symlink(f"../packages/demo/{self.new}", link)
        self.assertTrue(os.path.islink(link))
        self.assertTrue(os.readlink(link).endswith(self.new))
        self.assertEqual(self.m.route("demo"), self.old)
        os.unlink(link)
        self.assertFalse(os.path.lexists(link))
        self.assertEqual(os.listdir(self.routes), ["demo"])

    def test_staged_links_do_not_survive(self):
        os.symlink(f"../packages/demo/{self.new}", self.routes / "CuA1b2C3")
        self.m.remount()
        self.assertEqual(os.listdir(self.routes), ["demo"])

    def test_a_change_is_in_the_log(self):
        self.route_to(self.new)
        line = next(line for line in reversed(self.m.log_text().splitlines()) if self.new in line)
        self.assertIn("demo", line)


class Members(Routes):
    options = f"deploy_group={GROUP}"

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("switching users needs root")
        super().setUp()

    def test_members_use_each_way(self):
        for name, script in WAYS.items():
            with self.subTest(way=name):
                self.assert_way(script, uid=USER, groups=[GROUP])

    def test_more_ways(self):
        for name in ("ln -sfr", "ln -sf of a bare version", "rm, ln -s"):
            with self.subTest(way=name):
                self.assert_way(MORE_WAYS[name], uid=USER, groups=[GROUP])

    def test_readers_see_old_or_new(self):
        for name, script in WAYS.items():
            with self.subTest(way=name):
                Readers.assert_only_old_or_new(self, script, uid=USER, groups=[GROUP])

    def test_others_are_refused_each_way(self):
        for name, script in {**WAYS, "rm": "rm -f {mnt}/routes/demo"}.items():
            with self.subTest(way=name):
                done = self.repoint(script, self.new, uid=USER, groups=[GROUP + 1])
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.stderr,
                                 "(?i)permission denied|operation not permitted|permissionerror")
                self.assertEqual(self.m.route("demo"), self.old)
                self.assertEqual(os.listdir(self.routes), ["demo"])

    def test_a_group_by_name_and_as_the_main_group(self):
        group = grp.getgrnam("nogroup")
        self.m.remount("deploy_group=nogroup")
        done = self.repoint(WAYS["ln -sf"], self.new, uid=group.gr_gid)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.m.route("demo"), self.new)
