/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying a batch inside the writer's transaction: each content that is stored already gains a
 * reference and its bytes are dropped; the others are packed in order, or become runs. Whether a
 * content is stored is decided here and nowhere earlier, because a release may come in between.
 */
#include "store/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/private.h"
#include "store/record.h"
#include "store/verdict.h"

int batch_new(struct store *store, struct batch **ret_batch)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return -ENOMEM;
	batch->store = store;
	/* Only the pages that are filled are ever touched. */
	batch->bytes = malloc(BATCH_BYTES);
	if (!batch->bytes) {
		free(batch);
		return -ENOMEM;
	}
	*ret_batch = batch;
	return 0;
}

void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	free(batch->bytes);
	free(batch->items);
	free(batch);
}

void batch_clear(struct batch *batch)
{
	batch->used = 0;
	batch->count = 0;
	batch->stream_parts = 0;
}

int batch_add(struct batch *batch, const struct batch_item *item)
{
	if (batch->count == batch->room) {
		size_t room = batch->room ? 2 * batch->room : 16;
		struct batch_item *items = realloc(batch->items, room * sizeof(*items));

		if (!items)
			return -ENOMEM;
		batch->items = items;
		batch->room = room;
	}
	batch->items[batch->count++] = *item;
	return 0;
}

/* The piece that is being filled with neighbours. */
struct packer {
	struct piece_entry entries[PIECE_ENTRIES];
	uint64_t references[PIECE_ENTRIES];
	uint64_t replaced[PIECE_ENTRIES]; /* the piece that an entry was rewritten from, or 0 */
	size_t count, length;
};

/* Writes the piece, then the records that point into it. */
static int flush(MDB_txn *txn, const struct env *contents, struct packer *packer)
{
	uint64_t number;
	int error;

	if (!packer->count)
		return 0;
	error = piece_number(txn, contents, 1, &number);
	if (!error)
		error = piece_write(txn, contents, number, packer->entries, packer->count);
	for (size_t i = 0; i < packer->count && !error; i++) {
		struct record record = {
			.size = packer->entries[i].size,
			.references = packer->references[i],
			.piece = number,
			.offset = packer->entries[i].offset,
		};

		error = record_put(txn, contents, &packer->entries[i].digest, &record);
	}
	for (size_t i = 0; i < packer->count && !error; i++) {
		if (packer->replaced[i])
			error = piece_compact(txn, contents, packer->replaced[i]);
	}
	packer->count = 0;
	packer->length = 0;
	return error;
}

static int pack(MDB_txn *txn, const struct env *contents, struct packer *packer,
		const struct batch *batch, struct batch_item *item, const struct record *record,
		uint64_t replaced)
{
	size_t need = PIECE_ENTRY + item->length;
	int error = 0;

	if (packer->count == PIECE_ENTRIES ||
	    PIECE_HEADER + packer->length + need > PIECE_VALUE_MAX)
		error = flush(txn, contents, packer);
	if (error)
		return error;
	packer->entries[packer->count] = (struct piece_entry){
		.digest = item->digest,
		.bytes = batch->bytes + item->start,
		.size = (uint32_t)item->length,
	};
	packer->references[packer->count] = record->references;
	packer->replaced[packer->count] = replaced;
	packer->count++;
	packer->length += need;
	return 0;
}

static int write_parts(MDB_txn *txn, const struct env *contents, uint64_t first,
		       const uint8_t *bytes, size_t length)
{
	int error = 0;

	for (size_t at = 0; at < length && !error; at += PART_BYTES) {
		size_t part = length - at < PART_BYTES ? length - at : PART_BYTES;

		error = piece_write_part(txn, contents, first++, bytes + at, part);
	}
	return error;
}

/* The run of a content that streams; begun with numbers of its own when it is not there yet. */
static int stream_run(MDB_txn *txn, const struct env *contents, const struct batch *batch,
		      uint32_t index, struct chunk *chunk)
{
	int error = chunk_get(txn, contents, batch->pending.number, index, chunk);

	if (!error && chunk->kind != CHUNK_RUN)
		return -EIO;
	if (error != -ENOENT)
		return error;
	chunk->number = batch->pending.number;
	chunk->index = index;
	chunk->kind = CHUNK_RUN;
	chunk->run_count = 0;
	return piece_number(txn, contents, RUN_NUMBERS, &chunk->run_first);
}

static int extend_run(MDB_txn *txn, const struct env *contents, struct chunk *chunk,
		      const uint8_t *bytes, size_t length)
{
	uint64_t parts = length / PART_BYTES + (length % PART_BYTES != 0);
	int error;

	if (chunk->run_count + parts > RUN_NUMBERS)
		return -ENOSPC;
	error = write_parts(txn, contents, chunk->run_first + chunk->run_count, bytes, length);
	chunk->run_count += parts;
	return error ? error : chunk_put(txn, contents, chunk);
}

/* More of a content that goes on in the next batch. */
static int apply_stream(MDB_txn *txn, const struct batch *batch)
{
	const struct env *contents = &batch->store->contents;
	struct chunk chunk;
	int error;

	if (!batch->stream_parts)
		return 0;
	error = stream_run(txn, contents, batch, batch->stream, &chunk);
	return error ? error
		     : extend_run(txn, contents, &chunk, batch->bytes,
				  batch->stream_parts * PART_BYTES);
}

