/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attempts through the real holder: what a workflow gets, how its end is told, and that nothing of
 * it survives its end, whatever it tries. Most holds with a PID namespace and without; each such
 * test is run both ways.
 */
#include "tests/engine/attempting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void expect_exit(const struct attempt_end *end, int code)
{
	cr_assert_eq(end->outcome, ATTEMPT_EXITED, "outcome %d: %s", (int)end->outcome, end->text);
	cr_assert_eq(end->code, code, "exit %d", end->code);
}

static void expect_file(struct stage *stage, const char *name, const char *text)
{
	char *seen = stage_read(stage, name);

	cr_assert_str_eq(seen, text);
	free(seen);
}

static void expect_part(struct stage *stage, const char *name, const char *part)
{
	char *seen = stage_read(stage, name);

	cr_assert_not_null(strstr(seen, part), "no \"%s\" in \"%s\"", part, seen);
	free(seen);
}

TEST_BOTH(tells_the_end)
{
	static const int codes[] = {0, 1, 7, 100, 127, 255};
	struct stage stage;
	struct attempt_end end;
	char script[64];

	stage_open(&stage, rights, NULL);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		snprintf(script, sizeof(script), "#!/bin/sh\nexit %d\n", codes[i]);
		end = stage_run_script(&stage, script);
		expect_exit(&end, codes[i]);
	}
	end = stage_run_script(&stage, "#!/bin/sh\nkill -SEGV $$\n");
	cr_assert_eq(end.outcome, ATTEMPT_SIGNALED);
	cr_assert_eq(end.signal, SIGSEGV);
	end = stage_run_script(&stage, "#!/bin/sh\nkill -KILL $$\n");
	cr_assert_eq(end.outcome, ATTEMPT_SIGNALED);
	cr_assert_eq(end.signal, SIGKILL);
	stage_close(&stage);
}

TEST_BOTH(connects_input_output_and_log)
{
	struct stage stage;
	struct attempt_end end;

	stage_open(&stage, rights, "#!/bin/sh\ncat\necho said >&2\necho more >/dev/stderr\n");
	end = stage_run(&stage);
	expect_exit(&end, 0);
	expect_file(&stage, "state/output", "the input\n");
	expect_file(&stage, "state/log", "said\nmore\n");
	stage_close(&stage);
}

/* The interpreter holds nothing itself, and ls nothing but the directory that it reads. */
TEST_BOTH(gives_three_descriptors)
{
	struct stage stage;
	struct attempt_end end;
	char *seen;
	int leaked = open("/dev/null", O_RDONLY); /* not close-on-exec */

	stage_open(&stage, rights, "#!/usr/bin/env -S ls -l /proc/self/fd\n");
	end = stage_run(&stage);
	expect_exit(&end, 0);
	seen = stage_read(&stage, "state/output");
	cr_assert_not_null(strstr(seen, " 0 -> "), "%s", seen);
	cr_assert_not_null(strstr(seen, "/runs/42/input\n"), "%s", seen);
	cr_assert_not_null(strstr(seen, " 1 -> "), "%s", seen);
	cr_assert_not_null(strstr(seen, " 2 -> pipe:"), "%s", seen);
	cr_assert_not_null(strstr(seen, " 3 -> /proc/"), "%s", seen);
	cr_assert_null(strstr(seen, " 4 -> "), "%s", seen);
	cr_assert_null(strstr(strstr(seen, " 3 -> ") + 1, " -> "
							  "pipe"),
		       "%s", seen);
	free(seen);
	close(leaked);
	stage_close(&stage);
}

static void expect_variable(struct stage *stage, const char *name, const char *value)
{
	char line[512];

	snprintf(line, sizeof(line), "\n%s=%s\n", name, value);
	expect_part(stage, "state/output", line);
}

