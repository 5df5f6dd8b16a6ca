/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads: hashing what comes in, and filling one batch while the writer works on others. Owns the
 * batches. Invariant: the writer takes them in order, and none behind one that failed, so a failure
 * leaves a prefix of the upload, held by its pending row.
 *
 * Two batches may be with the writer: a disk that is slow for a moment stops nobody, and one that
 * stays slow gets both in one transaction, with one sync.
 */
#include "store/upload.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "store/batch.h"
#include "store/contents.h"
#include "store/private.h"
#include "store/settle.h"

#define FLYING_MAX 2u

struct upload {
	struct store *store;
	struct pending header; /* its pending row: written with every batch */
	struct digest_stream hash;
	struct digest_map taken; /* digests that this upload holds a reference to */
	struct batch *filling, *spare;
	struct batch *flying[FLYING_MAX]; /* with the writer, the oldest first */
	unsigned int flying_count;
	bool broken;    /* the writer's: a batch failed */
	bool submitted; /* anything, ever */
	uint32_t next_chunk;
	uint64_t new_bytes;
	int failed;

	/* The current content. */
	uint64_t size;
	size_t start; /* where its bytes begin in the batch that is being filled */
	bool streaming;
	uint32_t stream;
};

static void upload_free(struct upload *upload)
{
	if (!upload)
		return;
	digest_close(&upload->hash);
	digest_map_clear(&upload->taken);
	batch_free(upload->filling);
	batch_free(upload->spare);
	/* The pages of its transactions: an allocator that was told to keep them lets go of them. */
	if (upload->next_chunk > 1)
		malloc_trim(0);
	free(upload);
}

int upload_open(struct store *store, struct upload **ret_upload, struct reason *reason)
{
	struct upload *upload = calloc(1, sizeof(*upload));
	int error = upload ? digest_open(&upload->hash) : -ENOMEM;

	if (error) {
		free(upload);
		return store_explain(store, error, reason);
	}
	error = batch_new(store, &upload->filling);
	if (error) {
		upload_free(upload);
		return store_explain(store, error, reason);
	}
	upload->store = store;
	upload->header.number = store_next_number(store);
	upload->header.kind = PENDING_UPLOAD;
	*ret_upload = upload;
	return 0;
}

uint64_t upload_number(const struct upload *upload)
{
	return upload->header.number;
}

uint64_t upload_new_bytes(const struct upload *upload)
{
	return upload->new_bytes;
}

/* Waits for the oldest batch that the writer has, and keeps its buffer. */
static int land(struct upload *upload)
{
	struct batch *batch = upload->flying[0];
	int error = writer_wait(&upload->store->contents_writer, &batch->job);

	upload->flying_count--;
	memmove(upload->flying, upload->flying + 1,
		upload->flying_count * sizeof(upload->flying[0]));
	for (size_t i = 0; i < batch->count && !error; i++)
		upload->new_bytes += batch->items[i].new_bytes;
	if (upload->spare)
		batch_free(batch);
	else
		upload->spare = batch;
	return error;
}

/* All of them, also those behind one that failed, whose error is returned. */
static int land_all(struct upload *upload)
{
	int error = 0;

	while (upload->flying_count) {
		int landed = land(upload);

		error = error ? error : landed;
	}
	return error;
}

/* Hands the batch in that was filled. */
static int launch(struct upload *upload)
{
	struct batch *batch = upload->filling;
	int error = upload->flying_count == FLYING_MAX ? land(upload) : 0;

	if (error)
		return error;
	batch->broken = &upload->broken;
	batch->pending = upload->header;
	batch->first_chunk = upload->next_chunk;
	upload->next_chunk += pending_chunks(batch->count);
	batch_prepare(batch);
	writer_submit(&upload->store->contents_writer, &batch->job);
	upload->submitted = true;
	upload->flying[upload->flying_count++] = batch;
	upload->filling = NULL;
	return 0;
}

/* An empty batch to fill, in front of which `carried` bytes of the current content go. */
static int refill(struct upload *upload, const uint8_t *carried, size_t length)
{
	struct batch *batch = upload->spare;
	int error = 0;

	upload->spare = NULL;
	if (batch)
		batch_clear(batch);
	else
		error = batch_new(upload->store, &batch);
	if (error)
		return error;
	memcpy(batch->bytes, carried, length);
	batch->used = length;
	upload->filling = batch;
	upload->start = 0;
	return 0;
}

/*
 * The batch is full and the current content goes on. If others lie in front of it, they leave and
 * it moves to the next batch; if it fills the batch alone, it begins to stream.
 */
static int overflow(struct upload *upload)
{
	struct batch *batch = upload->filling;
	size_t start = upload->start, length = batch->used - start;
	int error;

	if (start == 0 && batch->count == 0) {
		if (!upload->streaming) {
			upload->streaming = true;
			upload->stream = upload->next_chunk++;
		}
		batch->stream = upload->stream;
		batch->stream_parts = BATCH_BYTES / PART_BYTES;
		length = 0;
	}
	batch->used = start;
	error = launch(upload);
	/* The writer only reads the batch, so the rest can be copied out of it meanwhile. */
	return error ? error : refill(upload, batch->bytes + start, length);
}

