/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns a queue of jobs and the thread that turns them into durable transactions. Invariant: a job's
 * result is 0 only after the transaction that holds its changes was synced.
 */
#include "store/writer.h"

#include <errno.h>
#include <signal.h>

/* As many bytes as one transaction takes on: batches of 64 MiB were the fastest (FACTS). */
#define GROUP_BYTES (64u * 1024 * 1024)

#define READERS_CHECK_EVERY 64

static void set_result(struct writer_job *job, int result)
{
	job->result = result;
	if (result && job->broken)
		*job->broken = true;
}

static bool is_broken(const struct writer_job *job)
{
	return job->broken && *job->broken;
}

static int apply_nested(MDB_txn *parent, struct writer_job *job)
{
	MDB_txn *txn;
	int error = is_broken(job) ? -ECANCELED : 0;

	if (!error)
		error = env_error(mdb_txn_begin(mdb_txn_env(parent), parent, 0, &txn));
	if (error)
		return error;
	error = job->apply(txn, job);
	if (error) {
		mdb_txn_abort(txn);
		return error;
	}
	return env_error(mdb_txn_commit(txn));
}

/* A job that is alone needs no nested transaction: its failure takes back the only one. */
static unsigned int apply_all(MDB_txn *txn, struct writer_job *jobs)
{
	unsigned int applied = 0;

	if (!jobs->next) {
		set_result(jobs, is_broken(jobs) ? -ECANCELED : jobs->apply(txn, jobs));
		return jobs->result == 0;
	}
	for (struct writer_job *job = jobs; job; job = job->next) {
		set_result(job, apply_nested(txn, job));
		applied += job->result == 0;
	}
	return applied;
}

/* Now and then, frees what readers of dead processes (a killed fsck) keep from being reused. */
static void count_commit(struct writer *writer)
{
	bool due;
	int dead;

	pthread_mutex_lock(&writer->lock);
	due = ++writer->commits % READERS_CHECK_EVERY == 0;
	pthread_mutex_unlock(&writer->lock);
	if (due)
		mdb_reader_check(writer->lmdb, &dead);
}

/* Returns an error when the transaction as a whole failed; else each job has its result. */
static int attempt(struct writer *writer, struct writer_job *jobs)
{
	MDB_txn *txn;
	int error = env_error(mdb_txn_begin(writer->lmdb, NULL, 0, &txn));

	if (error)
		return error;
	if (!apply_all(txn, jobs)) {
		mdb_txn_abort(txn);
		return 0;
	}
	error = env_error(mdb_txn_commit(txn));
	if (error)
		return error;
	count_commit(writer);
	for (struct writer_job *job = jobs; job; job = job->next) {
		if (job->result == 0 && job->committed)
			job->committed(job);
	}
	return 0;
}

/* LMDB reports a short write as EIO: look whether the disk is full before believing it. */
static void correct_results(struct writer *writer, struct writer_job *jobs)
{
	for (struct writer_job *job = jobs; job; job = job->next) {
		if (job->result == -EIO && room_is_full(&writer->room, job->cost_bytes))
			job->result = -ENOSPC;
	}
}

static void retry_alone(struct writer *writer, struct writer_job *jobs)
{
	for (struct writer_job *job = jobs, *next; job; job = next) {
		int error;

		next = job->next;
		job->next = NULL;
		/* What broke its chain has its result already. */
		error = job->result && is_broken(job) ? job->result : attempt(writer, job);
		if (error)
			set_result(job, error);
		job->next = next;
	}
}

static void finish(struct writer *writer, struct writer_job *jobs)
{
	struct writer_job *next;

	for (struct writer_job *job = jobs; job; job = next) {
		next = job->next;
		if (job->finished) {
			job->finished(job);
			continue;
		}
		pthread_mutex_lock(&writer->lock);
		job->done = true;
		pthread_cond_signal(&job->wake);
		pthread_mutex_unlock(&writer->lock);
	}
}

static void run_group(struct writer *writer, struct writer_job *jobs)
{
	if (attempt(writer, jobs))
		retry_alone(writer, jobs);
	correct_results(writer, jobs);
	finish(writer, jobs);
}

/* Takes what waits, as much as fits in one transaction; always at least one job. */
static struct writer_job *take(struct writer *writer)
{
	struct writer_job *jobs = writer->first, *last = jobs;
	uint64_t cost = jobs->cost_bytes;