TEST_BOTH(gives_an_environment_and_nothing_else)
{
	struct stage stage;
	struct attempt_end end;
	const struct passwd *user;
	char path[256], *seen;
	int lines = 0;

	setenv("AIONFS_SECRET", "1", 1);
	setenv("TZ", "Europe/Zurich", 1);
	stage_open(&stage, rights, "#!/usr/bin/env -S sh -c \"echo; env\"\n");
	end = stage_run(&stage);
	expect_exit(&end, 0);
	expect_variable(&stage, "AION_MOUNT", stage.root);
	snprintf(path, sizeof(path), "%s/runs/42", stage.root);
	expect_variable(&stage, "AION_RUN", path);
	expect_variable(&stage, "AION_RUN_ID", "42");
	expect_variable(&stage, "AION_TYPE", "demo");
	expect_variable(&stage, "AION_VERSION", ATTEMPTING_VERSION);
	expect_variable(&stage, "AION_ATTEMPT", "7");
	expect_variable(&stage, "LANG", "C.UTF-8");
	expect_variable(&stage, "TZ", "Europe/Zurich");
	user = getpwuid(stage.uid);
	if (user) {
		expect_variable(&stage, "HOME", user->pw_dir);
		expect_variable(&stage, "USER", user->pw_name);
		expect_variable(&stage, "LOGNAME", user->pw_name);
		expect_variable(&stage, "SHELL", user->pw_shell);
	}
	seen = stage_read(&stage, "state/output");
	cr_assert_not_null(strstr(seen, "/engine:/usr/local/sbin:/usr/local/bin:"), "%s", seen);
	for (const char *at = seen; *at; at++)
		lines += *at == '\n';
	cr_assert_leq(lines, 1 + 13 + 1, "%s", seen); /* the shell adds PWD */
	free(seen);
	stage_close(&stage);
}

TEST_BOTH(runs_in_the_package_by_its_path)
{
	struct stage stage;
	struct attempt_end end;
	char text[512];

	stage_open(&stage, rights, "#!/bin/sh\numask\nulimit -c\npwd\ndirname \"$0\"\n");
	umask(077);
	end = stage_run(&stage);
	expect_exit(&end, 0);
	snprintf(text, sizeof(text),
		 "0022\n0\n%s/packages/demo/" ATTEMPTING_VERSION "\n"
		 "%s/packages/demo/" ATTEMPTING_VERSION "/bin\n",
		 stage.root, stage.root);
	expect_file(&stage, "state/output", text);
	stage_close(&stage);
}

static uint64_t size_of(struct stage *stage, const char *name)
{
	struct stat info;

	return fstatat(stage->log_directory, name, &info, 0) == 0 ? (uint64_t)info.st_size : 0;
}

TEST_BOTH(keeps_the_log_in_a_ring)
{
	struct stage stage;
	struct attempt_end end;
	char *seen;

	stage_open(&stage, rights,
		   "#!/bin/sh\nhead -c 5000000 /dev/zero | tr '\\0' x >&2\necho last >&2\n");
	end = stage_run(&stage);
	expect_exit(&end, 0);
	cr_assert_eq(size_of(&stage, "log.1"), 1 << 20);
	cr_assert_eq(size_of(&stage, "log"), 5000005 % (1 << 20));
	seen = stage_read(&stage, "state/log");
	cr_assert_str_eq(seen + strlen(seen) - 6, "xlast\n");
	free(seen);
	/* The next attempt goes on in it. */
	end = stage_run_script(&stage, "#!/bin/sh\necho again >&2\n");
	cr_assert_eq(size_of(&stage, "log"), 5000005 % (1 << 20) + 6);
	stage_close(&stage);
}

/* Neither a link in its place, nor a disk that takes nothing, is the workflow's trouble. */
TEST_BOTH(a_log_that_cannot_be_written_stops_nothing)
{
	struct stage stage;
	struct attempt_end end;

	stage_open(&stage, rights, "#!/bin/sh\nhead -c 3000000 /dev/zero >&2\necho done\n");
	cr_assert_eq(symlinkat("../seen/elsewhere", stage.log_directory, "log"), 0);
	end = stage_run(&stage);
	expect_exit(&end, 0);
	expect_file(&stage, "state/output", "done\n");
	expect_file(&stage, "seen/elsewhere", "");
	stage_close(&stage);
}

