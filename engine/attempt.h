/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ATTEMPT_H
#define ENGINE_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/reason.h"

/*
 * One execution of a run's process, behind its holder: a small program (aionfs-holder) that is PID 1
 * of a PID namespace of its own, so that nothing of the attempt survives the holder's end. The holder
 * ends when the workflow's process ends, when it is told to, and when the daemon dies. Where the
 * daemon has no privileges, the holder is a subreaper that ends its descendants.
 *
 * Knows no store and no catalog: engine/supervisor.c decides when.
 */

/* What is to be executed, and as whom. All strings are borrowed for the call. */
struct attempt_spec {
	const char *mountpoint; /* absolute; the holder's child goes there, never the daemon */
	const char *run_id, *type, *version; /* version: 64 hex digits */
	const char *function;		     /* bin/<function> of the package */
	unsigned number;		     /* of the attempt, from 1 */
	uid_t uid;
	gid_t gid;
	int output;	   /* open for writing: becomes stdout; the caller keeps it */
	int log_directory; /* an open directory */
	char log_name[32]; /* the run's log in it: "<name>" and, older, "<name>.1" */
};

/* A running attempt. */
struct attempt {
	pid_t holder;
	int pidfd;	     /* readable when the holder has ended */
	int report;	     /* what it says of the end is read from here */
	int lifeline;	     /* closing it ends the attempt; so does the daemon's death */
	uint64_t start_ticks; /* field 22 of /proc/PID/stat: with the pid it names the process */
	bool has_namespace;
	uint64_t namespace_inode; /* of /proc/PID/ns/pid */
};

/* How an attempt ended. */
enum attempt_outcome {
	ATTEMPT_EXITED,	     /* code */
	ATTEMPT_SIGNALED,    /* signal */
	ATTEMPT_NOT_STARTED, /* error, and the text says at what */
	ATTEMPT_LOST,	     /* the holder died without a word (SIGKILL, or it was told to end) */
};

struct attempt_end {
	enum attempt_outcome outcome;
	int code;
	int signal;
	int error; /* positive errno */
	char text[160];
};

/*
 * Starts the holder. PR_SET_PDEATHSIG and the lifeline tie it to the calling thread and the process.
 * Returns 0, or -errno with a reason; then there is nothing to be ended.
 * Context: one thread that lives as long as the daemon.
 */
int attempt_start(const struct attempt_spec *spec, struct attempt *ret_attempt,
		  struct reason *reason);

/* Tells the holder to end everything: SIGTERM's worth is nothing here, it is SIGKILL. Idempotent. */
void attempt_kill(struct attempt *attempt);

/*
 * Ends everything in the holder's place, and the holder: for one that was told to end (attempt_kill)
 * and does not, because its own workflow stopped it, which it can where there is no namespace.
 */
void attempt_force(struct attempt *attempt);

/*
 * Collects an attempt whose pidfd is readable (or waits for it): how it ended; closes everything.
 */
void attempt_collect(struct attempt *attempt, struct attempt_end *ret_end);

/*
 * Whether a task (a thread id as /dev/fuse gives it) is of the attempt: in its namespace, or a
 * descendant of its holder. The task must be waiting for our answer, so that the id stays its own.
 */
bool attempt_contains(const struct attempt *attempt, pid_t task);

/*
 * Nanoseconds of CPU that its processes have used together, those that have ended included as far as
 * somebody waited for them. Returns -ESRCH when it has ended.
 */
int attempt_cpu_ns(const struct attempt *attempt, uint64_t *ret_ns);

/*
 * Ends what a former daemon left: the holder `pid` of boot `boot_id` that started at `start_ticks`,
 * if it is still that very process; waits until it is gone. Returns 0, also when it was gone.
 */
int attempt_end_survivor(const char *boot_id, pid_t pid, uint64_t start_ticks);

/* This boot's id, 36 characters and a NUL. Returns -errno. */
int attempt_boot_id(char ret_id[37]);

/* For tests: which program is the holder, instead of the one beside this program or installed. */
void attempt_set_holder(const char *path);

#endif
