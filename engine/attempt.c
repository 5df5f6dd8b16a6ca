/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of an attempt: starts a holder, tells it to end, collects what it reports. What
 * it says of running ones (whose task is it, what does it use) is in attempt_look.c.
 *
 * Invariant: a started attempt owns three descriptors and one child process until it is collected;
 * attempt_start leaves neither behind when it fails. Opens no path of a mount: the holder's child
 * does, as the user, for we are the ones to answer.
 */
#include "engine/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/account.h"
#include "engine/holder.h"
#include "engine/launch.h"
#include "engine/process.h"
#include "engine/program.h"

/* How long a holder without a namespace may take to end its descendants before we do it. */
#define PATIENCE_MS 5000

/* How long a former daemon's holder may take to be gone after SIGKILL. */
#define SURVIVOR_PATIENCE_MS 10000

#define ARGUMENTS_MAX 24

/* Where the kernel's limit of one argument is 128 KiB. */
#define GROUPS_TEXT_MAX (96 << 10)

_Static_assert(sizeof(((struct attempt_end *)NULL)->text) == HOLDER_TEXT_SIZE,
	       "what the holder says fits");

static const char *chosen_holder;

void attempt_set_holder(const char *path)
{
	chosen_holder = path;
}

static int cannot(struct reason *reason, int error, const char *what)
{
	return reason_set(reason, error, "attempt_not_started", "cannot %s: %s", what,
			  strerror(error));
}

/* The holder's arguments. */

struct arguments {
	char *list[ARGUMENTS_MAX + 1];
	size_t count;
	bool failed; /* no memory */
};

static __attribute__((format(printf, 2, 3))) void add(struct arguments *arguments,
						      const char *format, ...)
{
	va_list values;

	va_start(values, format);
	if (arguments->count == ARGUMENTS_MAX ||
	    vasprintf(&arguments->list[arguments->count], format, values) < 0) {
		arguments->list[arguments->count] = NULL;
		arguments->failed = true;
	} else {
		arguments->count++;
	}
	va_end(values);
}

static void release_arguments(struct arguments *arguments)
{
	for (size_t i = 0; i < arguments->count; i++)
		free(arguments->list[i]);
}

static void add_groups(struct arguments *arguments, const struct account *account)
{
	char *text = malloc(GROUPS_TEXT_MAX);
	size_t length = 0;

	if (!text) {
		arguments->failed = true;
		return;
	}
	text[0] = '\0';
	for (size_t i = 0; i < account->group_count && length < GROUPS_TEXT_MAX - 16; i++)
		length += (size_t)snprintf(text + length, GROUPS_TEXT_MAX - length, "%s%u",
					   i == 0 ? "" : ",", (unsigned)account->groups[i]);
	add(arguments, "groups=%s", text);
	free(text);
}

/* Without privileges there is one user whom a holder can run things as, and nothing to change. */
static bool has_to_change_user(const struct attempt_spec *spec)
{
	return geteuid() == 0 || geteuid() != spec->uid;
}

static void add_user(struct arguments *arguments, const struct attempt_spec *spec,
		     const struct account *account)
{
	add(arguments, "uid=%u", (unsigned)spec->uid);
	add(arguments, "gid=%u", (unsigned)spec->gid);
	if (has_to_change_user(spec))
		add_groups(arguments, account);
	add(arguments, "user=%s", account->name);
	add(arguments, "home=%s", account->home);
	add(arguments, "shell=%s", account->shell);
}

static void add_everything(struct arguments *arguments, const struct attempt_spec *spec,
			   const struct account *account)
{
	const char *zone = getenv("TZ");
	char directory[PATH_MAX];

	if (program_directory(directory, sizeof(directory)) < 0)
		directory[0] = '\0'; /* no /proc: PATH is the system's alone */
	add(arguments, "%s", HOLDER_PROGRAM);
	add(arguments, "mount=%s", spec->mountpoint);
	add(arguments, "run=%s", spec->run_id);
	add(arguments, "type=%s", spec->type);
	add(arguments, "version=%s", spec->version);
	add(arguments, "function=%s", spec->function);
	add(arguments, "attempt=%u", spec->number);
	add_user(arguments, spec, account);
	add(arguments, "log=%.*s", (int)sizeof(spec->log_name), spec->log_name);
	add(arguments, "path=%s", directory);
	if (zone)
		add(arguments, "tz=%s", zone);
}

