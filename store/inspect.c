/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contents_check, for fsck: records, pieces and what pieces say about themselves must agree. Each
 * packed entry has a record that points at it and the other way round; the runs of large contents
 * are whole, apart from each other, and no part is outside of one. Changes nothing; hashes nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/contents.h"
#include "store/pending.h"
#include "store/piece.h"
#include "store/private.h"
#include "store/record.h"
#include "store/row.h"

/* The pieces of a large content, or of none yet: then a pending row has them. */
struct run {
	uint64_t first, count, size;
	bool is_pending;
	struct digest digest;
};

struct inspection {
	struct env *contents;
	MDB_txn *txn;
	void (*wrong)(void *context, const struct reason *reason);
	void *context;
	struct run *runs;
	size_t run_count, run_room;
};

static void report(struct inspection *inspection, struct reason *reason)
{
	inspection->wrong(inspection->context, reason);
}

static void wrong_content(struct inspection *inspection, const struct digest *digest,
			  const char *what)
{
	char hex[DIGEST_HEX + 1];
	struct reason reason = {0};

	reason_set(&reason, EIO, "content_damaged", "content %s: %s", digest_hex(digest, hex),
		   what);
	report(inspection, &reason);
}

static void wrong_piece(struct inspection *inspection, uint64_t number, const char *what)
{
	struct reason reason = {0};

	reason_set(&reason, EIO, "piece_damaged", "piece %" PRIu64 ": %s", number, what);
	report(inspection, &reason);
}

static int find_piece(struct inspection *inspection, uint64_t number, MDB_val *ret_value)
{
	uint8_t key[8];

	be64_put(key, number);
	return env_get(inspection->txn, inspection->contents->tables[CONTENTS_PIECES], key,
		       sizeof(key), ret_value);
}