static void expect_not_started(const struct attempt_end *end, int error, const char *part)
{
	cr_assert_eq(end->outcome, ATTEMPT_NOT_STARTED, "outcome %d", (int)end->outcome);
	cr_assert_eq(end->error, error, "%s (%d)", end->text, end->error);
	cr_assert_not_null(strstr(end->text, part), "no \"%s\" in \"%s\"", part, end->text);
	cr_assert_not_null(strstr(end->text, strerror(error)), "%s", end->text);
}

TEST_BOTH(says_why_it_did_not_start)
{
	struct stage stage;
	struct attempt_end end;
	char path[256];

	stage_open(&stage, rights, NULL);
	end = stage_run(&stage);
	expect_not_started(&end, ENOENT, "execute ");
	end = stage_run_script(&stage, "#!/nonexistent/interpreter\n");
	expect_not_started(&end, ENOENT, "interpreter");
	end = stage_run_script(&stage, "neither a script nor a program\n");
	expect_not_started(&end, ENOEXEC, "/bin/run");
	snprintf(path, sizeof(path), "%s/runs/42/input", stage.root);
	cr_assert_eq(unlink(path), 0);
	end = stage_run(&stage);
	expect_not_started(&end, ENOENT, "/runs/42/input");
	/* A mount that is not there. */
	snprintf(stage.root + strlen(stage.root), 2, "x");
	end = stage_run(&stage);
	expect_not_started(&end, ENOENT, "chdir to ");
	stage.root[strlen(stage.root) - 1] = '\0';
	stage_close(&stage);
}

TEST_BOTH(refuses_names_that_lead_out)
{
	struct stage stage;
	struct attempt_end end;

	stage_open(&stage, rights, "#!/bin/sh\n");
	stage.run_id = "../packages";
	end = stage_run(&stage);
	expect_not_started(&end, EINVAL, "argument run");
	stage.run_id = "42";
	stage.function = "..";
	end = stage_run(&stage);
	expect_not_started(&end, EINVAL, "argument function");
	stage.function = "";
	end = stage_run(&stage);
	expect_not_started(&end, EINVAL, "argument function");
	stage_close(&stage);
}

/* The reason is told whole, whatever becomes of the path. */
TEST_BOTH(a_long_path_does_not_hide_the_reason)
{
	struct stage stage;
	struct attempt_end end;
	char name[201] = "";

	stage_open(&stage, rights, "#!/bin/sh\n");
	memset(name, 'n', sizeof(name) - 1);
	stage.function = name;
	end = stage_run(&stage);
	expect_not_started(&end, ENOENT, "execute ...nnn");
	stage_close(&stage);
}

TEST_BOTH(a_missing_holder_is_said_at_once)
{
	struct stage stage;
	struct attempt attempt;
	struct reason reason = {0};

	stage_open(&stage, rights, "#!/bin/sh\n");
	attempt_set_holder("/nonexistent/holder");
	cr_assert_eq(stage_try(&stage, &attempt, &reason), -ENOENT);
	cr_assert_not_null(strstr(reason.message, "/nonexistent/holder"), "%s", reason.message);
	stage_close(&stage);
}

Test(attempt_unprivileged, cannot_become_another_user)
{
	struct stage stage;
	struct attempt_end end;

	stage_open(&stage, AS_NOBODY, "#!/bin/sh\n");
	stage.uid = 0;
	end = stage_run(&stage);
	expect_not_started(&end, EPERM, "user");
	stage_close(&stage);
}

/* A user that some group lists as a member, if there is one; else nobody. */
static const struct passwd *user_with_groups(void)
{
	const struct passwd *user = NULL;
	const struct group *group;

	setgrent();
	while (!user && (group = getgrent())) {
		if (group->gr_mem[0])
			user = getpwnam(group->gr_mem[0]);
		if (user && user->pw_uid == 0)
			user = NULL;
	}
	endgrent();
	return user ? user : getpwnam("nobody");
}

