/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring: what an honest decoder writes arrives, slot after slot; and whatever the other side
 * does with its socket and its memory, the daemon neither blocks nor believes it. Both sides are
 * played here, the decoder's by a child where it uses the standard output.
 */
#include "engine/ring.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void open_ring(struct ring *ring)
{
	cr_assert_eq(ring_open(ring), 0);
	cr_assert_gt(ring->socket, RING_DESCRIPTOR);
	cr_assert_gt(ring->peer, RING_DESCRIPTOR);
	cr_assert_gt(ring->memory, RING_DESCRIPTOR);
}

static void notify(const struct ring *ring, uint32_t length)
{
	struct ring_notice notice = {.length = length};

	cr_assert_eq(write(ring->peer, &notice, sizeof(notice)), (ssize_t)sizeof(notice));
}

/* The decoder: `rounds` slots, the n-th full of the byte n. No assertions in a child. */
static _Noreturn void play_decoder(const struct ring *ring, unsigned rounds)
{
	static uint8_t bytes[RING_SLOT_BYTES];
	struct ring_writer writer;

	close(ring->socket); /* else it would keep its own connection alive */
	if (dup2(ring->peer, STDOUT_FILENO) < 0 || dup2(ring->memory, RING_DESCRIPTOR) < 0 ||
	    ring_writer_open(&writer) < 0)
		_exit(1);
	for (unsigned round = 0; round < rounds; round++) {
		memset(bytes, (int)round, sizeof(bytes));
		if (ring_reserve(&writer, sizeof(bytes)) < 0)
			_exit(2);
		ring_append(&writer, bytes, sizeof(bytes));
	}
	_exit(ring_flush(&writer) < 0 ? 3 : 0);
}

static pid_t start_decoder(struct ring *ring, unsigned rounds)
{
	pid_t child = fork();

	if (child == 0)
		play_decoder(ring, rounds);
	cr_assert_gt(child, 0);
	ring_release_peer(ring);
	return child;
}

/* Waits for the next slot; its length, 0 at the end. */
static size_t take(struct ring *ring, const uint8_t **ret_bytes)
{
	size_t length = 0;
	int result;

	while ((result = ring_take(ring, ret_bytes, &length)) == -EAGAIN)
		cr_assert_geq(ring_wait(ring, 1000), 0);
	cr_assert_eq(result, 0);
	return length;
}

Test(ring, brings_every_slot_in_order)
{
	const unsigned rounds = 5 * RING_SLOTS + 1;
	const uint8_t *bytes;
	struct ring ring;
	int status;
	pid_t child;

	open_ring(&ring);
	child = start_decoder(&ring, rounds);
	for (unsigned round = 0; round < rounds; round++) {
		cr_assert_eq(take(&ring, &bytes), RING_SLOT_BYTES);
		for (size_t i = 0; i < RING_SLOT_BYTES; i++)
			cr_assert_eq(bytes[i], (uint8_t)round);
		cr_assert_eq(ring_free_slot(&ring), 0);
	}
	cr_assert_eq(take(&ring, &bytes), 0, "the end, though freed slots were left unread");
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	ring_close(&ring);
}

Test(ring, a_decoder_that_nobody_listens_to_ends)
{
	struct ring ring;
	int status;
	pid_t child;

	open_ring(&ring);
	child = start_decoder(&ring, 10 * RING_SLOTS);
	ring_close(&ring);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_neq(status, 0);
}

Test(ring, notices_that_make_no_sense_are_refused)
{
	static const uint32_t lengths[] = {0, RING_SLOT_BYTES + 1, UINT32_MAX};
	const uint8_t *bytes;
	struct ring ring;
	size_t length;

	open_ring(&ring);
	cr_assert_eq(ring_take(&ring, &bytes, &length), -EAGAIN);
	cr_assert_eq(ring_wait(&ring, 0), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		notify(&ring, lengths[i]);
		cr_assert_eq(ring_wait(&ring, 0), 1);
		cr_assert_eq(ring_take(&ring, &bytes, &length), -EPROTO);
		cr_assert_eq(length, 0);
	}
	cr_assert_eq(write(ring.peer, "abc", 3), 3);
	cr_assert_eq(ring_take(&ring, &bytes, &length), -EPROTO);
	ring_close(&ring);
}

/* Notices without free slots: the daemon's own count stays inside the memory, and send never
 * blocks. */
Test(ring, a_decoder_that_reads_nothing_is_found_out)
{
	const uint8_t *bytes;
	struct ring ring;
	size_t length;
	int result = 0;

	open_ring(&ring);
	for (unsigned i = 0; i < 1000000 && result == 0; i++) {
		notify(&ring, RING_SLOT_BYTES);
		cr_assert_eq(ring_take(&ring, &bytes, &length), 0);
		cr_assert_eq(bytes, ring.slots + i % RING_SLOTS * RING_SLOT_BYTES);
		result = ring_free_slot(&ring);
	}
	cr_assert_eq(result, -EPROTO);
	ring_close(&ring);
}

Test(ring, its_memory_can_neither_shrink_nor_grow)
{
	struct ring ring;

	open_ring(&ring);
	cr_assert_eq(ftruncate(ring.memory, 0), -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(ftruncate(ring.memory, 2 * RING_BYTES), -1);
	cr_assert_eq(fallocate(ring.memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0,
		     "a hole reads as zeros and is no fault");
	cr_assert_eq(ring.slots[0], 0);
	ring_close(&ring);
}

Test(ring, works_with_closed_standard_descriptors)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct ring ring;

		for (int fd = 0; fd <= RING_DESCRIPTOR; fd++)
			close(fd);
		if (ring_open(&ring) != 0 || ring.socket <= RING_DESCRIPTOR ||
		    ring.peer <= RING_DESCRIPTOR || ring.memory <= RING_DESCRIPTOR)
			_exit(1);
		ring_close(&ring);
		_exit(open("/dev/null", O_RDONLY) == 0 ? 0 : 2);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}
