/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the process's SIGBUS handler and each thread's chain of guards. A fault that no guard of the
 * faulting thread expects, or a SIGBUS that somebody sent, ends the process as it would have.
 */
#include "store/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

static _Thread_local struct fault_guard *volatile innermost;
static pthread_once_t install_once = PTHREAD_ONCE_INIT;
static int install_error;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	(void)context;
	if (innermost && info->si_code > 0)
		siglongjmp(innermost->jump, 1);
	sigaction(number, &action, NULL);
	raise(number);
}

static void install(void)
{
	/* SA_NODEFER: the jump does not restore the signal mask, so nothing may be blocked. */
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, NULL) < 0)
		install_error = -EIO;
}

int fault_install(void)
{
	pthread_once(&install_once, install);
	return install_error;
}

sigjmp_buf *fault_guard_arm(struct fault_guard *guard)
{
	guard->outer = innermost;
	innermost = guard;
	return &guard->jump;
}

void fault_guard_leave(struct fault_guard *guard)
{
	innermost = guard->outer;
}
