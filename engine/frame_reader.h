/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FRAME_READER_H
#define ENGINE_FRAME_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/decoder.h"
#include "engine/frame.h"

/*
 * The daemon's ear: takes what the decoder wrote, slot by slot, and calls the sink for each frame
 * that is in order. It believes nothing: lengths, kinds, names, the sequence of frames, and the
 * limits are checked again. The bytes may change while they are read, so everything is copied out
 * once and only the copy is looked at; data goes straight to where the sink wants it.
 */
struct frame_reader {
	const struct decoder_limits *limits;
	const struct decoder_sink *sink;
	void *context;
	uint64_t entries;  /* so far */
	uint64_t inflated; /* bytes of data so far */
	bool in_entry;	   /* between FRAME_ENTRY and FRAME_END */
	bool may_have_data;
	bool finished;		  /* FRAME_DONE or FRAME_FAIL came */
	uint8_t copy[64u * 1024]; /* of all frames but data; of data for a sink without a room */
};

/* Prepares it; everything that is pointed to must outlive it. */
void frame_reader_init(struct frame_reader *reader, const struct decoder_limits *limits,
		       const struct decoder_sink *sink, void *context);

/*
 * Handles the frames in `bytes`, the last of which must end with them.
 * Returns 0 (`finished` tells whether FRAME_DONE was among them), what the sink returned, what
 * FRAME_FAIL says, or -EBADMSG archive_corrupt for a frame that makes no sense.
 */
int frame_reader_take(struct frame_reader *reader, const uint8_t *bytes, size_t length,
		      struct reason *reason);

#endif