static int add_run(struct inspection *inspection, const struct run *run)
{
	if (inspection->run_count == inspection->run_room) {
		size_t room = inspection->run_room ? 2 * inspection->run_room : 64;
		struct run *runs = realloc(inspection->runs, room * sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		inspection->runs = runs;
		inspection->run_room = room;
	}
	inspection->runs[inspection->run_count++] = *run;
	return 0;
}

static int note_run(struct inspection *inspection, const struct digest *digest,
		    const struct record *record)
{
	struct run run = {
		.first = record->piece,
		.count = piece_parts(record->size),
		.size = record->size,
		.digest = *digest,
	};

	return add_run(inspection, &run);
}

/* What is streaming in, beside a mount, or waits to be deleted, is no part of a content. */
static int note_pending_run(void *context, const struct env_row *row)
{
	struct chunk *chunk = malloc(sizeof(*chunk));
	int error = 0;

	if (!chunk)
		return -ENOMEM;
	chunk_decode(row, chunk);
	if (chunk->kind == CHUNK_RUN && chunk->run_count)
		error = add_run(context, &(struct run){.first = chunk->run_first,
						       .count = chunk->run_count,
						       .is_pending = true});
	free(chunk);
	return error;
}

/* The entry at an offset; entries ascend. */
static bool has_entry(const struct piece_view *view, const struct digest *digest,
		      const struct record *record)
{
	uint32_t low = 0, high = view->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct piece_entry entry = piece_view_entry(view, middle);

		if (entry.offset == record->offset)
			return entry.size == record->size && digest_equal(&entry.digest, digest);
		if (entry.offset < record->offset)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static int check_packed(struct inspection *inspection, const struct digest *digest,
			const struct record *record)
{
	struct piece_view view;
	MDB_val value;
	int error = find_piece(inspection, record->piece, &value);

	if (!error)
		error = piece_view(record->piece, &value, &view);
	if (error == -ENOMEM)
		return error;
	if (error) {
		wrong_content(inspection, digest, "its piece is missing or unreadable");
		return 0;
	}
	if (!has_entry(&view, digest, record))
		wrong_content(inspection, digest, "its piece does not list it where it should be");
	free(view.entries);
	return 0;
}

static int check_record(void *context, const struct env_row *row)
{
	struct inspection *inspection = context;
	struct record record;
	struct digest digest = {0};

	if (record_decode(row->key, row->key_length, row->value, row->length, &digest, &record)) {
		if (row->key_length == DIGEST_BYTES)
			memcpy(digest.bytes, row->key, DIGEST_BYTES);
		wrong_content(inspection, &digest, "its record is unreadable");
		return 0;
	}
	if (!record.references)
		wrong_content(inspection, &digest, "nobody uses it, and it was not deleted");
	if (piece_parts(record.size))
		return note_run(inspection, &digest, &record);
	return record.size ? check_packed(inspection, &digest, &record) : 0;
}

static int compare_runs(const void *a, const void *b)
{
	const struct run *left = a, *right = b;

	return (left->first > right->first) - (left->first < right->first);
}

static void check_overlaps(struct inspection *inspection)
{
	const struct run *runs = inspection->runs;

	if (inspection->run_count)
		qsort(inspection->runs, inspection->run_count, sizeof(*runs), compare_runs);
	for (size_t i = 1; i < inspection->run_count; i++) {
		if (runs[i].first - runs[i - 1].first < runs[i - 1].count)
			wrong_content(inspection, &runs[i].digest,
				      "it shares pieces with another large content");
	}
}

static int check_part(struct inspection *inspection, const struct run *run, uint64_t index)
{
	uint64_t left = run->size - index * PART_BYTES;
	struct piece_view view;
	MDB_val value;
	int error = find_piece(inspection, run->first + index, &value);

	if (!error)
		error = piece_view(run->first + index, &value, &view);
	if (error == -ENOMEM)
		return error;
	if (error) {
		wrong_content(inspection, &run->digest,
			      "one of its pieces is missing or unreadable");
		return -ENOENT;
	}
	free(view.entries);
	if (view.part && view.length == (left < PART_BYTES ? left : PART_BYTES))
		return 0;
	wrong_content(inspection, &run->digest, "one of its pieces has the wrong length");
	return -ENOENT;
}

/* One finding for each content is enough. */
static int check_runs(struct inspection *inspection)
{
	check_overlaps(inspection);
	for (size_t i = 0; i < inspection->run_count; i++) {
		int error = 0;

		if (inspection->runs[i].is_pending)
			continue;
		for (uint64_t part = 0; part < inspection->runs[i].count && !error; part++)
			error = check_part(inspection, &inspection->runs[i], part);
		if (error == -ENOMEM)
			return error;
	}
	return 0;
}

static bool in_run(const struct inspection *inspection, uint64_t number)
{
	size_t low = 0, high = inspection->run_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct run *run = &inspection->runs[middle];

		if (number >= run->first && number - run->first < run->count)
			return true;
		if (run->first < number)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Every entry must have the record that points at it: else its bytes are dead and still there. */
static int check_entries(struct inspection *inspection, uint64_t number,
			 const struct piece_view *view)
{
	for (uint32_t i = 0; i < view->count; i++) {
		struct piece_entry entry = piece_view_entry(view, i);
		struct record record;
		int error = record_get(inspection->txn, inspection->contents, &entry.digest,
				       &record);

		if (error == -EBADMSG)
			continue;
		if (error && error != -ENOENT)
			return error;
		if (error || record.piece != number || record.offset != entry.offset ||
		    record.size != entry.size)
			wrong_piece(inspection, number, "it lists a content that is not there");
	}
	return 0;
}

static int check_piece(struct inspection *inspection, uint64_t number, const MDB_val *value)
{
	struct piece_view view;
	int error = piece_view(number, value, &view);

	if (error == -ENOMEM)
		return error;
	if (error) {
		wrong_piece(inspection, number, "it is unreadable");
		return 0;
	}
	if (!view.part && !view.count)
		wrong_piece(inspection, number, "it is empty");
	if (view.part && !in_run(inspection, number))
		wrong_piece(inspection, number, "it belongs to no content");
	error = view.part ? 0 : check_entries(inspection, number, &view);
	free(view.entries);
	return error;
}

static int check_pieces(struct inspection *inspection)
{
	MDB_dbi table = inspection->contents->tables[CONTENTS_PIECES];
	uint8_t bytes[8];
	MDB_cursor *cursor;
	MDB_val key, value;
	int error = env_error(mdb_cursor_open(inspection->txn, table, &cursor));

	if (error)
		return error;
	for (MDB_cursor_op op = MDB_FIRST; !error; op = MDB_NEXT) {
		error = env_step(cursor, op, &key, &value);
		if (!error && key.mv_size != sizeof(bytes))
			error = -EIO;
		if (!error)
			error = check_piece(inspection, be64_get(key.mv_data), &value);
	}
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

static const char *pending_name(const struct pending *pending)
{
	switch (pending->kind) {
	case PENDING_UPLOAD:
		return "of an upload is left";
	case PENDING_RELEASE:
		return "of an unloaded version is left";
	case PENDING_VALUE_UPLOAD:
		return "of a run's value is left";
	case PENDING_VALUE_RELEASE:
		return "of a removed run is left";
	case PENDING_UNREADABLE:
		break;
	}
	return "is unreadable";
}

static int check_pending(void *context, const struct env_row *row)
{
	struct pending pending;
	struct reason reason = {0};

	if (pending_decode(row, &pending))
		pending.kind = PENDING_UNREADABLE;
	reason_set(&reason, EIO, "pending_left",
		   "pending row %" PRIu64 " %s; the next mount settles it", pending.number,
		   pending_name(&pending));
	report(context, &reason);
	return 0;
}

static int check_all(struct inspection *inspection)
{
	MDB_txn *txn = inspection->txn;
	struct env *contents = inspection->contents;
	int error = env_scan_in(txn, contents, CONTENTS_RECORDS, check_record, inspection);

	if (!error)
		error = env_scan_in(txn, contents, CONTENTS_CHUNKS, note_pending_run, inspection);
	if (!error)
		error = check_runs(inspection);
	if (!error)
		error = check_pieces(inspection);
	return error ? error
		     : env_scan_in(txn, contents, CONTENTS_PENDING, check_pending, inspection);
}

int contents_check(struct store *store, void (*wrong)(void *context, const struct reason *reason),
		   void *context)
{
	struct inspection inspection = {
		.contents = &store->contents,
		.wrong = wrong,
		.context = context,
	};
	int error = env_read_begin(&store->contents, &inspection.txn);

	if (error)
		return error;
	error = check_all(&inspection);
	free(inspection.runs);
	env_read_end(&store->contents, inspection.txn);
	return error && error != -ENOMEM ? -EIO : error;
}
