/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a fork of the holder to the workflow. The order is what matters: what needs privileges comes
 * before the change of identity; the parent death signal after it, for the change clears it; paths
 * last, for they are the user's to open.
 */
#include "engine/holder_child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Each variable's "NAME=" and a path; PATH is two of them. */
#define VARIABLE_SIZE ((size_t)2 * PATH_MAX)
#define VARIABLES 13

void holder_failure_set(struct holder_failure *failure, int error, const char *what,
			const char *path)
{
	const char *reason = strerror(error), *cut = "", *space = *path ? " " : "";
	size_t length = strlen(path);
	size_t rest = strlen("cannot : ...") + strlen(what) + strlen(space) + strlen(reason);
	size_t room = rest < sizeof(failure->text) ? sizeof(failure->text) - 1 - rest : 0;

	if (length > room) {
		path += length - room;
		cut = "...";
	}
	failure->error = error;
	snprintf(failure->text, sizeof(failure->text), "cannot %s%s%s%s: %s", what, space, cut,
		 path, reason);
}

/* Small enough for the pipe to take it whole, at once. */
static _Noreturn void fail(const struct holder_child *child, const char *what, const char *path)
{
	struct holder_failure failure;

	holder_failure_set(&failure, errno, what, path);
	(void)!write(child->failure, &failure, sizeof(failure));
	_exit(127);
}

/* All are blocked in the holder and at their default: so the workflow begins with nothing pending.
 */
static void unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A daemon that is protected from the OOM killer does not protect what others run. */
static void be_killable_like_others(void)
{
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	char text[16] = "";

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0 && strtol(text, NULL, 10) < 0)
		(void)!pwrite(fd, "0", 1, 0);
	close(fd);
}

static void become_user(const struct holder_args *args, const struct holder_child *child)
{
	if (!args->becomes_user)
		return;
	if (setgroups(args->group_count, args->groups) < 0)
		fail(child, "take on the groups of user", args->user);
	if (setresgid(args->gid, args->gid, args->gid) < 0)
		fail(child, "take on the group of user", args->user);
	if (setresuid(args->uid, args->uid, args->uid) < 0)
		fail(child, "become user", args->user);
}

/* Without a namespace the kernel ends us with the holder only if it still lived when we asked. */
static void die_with_holder(const struct holder_child *child)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		fail(child, "set the parent death signal", "");
	if (getppid() != child->holder)
		_exit(127);
}

static void open_input(const struct holder_args *args, const struct holder_child *child)
{
	char path[PATH_MAX];
	int input;

	snprintf(path, sizeof(path), "%s/runs/%s/input", args->mount, args->run);
	input = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (input < 0)
		fail(child, "open", path);
	if (dup2(input, STDIN_FILENO) < 0)
		fail(child, "take as stdin", path);
}

static void take_descriptors(const struct holder_child *child)
{
	if (dup2(child->output, STDOUT_FILENO) < 0 || dup2(child->log, STDERR_FILENO) < 0 ||
	    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		fail(child, "set up the standard descriptors", "");
}

struct environment {
	char text[VARIABLES][VARIABLE_SIZE];
	char *list[VARIABLES + 1];
	size_t count;
};

static void set(struct environment *environment, const char *name, const char *value,
		const char *more)
{
	char *text = environment->text[environment->count];

	snprintf(text, VARIABLE_SIZE, "%s=%s%s", name, value, more);
	environment->list[environment->count++] = text;
}

static void set_path(struct environment *environment, const char *directory)
{
	/* A colon cannot be quoted; an empty element would be the working directory. */
	if (directory[0] != '/' || strchr(directory, ':')) {
		set(environment, "PATH", SYSTEM_PATH, "");
		return;
	}
	set(environment, "PATH", directory, ":" SYSTEM_PATH);
}

static char **make_environment(const struct holder_args *args)
{
	static struct environment environment;
	char run[PATH_MAX];

	snprintf(run, sizeof(run), "%s/runs/%s", args->mount, args->run);
	set(&environment, "AION_MOUNT", args->mount, "");
	set(&environment, "AION_RUN", run, "");
	set(&environment, "AION_RUN_ID", args->run, "");
	set(&environment, "AION_TYPE", args->type, "");
	set(&environment, "AION_VERSION", args->version, "");
	set(&environment, "AION_ATTEMPT", args->attempt, "");
	set_path(&environment, args->path);
	set(&environment, "HOME", args->home, "");
	set(&environment, "USER", args->user, "");
	set(&environment, "LOGNAME", args->user, "");
	set(&environment, "SHELL", args->shell, "");
	set(&environment, "LANG", "C.UTF-8", "");
	if (args->tz)
		set(&environment, "TZ", args->tz, "");
	return environment.list;
}

/* The kernel says of a script whose interpreter is missing that the script is. */
static _Noreturn void explain_execve(const struct holder_child *child, const char *path)
{
	int error = errno;
	bool is_there = access(path, F_OK) == 0;

	errno = error;
	if (error == ENOENT && is_there)
		fail(child, "find the interpreter of", path);
	fail(child, "execute", path);
}

_Noreturn void holder_child_run(const struct holder_args *args, const struct holder_child *child)
{
	const struct rlimit no_core = {0};
	char directory[PATH_MAX], program[PATH_MAX];

	snprintf(directory, sizeof(directory), "%s/packages/%s/%s", args->mount, args->type,
		 args->version);
	snprintf(program, sizeof(program), "%s/packages/%s/%s/bin/%s", args->mount, args->type,
		 args->version, args->function);
	if (setsid() < 0)
		fail(child, "begin a session", "");
	unblock_signals();
	take_descriptors(child);
	be_killable_like_others();
	(void)setrlimit(RLIMIT_CORE, &no_core);
	umask(022);
	become_user(args, child);
	die_with_holder(child);
	if (chdir(directory) < 0)
		fail(child, "chdir to", directory);
	open_input(args, child);
	execve(program, (char *const[]){program, NULL}, make_environment(args));
	explain_execve(child, program);
}
