/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: fewer transactions than changes, and each caller has a result of its own. */
#include "tests/store/fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "store/batch.h"
#include "store/private.h"

#define THREADS 8
#define ROUNDS 40

struct gate_job {
	struct writer_job job;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool running, open;
};

static int wait_at_gate(MDB_txn *txn, struct writer_job *job)
{
	struct gate_job *gate = (struct gate_job *)job;

	(void)txn;
	pthread_mutex_lock(&gate->lock);
	gate->running = true;
	pthread_cond_broadcast(&gate->changed);
	while (!gate->open)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
	return 0;
}

/* Holds the writer up inside a transaction until gate_open. */
static void gate_shut(struct gate_job *gate, struct writer *writer)
{
	*gate = (struct gate_job){.job = {.apply = wait_at_gate, .reserved = true},
				  .lock = PTHREAD_MUTEX_INITIALIZER,
				  .changed = PTHREAD_COND_INITIALIZER};
	writer_submit(writer, &gate->job);
	pthread_mutex_lock(&gate->lock);
	while (!gate->running)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static void gate_open(struct gate_job *gate, struct writer *writer)
{
	pthread_mutex_lock(&gate->lock);
	gate->open = true;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
	cr_assert_eq(writer_wait(writer, &gate->job), 0);
}

struct put_job {
	struct writer_job job;
	MDB_dbi table;
	uint8_t key;
	int error;
	unsigned int committed;
};

static int put(MDB_txn *txn, struct writer_job *base)
{
	struct put_job *job = (struct put_job *)base;
	MDB_val key = {.mv_size = 1, .mv_data = &job->key}, value = key;
	int error = env_error(mdb_put(txn, job->table, &key, &value, 0));

	return error ? error : job->error;
}

static void count_committed(struct writer_job *base)
{
	((struct put_job *)base)->committed++;
}

static bool has(struct env *env, MDB_dbi table, uint8_t key)
{
	MDB_txn *txn;
	MDB_val value;
	int error;

	cr_assert_eq(env_read_begin(env, &txn), 0);
	error = env_get(txn, table, &key, 1, &value);
	env_read_end(env, txn);
	return error == 0;
}

Test(writer, waiting_jobs_share_a_transaction_but_not_a_result)
{
	struct put_job jobs[3];
	uint64_t submitted, before, after;
	struct gate_job gate;
	struct fixture fixture;
	struct writer *writer;
	MDB_dbi table;

	fixture_open(&fixture);
	writer = &fixture.store->rows_writer;
	table = fixture.store->rows.tables[ROWS_META];
	gate_shut(&gate, writer);
	for (uint8_t i = 0; i < 3; i++) {
		jobs[i] = (struct put_job){
		    .job = {.apply = put, .committed = count_committed, .reserved = true},
		    .table = table,
		    .key = i,
		    .error = i == 1 ? -EINVAL : 0,
		};
		writer_submit(writer, &jobs[i].job);
	}
	writer_statistics(writer, &submitted, &before);
	gate_open(&gate, writer);
	cr_assert_eq(writer_wait(writer, &jobs[0].job), 0);
	cr_assert_eq(writer_wait(writer, &jobs[1].job), -EINVAL);
	cr_assert_eq(writer_wait(writer, &jobs[2].job), 0);
	writer_statistics(writer, &submitted, &after);
	cr_assert_eq(after - before, 2, "the gate's, and one for the three");
	cr_assert_eq(jobs[0].committed, 1);
	cr_assert_eq(jobs[1].committed, 0);
	cr_assert_eq(jobs[2].committed, 1);
	cr_assert(has(&fixture.store->rows, table, 0));
	cr_assert_not(has(&fixture.store->rows, table, 1));
	cr_assert(has(&fixture.store->rows, table, 2));
	fixture_close(&fixture);
}

Test(writer, a_job_that_fails_alone_leaves_nothing)
{
	struct fixture fixture;
	struct put_job job = {.job = {.apply = put, .reserved = true}, .key = 9, .error = -EINVAL};

	fixture_open(&fixture);
	job.table = fixture.store->rows.tables[ROWS_META];
	cr_assert_eq(writer_run(&fixture.store->rows_writer, &job.job), -EINVAL);
	cr_assert_not(has(&fixture.store->rows, job.table, 9));
	fixture_close(&fixture);
}

/* Together in one transaction, and handed in later. */
Test(writer, behind_a_failed_job_its_chain_is_not_tried)
{
	static const int expected[] = {0, -EINVAL, -ECANCELED, 0, -ECANCELED};
	struct put_job jobs[5];
	struct gate_job gate;
	struct fixture fixture;
	struct writer *writer;
	bool broken = false;

	fixture_open(&fixture);
	writer = &fixture.store->rows_writer;
	gate_shut(&gate, writer);
	for (uint8_t i = 0; i < 5; i++) {
		jobs[i] = (struct put_job){
		    .job = {.apply = put, .committed = count_committed, .reserved = true},
		    .table = fixture.store->rows.tables[ROWS_META],
		    .key = i,
		    .error = i == 1 ? -EINVAL : 0,
		};
		jobs[i].job.broken = i == 3 ? NULL : &broken;
		if (i == 4)
			gate_open(&gate, writer);
		if (i == 4)
			cr_assert_eq(writer_wait(writer, &jobs[2].job), expected[2]);
		writer_submit(writer, &jobs[i].job);
	}
	for (uint8_t i = 0; i < 5; i++) {
		if (i != 2)
			cr_assert_eq(writer_wait(writer, &jobs[i].job), expected[i]);
		cr_assert_eq(jobs[i].committed, expected[i] == 0);
		cr_assert_eq(has(&fixture.store->rows, jobs[i].table, i), expected[i] == 0);
	}
	fixture_close(&fixture);
}

/* What is refused for want of room breaks what is behind it, not what waits in front of it. */
Test(writer, a_refused_job_does_not_break_its_chain_in_front)
{
	static const int expected[] = {0, -ENOSPC, -ECANCELED, 0};
	struct put_job jobs[4];
	struct gate_job gate;
	struct fixture fixture;
	struct writer *writer;
	bool broken = false;
	int directory;

	fixture_open(&fixture);
	writer = &fixture.store->rows_writer;
	directory = writer->room.directory;
	/* A filesystem without a free block. */
	writer->room.directory = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(writer->room.directory, 0);
	gate_shut(&gate, writer);
	for (uint8_t i = 0; i < 4; i++) {
		jobs[i] = (struct put_job){
		    .job = {.apply = put, .committed = count_committed, .reserved = true},
		    .table = fixture.store->rows.tables[ROWS_META],
		    .key = i,
		};
		jobs[i].job.broken = i == 3 ? NULL : &broken;
		jobs[i].job.cost_bytes = i == 1 ? 16 << 20 : 0;
		writer_submit(writer, &jobs[i].job);
	}
	gate_open(&gate, writer);
	for (uint8_t i = 0; i < 4; i++) {
		cr_assert_eq(writer_wait(writer, &jobs[i].job), expected[i], "job %u", i);
		cr_assert_eq(has(&fixture.store->rows, jobs[i].table, i), expected[i] == 0);
	}
	close(writer->room.directory);
	writer->room.directory = directory;
	fixture_close(&fixture);
}

Test(writer, two_batches_of_an_upload_that_wait_share_a_transaction, .timeout = 300)
{
	const size_t length = 2 * BATCH_BYTES + 1;
	uint8_t *bytes = fixture_bytes(1, length);
	uint64_t jobs, before, after;
	struct gate_job gate;
	struct fixture fixture;
	struct upload *upload;
	struct writer *writer;
	struct digest digest;

	fixture_open(&fixture);
	writer = &fixture.store->contents_writer;
	writer_statistics(writer, &jobs, &before);
	upload = fixture_upload(fixture.store);
	gate_shut(&gate, writer);
	cr_assert_eq(upload_write(upload, bytes, length, NULL), 0, "and it does not wait");
	gate_open(&gate, writer);
	cr_assert_eq(upload_end(upload, &digest, &jobs, NULL), 0);
	fixture_seal(upload, "t", &digest);
	writer_statistics(writer, &jobs, &after);
	cr_assert_eq(jobs, 4);
	cr_assert_eq(after - before, 3, "the gate's, one for two batches, and the sealing one");
	fixture_finish(fixture.store, upload, "t", &digest);
	fixture_drain(fixture.store);
	cr_assert_eq(contents_verify(fixture.store, &digest, length, NULL), 0);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	free(bytes);
	fixture_close(&fixture);
}

struct committer {
	pthread_t thread;
	struct store *store;
	unsigned int number;
};

static void *commit_many(void *argument)
{
	struct committer *committer = argument;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct digest version = {.bytes = {(uint8_t)committer->number, (uint8_t)i}};
		struct row_change change = fixture_put_version("t", &version, 1);

		if (rows_commit(committer->store, &change, 1, NULL))
			return committer;
	}
	return NULL;
}

