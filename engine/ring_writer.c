/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder's end of the ring. Invariant: a slot that was handed over is not touched before the
 * daemon has given it back.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/ring.h"

int ring_writer_open(struct ring_writer *writer)
{
	void *slots =
	    mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, RING_DESCRIPTOR, 0);

	if (slots == MAP_FAILED)
		return -errno;
	*writer = (struct ring_writer){.slots = slots, .free = RING_SLOTS};
	return 0;
}

/* Each byte that comes is a slot. */
static int wait_for_slot(struct ring_writer *writer)
{
	uint8_t freed[RING_SLOTS];

	while (writer->free == 0) {
		ssize_t count = read(STDOUT_FILENO, freed, sizeof(freed));

		if (count > 0)
			writer->free += (unsigned)count;
		else if (count == 0 || errno != EINTR)
			return -EPIPE;
	}
	return 0;
}

int ring_reserve(struct ring_writer *writer, size_t length)
{
	if (writer->used + length > RING_SLOT_BYTES && ring_flush(writer) < 0)
		return -EPIPE;
	return wait_for_slot(writer);
}

void ring_append(struct ring_writer *writer, const void *bytes, size_t length)
{
	memcpy(writer->slots + writer->slot * RING_SLOT_BYTES + writer->used, bytes, length);
	writer->used += length;
}

int ring_flush(struct ring_writer *writer)
{
	struct ring_notice notice = {.length = (uint32_t)writer->used};
	ssize_t count;

	if (writer->used == 0)
		return 0;
	do {
		count = write(STDOUT_FILENO, &notice, sizeof(notice));
	} while (count < 0 && errno == EINTR);
	if (count != sizeof(notice))
		return -EPIPE;
	writer->slot = (writer->slot + 1) % RING_SLOTS;
	writer->free--;
	writer->used = 0;
	return 0;
}
