/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_WRITER_H
#define STORE_WRITER_H

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/env.h"
#include "store/room.h"

/*
 * The one thread that writes an environment. Jobs that wait at the same time share one durable
 * transaction, each in a nested one of its own: one job's failure takes nothing from the others.
 * If the shared transaction cannot be committed, each of its jobs is tried once more alone.
 */
struct writer_job {
	/*
	 * Makes the job's changes; an error takes them back. May run twice (see above), so it sets
	 * whatever it reports afresh. Context: the writer's thread.
	 */
	int (*apply)(MDB_txn *txn, struct writer_job *job);

	/* After the commit, before anybody is woken. May be NULL. */
	void (*committed)(struct writer_job *job);

	/* Set for jobs that nobody waits for: takes the job (and result) over, and frees it. */
	void (*finished)(struct writer_job *job);

	/*
	 * Shared by jobs that build on each other in the order in which they are handed in: once
	 * one of them has failed, those behind it fail untried, with -ECANCELED. NULL for a job
	 * that stands alone. Set to false before the first of them is handed in; the writer's from
	 * then on.
	 */
	bool *broken;

	/* About how many bytes it writes, and whether it may use the reserve to do so. */
	uint64_t cost_bytes;
	bool reserved;

	/* The writer's own. */
	int result;
	bool done;
	pthread_cond_t wake;
	struct writer_job *next;
};

struct writer {
	MDB_env *lmdb;
	struct room room;
	pthread_t thread;
	bool started, closing;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct writer_job *first, *last;
	uint64_t jobs, commits;
};

/* Starts the thread. `directory` is STATE. Both outlive the writer. Returns -EAGAIN or -ENOMEM. */
int writer_open(struct writer *writer, struct env *env, int directory);

/* Runs what was handed in, then ends the thread. A zeroed one is accepted. */
void writer_close(struct writer *writer);

/* Hands a job in; it runs after those that were handed in before. */
void writer_submit(struct writer *writer, struct writer_job *job);

/* Waits for a job without `finished`. Returns its result: what apply said, or -ENOSPC, -EIO. */
int writer_wait(struct writer *writer, struct writer_job *job);

/* Both of the above. */
int writer_run(struct writer *writer, struct writer_job *job);

/* Jobs that were handed in and durable transactions that were made. */
void writer_statistics(struct writer *writer, uint64_t *ret_jobs, uint64_t *ret_commits);

#endif
