/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_PENDING_H
#define STORE_PENDING_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"
#include "store/env.h"
#include "store/rows.h"

/*
 * Pending rows: who holds references that no row of a version or a value holds. Each has a number, a
 * header in the table `pending`, and chunks in the table `chunks` (key: number, index) of two kinds:
 * digests, one reference each, and runs, pieces that no record points to (yet).
 */
enum pending_kind {
	PENDING_UNREADABLE = 0,
	PENDING_UPLOAD = 1,
	PENDING_RELEASE = 2,
	PENDING_VALUE_UPLOAD = 3,  /* always sealed: before that it is a PENDING_UPLOAD */
	PENDING_VALUE_RELEASE = 4, /* of a run's values */
};

struct pending {
	uint64_t number;
	enum pending_kind kind;
	bool sealed; /* an upload that names its version; a release always does */
	char type[TYPE_MAX + 1];
	struct digest version;
	uint64_t upload; /* of a release: what the version's or a value's row carried; 0: unreadable */
	uint64_t run, sequence; /* of a value's: whose; a release has no sequence */
};

/* Writes, or replaces, a header; its number is never given out again. */
int pending_put(MDB_txn *txn, const struct env *contents, const struct pending *pending);

/* The first number that no pending row has carried. */
int pending_next_number(struct env *contents, uint64_t *ret_number);

/* Deletes the header; an absent one is fine. */
int pending_delete(MDB_txn *txn, const struct env *contents, uint64_t number);

/* For walks that copied the value already. Returns -EBADMSG; `number` is then right, or 0. */
int pending_decode(const struct env_row *row, struct pending *ret_pending);

#define CHUNK_DIGESTS 1024u

/* How many chunks so many digests take. */
uint32_t pending_chunks(size_t digests);

enum chunk_kind {
	CHUNK_DIGEST_LIST = 1,
	CHUNK_RUN = 2,
	CHUNK_UNREADABLE = 3,
};

struct chunk {
	uint64_t number;
	uint32_t index;
	enum chunk_kind kind;
	uint32_t count; /* of digests */
	struct digest digests[CHUNK_DIGESTS];
	uint64_t run_first, run_count;
};

/* Writes, or replaces, a chunk. */
int chunk_put(MDB_txn *txn, const struct env *contents, const struct chunk *chunk);
int chunk_delete(MDB_txn *txn, const struct env *contents, uint64_t number, uint32_t index);

/* Returns -ENOENT. A chunk that does not decode is CHUNK_UNREADABLE. */
int chunk_get(MDB_txn *txn, const struct env *contents, uint64_t number, uint32_t index,
	      struct chunk *ret_chunk);

/* For walks that copied the value already. What does not decode is CHUNK_UNREADABLE. */
void chunk_decode(const struct env_row *row, struct chunk *ret_chunk);

/* The chunk of `number` with the smallest index. Returns -ENOENT when there is none left. */
int chunk_first(MDB_txn *txn, const struct env *contents, uint64_t number,
		struct chunk *ret_chunk);

/*
 * Adds a run of pieces that nothing points to any more, to be deleted with the pending row. Its
 * index is above those that an upload counts up for itself.
 */
int chunk_leave_run(MDB_txn *txn, const struct env *contents, uint64_t number, uint64_t first,
		    uint64_t count);

#endif
