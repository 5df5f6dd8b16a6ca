/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of runs and of events. Owns the numbers of runs: one is given out once, also when the
 * run that it was for never came to be. Invariant: the events of a run are numbered from 1 without
 * holes, because an append names its number and is refused when that is not the next one. What an
 * event says is not looked at.
 */
#include "store/journal.h"

#include <errno.h>
#include <string.h>

#include "store/private.h"
#include "store/row.h"
#include "store/rows.h"
#include "store/sequence.h"
#include "store/tables.h"

#define RUN_LAYOUT 1
#define RUN_ROOM (8 + ROW_OVERHEAD)
#define EVENT_LAYOUT 1

static const char run_name[] = "run";

MDB_val journal_key(uint8_t bytes[JOURNAL_KEY], uint64_t run, uint64_t sequence)
{
	be64_put(bytes, run);
	be64_put(bytes + 8, sequence);
	return (MDB_val){.mv_size = JOURNAL_KEY, .mv_data = bytes};
}

void journal_parse_key(const struct env_row *row, uint64_t *ret_run, uint64_t *ret_sequence)
{
	bool fits = row->key_length == JOURNAL_KEY;

	*ret_run = fits ? be64_get(row->key) : 0;
	*ret_sequence = fits ? be64_get(row->key + 8) : 0;
}

/* 0 is nobody's number, and the last one has none after it. */
static bool is_number(uint64_t number)
{
	return number > 0 && number < UINT64_MAX;
}

/* ---- changes ---- */

int journal_run_put(MDB_txn *txn, const struct env *rows, const struct row_change *put)
{
	size_t length = put->name ? strnlen(put->name, RUN_ID_MAX + 1) : 0;
	MDB_val key = {.mv_size = length, .mv_data = (void *)put->name}, value;
	uint8_t buffer[RUN_ROOM];
	struct row row;
	int error;

	if (length == 0 || length > RUN_ID_MAX || !is_number(put->run))
		return -EINVAL;
	row_begin(&row, RUN_LAYOUT, buffer, sizeof(buffer));
	row_put_u64(&row, put->run);
	error = row_seal(&row, put->name, length);
	if (error)
		return error;
	value = (MDB_val){.mv_size = row.length, .mv_data = buffer};
	error = env_error(mdb_put(txn, rows->tables[ROWS_RUNS], &key, &value, MDB_NOOVERWRITE));
	return error ? error : sequence_raise(txn, rows->tables[ROWS_META], run_name, put->run);
}

