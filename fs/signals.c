/* SPDX-License-Identifier: Apache-2.0 */
/* The signals that end a mount, read from a descriptor. Owns no handler. */
#include "fs/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

static void ending_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

int signals_open(void)
{
	sigset_t set;
	int descriptor;

	ending_signals(&set);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -errno;
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return -errno;
	descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return descriptor < 0 ? -errno : descriptor;
}

bool signals_pending(void)
{
	sigset_t set;

	if (sigpending(&set) != 0)
		return false;
	return sigismember(&set, SIGTERM) || sigismember(&set, SIGINT) || sigismember(&set, SIGHUP);
}