static char *groups_of(const char *name)
{
	char command[128], *line = calloc(1, 4096);
	FILE *pipe;

	snprintf(command, sizeof(command), "id -G '%s'", name);
	pipe = popen(command, "re");
	cr_assert_not_null(pipe);
	cr_assert_not_null(fgets(line, 4096, pipe));
	pclose(pipe);
	return line;
}

Test(attempt, runs_as_another_user)
{
	const struct passwd *user;
	char text[4200], path[256], *groups;
	struct attempt_end end;
	struct stage stage;
	int fd;

	stage_open(&stage, AS_ROOT,
		   "#!/bin/sh\nid -u\nid -ru\nid -g\nid -G\ncat ../../../secret && echo leaked\n"
		   "grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status >../../../seen/caps\n"
		   "echo told >/dev/stderr\n");
	user = user_with_groups();
	cr_assert_not_null(user);
	snprintf(path, sizeof(path), "%s/secret", stage.root);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	stage.uid = user->pw_uid;
	stage.gid = user->pw_gid;
	end = stage_run(&stage);
	expect_exit(&end, 0);
	groups = groups_of(user->pw_name);
	snprintf(text, sizeof(text), "%u\n%u\n%u\n%s", user->pw_uid, user->pw_uid, user->pw_gid,
		 groups);
	expect_file(&stage, "state/output", text);
	expect_part(&stage, "state/log", "told\n");
	expect_file(&stage, "seen/caps",
		    "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
		    "CapAmb:\t0000000000000000\n");
	free(groups);
	stage_close(&stage);
}

Test(attempt, runs_as_a_user_that_no_database_knows)
{
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, AS_ROOT, "#!/bin/sh\nid -u\nid -G\necho $HOME $USER $SHELL\n");
	stage.uid = 3999999;
	stage.gid = 3999998;
	end = stage_run(&stage);
	expect_exit(&end, 0);
	expect_file(&stage, "state/output", "3999999\n3999998\n/ 3999999 /bin/sh\n");
	stage_close(&stage);
}

/* What survives ordinary supervisors. `$OUT` is the stage's directory that everyone may write. */
#define CLINGING                                                                                   \
	"(trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP; (sleep 1000 & sleep 1000 &) & "  \
	"sleep 1000' &)\n"                                                                         \
	"(sleep 1000 & kill -STOP $!)\n"                                                           \
	"setsid sh -c 'exec 2>&-; exec sleep 1000' &\n"

TEST_BOTH(nothing_survives_its_end)
{
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, rights, "#!/bin/sh\n" CLINGING "exit 5\n");
	stage_use_pipe(&stage);
	end = stage_run(&stage);
	expect_exit(&end, 5);
	cr_assert(stage_is_empty(&stage, 0));
	stage_close(&stage);
}

TEST_BOTH(nothing_survives_a_kill)
{
	struct attempt attempt;
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, rights, "#!/bin/sh\n" CLINGING "echo up >&2\nsleep 1000\n");
	stage_use_pipe(&stage);
	stage_start(&stage, &attempt);
	stage_await(&stage, "state/log", "up");
	cr_assert_not(stage_is_empty(&stage, 0));
	attempt_kill(&attempt);
	attempt_kill(&attempt);
	attempt_collect(&attempt, &end);
	cr_assert_eq(end.outcome, ATTEMPT_LOST);
	cr_assert(stage_is_empty(&stage, 0));
	stage_close(&stage);
}

