/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LAUNCH_H
#define ENGINE_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#define LAUNCH_DESCRIPTORS_MAX 8

/*
 * A program to be started as posix_spawn does it, for what posix_spawn cannot: a PID namespace and
 * a pidfd. It gets an empty environment, /dev/null as descriptors 0 to 2, `descriptors` from 3 on,
 * and none other; every signal at its default, and all of them blocked.
 */
struct launch_request {
	const char *program;
	char *const *argv;
	int descriptors[LAUNCH_DESCRIPTORS_MAX]; /* borrowed */
	size_t count;
};

struct launched {
	pid_t pid;
	int pidfd;	    /* close-on-exec */
	bool has_namespace; /* it is PID 1 of a PID namespace of its own */
};

/*
 * What RLIMIT_NOFILE programs get from now on, whatever the daemon has raised its own to: select(2)
 * cannot take numbers over 1024. Context: before the first launch.
 */
void launch_keep_files_limit(const struct rlimit *limit);

/*
 * Starts the program, in a PID namespace of its own where we may make one. Waits until it executes:
 * on an error there is no process.
 * Returns 0, or -errno: -ENOENT or -EACCES of the program, -EAGAIN no more processes, -ENOMEM,
 * -EMFILE. Context: any thread; it blocks the calling thread alone, for as long as an execve takes.
 */
int launch(const struct launch_request *request, struct launched *ret_launched);

#endif
