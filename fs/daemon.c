/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The double fork: the first child leads a new session and forks again, so that the daemon can
 * never get a controlling terminal. All three hold the pipe; what the daemon writes into it, one
 * byte, is the exit code of the command. A pipe that ends without a byte means that the daemon
 * died.
 */
#include "fs/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/commands.h"
#include "fs/say.h"

/* What the caller's process does: it exits as the daemon says. */
static _Noreturn void await_daemon(int pipe, pid_t child)
{
	unsigned char code;
	ssize_t got;

	waitpid(child, NULL, 0);
	do {
		got = read(pipe, &code, 1);
	} while (got < 0 && errno == EINTR);
	if (got == 1)
		_exit(code);
	say("the daemon died before the mount was ready");
	_exit(EXIT_FAILED);
}

static int fork_away(int *ret_pipe)
{
	int pipe[2];
	pid_t child;

	if (pipe2(pipe, O_CLOEXEC) != 0)
		return -errno;
	child = fork();
	if (child < 0) {
		int error = -errno;

		close(pipe[0]);
		close(pipe[1]);
		return error;
	}
	if (child > 0) {
		close(pipe[1]);
		await_daemon(pipe[0], child);
	}
	close(pipe[0]);
	setsid();
	child = fork();
	if (child != 0) {
		if (child < 0)
			say("no second process could be made: %s", strerror(errno));
		_exit(EXIT_FAILED);
	}
	*ret_pipe = pipe[1];
	return 0;
}

int daemon_start(bool foreground, struct daemon *ret_daemon)
{
	int error;

	ret_daemon->pipe = -1;
	fflush(NULL);
	if (!foreground) {
		/* What the caller left open, perhaps a lock or a pipe, must not be held for ever. */
		closefrom(STDERR_FILENO + 1);
		error = fork_away(&ret_daemon->pipe);
		if (error)
			return error;
	}
	umask(0);
	return chdir("/") == 0 ? 0 : -errno;
}

/* sd_notify(3) in a few lines: one datagram to a unix socket, abstract if it begins with @. */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = path ? strlen(path) : 0;
	int socket_fd;

	if (length < 2 || length >= sizeof(address.sun_path) || (*path != '/' && *path != '@'))
		return;
	memcpy(address.sun_path, path, length);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = '\0';
	socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (socket_fd < 0)
		return;
	if (sendto(socket_fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		say("systemd could not be told \"%s\": %s", state, strerror(errno));
	close(socket_fd);
}

static int report(struct daemon *daemon, int code)
{
	unsigned char byte = (unsigned char)code;
	ssize_t put;

	if (daemon->pipe < 0)
		return 0;
	put = write(daemon->pipe, &byte, 1);
	close(daemon->pipe);
	daemon->pipe = -1;
	return put == 1 ? 0 : -EPIPE;
}

/* From here on nobody reads what a daemon prints; the mount's log has it. */
static int let_go(void)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (nothing < 0)
		return -errno;
	fflush(NULL);
	for (int descriptor = 0; descriptor <= 2; descriptor++)
		dup2(nothing, descriptor);
	if (nothing > 2)
		close(nothing);
	return 0;
}

int daemon_ready(struct daemon *daemon)
{
	int error = 0;

	if (daemon->pipe >= 0) {
		error = let_go();
		if (!error)
			error = report(daemon, EXIT_DONE);
	}
	if (!error)
		notify("READY=1");
	return error;
}

void daemon_stopping(void)
{
	notify("STOPPING=1");
}

int daemon_end(struct daemon *daemon, int code)
{
	report(daemon, code);
	return code;
}
