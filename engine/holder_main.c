/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aionfs-holder: holds one attempt of a run, and ends all of it. It runs with the daemon's
 * privileges, normally as PID 1 of a PID namespace of its own, where no process can signal it and
 * where the kernel ends every process with it; otherwise as the subreaper of its descendants, which
 * it ends itself.
 *
 * One loop over three descriptors: the lifeline (the daemon wants the end, or is dead), the pipe
 * that is stderr of all processes of the attempt, and SIGCHLD. When the workflow's own process has
 * ended, or the lifeline says so, everything else is killed; when nothing is left, what still
 * stands in the log pipe is written, the daemon gets its record, and the holder exits. It allocates
 * nothing on the way and waits for nobody but the kernel, so nothing that a workflow does can hold
 * it up.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/attempt.h"
#include "engine/holder.h"
#include "engine/holder_args.h"
#include "engine/holder_child.h"
#include "engine/holder_log.h"
#include "engine/process.h"

/* How often those are killed again that had not ended, or that came after. */
#define KILL_AGAIN_MS 20

/*
 * Without a namespace there may be some that we cannot kill: a setuid program that the workflow
 * started. Their end is not waited for; the attempt's is told.
 */
#define PATIENCE_MS 3000

/* Whoever writes into the log pipe from outside of the attempt is not listened to for ever. */
#define DRAIN_BYTES_MAX (4 << 20)

struct hold {
	bool is_init;	  /* of a PID namespace */
	bool told_to_end; /* by the lifeline */
	bool workflow_ended;
	bool all_gone;
	uint64_t ending_since_ms;
	pid_t workflow;
	int status;   /* of the workflow */
	int children; /* signalfd */
	int log_reader, log_writer;
	int failure_reader;
	struct holder_log log;
};

static void report(enum attempt_outcome outcome, int value, const struct holder_failure *failure)
{
	struct holder_report record = {
	    .magic = HOLDER_REPORT_MAGIC, .outcome = outcome, .value = value};

	if (failure) {
		record.error = failure->error;
		memcpy(record.text, failure->text, sizeof(record.text));
	}
	(void)!write(HOLDER_REPORT, &record, sizeof(record));
}

/* Before there is a workflow: the reason is all that there is. */
static _Noreturn void give_up(const char *what, const char *about)
{
	struct holder_failure failure = {0};

	holder_failure_set(&failure, errno, what, about);
	report(ATTEMPT_NOT_STARTED, 0, &failure);
	_exit(1);
}

/* Returns how many bytes there were; 0 when there are none now. */
static size_t take_log(struct hold *hold)
{
	static char buffer[64 << 10];
	ssize_t length = read(hold->log_reader, buffer, sizeof(buffer));

	if (length <= 0)
		return 0;
	holder_log_write(&hold->log, buffer, (size_t)length);
	return (size_t)length;
}

static void drain_log(struct hold *hold)
{
	size_t length, total = 0;

	do {
		length = take_log(hold);
		total += length;
	} while (length > 0 && total < DRAIN_BYTES_MAX);
}

/* Collects everybody who has ended: the workflow, and the orphans that became ours. */
static void reap(struct hold *hold)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == hold->workflow) {
			hold->workflow_ended = true;
			hold->status = status;
		}
	}
	hold->all_gone = pid < 0 && errno == ECHILD;
}

