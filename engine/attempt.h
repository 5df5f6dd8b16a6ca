/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ATTEMPT_H
#define ENGINE_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/reason.h"

/*
 * One execution of a run's process, behind its holder: a small program (aionfs-holder) that is PID
 * 1 of a PID namespace of its own, so that nothing of the attempt survives the holder's end. The
 * holder ends when the workflow's process ends, when it is told to, and when the daemon dies. Where
 * the daemon has no privileges, the holder is a subreaper that ends its descendants.
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
	int pidfd;	      /* readable when the holder has ended */
	int report;	      /* what it says of the end is read from here */
	int lifeline;	      /* closing it ends the attempt; so does the daemon's death */
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
 * Starts the holder, which starts the workflow: what goes wrong with the latter comes in the end
 * that is collected. PR_SET_PDEATHSIG (with a namespace) and the lifeline tie the holder to the
 * calling thread and to the process. Opens no path of the mount; looks the user up in the user and
 * group databases, which may ask a network.
 *
 * The workflow executes MOUNTPOINT/packages/TYPE/VERSION/bin/FUNCTION as the user, with the user's
 * groups, in that version's directory, stdin runs/ID/input, stdout `output`, stderr the log, no
 * other descriptor, and an environment of AION_*, PATH, HOME, USER, LOGNAME, SHELL, LANG and our TZ
 * alone. `output` may belong to somebody else; then the workflow writes it, but cannot open
 * /dev/stdout.
 *
 * Returns 0, or -errno with a reason (code attempt_not_started); then there is nothing to be ended.
 * Ownership: the attempt is collected, once, by attempt_collect.
 * Context: one thread that lives as long as the daemon. It may use the other functions of other
 * attempts, and other threads those of this one, but none while it is being collected.
 */
int attempt_start(const struct attempt_spec *spec, struct attempt *ret_attempt,
		  struct reason *reason);

/*
 * Has everything of it killed: SIGKILL, no notice. Idempotent, and returns at once; the pidfd tells
 * when all is gone. What was written to the log just before may be lost.
 * A process that waits for an answer of ours dies when it has got it, and its holder with it: the
 * threads that answer requests must never wait for the end of an attempt.
 */
void attempt_kill(struct attempt *attempt);

/*
 * Ends everything in the holder's place, and the holder: for one that was told to end (attempt_kill)
 * and does not, because its own workflow stopped it, which it can where there is no namespace.
 */
void attempt_force(struct attempt *attempt);

/*
 * Collects an attempt whose pidfd is readable (or waits for it, and helps after 5 s where it was
 * killed and does not end): how it ended. Closes everything; the attempt is over.
 * An attempt that was killed is ATTEMPT_LOST, unless it had ended by itself before.
 *
 * When it returns nothing of the attempt is left. Without a namespace there are exceptions:
 * programs that changed their user (sudo) are left alone after 3 s; and where a workflow, being the
 * same user, kills its holder, only its first process ends with it.
 */
void attempt_collect(struct attempt *attempt, struct attempt_end *ret_end);

/*
 * Whether a task (a thread id as /dev/fuse gives it) is of the attempt: in its namespace or one
 * that was made in it, or, where there is none, a descendant of its holder. The task must be
 * waiting for our answer, so that the id stays its own. False for 0 (a task that we cannot see) and
 * for an attempt that is over.
 */
bool attempt_contains(const struct attempt *attempt, pid_t task);

/*
 * CPU time that its processes have used together, those that have ended included as far as somebody
 * waited for them; the holder's own does not count. In steps of one clock tick, 10 ms. May be less
 * than before when a process ended that nobody waits for: two readings that are equal say that
 * nothing ran for a tick. Costs a few system calls for each process.
 * Returns 0, -ESRCH when it has ended.
 */
int attempt_cpu_ns(const struct attempt *attempt, uint64_t *ret_ns);

/*
 * Ends what a former daemon left: the holder `pid` of boot `boot_id` that started at `start_ticks`,
 * if it is still that very process, and waits until it is gone. Normally it is, or about to be, for
 * its lifeline broke; one without a namespace gets 5 s to end its descendants by itself.
 * Returns 0, also when it was gone; -ETIMEDOUT when it is not gone 10 s after SIGKILL (a process
 * that the kernel cannot end: it may wait for a filesystem, our own former mount for one).
 * Not covered: what a holder without a namespace left behind when it was killed itself, except for
 * the workflow's first process.
 */
int attempt_end_survivor(const char *boot_id, pid_t pid, uint64_t start_ticks);

/* This boot's id, 36 characters and a NUL. Returns -errno. */
int attempt_boot_id(char ret_id[37]);

/* For tests: which program is the holder, instead of the one beside this program or installed. */
void attempt_set_holder(const char *path);

#endif
