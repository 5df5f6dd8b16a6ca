/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing a run: hold, delete the rows, release, as for versions. The hold names the run and one
 * upload among its values, so that the next mount can tell what happened: all value rows of a run
 * go in one transaction, so if that one is still there, all are, and they have their references.
 * Its number alone would not do: where the counter is lost, a later run might have it again.
 *
 * What is deleted must be what was held: an event that comes in between makes the deletion stale.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/contents.h"
#include "store/journal.h"
#include "store/private.h"
#include "store/release.h"
#include "store/row.h"
#include "store/rows.h"
#include "store/tables.h"

/* ---- in the writer ---- */

/* Is it this run's row? One that is unreadable may be anybody's who has its ID. */
static int find_run(MDB_txn *txn, const struct env *rows, MDB_val *key, uint64_t number)
{
	struct env_row stored = {.key = key->mv_data, .key_length = key->mv_size};
	uint64_t found;
	MDB_val value;
	int error = env_error(mdb_get(txn, rows->tables[ROWS_RUNS], key, &value));

	if (error)
		return error;
	stored.value = value.mv_data;
	stored.length = value.mv_size;
	return journal_run_decode(&stored, &found) || found == number ? 0 : -ENOENT;
}

/* All rows of a run in one of the two tables. */
static int delete_rows(MDB_txn *txn, MDB_dbi table, uint64_t run)
{
	uint8_t bytes[JOURNAL_KEY];
	MDB_cursor *cursor;
	int error = env_error(mdb_cursor_open(txn, table, &cursor));

	if (error)
		return error;
	for (;;) {
		MDB_val key = journal_key(bytes, run, 0), value;

		error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
		if (error || key.mv_size < 8 || be64_get(key.mv_data) != run)
			break;
		error = env_error(mdb_cursor_del(cursor, 0));
		if (error)
			break;
	}
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

int journal_run_delete(MDB_txn *txn, const struct env *rows, const struct row_change *gone)
{
	size_t length = gone->name ? strnlen(gone->name, RUN_ID_MAX + 1) : 0;
	MDB_val key = {.mv_size = length, .mv_data = (void *)gone->name};
	uint64_t last = 0;
	int error;

	if (length == 0 || length > RUN_ID_MAX)
		return -ENOENT;
	error = find_run(txn, rows, &key, gone->run);
	if (!error)
		error = env_error(mdb_del(txn, rows->tables[ROWS_RUNS], &key, NULL));
	if (error || !gone->run)
		return error;
	error = journal_event_last(txn, rows, gone->run, &last);
	if (!error && last != gone->sequence)
		error = -ESTALE;
	if (!error)
		error = delete_rows(txn, rows->tables[ROWS_EVENTS], gone->run);
	return error ? error : delete_rows(txn, rows->tables[ROWS_VALUES], gone->run);
}

/* ---- what a run has ---- */

struct removal {
	struct digest *digests; /* one for each reference */
	size_t count, room;
	uint64_t upload; /* of one of them */
	uint64_t last;	 /* event */
	uint64_t bytes;
};

static int note_event(void *context, const struct env_row *stored)
{
	struct removal *removal = context;
	uint64_t run;

	journal_parse_key(stored, &run, &removal->last);
	removal->bytes += stored->key_length + stored->length;
	return 0;
}

/* The content of a row that is unreadable stays: a leak, which fsck names. */
static int note_value(void *context, const struct env_row *stored)
{
	struct removal *removal = context;
	struct value_row row;

	removal->bytes += stored->key_length + stored->length;
	if (value_row_decode(stored, &row, NULL) || !row.upload)
		return 0;
	if (removal->count == removal->room) {
		size_t room = removal->room ? 2 * removal->room : 16;
		struct digest *digests = realloc(removal->digests, room * sizeof(*digests));

		if (!digests)
			return -ENOMEM;
		removal->digests = digests;
		removal->room = room;
	}
	removal->digests[removal->count++] = row.digest;
	removal->upload = row.upload;
	return 0;
}

/* Both tables in one snapshot. */
static int look(struct env *rows, uint64_t run, struct removal *removal)
{
	uint8_t key[JOURNAL_KEY];
	MDB_txn *txn;
	int error = env_read_begin(rows, &txn);

	if (error)
		return error;
	journal_key(key, run, 0);
	error = env_scan_from(txn, rows, ROWS_EVENTS, key, sizeof(key), 8, note_event, removal);
	if (!error)
		error =
		    env_scan_from(txn, rows, ROWS_VALUES, key, sizeof(key), 8, note_value, removal);
	env_read_end(rows, txn);
	return error;
}

/* ---- removing ---- */

static int delete_run(struct store *store, const struct removal *removal, const char *id,
		      uint64_t number, const char *audit, size_t audit_length,
		      struct reason *reason)
{
	struct row_change changes[] = {
	    {
		.kind = ROW_DELETE_RUN,
		.name = id,
		.run = number,
		.sequence = removal->last,
		.size = removal->bytes,
	    },
	    {.kind = ROW_APPEND_AUDIT, .text = audit, .text_length = audit_length},
	};

	return rows_commit(store, changes, audit ? 2 : 1, reason);
}

int journal_remove_run(struct store *store, const char *id, uint64_t number, const char *audit,
		       size_t audit_length, struct reason *reason)
{
	struct pending hold = {.kind = PENDING_VALUE_RELEASE, .sealed = true, .run = number};
	struct removal removal = {0};
	int error = number ? look(&store->rows, number, &removal) : 0;

	hold.upload = removal.upload;
	if (!error && removal.count)
		error = release_hold(store, &hold, removal.digests, removal.count);
	if (error) {
		free(removal.digests);
		return store_explain(store, error, reason);
	}
	error = delete_run(store, &removal, id, number, audit, audit_length, reason);
	if (hold.number && error)
		contents_hold_cancel(store, hold.number);
	else if (hold.number)
		contents_release(store, hold.number, NULL);
	free(removal.digests);
	return error;
}