static bool is_ending(const struct hold *hold)
{
	return hold->told_to_end || hold->workflow_ended;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Ending: PID 1 of a namespace waits for all, for so does the kernel when it exits. */
static bool has_to_give_up(struct hold *hold)
{
	if (hold->is_init)
		return false;
	if (hold->ending_since_ms == 0)
		hold->ending_since_ms = now_ms();
	return now_ms() - hold->ending_since_ms > PATIENCE_MS;
}

static void kill_everybody(const struct hold *hold)
{
	if (hold->is_init)
		kill(-1, SIGKILL);
	else
		process_kill_descendants(getpid());
}

static void empty_signals(const struct hold *hold)
{
	struct signalfd_siginfo info[8];

	while (read(hold->children, info, sizeof(info)) > 0)
		;
}

static void wait_for_something(struct hold *hold)
{
	struct pollfd polls[] = {
	    {.fd = hold->told_to_end ? -1 : HOLDER_LIFELINE, .events = POLLIN},
	    {.fd = hold->children, .events = POLLIN},
	    {.fd = hold->log_reader, .events = POLLIN},
	};

	if (poll(polls, 3, is_ending(hold) ? KILL_AGAIN_MS : -1) <= 0)
		return;
	if (polls[0].revents != 0)
		hold->told_to_end = true;
	if (polls[1].revents != 0)
		empty_signals(hold);
	if (polls[2].revents != 0)
		take_log(hold);
}

static void hold_until_all_is_gone(struct hold *hold)
{
	for (;;) {
		reap(hold);
		if (hold->all_gone || (is_ending(hold) && has_to_give_up(hold)))
			return;
		if (is_ending(hold))
			kill_everybody(hold);
		wait_for_something(hold);
	}
}

static void report_end(const struct hold *hold)
{
	struct holder_failure failure;

	if (read(hold->failure_reader, &failure, sizeof(failure)) == (ssize_t)sizeof(failure))
		report(ATTEMPT_NOT_STARTED, 0, &failure);
	else if (WIFSIGNALED(hold->status))
		report(ATTEMPT_SIGNALED, WTERMSIG(hold->status), NULL);
	else
		report(ATTEMPT_EXITED, WEXITSTATUS(hold->status), NULL);
}

/*
 * The pipe belongs to the user, who may then open /dev/stderr as scripts do. Its writing end stays
 * open here, so that a workflow which closes its own is no end of file.
 */
static void open_log(struct hold *hold, const struct holder_args *args)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
		give_up("make the pipe of the log", "");
	if (args->becomes_user && fchown(ends[0], args->uid, args->gid) < 0)
		give_up("give the pipe of the log to user", args->user);
	hold->log_reader = ends[0];
	hold->log_writer = ends[1];
	holder_log_init(&hold->log, HOLDER_LOG_DIRECTORY, args->log);
}

static void start_workflow(struct hold *hold, const struct holder_args *args)
{
	struct holder_child child = {
	    .output = HOLDER_OUTPUT, .log = hold->log_writer, .holder = getpid()};
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		give_up("make a pipe", "");
	child.failure = ends[1];
	hold->failure_reader = ends[0];
	hold->workflow = fork();
	if (hold->workflow < 0)
		give_up("fork", "");
	if (hold->workflow == 0)
		holder_child_run(args, &child);
	close(ends[1]);
	close(HOLDER_OUTPUT);
}

/*
 * PID 1 of a namespace is best killed when the daemon dies: that is the backstop of the lifeline,
 * and a daemon that died before this has closed the lifeline. The subreaper has to live on to end
 * its descendants.
 */
static int tie_to_daemon(const struct hold *hold)
{
	if (hold->is_init)
		return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/* Out of the daemon's session, so that no key on its terminal reaches us. */
static void prepare(struct hold *hold)
{
	sigset_t all, child;

	hold->is_init = getpid() == 1;
	(void)setsid();
	for (int fd = HOLDER_LIFELINE; fd < HOLDER_DESCRIPTORS_END; fd++)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (tie_to_daemon(hold) < 0)
		give_up("prepare the holder", "");
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	hold->children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (hold->children < 0)
		give_up("make a signalfd", "");
}

int main(int argc, char **argv)
{
	static struct holder_args args;
	static struct hold hold;
	const char *key = "";

	prepare(&hold);
	if (holder_args_parse(argc, argv, &args, &key) < 0) {
		errno = EINVAL;
		give_up("make sense of the holder's argument", key);
	}
	open_log(&hold, &args);
	start_workflow(&hold, &args);
	hold_until_all_is_gone(&hold);
	drain_log(&hold);
	if (hold.workflow_ended && !hold.told_to_end)
		report_end(&hold);
	_exit(0);
}
