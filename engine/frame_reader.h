/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FRAME_READER_H
#define ENGINE_FRAME_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/decoder.h"
#include "engine/frame.h"

/*
 * The daemon's ear: takes what came out of the pipe, in pieces of any size, and calls the sink
 * for each frame that is in order. It believes nothing: lengths, kinds, names, the sequence of
 * frames, and the limits are checked again.
 */
struct frame_reader {
	const struct decoder_limits *limits;
	const struct decoder_sink *sink;
	void *context;
	uint64_t entries;  /* so far */
	uint64_t inflated; /* bytes of data so far */
	bool in_entry;	   /* between FRAME_ENTRY and FRAME_END */
	bool may_have_data;
	bool finished; /* FRAME_DONE or FRAME_FAIL came */
	size_t held;   /* bytes in `buffer` */
	uint8_t buffer[2 * FRAME_MAX];
};

/* Prepares it; everything that is pointed to must outlive it. */
void frame_reader_init(struct frame_reader *reader, const struct decoder_limits *limits,
		       const struct decoder_sink *sink, void *context);

/* Where the next bytes from the pipe go, and how many there is room for: never 0. */
void *frame_reader_room(struct frame_reader *reader, size_t *ret_room);

/*
 * `length` bytes were put there: handles every frame that is complete.
 * Returns 0 (`finished` tells whether FRAME_DONE was among them), what the sink returned, what
 * FRAME_FAIL says, or -EBADMSG archive_corrupt for a frame that makes no sense.
 */
int frame_reader_take(struct frame_reader *reader, size_t length, struct reason *reason);

#endif
