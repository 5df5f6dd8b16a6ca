/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CODEC_FILTER_H
#define ENGINE_CODEC_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/reason.h"

/* Where a filter reads and writes; it moves the pointers and lowers the counts. */
struct codec_io {
	const uint8_t *in;
	size_t in_left;
	uint8_t *out;
	size_t out_left;
};

enum codec_step {
	CODEC_MORE, /* go on: with more input, or with more room */
	CODEC_END,  /* this member, stream or frame is complete and its checksums are right */
};

/*
 * One compression format. A file may hold several members behind each other; each is decoded by
 * a state of its own, so that nothing survives from one to the next.
 */
struct codec_filter {
	const char *name;
	/* Whether a member may begin with these bytes (fewer than CODEC_MAGIC only at the end). */
	bool (*magic)(const uint8_t *bytes, size_t length);
	/* How many zero bytes may stand between and behind members: a multiple of this; 0: none. */
	size_t padding;
	/* Returns a new state, NULL for want of memory. */
	void *(*open)(uint64_t memory_bytes);
	/* Returns a codec_step, or a negative errno with the reason filled in. */
	int (*step)(void *state, struct codec_io *io, struct reason *reason);
	void (*close)(void *state);
};

/* As many bytes as any of the magics needs. */
#define CODEC_MAGIC ((size_t)10)

/* All filters; the list ends with a NULL. */
extern const struct codec_filter *const codec_filters[];

/* Whether these bytes begin a skippable frame of zstd and lz4, which share the magic. */
bool codec_is_skippable(const uint8_t *bytes, size_t length);

#endif
