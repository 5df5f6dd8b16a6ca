/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settling pending rows: one step per transaction, one chunk (or a part of it, or many lists that
 * are only dropped) per step. Where it is unclear whether references are held, nothing is given
 * back: a leak is found by fsck and repaired, a reference too few loses a package.
 */
#include "store/settle.h"

#include <errno.h>
#include <stdlib.h>

#include "store/pending.h"
#include "store/piece.h"
#include "store/private.h"
#include "store/record.h"
#include "store/tables.h"
#include "store/verdict.h"

/* What one transaction takes on. Compacting rewrites at most as many pieces, 1 MiB each. */
#define STEP_PIECES 32u
#define STEP_PARTS  256u
/* Lists of references that are only forgotten are cheap. */
#define STEP_LISTS 64u

struct step {
	struct writer_job job;
	struct store *store;
	uint64_t number;
	enum settle_how how;
	bool finished; /* out: the header is gone */
	struct chunk chunk;
	struct digest freed[CHUNK_DIGESTS]; /* out */
	uint32_t freed_count;
	uint64_t pieces[STEP_PIECES]; /* to be compacted */
	uint32_t piece_count, part_count;
};

/* Returns false when the step is full. */
static bool note_piece(struct step *step, uint64_t piece)
{
	for (uint32_t i = 0; i < step->piece_count; i++) {
		if (step->pieces[i] == piece)
			return true;
	}
	if (step->piece_count == STEP_PIECES)
		return false;
	step->pieces[step->piece_count++] = piece;
	return true;
}

static int free_content(MDB_txn *txn, struct step *step, const struct digest *digest,
			const struct record *record)
{
	const struct env *contents = &step->store->contents;
	uint64_t parts = piece_parts(record->size);
	int error = 0;

	if (parts > STEP_PARTS) {
		error = chunk_leave_run(txn, contents, step->number, record->piece, parts);
	} else if (parts) {
		step->part_count += (uint32_t)parts;
		error = piece_delete(txn, contents, record->piece, parts);
	}
	if (!error)
		error = record_delete(txn, contents, digest);
	if (!error)
		step->freed[step->freed_count++] = *digest;
	return error;
}

/* Takes one reference back. Returns -EAGAIN when the step is full. */
static int give_back(MDB_txn *txn, struct step *step, const struct digest *digest)
{
	const struct env *contents = &step->store->contents;
	struct record record;
	int error = record_get(txn, contents, digest, &record);

	if (error == -ENOENT || error == -EBADMSG)
		return 0;
	if (error)
		return error;
	if (record.references > 1) {
		record.references--;
		return record_put(txn, contents, digest, &record);
	}
	if (step->how == SETTLE_RETURN)
		return 0; /* it was lost and came back: it is the version's */
	if (step->part_count >= STEP_PARTS)
		return -EAGAIN;
	if (record.size && !piece_parts(record.size) && !note_piece(step, record.piece))
		return -EAGAIN;
	return free_content(txn, step, digest, &record);
}

/* Goes through the list from its end, so that what is left is the list's beginning. */
static int step_list(MDB_txn *txn, struct step *step)
{
	const struct env *contents = &step->store->contents;
	struct chunk *chunk = &step->chunk;
	int error = 0;

	while (step->how != SETTLE_DROP && chunk->count && !error) {
		error = give_back(txn, step, &chunk->digests[chunk->count - 1]);
		if (!error)
			chunk->count--;
	}
	if (error && error != -EAGAIN)
		return error;
	error = 0;
	for (uint32_t i = 0; i < step->piece_count && !error; i++)
		error = piece_compact(txn, contents, step->pieces[i]);
	if (error)
		return error;
	return step->how != SETTLE_DROP && chunk->count
		       ? chunk_put(txn, contents, chunk)
		       : chunk_delete(txn, contents, chunk->number, chunk->index);
}

static int step_run(MDB_txn *txn, struct step *step)
{
	const struct env *contents = &step->store->contents;
	struct chunk *chunk = &step->chunk;
	uint64_t count = chunk->run_count < STEP_PARTS ? chunk->run_count : STEP_PARTS;
	int error;

	step->part_count += (uint32_t)count;
	chunk->run_count -= count;
	error = piece_delete(txn, contents, chunk->run_first + chunk->run_count, count);
	if (error)
		return error;
	return chunk->run_count ? chunk_put(txn, contents, chunk)
				: chunk_delete(txn, contents, chunk->number, chunk->index);
}

static int step_chunk(MDB_txn *txn, struct step *step)
{
	const struct env *contents = &step->store->contents;
	int error = chunk_first(txn, contents, step->number, &step->chunk);

	if (error == -ENOENT) {
		step->finished = true;
		return pending_delete(txn, contents, step->number);
	}
	if (error)
		return error;
	switch (step->chunk.kind) {
	case CHUNK_DIGEST_LIST:
		return step_list(txn, step);
	case CHUNK_RUN:
		return step_run(txn, step);
	case CHUNK_UNREADABLE:
		break;
	}
	return chunk_delete(txn, contents, step->number, step->chunk.index);
}

static int apply(MDB_txn *txn, struct writer_job *job)
{
	struct step *step = (struct step *)job;
	unsigned int lists = 0;
	int error;

	step->finished = false;
	step->freed_count = 0;
	step->piece_count = 0;
	step->part_count = 0;
	/*
	 * What fits is dropped in one step: a hold that is handed in after it then finds nothing
	 * left that a mount after a crash could give back a second time.
	 */
	do {
		error = step_chunk(txn, step);
	} while (!error && !step->finished && step->how == SETTLE_DROP &&
		 step->part_count < STEP_PARTS && ++lists < STEP_LISTS);
	return error;
}