/* The pipes. Each end: -1 when it is none, or somebody else's by now. */

struct pipes {
	int lifeline_reader, lifeline_writer;
	int report_reader, report_writer;
};

static void close_end(int *end)
{
	if (*end >= 0)
		close(*end);
	*end = -1;
}

static void close_pipes(struct pipes *pipes)
{
	close_end(&pipes->lifeline_reader);
	close_end(&pipes->lifeline_writer);
	close_end(&pipes->report_reader);
	close_end(&pipes->report_writer);
}

static int open_pipes(struct pipes *pipes)
{
	int ends[2];

	*pipes = (struct pipes){-1, -1, -1, -1};
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pipes->lifeline_reader = ends[0];
	pipes->lifeline_writer = ends[1];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		int error = errno;

		close_pipes(pipes);
		return -error;
	}
	pipes->report_reader = ends[0];
	pipes->report_writer = ends[1];
	return 0;
}

static void describe(const struct launched *launched, struct pipes *pipes, struct attempt *attempt)
{
	struct process_stat process;
	struct stat namespace;
	char path[48];

	*attempt = (struct attempt){.holder = launched->pid,
				    .pidfd = launched->pidfd,
				    .report = pipes->report_reader,
				    .lifeline = pipes->lifeline_writer,
				    .has_namespace = launched->has_namespace};
	pipes->report_reader = pipes->lifeline_writer = -1;
	/* Nobody but us can wait for it: even if it has ended by now, the id is its own. */
	if (process_stat(launched->pid, &process) == 0)
		attempt->start_ticks = process.start_ticks;
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)launched->pid);
	if (launched->has_namespace && stat(path, &namespace) == 0)
		attempt->namespace_inode = namespace.st_ino;
}

static int start_holder(const struct attempt_spec *spec, const struct arguments *arguments,
			struct attempt *attempt, struct reason *reason)
{
	char program[PATH_MAX];
	struct launch_request request = {.program = program, .argv = arguments->list};
	struct launched launched;
	struct pipes pipes;
	int result = open_pipes(&pipes);

	if (result < 0)
		return cannot(reason, -result, "make a pipe");
	if (chosen_holder)
		snprintf(program, sizeof(program), "%s", chosen_holder);
	else
		program_find(HOLDER_PROGRAM, program, sizeof(program));
	request.descriptors[HOLDER_LIFELINE - HOLDER_LIFELINE] = pipes.lifeline_reader;
	request.descriptors[HOLDER_REPORT - HOLDER_LIFELINE] = pipes.report_writer;
	request.descriptors[HOLDER_OUTPUT - HOLDER_LIFELINE] = spec->output;
	request.descriptors[HOLDER_LOG_DIRECTORY - HOLDER_LIFELINE] = spec->log_directory;
	request.count = HOLDER_DESCRIPTORS_END - HOLDER_LIFELINE;
	result = launch(&request, &launched);
	if (result == 0)
		describe(&launched, &pipes, attempt);
	else
		reason_set(reason, -result, "attempt_not_started",
			   "cannot start the holder %s: %s; is aionfs installed whole?", program,
			   strerror(-result));
	close_pipes(&pipes);
	return result;
}

int attempt_start(const struct attempt_spec *spec, struct attempt *ret_attempt,
		  struct reason *reason)
{
	struct arguments arguments = {0};
	struct account account;
	int result = account_find(spec->uid, spec->gid, &account);

	if (result < 0)
		return cannot(reason, -result, "look up the run's user");
	add_everything(&arguments, spec, &account);
	account_release(&account);
	if (arguments.failed)
		result = cannot(reason, ENOMEM, "start the holder");
	else
		result = start_holder(spec, &arguments, ret_attempt, reason);
	release_arguments(&arguments);
	return result;
}

void attempt_kill(struct attempt *attempt)
{
	close_end(&attempt->lifeline);
	/* The kernel ends a namespace with its PID 1. Without one, the holder has to do it. */
	if (attempt->has_namespace)
		pidfd_send_signal(attempt->pidfd, SIGKILL, NULL, 0);
}