TEST_BOTH(a_stopped_workflow_can_be_killed)
{
	struct attempt attempt;
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, rights, "#!/bin/sh\necho up >&2\nkill -STOP $$\n");
	stage_use_pipe(&stage);
	stage_start(&stage, &attempt);
	stage_await(&stage, "state/log", "up");
	sleep_ms(50);
	attempt_kill(&attempt);
	attempt_collect(&attempt, &end);
	cr_assert_eq(end.outcome, ATTEMPT_LOST);
	cr_assert(stage_is_empty(&stage, 0));
	stage_close(&stage);
}

/* Without a namespace somebody of the same user can stop the holder itself. */
Test(attempt_unprivileged, a_stopped_holder_is_no_obstacle, .timeout = 60)
{
	struct attempt attempt;
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, AS_NOBODY, "#!/bin/sh\n" CLINGING "echo up >&2\nsleep 1000\n");
	stage_use_pipe(&stage);
	stage_start(&stage, &attempt);
	stage_await(&stage, "state/log", "up");
	kill(attempt.holder, SIGSTOP);
	attempt_kill(&attempt);
	attempt_collect(&attempt, &end);
	cr_assert_eq(end.outcome, ATTEMPT_LOST);
	cr_assert(stage_is_empty(&stage, 1000));
	stage_close(&stage);
}

/* Without a namespace nobody can end what runs as somebody else. The attempt ends nevertheless. */
Test(attempt_unprivileged, a_setuid_process_does_not_hold_up_the_end, .timeout = 60)
{
	struct attempt_end end;
	struct stage stage;
	struct stat info;
	char path[128];

	stage_open(&stage, AS_NOBODY,
		   "#!/bin/sh\n../../../setpriv --reuid 0 sleep 6 &\nsleep 0.3\nexit 3\n");
	snprintf(path, sizeof(path), "%s/setpriv", stage.root);
	if (stat(path, &info) < 0 || info.st_uid != 0 || !(info.st_mode & S_ISUID))
		cr_skip_test("only root can leave a setuid program here");
	stage_use_pipe(&stage);
	end = stage_run(&stage);
	expect_exit(&end, 3);
	cr_assert_not(stage_is_empty(&stage, 0), "is /tmp mounted nosuid?");
	cr_assert(stage_is_empty(&stage, 20000));
	stage_close(&stage);
}

/* A daemon of our own that starts an attempt and is killed. */
TEST_BOTH(nothing_survives_the_daemon)
{
	struct attempt attempt;
	struct stage stage;
	pid_t daemon;

	stage_open(&stage, rights, "#!/bin/sh\n" CLINGING "echo up >&2\nsleep 1000\n");
	stage_use_pipe(&stage);
	daemon = fork();
	cr_assert_geq(daemon, 0);
	if (daemon == 0) {
		stage_start(&stage, &attempt);
		for (;;)
			pause();
	}
	close(stage.output);
	stage.output = -1;
	stage_await(&stage, "state/log", "up");
	cr_assert_not(stage_is_empty(&stage, 0));
	kill(daemon, SIGKILL);
	waitpid(daemon, NULL, 0);
	cr_assert(stage_is_empty(&stage, 10000));
	stage_close(&stage);
}

/* Should somebody else have a copy of the lifeline, the parent death signal is there. */
Test(attempt, nothing_survives_the_daemon_without_a_lifeline, .timeout = 60)
{
	struct attempt attempt;
	struct stage stage;
	pid_t daemon;

	stage_open(&stage, AS_ROOT, "#!/bin/sh\n" CLINGING "echo up >&2\nsleep 1000\n");
	stage_use_pipe(&stage);
	daemon = fork();
	cr_assert_geq(daemon, 0);
	if (daemon == 0) {
		stage_start(&stage, &attempt);
		if (fork() == 0)
			sleep(30); /* a child that was forked bare, with all descriptors */
		else
			stage_await(&stage, "state/log", "up");
		_exit(0);
	}
	close(stage.output);
	stage.output = -1;
	waitpid(daemon, NULL, 0);
	cr_assert(stage_is_empty(&stage, 10000));
	stage_close(&stage);
}

