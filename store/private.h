/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_PRIVATE_H
#define STORE_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/digest_map.h"
#include "store/env.h"
#include "store/store.h"
#include "store/writer.h"

/* The store as its own files see it; nobody outside includes this. */

enum rows_table {
	ROWS_VERSIONS,
	ROWS_ROUTES,
	ROWS_RECEIPTS,
	ROWS_RECEIPT_NAMES,
	ROWS_AUDIT,
	ROWS_META,
	ROWS_RUNS,
	ROWS_EVENTS,
	ROWS_VALUES,
};

enum contents_table {
	CONTENTS_RECORDS,
	CONTENTS_PIECES,
	CONTENTS_PENDING,
	CONTENTS_CHUNKS,
	CONTENTS_META,
};

extern const struct env_kind rows_kind, contents_kind;

/* The rows of STORE_FORMAT 1: before there were runs. */
extern const struct env_kind rows_kind_1;

/* Pending rows of versions that were committed, whose dropping failed: done by the next job. */
struct adopted_list {
	pthread_mutex_t lock;
	uint64_t *numbers;
	size_t count, room;
	bool lost; /* there was no memory to remember one */
};

struct store {
	char *path;
	enum store_mode mode;
	int directory, lock;
	struct env rows, contents;
	struct writer rows_writer, contents_writer;
	struct adopted_list adopted;

	pthread_mutex_t verdicts_lock; /* held for a look-up, never across I/O */
	struct digest_map verdicts;

	pthread_mutex_t numbers_lock;
	uint64_t next_number; /* for uploads and holds */
	uint64_t next_run;
};

/* A number for an upload or a hold, never given out before. */
uint64_t store_next_number(struct store *store);

/* Says what a failed job means to a person: store_full or store_failed. Returns `error`. */
int store_explain(const struct store *store, int error, struct reason *reason);

#endif
