/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_HOLDER_CHILD_H
#define ENGINE_HOLDER_CHILD_H

#include "engine/holder.h"
#include "engine/holder_args.h"

/* Why a workflow did not start; goes through a pipe from the child to the holder. */
struct holder_failure {
	int error; /* positive errno */
	char text[HOLDER_TEXT_SIZE];
};

/*
 * Says what could not be done and why: "cannot DO PATH: ERROR" of errno, a long path cut at its
 * beginning, so that the reason is always there. `path` may be "".
 */
void holder_failure_set(struct holder_failure *failure, int error, const char *what,
			const char *path);

/* The descriptors of a workflow-to-be. */
struct holder_child {
	int output, log;
	int failure; /* a pipe's writing end, close-on-exec: one struct holder_failure, or its end
		      */
	pid_t holder;
};

/*
 * In the holder's child: becomes the workflow. Every path is opened as the user, and may block for
 * as long as the daemon needs. Never returns: executes the workflow, or writes why it cannot.
 */
_Noreturn void holder_child_run(const struct holder_args *args, const struct holder_child *child);

#endif
