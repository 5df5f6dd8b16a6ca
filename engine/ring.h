/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RING_H
#define ENGINE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/frame.h"

/*
 * How frames get from the decoder to the daemon: RING_SLOTS slots in memory that both map, used in
 * turn, and a socket that says when. A pipe for all of it copies each byte once more, into pages of
 * its own.
 *
 *     decoder -> daemon    struct ring_notice: the next slot is filled with so many bytes
 *     daemon -> decoder    one byte: the oldest filled slot is free again
 *
 * The memory is the decoder's to write at any time, also behind the daemon's back: the daemon
 * copies out of it first and looks then, and keeps its own count of the slots. It is sealed, so
 * that it cannot shrink under the daemon's hands.
 */
#define RING_SLOTS 4u
#define RING_SLOT_BYTES FRAME_MAX
#define RING_BYTES (RING_SLOTS * RING_SLOT_BYTES)

/* Where the decoder finds the memory; its socket is the standard output. */
#define RING_DESCRIPTOR 3

struct ring_notice {
	uint32_t length; /* 1 to RING_SLOT_BYTES */
};

/* ---- the daemon's side ---- */

struct ring {
	int socket;	/* the daemon's end */
	int peer;	/* the decoder's end; -1 once it is closed here */
	int memory;	/* for the decoder; -1 once it is closed here */
	uint8_t *slots; /* mapped; the decoder writes into it */
	unsigned next;	/* the slot that the next notice is about */
};

/*
 * Makes memory and socket. No descriptor is one of the standard ones, and none survives an exec.
 * Ownership: ring_close, also after an error. Returns a negative errno.
 */
int ring_open(struct ring *ring);

/* The decoder has its descriptors: closes them here, so that its death is heard. */
void ring_release_peer(struct ring *ring);

void ring_close(struct ring *ring);

/*
 * Waits at most `timeout_ms` for something to take.
 * Returns 1 when there is something or the end, 0 when there is not, a negative errno.
 */
int ring_wait(struct ring *ring, int timeout_ms);

/*
 * Reads one notice. *ret_bytes is the slot that it is about, until ring_free_slot: memory that may
 * change at any time, for frame_reader to copy. *ret_length is 0 at the end of the stream: the
 * decoder is gone. Returns -EPROTO for a notice that makes no sense, -EAGAIN when there is none,
 * another errno.
 */
int ring_take(struct ring *ring, const uint8_t **ret_bytes, size_t *ret_length);

/* The slot is done with. Returns -EPROTO from a decoder that does not read what it is told. */
int ring_free_slot(struct ring *ring);

/* ---- the decoder's side ---- */

struct ring_writer {
	uint8_t *slots;
	unsigned slot; /* that is being filled */
	unsigned free; /* how many are, it included */
	size_t used;
};

/* Maps RING_DESCRIPTOR. Returns a negative errno. */
int ring_writer_open(struct ring_writer *writer);

/* Makes room for `length` more bytes in one slot, at most RING_SLOT_BYTES; returns -EPIPE. */
int ring_reserve(struct ring_writer *writer, size_t length);

/* Appends to what was reserved. */
void ring_append(struct ring_writer *writer, const void *bytes, size_t length);

/* Hands over what was appended, if anything was. Returns -EPIPE: the daemon listens no more. */
int ring_flush(struct ring_writer *writer);

#endif
