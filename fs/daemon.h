/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_DAEMON_H
#define FS_DAEMON_H

#include <stdbool.h>

/*
 * Going into the background, such that the command returns when the mount is ready, and not before.
 * The caller's process waits at a pipe; the daemon keeps the caller's stderr until it is ready, so
 * that errors reach who asked.
 */
struct daemon {
	int pipe; /* to the waiting process; -1 in the foreground */
};

/*
 * Detaches from the caller: a new session, no controlling terminal, no descriptor but the standard
 * ones, in / with umask 0. In the foreground only the last two. The process must have one thread.
 * Returns 0 in the daemon, with *ret_daemon set; -errno when forking failed. In the background the
 * caller's process does not return: it exits with the daemon's code, or 0 when it is ready.
 */
int daemon_start(bool foreground, struct daemon *ret_daemon);

/*
 * Tells the waiting process (and systemd, over $NOTIFY_SOCKET) that the mount is ready, and lets
 * go of stdin, stdout and stderr in the background.
 * Returns -EPIPE when the waiting process is gone: nobody wants the mount any more.
 */
int daemon_ready(struct daemon *daemon);

/* Tells systemd that the mount ends. */
void daemon_stopping(void);

/* Hands the exit code to the waiting process, if it still waits. Returns `code`. */
int daemon_end(struct daemon *daemon, int code);

#endif