/* The signal reaches everybody but PID 1 and its sender, and without a namespace too many. */
Test(attempt, killing_everybody_does_not_reach_the_holder)
{
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, AS_ROOT,
		   "#!/bin/sh\nkill -KILL 1\nkill -STOP 1\nkill -CHLD 1\nkill -TERM -1\n"
		   "kill -KILL -1\nexit 6\n");
	end = stage_run(&stage);
	expect_exit(&end, 6);
	stage_close(&stage);
}

TEST_BOTH(a_storm_of_processes_ends)
{
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, rights,
		   "#!/bin/sh\nulimit -p 400\n"
		   "i=0; while [ $i -lt 100 ]; do (setsid sleep 1000 &); i=$((i + 1)); done\n"
		   "b() { b & b & sleep 0.01; b; }\nb 2>&- &\n"
		   "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done\nexit 9\n");
	if (rights == AS_ROOT)
		stage.uid = stage.gid = 65533; /* no limit of processes holds for root */
	stage_use_pipe(&stage);
	end = stage_run(&stage);
	expect_exit(&end, 9);
	cr_assert(stage_is_empty(&stage, 0));
	stage_close(&stage);
}

/* More than any buffer, from several at once, while the workflow ends. */
TEST_BOTH(a_flood_of_log_does_not_delay_the_end)
{
	struct attempt_end end;
	struct stage stage;
	time_t begun = time(NULL);

	stage_open(&stage, rights,
		   "#!/bin/sh\nyes >&2 &\nyes >&2 &\nsetsid yes >&2 &\nsleep 0.5\nexit 4\n");
	stage_use_pipe(&stage);
	end = stage_run(&stage);
	expect_exit(&end, 4);
	cr_assert(stage_is_empty(&stage, 0));
	cr_assert_leq(size_of(&stage, "log"), 1 << 20);
	cr_assert_leq(time(NULL) - begun, 20);
	stage_close(&stage);
}

TEST_BOTH(a_closed_stderr_is_no_end)
{
	struct attempt_end end;
	struct stage stage;

	stage_open(&stage, rights,
		   "#!/bin/sh\nexec 2>&- 0<&-\nsleep 0.3\necho still here\nexit 2\n");
	end = stage_run(&stage);
	expect_exit(&end, 2);
	expect_file(&stage, "state/output", "still here\n");
	stage_close(&stage);
}

/* The id as everyone outside of the namespace sees it. */
#define OWN_ID "read id rest </proc/self/stat; echo $id"

static pid_t await_id(struct stage *stage, const char *name)
{
	char *text;
	pid_t pid;

	stage_await(stage, name, "\n");
	text = stage_read(stage, name);
	pid = (pid_t)strtol(text, NULL, 10);
	free(text);
	cr_assert_gt(pid, 0);
	return pid;
}

TEST_BOTH(knows_its_tasks)
{
	struct attempt attempt, other;
	struct attempt_end end;
	struct stage stage;
	pid_t grandchild, nested;

	stage_open(&stage, rights,
		   "#!/bin/sh\ncd ../../../seen || exit\n"
		   "(setsid sh -c '" OWN_ID " >grandchild; sleep 1000' &)\n"
		   "unshare -p -f sh -c '" OWN_ID " >nested; sleep 1000' &\nsleep 1000\n");
	stage_start(&stage, &attempt);
	grandchild = await_id(&stage, "seen/grandchild");
	cr_assert(attempt_contains(&attempt, grandchild));
	if (rights == AS_ROOT) {
		nested = await_id(&stage, "seen/nested");
		cr_assert(attempt.has_namespace);
		cr_assert_neq(attempt.namespace_inode, 0);
		cr_assert(attempt_contains(&attempt, nested));
	}
	cr_assert_not(attempt_contains(&attempt, getpid()));
	cr_assert_not(attempt_contains(&attempt, getppid()));
	cr_assert_not(attempt_contains(&attempt, 1));
	cr_assert_not(attempt_contains(&attempt, 0));
	cr_assert_not(attempt_contains(&attempt, -1));
	stage_start(&stage, &other);
	cr_assert_not(attempt_contains(&other, grandchild));
	attempt_kill(&attempt);
	attempt_collect(&attempt, &end);
	cr_assert_not(attempt_contains(&attempt, grandchild));
	attempt_kill(&other);
	attempt_collect(&other, &end);
	stage_close(&stage);
}