/* Returns whether the process has ended, at the latest after `patience_ms`; -1: no limit. */
static bool await_end(int pidfd, int patience_ms)
{
	struct pollfd wait = {.fd = pidfd, .events = POLLIN};
	int ready;

	do
		ready = poll(&wait, 1, patience_ms);
	while (ready < 0 && errno == EINTR);
	return ready > 0;
}

/*
 * Of a holder without a namespace that does not end its descendants (somebody stopped it: a
 * workflow of the same user can): we do it in its place. Those that fork faster than we kill are
 * bounded by the user's limits only, and so is our patience.
 */
static void end_in_its_place(pid_t holder, int pidfd)
{
	for (int i = 0; i < 100 && process_kill_descendants(holder) > 0; i++)
		;
	pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
}

void attempt_force(struct attempt *attempt)
{
	end_in_its_place(attempt->holder, attempt->pidfd);
}

static void reap(const struct attempt *attempt)
{
	siginfo_t info;

	/* ECHILD where SIGCHLD is ignored; then it is gone as well. */
	while (waitid(P_PIDFD, (id_t)attempt->pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
}

static void read_report(const struct attempt *attempt, struct attempt_end *ret_end)
{
	struct holder_report record;
	ssize_t length = read(attempt->report, &record, sizeof(record));

	*ret_end = (struct attempt_end){.outcome = ATTEMPT_LOST};
	if (length != (ssize_t)sizeof(record) || record.magic != HOLDER_REPORT_MAGIC ||
	    record.outcome >= ATTEMPT_LOST)
		return;
	ret_end->outcome = (enum attempt_outcome)record.outcome;
	ret_end->code = ret_end->outcome == ATTEMPT_EXITED ? record.value : 0;
	ret_end->signal = ret_end->outcome == ATTEMPT_SIGNALED ? record.value : 0;
	ret_end->error = record.error;
	snprintf(ret_end->text, sizeof(ret_end->text), "%.*s", (int)sizeof(record.text) - 1,
		 record.text);
}

void attempt_collect(struct attempt *attempt, struct attempt_end *ret_end)
{
	bool was_told = attempt->lifeline < 0;

	if (!await_end(attempt->pidfd, was_told ? PATIENCE_MS : -1)) {
		end_in_its_place(attempt->holder, attempt->pidfd);
		await_end(attempt->pidfd, -1);
	}
	reap(attempt);
	read_report(attempt, ret_end);
	close_end(&attempt->lifeline);
	close_end(&attempt->report);
	close_end(&attempt->pidfd);
	attempt->holder = 0;
}

int attempt_boot_id(char ret_id[37])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return -errno;
	length = read(fd, ret_id, 36);
	if (length < 0)
		length = -errno;
	close(fd);
	ret_id[36] = '\0';
	return length == 36 ? 0 : length < 0 ? (int)length : -EIO;
}

static bool is_in_our_namespace(pid_t pid)
{
	struct stat its, ours;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	return stat(path, &its) == 0 && stat("/proc/self/ns/pid", &ours) == 0 &&
	       its.st_ino == ours.st_ino;
}

/* Its lifeline broke with the daemon that held it, so it may be about to end by itself. */
static int end_process(pid_t pid, int pidfd)
{
	if (is_in_our_namespace(pid)) {
		if (await_end(pidfd, PATIENCE_MS))
			return 0;
		end_in_its_place(pid, pidfd);
	} else {
		pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	}
	return await_end(pidfd, SURVIVOR_PATIENCE_MS) ? 0 : -ETIMEDOUT;
}

int attempt_end_survivor(const char *boot_id, pid_t pid, uint64_t start_ticks)
{
	struct process_stat process;
	char boot[37];
	int pidfd, result = attempt_boot_id(boot);

	if (result < 0)
		return result;
	if (strcmp(boot, boot_id) != 0 || pid <= 0)
		return 0;
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) /* EINVAL: by now it is some process's thread */
		return errno == ESRCH || errno == EINVAL ? 0 : -errno;
	/* Asked after the opening: the pidfd is that process, or one that is gone. */
	result = process_stat(pid, &process);
	if (result == 0 && process.start_ticks == start_ticks)
		result = end_process(pid, pidfd);
	else if (result == -ESRCH)
		result = 0;
	close(pidfd);
	return result;
}
