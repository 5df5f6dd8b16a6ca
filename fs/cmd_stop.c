/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `aionfs stop`: ends the daemon of a mount in order and waits until it is gone. The table of
 * mounts says which state is mounted there, the state's lock which process holds it. The process is
 * held by a pidfd before it is believed, so that a number that was given to somebody else is not
 * signalled.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "fs/attach.h"
#include "fs/commands.h"
#include "fs/mountinfo.h"
#include "fs/mountpoint.h"
#include "fs/say.h"

/* Reads the pid of the daemon that holds the state. Returns -ESRCH when nobody holds it. */
static int read_holder(const char *state, pid_t *ret_pid)
{
	char path[PATH_MAX], text[32] = "";
	int lock, error = 0;
	long pid;

	if (snprintf(path, sizeof(path), "%s/lock", state) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (lock < 0)
		return -errno;
	if (flock(lock, LOCK_SH | LOCK_NB) == 0)
		error = -ESRCH;
	else if (read(lock, text, sizeof(text) - 1) < 0)
		error = -errno;
	close(lock);
	if (error)
		return error;
	pid = strtol(text, NULL, 10);
	if (pid <= 1 || pid > INT_MAX)
		return -EBADMSG;
	*ret_pid = (pid_t)pid;
	return 0;
}

/* A dead mount: nobody is there to be ended, so it is only taken away. */
static int take_away(const char *mountpoint)
{
	struct attached attached;
	int error = attach_note(mountpoint, &attached);

	if (!error)
		error = attach_detach(mountpoint, &attached);
	if (!error)
		return EXIT_DONE;
	say("stop: the dead mount at %s can't be unmounted: %s", mountpoint, strerror(-error));
	return EXIT_FAILED;
}

static int end_process(int process, const char *mountpoint, pid_t pid)
{
	struct pollfd polled = {.fd = process, .events = POLLIN};

	if (pidfd_send_signal(process, SIGTERM, NULL, 0) != 0 && errno != ESRCH) {
		say("stop: the daemon of %s (pid %d) can't be ended: %s", mountpoint, (int)pid,
		    strerror(errno));
		return EXIT_FAILED;
	}
	while (poll(&polled, 1, -1) < 0) {
		if (errno == EINTR)
			continue;
		say("stop: waiting for pid %d: %s", (int)pid, strerror(errno));
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static int stop_state(const char *mountpoint, const char *state)
{
	pid_t pid, again;
	int process, code, error = read_holder(state, &pid);

	if (error == -ESRCH)
		return take_away(mountpoint);
	if (error) {
		say("stop: who serves %s can't be read from %s/lock: %s", mountpoint, state,
		    strerror(-error));
		return EXIT_FAILED;
	}
	process = pidfd_open(pid, 0);
	if (process < 0 || read_holder(state, &again) != 0 || again != pid) {
		if (process >= 0)
			close(process);
		say("stop: the daemon of %s (pid %d) is ending already, or is in another pid "
		    "namespace",
		    mountpoint, (int)pid);
		return EXIT_FAILED;
	}
	code = end_process(process, mountpoint, pid);
	close(process);
	return code;
}

/*
 * An attempt of a run lives in a PID namespace of its own and sees the /proc of another: there the
 * number in the lock is somebody else's.
 */
static bool is_in_attempt(void)
{
	char self[32] = "";

	return readlink("/proc/self", self, sizeof(self) - 1) > 0 &&
	       strtol(self, NULL, 10) != (long)getpid();
}

static int stop(const char *path)
{
	char mountpoint[PATH_MAX];
	struct reason reason = {0};
	struct mountinfo info;

	if (is_in_attempt()) {
		say("stop: this process is in a pid namespace of its own, as those of runs are, and "
		    "can't see the daemon: stop the mount from outside");
		return EXIT_FAILED;
	}
	if (mountpoint_resolve(path, mountpoint, &reason) != 0) {
		say_reason("stop", &reason, 0);
		return EXIT_FAILED;
	}
	if (mountinfo_find(MOUNTINFO_TABLE, mountpoint, NULL, &info) != 0 ||
	    strcmp(info.kind, MOUNTINFO_KIND) != 0) {
		say("stop: no aionfs is mounted at %s", path);
		return EXIT_FAILED;
	}
	return stop_state(mountpoint, info.source);
}

static int run_stop(int argc, char **argv)
{
	int first, code;

	if (command_options(&command_stop, argc, argv, "", NULL, NULL, &first, &code))
		return code;
	if (argc - first != 1)
		return command_usage(&command_stop);
	return stop(argv[first]);
}

const struct command command_stop = {
    .name = "stop",
    .arguments = "MOUNTPOINT",
    .summary = "end the daemon of a mount and wait until it is gone",
    .details =
	"Ends the daemon also when the mount is busy: who still uses it gets errors. A deploy\n"
	"whose last transaction has begun is finished, any other is cancelled and fails. A mount\n"
	"whose daemon is dead is unmounted.\n",
    .run = run_stop,
};
