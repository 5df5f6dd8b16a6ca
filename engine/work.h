/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_WORK_H
#define ENGINE_WORK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Threads for what is slow. Several groups, so that archives that take minutes to decode never stand
 * before a commit or a verification that takes a millisecond, and so that as many commits of runs
 * wait at once as make a good transaction together.
 */
enum work_group {
	WORK_QUICK,  /* a commit, a verification, an index to load */
	WORK_DECODE, /* an archive to decode */
	WORK_RUNS,   /* a commit of a run: a start, a step, a signal, ... */
	WORK_GROUPS,
};

/*
 * One piece of work; part of the caller's own structure, which must live until `run` begins. `run`
 * may free it.
 */
struct work {
	void (*run)(struct work *work);
	struct work *next, *previous; /* owned by work.c */
	enum work_group group;	      /* where it is queued */
	bool is_queued;
};

struct workers;

struct workers_options {
	unsigned threads[WORK_GROUPS];
	size_t queue_max[WORK_GROUPS];
};

/* Starts the threads; all asynchronous signals are blocked in them. Returns -ENOMEM, -EAGAIN. */
int workers_new(const struct workers_options *options, struct workers **ret_workers);

/*
 * Hands in a zeroed piece of work with `run` set. Returns -EAGAIN when the group's queue is full
 * and -ESHUTDOWN after workers_drain; `run` is then not called.
 */
int workers_submit(struct workers *workers, enum work_group group, struct work *work);

/* As workers_submit, however long the queue is: for work that was let in before. */
int workers_resubmit(struct workers *workers, enum work_group group, struct work *work);

/*
 * Moves work that still waits behind decodes to the quick group, so that a cancelled request is
 * answered soon. Nothing happens when it runs already. Context: the work must not have ended.
 */
void workers_hurry(struct workers *workers, struct work *work);

/* Refuses new work, runs what is queued, ends the threads. May be called twice. */
void workers_drain(struct workers *workers);

/* Drains, then frees. NULL is accepted. */
void workers_free(struct workers *workers);

#endif