static uint64_t cpu_of(const struct attempt *attempt)
{
	uint64_t ns = 0;

	cr_assert_eq(attempt_cpu_ns(attempt, &ns), 0);
	return ns;
}

TEST_BOTH(counts_the_cpu_of_the_living_and_the_waited_for)
{
	struct attempt attempt;
	struct attempt_end end;
	struct stage stage;
	uint64_t before, after;

	stage_open(&stage, rights,
		   "#!/bin/sh\nsetsid sh -c 'sh -c \"ulimit -t 1; while :; do :; done\"; "
		   "echo up >&2; sleep 1000' &\nwait\n");
	stage_start(&stage, &attempt);
	before = cpu_of(&attempt);
	do {
		sleep_ms(10);
		after = cpu_of(&attempt);
	} while (after < before + 300000000);
	stage_await(&stage, "state/log", "up");
	sleep_ms(200);
	before = cpu_of(&attempt);
	cr_assert_geq(before, after);
	sleep_ms(500);
	cr_assert_eq(cpu_of(&attempt), before);
	attempt_kill(&attempt);
	attempt_collect(&attempt, &end);
	cr_assert_eq(attempt_cpu_ns(&attempt, &after), -ESRCH);
	stage_close(&stage);
}

TEST_BOTH(ends_what_a_former_daemon_left)
{
	struct attempt attempt;
	struct attempt_end end;
	struct stage stage;
	char boot[37], other[37];

	stage_open(&stage, rights, "#!/bin/sh\n" CLINGING "echo up >&2\nsleep 1000\n");
	stage_use_pipe(&stage);
	stage_start(&stage, &attempt);
	stage_await(&stage, "state/log", "up");
	cr_assert_eq(attempt_boot_id(boot), 0);
	cr_assert_eq(strlen(boot), 36);
	memcpy(other, boot, sizeof(other));
	other[0] = other[0] == '0' ? '1' : '0';
	cr_assert_eq(attempt_end_survivor(other, attempt.holder, attempt.start_ticks), 0);
	cr_assert_eq(attempt_end_survivor(boot, attempt.holder, attempt.start_ticks + 1), 0);
	cr_assert_not(stage_is_empty(&stage, 200));
	cr_assert_eq(attempt_end_survivor(boot, attempt.holder, attempt.start_ticks), 0);
	cr_assert(stage_is_empty(&stage, 1000));
	cr_assert_eq(attempt_end_survivor(boot, attempt.holder, attempt.start_ticks), 0);
	attempt_collect(&attempt, &end);
	/* Without a namespace it is the workflow that is killed first, which this holder may tell.
	 */
	cr_assert(end.outcome == ATTEMPT_LOST || rights == AS_NOBODY);
	stage_close(&stage);
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int compare(const void *a, const void *b)
{
	const double *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

#define ROUNDS 200

TEST_BOTH(leaves_no_descriptor_and_no_child)
{
	static double took[ROUNDS];
	struct attempt_end end;
	struct stage stage;
	int before;

	stage_open(&stage, rights, "#!/bin/sh\nexit 0\n");
	before = count_descriptors();
	for (int i = 0; i < ROUNDS; i++) {
		took[i] = now_ms();
		end = stage_run(&stage);
		took[i] = now_ms() - took[i];
		expect_exit(&end, 0);
	}
	cr_assert_eq(count_descriptors(), before);
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	printf("an attempt of an empty sh script: median %.2f ms, worst %.2f ms of %d\n",
	       took[ROUNDS / 2], took[ROUNDS - 1], ROUNDS);
	stage_close(&stage);
}