	while (last->next && cost + last->next->cost_bytes <= GROUP_BYTES) {
		last = last->next;
		cost += last->cost_bytes;
	}
	writer->first = last->next;
	if (!writer->first)
		writer->last = NULL;
	last->next = NULL;
	return jobs;
}

/* Whether a job comes behind one of its chain in a list. */
static bool is_behind(const struct writer_job *jobs, const struct writer_job *job)
{
	while (jobs && (!job->broken || jobs->broken != job->broken))
		jobs = jobs->next;
	return jobs != NULL;
}

/*
 * Those for which there is room are returned, the others put aside: that one of a chain is refused
 * breaks what comes behind it, and not what waits in front of it.
 */
static struct writer_job *admit(struct writer *writer, struct writer_job *jobs,
				struct writer_job **ret_refused)
{
	struct writer_job *admitted = NULL, **end = &admitted, **refused_end = ret_refused, *next;
	uint64_t cost = 0;

	*ret_refused = NULL;
	for (struct writer_job *job = jobs; job; job = next) {
		next = job->next;
		job->next = NULL;
		if (is_behind(*ret_refused, job))
			job->result = -ECANCELED;
		else
			job->result =
			    room_check(&writer->room, cost + job->cost_bytes, job->reserved);
		if (job->result) {
			*refused_end = job;
			refused_end = &job->next;
			continue;
		}
		cost += job->cost_bytes;
		*end = job;
		end = &job->next;
	}
	return admitted;
}

/* After those that were admitted, and before anything that is handed in behind them. */
static void refuse(struct writer *writer, struct writer_job *jobs)
{
	for (struct writer_job *job = jobs; job; job = job->next)
		set_result(job, job->result);
	finish(writer, jobs);
}

static void *writer_main(void *argument)
{
	struct writer *writer = argument;
	struct writer_job *jobs, *refused;

	for (;;) {
		pthread_mutex_lock(&writer->lock);
		while (!writer->first && !writer->closing)
			pthread_cond_wait(&writer->work, &writer->lock);
		jobs = writer->first ? take(writer) : NULL;
		pthread_mutex_unlock(&writer->lock);
		if (!jobs)
			return NULL;
		jobs = admit(writer, jobs, &refused);
		if (jobs)
			run_group(writer, jobs);
		refuse(writer, refused);
	}
}

int writer_open(struct writer *writer, struct env *env, int directory)
{
	sigset_t all, old;
	int error;

	*writer = (struct writer){
	    .lmdb = env->lmdb,
	    .room = {.directory = directory, .env = env},
	};
	pthread_mutex_init(&writer->lock, NULL);
	pthread_cond_init(&writer->work, NULL);
	/* Signals are for the threads that wait for them; SIGBUS stays deliverable as a fault. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&writer->thread, NULL, writer_main, writer);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	writer->started = error == 0;
	return -error;
}

void writer_close(struct writer *writer)
{
	if (!writer->started)
		return;
	pthread_mutex_lock(&writer->lock);
	writer->closing = true;
	pthread_cond_signal(&writer->work);
	pthread_mutex_unlock(&writer->lock);
	pthread_join(writer->thread, NULL);
	pthread_cond_destroy(&writer->work);
	pthread_mutex_destroy(&writer->lock);
	*writer = (struct writer){0};
}

void writer_submit(struct writer *writer, struct writer_job *job)
{
	job->next = NULL;
	job->done = false;
	job->result = 0;
	if (!job->finished)
		pthread_cond_init(&job->wake, NULL);
	pthread_mutex_lock(&writer->lock);
	if (writer->last)
		writer->last->next = job;
	else
		writer->first = job;
	writer->last = job;
	writer->jobs++;
	pthread_cond_signal(&writer->work);
	pthread_mutex_unlock(&writer->lock);
}

int writer_wait(struct writer *writer, struct writer_job *job)
{
	pthread_mutex_lock(&writer->lock);
	while (!job->done)
		pthread_cond_wait(&job->wake, &writer->lock);
	pthread_mutex_unlock(&writer->lock);
	pthread_cond_destroy(&job->wake);
	return job->result;
}

int writer_run(struct writer *writer, struct writer_job *job)
{
	writer_submit(writer, job);
	return writer_wait(writer, job);
}

void writer_statistics(struct writer *writer, uint64_t *ret_jobs, uint64_t *ret_commits)
{
	pthread_mutex_lock(&writer->lock);
	*ret_jobs = writer->jobs;
	*ret_commits = writer->commits;
	pthread_mutex_unlock(&writer->lock);
}