static void committed(struct writer_job *job)
{
	struct step *step = (struct step *)job;

	for (uint32_t i = 0; i < step->freed_count; i++)
		verdict_forget(step->store, &step->freed[i]);
}

static struct step *step_new(struct store *store, uint64_t number, enum settle_how how)
{
	struct step *step = calloc(1, sizeof(*step));

	if (!step)
		return NULL;
	step->job = (struct writer_job){
		.apply = apply,
		.committed = committed,
		.cost_bytes = 256 * 1024,
		.reserved = true,
	};
	step->store = store;
	step->number = number;
	step->how = how;
	return step;
}

int settle_number(struct store *store, uint64_t number, enum settle_how how)
{
	struct step *step = step_new(store, number, how);
	int error = 0;

	if (!step)
		return -ENOMEM;
	while (!error && !step->finished)
		error = writer_run(&store->contents_writer, &step->job);
	free(step);
	return error;
}

/*
 * Remembers a number whose pending row could not be dropped. Without the memory for that, this
 * mount releases nothing any more.
 */
static void forget(struct store *store, uint64_t number)
{
	struct adopted_list *list = &store->adopted;

	pthread_mutex_lock(&list->lock);
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 16;
		uint64_t *numbers = realloc(list->numbers, room * sizeof(*numbers));

		if (numbers) {
			list->numbers = numbers;
			list->room = room;
		}
	}
	if (list->count < list->room)
		list->numbers[list->count++] = number;
	else
		list->lost = true;
	pthread_mutex_unlock(&list->lock);
}

static void step_finished(struct writer_job *job)
{
	struct step *step = (struct step *)job;

	if (job->result) {
		forget(step->store, step->number);
	} else if (!step->finished) {
		writer_submit(&step->store->contents_writer, job);
		return;
	}
	free(step);
}

void settle_adopted(struct store *store, uint64_t number)
{
	struct step *step = step_new(store, number, SETTLE_DROP);

	if (!step) {
		forget(store, number);
		return;
	}
	step->job.finished = step_finished;
	writer_submit(&store->contents_writer, &step->job);
}

/* The last forgotten number; 0 when there is none. Returns -ENOMEM if one could not be kept. */
static int last_forgotten(struct store *store, uint64_t *ret_number)
{
	struct adopted_list *list = &store->adopted;
	int error;

	pthread_mutex_lock(&list->lock);
	error = list->lost ? -ENOMEM : 0;
	*ret_number = list->count ? list->numbers[--list->count] : 0;
	pthread_mutex_unlock(&list->lock);
	return error;
}

int settle_forgotten(struct store *store)
{
	uint64_t number;
	int error;

	while ((error = last_forgotten(store, &number)) == 0 && number) {
		error = settle_number(store, number, SETTLE_DROP);
		if (error) {
			forget(store, number);
			break;
		}
	}
	return error;
}

/* The pending rows as they were found; an unreadable one has only its number. */
struct found {
	struct pending *rows;
	size_t count, room;
};

static int collect(void *context, const struct env_row *row)
{
	struct found *found = context;
	struct pending pending;

	if (pending_decode(row, &pending))
		pending.kind = PENDING_UNREADABLE;
	if (found->count == found->room) {
		size_t room = found->room ? 2 * found->room : 16;
		struct pending *rows = realloc(found->rows, room * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		found->rows = rows;
		found->room = room;
	}
	found->rows[found->count++] = pending;
	return 0;
}

/* Does a version's row hold the references of this pending row? -EBADMSG: it cannot be told. */
static int held_by_version(struct store *store, const struct pending *pending, bool *ret_held)
{
	uint64_t upload = pending->kind == PENDING_UPLOAD ? pending->number : pending->upload;
	struct version_row row = {0};
	int error = versions_find(&store->rows, pending->type, &pending->version, &row);

	*ret_held = !error && row.upload == upload;
	return error == -ENOENT ? 0 : error;
}

/* Does a value's row? */
static int held_by_value(struct store *store, const struct pending *pending, bool *ret_held)
{
	struct value_row row = {0};
	int error = value_row_find(&store->rows, pending->run, pending->sequence, &row);

	*ret_held = !error && row.upload == pending->number;
	return error == -ENOENT ? 0 : error;
}

static int holds(struct store *store, const struct pending *pending, bool *ret_held)
{
	*ret_held = false;
	switch (pending->kind) {
	case PENDING_UNREADABLE:
		return -EBADMSG;
	case PENDING_VALUE_UPLOAD:
		return held_by_value(store, pending, ret_held);
	case PENDING_VALUE_RELEASE:
		return value_rows_have(&store->rows, pending->run, pending->upload, ret_held);
	case PENDING_UPLOAD:
	case PENDING_RELEASE:
		break;
	}
	return pending->sealed ? held_by_version(store, pending, ret_held) : 0;
}

/* Who holds the references of a pending row? */
static int judge(struct store *store, const struct pending *pending, enum settle_how *ret_how)
{
	bool held;
	int error = holds(store, pending, &held);

	*ret_how = held || error == -EBADMSG ? SETTLE_DROP : SETTLE_GIVE_BACK;
	return error == -EBADMSG ? 0 : error;
}

static int settle_one(struct store *store, const struct pending *pending)
{
	enum settle_how how;
	int error = judge(store, pending, &how);

	if (!error)
		error = settle_number(store, pending->number, how);
	if (error && how == SETTLE_DROP)
		forget(store, pending->number);
	return error == -ENOSPC ? 0 : error;
}

int settle_all(struct store *store)
{
	struct found found = {0};
	int error = env_scan(&store->contents, CONTENTS_PENDING, collect, &found);

	for (size_t i = 0; i < found.count && !error; i++)
		error = settle_one(store, &found.rows[i]);
	free(found.rows);
	return error;
}