static int count_row(void *context, const char *type, const struct digest *version,
		     const struct version_row *row, const struct reason *why)
{
	(void)type;
	(void)version;
	(void)row;
	(void)why;
	++*(unsigned int *)context;
	return 0;
}

Test(writer, many_threads_commit_at_once)
{
	struct committer committers[THREADS];
	uint64_t changes, commits;
	unsigned int rows = 0;
	struct gate_job gate;
	struct fixture fixture;
	void *failed;

	fixture_open(&fixture);
	gate_shut(&gate, &fixture.store->rows_writer);
	for (unsigned int i = 0; i < THREADS; i++) {
		committers[i] = (struct committer){.store = fixture.store, .number = i};
		cr_assert_eq(
		    pthread_create(&committers[i].thread, NULL, commit_many, &committers[i]), 0);
	}
	/* All of them wait for the gate by now or soon; the first round shares one transaction. */
	do
		rows_statistics(fixture.store, &changes, &commits);
	while (changes < 1 + THREADS);
	gate_open(&gate, &fixture.store->rows_writer);
	for (unsigned int i = 0; i < THREADS; i++) {
		cr_assert_eq(pthread_join(committers[i].thread, &failed), 0);
		cr_assert_null(failed);
	}
	rows_statistics(fixture.store, &changes, &commits);
	cr_assert_eq(changes, 1 + THREADS * ROUNDS);
	cr_assert_lt(commits, changes);
	cr_assert_eq(rows_each_version(fixture.store, count_row, &rows), 0);
	cr_assert_eq(rows, THREADS * ROUNDS);
	fixture_close(&fixture);
}