/* The last of a streamed content: its run becomes the content. */
static int end_stream(MDB_txn *txn, const struct batch *batch, struct batch_item *item,
		      struct record *record)
{
	const struct env *contents = &batch->store->contents;
	struct chunk chunk;
	int error = stream_run(txn, contents, batch, item->stream, &chunk);

	if (!error)
		error = extend_run(txn, contents, &chunk, batch->bytes + item->start, item->length);
	if (error)
		return error;
	record->piece = chunk.run_first;
	record->offset = PIECE_HEADER;
	return chunk_delete(txn, contents, chunk.number, chunk.index);
}

/* A large content that lies in the batch as a whole. */
static int write_run(MDB_txn *txn, const struct batch *batch, const struct batch_item *item,
		     struct record *record)
{
	const struct env *contents = &batch->store->contents;
	int error = piece_number(txn, contents, piece_parts(item->size), &record->piece);

	record->offset = PIECE_HEADER;
	return error ? error
		     : write_parts(txn, contents, record->piece, batch->bytes + item->start,
				   item->length);
}

static int put_large(MDB_txn *txn, const struct batch *batch, struct batch_item *item,
		     struct record *record, const struct record *old)
{
	const struct env *contents = &batch->store->contents;
	int error = item->streamed ? end_stream(txn, batch, item, record)
				   : write_run(txn, batch, item, record);

	if (!error)
		error = record_put(txn, contents, &item->digest, record);
	if (error || !old->piece)
		return error;
	if (piece_parts(old->size))
		return chunk_leave_run(txn, contents, batch->pending.number, old->piece,
				       piece_parts(old->size));
	return piece_compact(txn, contents, old->piece);
}

/* New bytes for a digest: packed, as a run, or none at all. `old` is what they replace. */
static int put_content(MDB_txn *txn, const struct batch *batch, struct packer *packer,
		       struct batch_item *item, const struct record *old)
{
	const struct env *contents = &batch->store->contents;
	struct record record = {.size = item->size, .references = old->references + 1};

	item->written = true;
	item->new_bytes = old->references ? 0 : item->size;
	if (item->size == 0)
		return record_put(txn, contents, &item->digest, &record);
	if (item->streamed || piece_parts(item->size))
		return put_large(txn, batch, item, &record, old);
	if (old->piece && piece_parts(old->size)) {
		int error = chunk_leave_run(txn, contents, batch->pending.number, old->piece,
					    piece_parts(old->size));

		return error ? error : pack(txn, contents, packer, batch, item, &record, 0);
	}
	return pack(txn, contents, packer, batch, item, &record, old->piece);
}

static int apply_item(MDB_txn *txn, const struct batch *batch, struct packer *packer,
		      struct batch_item *item)
{
	const struct env *contents = &batch->store->contents;
	struct record old = {0};
	int error = record_get(txn, contents, &item->digest, &old);

	item->written = false;
	item->new_bytes = 0;
	if (error == -EBADMSG)
		old = (struct record){.references = RECORD_REFERENCES_LOST};
	else if (error == -ENOENT)
		old = (struct record){0};
	else if (error)
		return error;
	if (error || item->rewrite || old.size != item->size)
		return put_content(txn, batch, packer, item, &old);
	/* Parts that streamed in vain stay with the pending row, and are deleted with it. */
	old.references++;
	return record_put(txn, contents, &item->digest, &old);
}

/* The references that this batch takes, in the same transaction in which it takes them. */
static int put_references(MDB_txn *txn, const struct batch *batch)
{
	struct chunk chunk = {.number = batch->pending.number, .kind = CHUNK_DIGEST_LIST};
	int error = 0;

	chunk.index = batch->first_chunk;
	for (size_t i = 0; i < batch->count && !error; i++) {
		chunk.digests[chunk.count++] = batch->items[i].digest;
		if (chunk.count < CHUNK_DIGESTS && i + 1 < batch->count)
			continue;
		error = chunk_put(txn, &batch->store->contents, &chunk);
		chunk.index++;
		chunk.count = 0;
	}
	return error;
}

static int apply_all(MDB_txn *txn, struct batch *batch, struct packer *packer)
{
	const struct env *contents = &batch->store->contents;
	int error = pending_put(txn, contents, &batch->pending);

	if (!error)
		error = apply_stream(txn, batch);
	if (!error)
		error = put_references(txn, batch);
	for (size_t i = 0; i < batch->count && !error; i++)
		error = apply_item(txn, batch, packer, &batch->items[i]);
	return error ? error : flush(txn, contents, packer);
}

static int apply(MDB_txn *txn, struct writer_job *job)
{
	struct packer *packer = malloc(sizeof(*packer));
	int error;

	if (!packer)
		return -ENOMEM;
	packer->count = 0;
	packer->length = 0;
	error = apply_all(txn, (struct batch *)job, packer);
	free(packer);
	return error;
}

/* What this process has just written counts as verified: its digest came from these bytes. */
static void committed(struct writer_job *job)
{
	struct batch *batch = (struct batch *)job;

	for (size_t i = 0; i < batch->count; i++) {
		if (batch->items[i].written)
			verdict_set(batch->store, &batch->items[i].digest, CONTENT_GOOD);
	}
}

void batch_prepare(struct batch *batch)
{
	size_t bytes = batch->used + batch->stream_parts * PART_BYTES;

	batch->job = (struct writer_job){
		.apply = apply,
		.committed = committed,
		.broken = batch->broken,
		.cost_bytes = bytes + bytes / 64 + batch->count * 256 + 256 * 1024,
	};
}
