/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_BATCH_H
#define STORE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"
#include "store/pending.h"
#include "store/piece.h"
#include "store/store.h"
#include "store/writer.h"

/*
 * What an upload hands to the writer at once: finished contents whose bytes lie one after another
 * in a buffer, and perhaps, in front of them, more of a content that is too large for a batch. Such
 * a content streams: its parts are written as they come and stay a run of the pending row until its
 * digest is known. Small enough that its memory stays warm and the last one is soon done, large
 * enough that syncing it costs less than decoding the next.
 */
#define BATCH_BYTES ((size_t)8 * PART_BYTES)

struct batch_item {
	struct digest digest;
	uint64_t size;
	size_t start;      /* where its bytes (of a streamed one: the rest) begin in the buffer */
	size_t length;     /* how many of them are here */
	bool rewrite;      /* what is stored under its digest is not to be trusted */
	bool streamed;     /* its other parts are the run of chunk `stream` */
	uint32_t stream;
	bool written;      /* out: its bytes are new in the store */
	uint64_t new_bytes; /* out: as far as they were not there before */
};

struct batch {
	struct writer_job job;
	struct store *store;
	bool *broken; /* of the upload, for the writer */
	struct pending pending;
	uint8_t *bytes;
	size_t used;
	struct batch_item *items;
	size_t count, room;
	uint32_t first_chunk;  /* for the references of the items */
	uint32_t stream;       /* if stream_parts: which chunk keeps the run */
	size_t stream_parts;   /* full parts at the start of the buffer */
};

/* An empty batch. Returns -ENOMEM. */
int batch_new(struct store *store, struct batch **ret_batch);
void batch_free(struct batch *batch);

/* Empties it for the next use. */
void batch_clear(struct batch *batch);

/* Adds an item. Returns -ENOMEM. */
int batch_add(struct batch *batch, const struct batch_item *item);

/* Makes `batch->job` ready for writer_submit. */
void batch_prepare(struct batch *batch);

#endif
