/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session and its loop. libfuse's loop runs in a thread of its own, which starts the workers
 * and waits for them; the caller waits for its end or for a signal, whichever comes first.
 *
 * Ending the loop from outside: libfuse 3.14 only sets a flag that its waiting thread looks at
 * when a signal handler interrupts it, so that thread gets SIGUSR1 until it has ended. It then
 * cancels the workers, which can be cancelled only while they wait for a request, never within one.
 *
 * Requests are quick (what is slow goes to engine/work.c), so a few threads suffice; a device of their
 * own for each (clone_fd) brought nothing with so few.
 */
#include "fs/serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define NUDGE_NS (20l * 1000 * 1000)

struct serve {
	struct fuse_session *session;
	pthread_t thread;
	int ended; /* an eventfd: the loop has returned */
};

/* Does nothing but interrupt sem_wait. */
static void interrupt(int number)
{
	(void)number;
}

static void *run_loop(void *context)
{
	struct serve *serve = context;
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	uint64_t one = 1;

	if (config) {
		fuse_loop_cfg_set_max_threads(config, THREADS);
		fuse_loop_cfg_set_idle_threads(config, THREADS);
		fuse_session_loop_mt(serve->session, config);
		fuse_loop_cfg_destroy(config);
	}
	if (write(serve->ended, &one, sizeof(one)) < 0)
		return NULL; /* cannot fail: the counter is at 0 */
	return NULL;
}

static int make_session(struct serve *serve, struct fs *fs, int device)
{
	char name[] = "aionfs", path[32];
	char *argv[] = {name, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int error;

	serve->session = fuse_session_new(&args, fs_operations(), sizeof(*fs_operations()), fs);
	fuse_opt_free_args(&args);
	if (!serve->session)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/dev/fd/%d", device);
	error = fuse_session_mount(serve->session, path);
	return error ? -EIO : 0;
}

static int start_thread(struct serve *serve)
{
	struct sigaction action = {.sa_handler = interrupt};
	sigset_t user, before;
	int error;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGUSR1, &action, NULL) != 0)
		return -errno;
	serve->ended = eventfd(0, EFD_CLOEXEC);
	if (serve->ended < 0)
		return -errno;
	sigemptyset(&user);
	sigaddset(&user, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &user, &before);
	error = pthread_create(&serve->thread, NULL, run_loop, serve);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		close(serve->ended);
	return -error;
}

int serve_start(struct fs *fs, int device, struct serve **ret_serve, struct reason *reason)
{
	struct serve *serve = calloc(1, sizeof(*serve));
	int error = serve ? make_session(serve, fs, device) : -ENOMEM;

	if (error)
		close(device);
	else
		error = start_thread(serve);
	if (error) {
		if (serve && serve->session)
			fuse_session_destroy(serve->session);
		free(serve);
		return reason_set(reason, -error, "mount_failed", "requests can't be served: %s",
				  strerror(-error));
	}
	*ret_serve = serve;
	return 0;
}

void serve_wait(struct serve *serve, int signals)
{
	struct pollfd polled[] = {{.fd = serve->ended, .events = POLLIN},
				  {.fd = signals, .events = POLLIN}};

	while (poll(polled, 2, -1) < 0 && errno == EINTR)
		continue;
}

void serve_stop(struct serve *serve)
{
	struct timespec until;

	if (!serve)
		return;
	fuse_session_exit(serve->session);
	do {
		pthread_kill(serve->thread, SIGUSR1);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += NUDGE_NS;
		if (until.tv_nsec >= 1000000000l) {
			until.tv_nsec -= 1000000000l;
			until.tv_sec++;
		}
	} while (pthread_timedjoin_np(serve->thread, NULL, &until) != 0);
	fuse_session_unmount(serve->session);
	fuse_session_destroy(serve->session);
	close(serve->ended);
	free(serve);
}
