/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows_commit: one job of the rows writer for each call, applied in order, all or none. What a
 * change reports is written into it, so the writer, which may apply a job twice, begins with a copy
 * each time.
 */
#include "store/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/private.h"
#include "store/tables.h"

#define MAP_BYTES ((size_t)64 << 30)
#define TABLES_1  "versions", "routes", "receipts", "receipt_names", "audit", "meta"

const struct env_kind rows_kind = {
	.name = "rows",
	.map_bytes = MAP_BYTES,
	.table_count = 9,
	.tables = {TABLES_1, "runs", "events", "values"},
};

const struct env_kind rows_kind_1 = {
	.name = "rows",
	.map_bytes = MAP_BYTES,
	.table_count = 6,
	.tables = {TABLES_1},
};

struct rows_job {
	struct writer_job job;
	const struct env *rows;
	struct row_change *changes;
	struct row_change *given; /* what they were before any of them was applied */
	size_t count;
};

static int apply_change(MDB_txn *txn, struct rows_job *job, struct row_change *change)
{
	switch (change->kind) {
	case ROW_PUT_VERSION:
		return versions_put(txn, job->rows, change);
	case ROW_DELETE_VERSION:
		return versions_delete(txn, job->rows, &change->version);
	case ROW_PUT_ROUTE:
		return route_put(txn, job->rows, change);
	case ROW_PUT_RECEIPT:
		return receipt_put(txn, job->rows, change);
	case ROW_DELETE_RECEIPT:
		return receipt_delete(txn, job->rows, change);
	case ROW_APPEND_AUDIT:
		return audit_append(txn, job->rows, change->text, change->text_length);
	case ROW_PUT_RUN:
		return journal_run_put(txn, job->rows, change);
	case ROW_APPEND_EVENT:
		return journal_event_append(txn, job->rows, change);
	case ROW_PUT_VALUE:
		return value_row_put(txn, job->rows, change);
	case ROW_DELETE_RUN:
		return journal_run_delete(txn, job->rows, change);
	}
	return -EINVAL;
}

static int apply(MDB_txn *txn, struct writer_job *base)
{
	struct rows_job *job = (struct rows_job *)base;
	int error = 0;

	memcpy(job->changes, job->given, job->count * sizeof(*job->changes));
	for (size_t i = 0; i < job->count && !error; i++)
		error = apply_change(txn, job, &job->changes[i]);
	return error;
}

/* A change copies a few pages of each tree that it touches; what is deleted is copied, too. */
static uint64_t cost(const struct row_change *changes, size_t count)
{
	uint64_t bytes = 64 * 1024;

	for (size_t i = 0; i < count; i++) {
		bytes += changes[i].text_length + 16 * 1024;
		if (changes[i].kind == ROW_DELETE_RUN)
			bytes += changes[i].size;
	}
	return bytes;
}

/*
 * What users bring keeps off the reserve as deploys do: new runs and values. What says how a run
 * fares, and what removes something, must still be written when the disk is as good as full.
 */
static bool is_reserved(const struct row_change *changes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (changes[i].kind == ROW_PUT_RUN || changes[i].kind == ROW_PUT_VALUE)
			return false;
	}
	return true;
}

int rows_commit(struct store *store, struct row_change *changes, size_t count,
		struct reason *reason)
{
	struct rows_job job = {
		.job = {.apply = apply,
			.cost_bytes = cost(changes, count),
			.reserved = is_reserved(changes, count)},
		.rows = &store->rows,
		.changes = changes,
		.given = calloc(count + 1, sizeof(*changes)),
		.count = count,
	};
	int error = -ENOMEM;

	if (job.given) {
		memcpy(job.given, changes, count * sizeof(*changes));
		error = writer_run(&store->rows_writer, &job.job);
	}
	free(job.given);
	return store_explain(store, error, reason);
}

void rows_statistics(struct store *store, uint64_t *ret_changes, uint64_t *ret_commits)
{
	writer_statistics(&store->rows_writer, ret_changes, ret_commits);
}
