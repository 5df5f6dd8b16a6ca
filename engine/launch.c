/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a process from a daemon with many threads and large maps: clone(2) with CLONE_VM and
 * CLONE_VFORK, so that no page table is copied and no lock of another thread is met half-way. The
 * child runs in our memory, on a stack of its own, while the calling thread stands still; it may do
 * nothing but system calls, and all signals are blocked so that no handler of the daemon runs in
 * it. It is not instrumented: AddressSanitizer keeps account of stacks by thread, and this is none.
 */
#include "engine/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES (64 << 10)

/* Above every number that a descriptor of the new program gets. */
#define OUT_OF_THE_WAY (STDERR_FILENO + 1 + LAUNCH_DESCRIPTORS_MAX)

#define NOT_INSTRUMENTED __attribute__((no_sanitize("address", "undefined")))

static struct rlimit files_limit;
static bool has_files_limit;

void launch_keep_files_limit(const struct rlimit *limit)
{
	files_limit = *limit;
	has_files_limit = true;
}

struct birth {
	const struct launch_request *request;
	int error; /* the child writes it into our memory */
};

static NOT_INSTRUMENTED int give_descriptors(const struct launch_request *request)
{
	int raised[LAUNCH_DESCRIPTORS_MAX], null, next = STDERR_FILENO + 1;

	/* First all out of the way: one may stand where another has to go. */
	for (size_t i = 0; i < request->count; i++) {
		raised[i] = fcntl(request->descriptors[i], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
		if (raised[i] < 0)
			return -1;
	}
	null = open("/dev/null", O_RDWR | O_NOCTTY);
	if (null < 0)
		return -1;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (dup2(null, fd) < 0)
			return -1;
	}
	for (size_t i = 0; i < request->count; i++) {
		if (dup2(raised[i], next++) < 0)
			return -1;
	}
	return close_range((unsigned)next, ~0U, 0);
}

/* An ignored signal would stay ignored across the execve. */
static NOT_INSTRUMENTED void reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &action, NULL); /* KILL, STOP and the C library's own refuse */
}

static NOT_INSTRUMENTED int be_born(void *argument)
{
	struct birth *birth = argument;
	char *const environment[] = {NULL};

	reset_signals();
	if (has_files_limit)
		(void)setrlimit(RLIMIT_NOFILE, &files_limit);
	if (give_descriptors(birth->request) == 0)
		execve(birth->request->program, birth->request->argv, environment);
	birth->error = errno;
	return 127;
}

static int make_process(void *stack, struct birth *birth, int extra, struct launched *launched)
{
	launched->pid =
	    clone(be_born, (char *)stack + STACK_BYTES,
		  CLONE_VM | CLONE_VFORK | CLONE_PIDFD | extra | SIGCHLD, birth, &launched->pidfd);
	launched->has_namespace = extra != 0;
	return launched->pid < 0 ? -errno : 0;
}

/* Why a process without a namespace is the best that there is here. */
static bool no_namespaces(int error)
{
	/* No privilege; a kernel without them; the machine's limit of them, or their depth. */
	return error == -EPERM || error == -EINVAL || error == -ENOSPC;
}

static int make_any_process(void *stack, struct birth *birth, struct launched *launched)
{
	int result = make_process(stack, birth, CLONE_NEWPID, launched);

	return no_namespaces(result) ? make_process(stack, birth, 0, launched) : result;
}

static void bury(const struct launched *launched)
{
	while (waitpid(launched->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(launched->pidfd);
}

int launch(const struct launch_request *request, struct launched *ret_launched)
{
	struct birth birth = {.request = request};
	sigset_t all, old;
	void *stack;
	int result;

	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	result = make_any_process(stack, &birth, ret_launched);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	munmap(stack, STACK_BYTES);
	if (result == 0 && birth.error != 0) {
		bury(ret_launched);
		result = -birth.error;
	}
	return result;
}