int journal_event_last(MDB_txn *txn, const struct env *rows, uint64_t run, uint64_t *ret_sequence)
{
	uint8_t bytes[JOURNAL_KEY];
	MDB_val key = journal_key(bytes, run + 1, 0), value;
	MDB_cursor *cursor;
	int error = env_error(mdb_cursor_open(txn, rows->tables[ROWS_EVENTS], &cursor));

	if (error)
		return error;
	*ret_sequence = 0;
	error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
	if (!error || error == -ENOENT)
		error =
		    env_error(mdb_cursor_get(cursor, &key, &value, error ? MDB_LAST : MDB_PREV));
	if (!error && key.mv_size == JOURNAL_KEY && be64_get(key.mv_data) == run)
		*ret_sequence = be64_get((const uint8_t *)key.mv_data + 8);
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

/* Written straight into LMDB's page: an event is too large for the stack of the writer. */
static int write_event(MDB_txn *txn, const struct env *rows, const struct row_change *append)
{
	uint8_t bytes[JOURNAL_KEY];
	MDB_val key = journal_key(bytes, append->run, append->sequence);
	MDB_val value = {.mv_size = append->text_length + ROW_OVERHEAD};
	struct row row;
	int error = env_error(
	    mdb_put(txn, rows->tables[ROWS_EVENTS], &key, &value, MDB_NOOVERWRITE | MDB_RESERVE));

	if (error)
		return error == -EEXIST ? -ESTALE : error;
	row_begin(&row, EVENT_LAYOUT, value.mv_data, value.mv_size);
	row_put_bytes(&row, append->text, append->text_length);
	return row_seal(&row, bytes, sizeof(bytes));
}

int journal_event_append(MDB_txn *txn, const struct env *rows, const struct row_change *append)
{
	uint64_t last;
	int error;

	if (append->text_length > EVENT_BYTES_MAX || !is_number(append->run))
		return -EINVAL;
	error = journal_event_last(txn, rows, append->run, &last);
	if (!error && append->sequence != last + 1)
		error = -ESTALE;
	return error ? error : write_event(txn, rows, append);
}

/* ---- numbers ---- */

uint64_t journal_next_run(struct store *store)
{
	uint64_t number;

	pthread_mutex_lock(&store->numbers_lock);
	number = store->next_run++;
	pthread_mutex_unlock(&store->numbers_lock);
	return number;
}

/* Keys ascend, so the largest number in a table is that of its last row. */
static int raise_by_table(MDB_txn *txn, const struct env *rows, unsigned int table, uint64_t *next)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	uint8_t bytes[JOURNAL_KEY];
	size_t length = 0;
	int error = env_error(mdb_cursor_open(txn, rows->tables[table], &cursor));

	if (error)
		return error;
	error = env_step(cursor, MDB_LAST, &key, &value);
	if (!error && env_copy(&key, bytes, sizeof(bytes), &length) == 0 &&
	    length == sizeof(bytes) && be64_get(bytes) >= *next)
		*next = be64_get(bytes) + 1;
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

int journal_run_decode(const struct env_row *stored, uint64_t *ret_number)
{
	struct row_view view;
	int error = stored->value ? row_open(&view, RUN_LAYOUT, stored->key, stored->key_length,
					     stored->value, stored->length)
				  : -EBADMSG;

	if (error)
		return error;
	*ret_number = row_get_u64(&view);
	return row_finish(&view) || !is_number(*ret_number) ? -EBADMSG : 0;
}

static int raise_by_run(void *context, const struct env_row *stored)
{
	uint64_t *next = context, number;

	if (journal_run_decode(stored, &number) == 0 && number >= *next)
		*next = number + 1;
	return 0;
}

static int find_next(MDB_txn *txn, struct env *rows, uint64_t *ret_next)
{
	int error = sequence_peek(txn, rows->tables[ROWS_META], run_name, ret_next);

	if (error == -EBADMSG) {
		*ret_next = 1;
		error = env_scan_in(txn, rows, ROWS_RUNS, raise_by_run, ret_next);
	}
	/* Costs nothing, and holds even if the counter were older than the rows. */
	if (!error)
		error = raise_by_table(txn, rows, ROWS_EVENTS, ret_next);
	return error ? error : raise_by_table(txn, rows, ROWS_VALUES, ret_next);
}

int journal_begin(struct store *store)
{
	MDB_txn *txn;
	int error = env_read_begin(&store->rows, &txn);

	if (error)
		return error;
	error = find_next(txn, &store->rows, &store->next_run);
	env_read_end(&store->rows, txn);
	return error;
}

/* ---- reading ---- */

struct run_walk {
	int (*each)(void *context, const char *id, uint64_t number, const struct reason *why);
	void *context;
};

static int walk_run(void *context, const struct env_row *stored)
{
	struct run_walk *walk = context;
	char id[RUN_ID_MAX + 1] = "";
	struct reason why = {0};
	uint64_t number;

	if (stored->key_length <= RUN_ID_MAX && !memchr(stored->key, 0, stored->key_length)) {
		memcpy(id, stored->key, stored->key_length);
		id[stored->key_length] = '\0';
	}
	if (id[0] && journal_run_decode(stored, &number) == 0)
		return walk->each(walk->context, id, number, NULL);
	reason_set(&why, EBADMSG, "row_damaged",
		   "the row that says which events are the run's fails its checksum or has an "
		   "unknown layout; restore the state from a backup, or start the run again under "
		   "another ID");
	return walk->each(walk->context, id, 0, &why);
}

int journal_each_run_in(MDB_txn *txn, struct env *rows,
			int (*each)(void *context, const char *id, uint64_t number,
				    const struct reason *why),
			void *context)
{
	struct run_walk walk = {.each = each, .context = context};

	return env_scan_in(txn, rows, ROWS_RUNS, walk_run, &walk);
}

int journal_each_run(struct store *store,
		     int (*each)(void *context, const char *id, uint64_t number,
				 const struct reason *why),
		     void *context)
{
	struct run_walk walk = {.each = each, .context = context};

	return env_scan(&store->rows, ROWS_RUNS, walk_run, &walk);
}

struct event_walk {
	int (*each)(void *context, const struct event_bytes *event);
	void *context;
};

void journal_event_decode(const struct env_row *stored, struct event_bytes *ret_event)
{
	struct row_view view;

	*ret_event = (struct event_bytes){0};
	journal_parse_key(stored, &ret_event->run, &ret_event->sequence);
	if (!ret_event->run || !stored->value ||
	    row_open(&view, EVENT_LAYOUT, stored->key, stored->key_length, stored->value,
		     stored->length))
		return;
	ret_event->length = stored->length - ROW_OVERHEAD;
	ret_event->bytes = row_get_bytes(&view, ret_event->length);
}

static int walk_event(void *context, const struct env_row *stored)
{
	struct event_walk *walk = context;
	struct event_bytes event;

	journal_event_decode(stored, &event);
	return walk->each(walk->context, &event);
}

int journal_each_event(struct store *store,
		       int (*each)(void *context, const struct event_bytes *event), void *context)
{
	struct event_walk walk = {.each = each, .context = context};

	return env_scan(&store->rows, ROWS_EVENTS, walk_event, &walk);
}

int journal_scan(struct env *rows, unsigned int table, uint64_t run, uint64_t from,
		 int (*each)(void *context, const struct env_row *row), void *context)
{
	uint8_t key[JOURNAL_KEY];
	MDB_txn *txn;
	int error = env_read_begin(rows, &txn);

	if (error)
		return error;
	journal_key(key, run, from);
	error = env_scan_from(txn, rows, table, key, sizeof(key), 8, each, context);
	env_read_end(rows, txn);
	return error;
}

int journal_events(struct store *store, uint64_t run, uint64_t from,
		   int (*each)(void *context, const struct event_bytes *event), void *context)
{
	struct event_walk walk = {.each = each, .context = context};

	return journal_scan(&store->rows, ROWS_EVENTS, run, from, walk_event, &walk);
}