static int fail(struct upload *upload, int error, struct reason *reason)
{
	if (error)
		upload->failed = error;
	return store_explain(upload->store, error, reason);
}

int upload_room(struct upload *upload, void **ret_room, size_t *ret_length, struct reason *reason)
{
	int error = upload->failed;

	if (!error && upload->filling->used == BATCH_BYTES)
		error = overflow(upload);
	if (error)
		return fail(upload, error, reason);
	*ret_room = upload->filling->bytes + upload->filling->used;
	*ret_length = BATCH_BYTES - upload->filling->used;
	return 0;
}

int upload_filled(struct upload *upload, size_t length, struct reason *reason)
{
	struct batch *batch = upload->filling;
	int error = digest_add(&upload->hash, batch->bytes + batch->used, length);

	batch->used += length;
	upload->size += length;
	return fail(upload, error, reason);
}

int upload_write(struct upload *upload, const void *bytes, size_t length, struct reason *reason)
{
	const uint8_t *at = bytes;
	size_t part;
	int error = 0;

	for (; length && !error; length -= part) {
		void *room;

		error = upload_room(upload, &room, &part, reason);
		if (error)
			break;
		if (part > length)
			part = length;
		memcpy(room, at, part);
		at += part;
		error = upload_filled(upload, part, reason);
	}
	return error;
}

/* May the bytes that are stored under this digest be used, if there are any when it comes to it? */
static int is_doubtful(struct upload *upload, const struct digest *digest, bool *ret_doubtful)
{
	struct contents_reader *reader;
	uint64_t size;
	int error = contents_reader_open(upload->store, &reader);

	*ret_doubtful = false;
	if (error)
		return error;
	error = contents_size(reader, digest, &size);
	contents_reader_close(reader);
	if (error == -ENOENT)
		return 0;
	if (!error)
		error = contents_verify(upload->store, digest, upload->size, NULL);
	*ret_doubtful = error != 0;
	return error == -ENOMEM ? error : 0;
}

static int add_item(struct upload *upload, const struct digest *digest)
{
	struct batch *batch = upload->filling;
	struct batch_item item = {
		.digest = *digest,
		.size = upload->size,
		.start = upload->start,
		.length = batch->used - upload->start,
		.streamed = upload->streaming,
		.stream = upload->stream,
	};
	int error = is_doubtful(upload, digest, &item.rewrite);

	if (!error)
		error = digest_map_set(&upload->taken, digest, 1);
	return error ? error : batch_add(batch, &item);
}

int upload_end(struct upload *upload, struct digest *ret_digest, uint64_t *ret_size,
	       struct reason *reason)
{
	struct digest digest;
	int error = upload->failed;

	if (!error)
		error = digest_finish(&upload->hash, &digest);
	/* What this upload holds already is dropped; parts that were streamed go with the end. */
	if (!error && digest_map_get(&upload->taken, &digest))
		upload->filling->used = upload->start;
	else if (!error)
		error = add_item(upload, &digest);
	if (error)
		return fail(upload, error, reason);
	*ret_digest = digest;
	*ret_size = upload->size;
	upload->size = 0;
	upload->streaming = false;
	upload->start = upload->filling->used;
	return 0;
}

/* Makes all that was handed in durable, and says in the same transaction whose it is to be. */
static int seal(struct upload *upload, struct reason *reason)
{
	int error = upload->failed;

	upload->header.sealed = true;
	/* Sealed before: there is nothing left to be written but the header. */
	if (!error && !upload->filling)
		error = refill(upload, (const uint8_t *)"", 0);
	if (!error)
		error = launch(upload);
	if (!error)
		error = land_all(upload);
	return fail(upload, error, reason);
}

int upload_seal(struct upload *upload, const char *type, const struct digest *version,
		struct reason *reason)
{
	strncpy(upload->header.type, type, TYPE_MAX);
	upload->header.version = *version;
	return seal(upload, reason);
}

int upload_seal_value(struct upload *upload, uint64_t run, uint64_t sequence,
		      struct reason *reason)
{
	upload->header.kind = PENDING_VALUE_UPLOAD;
	upload->header.run = run;
	upload->header.sequence = sequence;
	return seal(upload, reason);
}

void upload_adopt(struct upload *upload)
{
	settle_adopted(upload->store, upload->header.number);
	upload_free(upload);
}

/* An error leaves the pending row to the next mount, which settles it. */
static void end(struct upload *upload, enum settle_how how)
{
	land_all(upload);
	if (upload->submitted)
		settle_number(upload->store, upload->header.number, how);
	upload_free(upload);
}

void upload_return(struct upload *upload)
{
	end(upload, SETTLE_RETURN);
}

void upload_abort(struct upload *upload)
{
	if (upload)
		end(upload, SETTLE_GIVE_BACK);
}
