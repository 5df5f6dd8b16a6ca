/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_check, for fsck: each event has its run and follows the one before it, each value has its
 * event. All of it in one snapshot, in which every commit is either there or not, so that nothing
 * that is under way beside it looks like damage. Changes nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/journal.h"
#include "store/private.h"
#include "store/tables.h"

#define REMEDY                                                                                     \
	"restore the state from a backup; without one, remove the run and start it again under "   \
	"another ID"

struct known_run {
	uint64_t number;
	bool has_events;
	char id[RUN_ID_MAX + 1];
};

struct journal_inspection {
	struct env *rows;
	MDB_txn *txn;
	void (*wrong)(void *context, const struct reason *reason);
	void *context;
	struct known_run *runs; /* by number, once all are there */
	size_t count, room;
	uint64_t run, last; /* which event came last */
};

static struct known_run *find_run(const struct journal_inspection *inspection, uint64_t number)
{
	size_t low = 0, high = inspection->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (inspection->runs[middle].number == number)
			return &inspection->runs[middle];
		if (inspection->runs[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* "run ID", or what can be said without one. */
#define NAME_ROOM (RUN_ID_MAX + 32)

static const char *run_name(const struct journal_inspection *inspection, uint64_t number,
			    char name[NAME_ROOM])
{
	const struct known_run *run = find_run(inspection, number);

	if (run)
		snprintf(name, NAME_ROOM, "run %s", run->id);
	else
		snprintf(name, NAME_ROOM, "run number %" PRIu64, number);
	return name;
}

static void tell(struct journal_inspection *inspection, uint64_t number, const char *code,
		 const char *what, uint64_t sequence)
{
	struct reason reason = {0};
	char name[NAME_ROOM];

	reason_set(&reason, EBADMSG, code, "%s: event %" PRIu64 " %s; " REMEDY,
		   run_name(inspection, number, name), sequence, what);
	inspection->wrong(inspection->context, &reason);
}

static void tell_run(struct journal_inspection *inspection, uint64_t number, const char *code,
		     const char *what)
{
	struct reason reason = {0};
	char name[NAME_ROOM];

	reason_set(&reason, EBADMSG, code, "%s %s; " REMEDY, run_name(inspection, number, name),
		   what);
	inspection->wrong(inspection->context, &reason);
}

/* A row whose key says nothing. */
static void tell_key(struct journal_inspection *inspection, const char *table)
{
	struct reason reason = {0};

	reason_set(&reason, EBADMSG, "row_damaged",
		   "a row in the table %s has no readable key; restore the state from a backup",
		   table);
	inspection->wrong(inspection->context, &reason);
}

/* ---- runs ---- */

static int note_run(void *context, const char *id, uint64_t number, const struct reason *why)
{
	struct journal_inspection *inspection = context;
	struct reason reason = {0};

	if (why) {
		reason_set(&reason, EBADMSG, why->code, "run %s: %s", id[0] ? id : "?",
			   why->message);
		inspection->wrong(inspection->context, &reason);
		return 0;
	}
	if (inspection->count == inspection->room) {
		size_t room = inspection->room ? 2 * inspection->room : 64;
		struct known_run *runs = realloc(inspection->runs, room * sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		inspection->runs = runs;
		inspection->room = room;
	}
	inspection->runs[inspection->count] = (struct known_run){.number = number};
	strcpy(inspection->runs[inspection->count++].id, id);
	return 0;
}

static int by_number(const void *left, const void *right)
{
	const struct known_run *a = left, *b = right;

	return (a->number > b->number) - (a->number < b->number);
}

static void check_numbers(struct journal_inspection *inspection)
{
	if (inspection->count)
		qsort(inspection->runs, inspection->count, sizeof(*inspection->runs), by_number);
	for (size_t i = 1; i < inspection->count; i++) {
		if (inspection->runs[i].number == inspection->runs[i - 1].number)
			tell_run(inspection, inspection->runs[i].number, "run_damaged",
				 "has the number of another run");
	}
}

static void check_empty(struct journal_inspection *inspection)
{
	for (size_t i = 0; i < inspection->count; i++) {
		if (!inspection->runs[i].has_events)
			tell_run(inspection, inspection->runs[i].number, "event_missing",
				 "has no events");
	}
}

/* ---- events ---- */

static void begin_run(struct journal_inspection *inspection, uint64_t number)
{
	struct known_run *run = find_run(inspection, number);

	inspection->run = number;
	inspection->last = 0;
	if (run)
		run->has_events = true;
	else
		tell_run(inspection, number, "run_missing",
			 "has events, but no row says which run that is");
}

static int check_event(void *context, const struct env_row *stored)
{
	struct journal_inspection *inspection = context;
	struct event_bytes event;

	journal_event_decode(stored, &event);
	if (!event.run) {
		tell_key(inspection, "events");
		return 0;
	}
	if (event.run != inspection->run)
		begin_run(inspection, event.run);
	if (event.sequence != inspection->last + 1)
		tell(inspection, event.run, "event_missing", "is missing, and later ones are there",
		     inspection->last + 1);
	inspection->last = event.sequence;
	if (!event.bytes)
		tell(inspection, event.run, "row_damaged",
		     "fails its checksum or has an unknown layout", event.sequence);
	return 0;
}

/* ---- values ---- */

static int check_owner(struct journal_inspection *inspection, const struct value_row *row)
{
	uint8_t key[JOURNAL_KEY];
	MDB_val value;
	int error;

	journal_key(key, row->run, row->sequence);
	error = env_get(inspection->txn, inspection->rows->tables[ROWS_EVENTS], key, sizeof(key),
			&value);
	if (error == -ENOENT)
		tell(inspection, row->run, "event_missing", "is missing, and its value is there",
		     row->sequence);
	return error == -ENOENT ? 0 : error;
}

static int check_value(void *context, const struct env_row *stored)
{
	struct journal_inspection *inspection = context;
	struct digest digest;
	struct value_row row;
	const uint8_t *bytes;
	int error = value_row_decode(stored, &row, &bytes);

	if (!row.run) {
		tell_key(inspection, "values");
		return 0;
	}
	if (error) {
		tell(inspection, row.run, "row_damaged",
		     "has a value whose row fails its checksum or has an unknown layout",
		     row.sequence);
	} else if (!row.upload) {
		if (digest_of(bytes, (size_t)row.size, &digest))
			return -ENOMEM;
		if (!digest_equal(&digest, &row.digest))
			tell(inspection, row.run, "content_damaged",
			     "has a value that is not what it was", row.sequence);
	}
	return check_owner(inspection, &row);
}

static int check_tables(struct journal_inspection *inspection)
{
	struct env *rows = inspection->rows;
	MDB_txn *txn = inspection->txn;
	int error = journal_each_run_in(txn, rows, note_run, inspection);

	if (error)
		return error;
	check_numbers(inspection);
	error = env_scan_in(txn, rows, ROWS_EVENTS, check_event, inspection);
	if (error)
		return error;
	check_empty(inspection);
	return env_scan_in(txn, rows, ROWS_VALUES, check_value, inspection);
}

int journal_check(struct store *store, void (*wrong)(void *context, const struct reason *reason),
		  void *context)
{
	struct journal_inspection inspection = {
	    .rows = &store->rows,
	    .wrong = wrong,
	    .context = context,
	};
	int error = env_read_begin(&store->rows, &inspection.txn);

	if (error)
		return error;
	error = check_tables(&inspection);
	free(inspection.runs);
	env_read_end(&store->rows, inspection.txn);
	return error && error != -ENOMEM ? -EIO : error;
}
