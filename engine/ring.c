/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's end of the ring: memory that a process shares which may have been taken over. Owns
 * the mapping and three descriptors. Trusts nothing on the other side: a notice is checked, the
 * slot is counted here, and no write to the decoder ever blocks or raises a signal.
 */
#include "engine/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Above the standard descriptors and RING_DESCRIPTOR: a daemon may run with those closed, and the
 * file actions of the spawn would then overwrite what they are about to copy.
 */
static int raise_descriptor(int fd)
{
	int raised = fd;

	if (fd >= 0 && fd <= RING_DESCRIPTOR) {
		raised = fcntl(fd, F_DUPFD_CLOEXEC, RING_DESCRIPTOR + 1);
		close(fd);
	}
	return raised;
}

/* Its pages are made as the decoder fills them: a small archive needs few. */
static int make_memory(struct ring *ring)
{
	void *slots;

	ring->memory =
	    raise_descriptor(memfd_create("aionfs-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	if (ring->memory < 0)
		return -errno;
	if (ftruncate(ring->memory, RING_BYTES) < 0 ||
	    fcntl(ring->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	slots = mmap(NULL, RING_BYTES, PROT_READ, MAP_SHARED, ring->memory, 0);
	if (slots == MAP_FAILED)
		return -errno;
	ring->slots = slots;
	return 0;
}

int ring_open(struct ring *ring)
{
	int ends[2];

	*ring = (struct ring){.socket = -1, .peer = -1, .memory = -1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	ring->socket = raise_descriptor(ends[0]);
	ring->peer = raise_descriptor(ends[1]);
	return ring->socket < 0 || ring->peer < 0 ? -EMFILE : make_memory(ring);
}

static void close_descriptor(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void ring_release_peer(struct ring *ring)
{
	close_descriptor(&ring->peer);
	close_descriptor(&ring->memory);
}

void ring_close(struct ring *ring)
{
	ring_release_peer(ring);
	close_descriptor(&ring->socket);
	if (ring->slots)
		munmap(ring->slots, RING_BYTES);
	ring->slots = NULL;
}

int ring_wait(struct ring *ring, int timeout_ms)
{
	struct pollfd wait = {.fd = ring->socket, .events = POLLIN};
	int ready = poll(&wait, 1, timeout_ms);

	if (ready < 0)
		return errno == EINTR ? 0 : -errno;
	return ready > 0;
}

int ring_take(struct ring *ring, const uint8_t **ret_bytes, size_t *ret_length)
{
	struct ring_notice notice;
	ssize_t count = recv(ring->socket, &notice, sizeof(notice), MSG_DONTWAIT);

	*ret_length = 0;
	/* A process that ends with freed slots unread resets the connection; its death says it all.
	 */
	if (count == 0 || (count < 0 && errno == ECONNRESET))
		return 0;
	if (count < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (count != sizeof(notice) || notice.length == 0 || notice.length > RING_SLOT_BYTES)
		return -EPROTO;
	*ret_bytes = ring->slots + ring->next * RING_SLOT_BYTES;
	*ret_length = notice.length;
	return 0;
}

int ring_free_slot(struct ring *ring)
{
	static const uint8_t freed;
	ssize_t count = send(ring->socket, &freed, sizeof(freed), MSG_DONTWAIT | MSG_NOSIGNAL);

	ring->next = (ring->next + 1) % RING_SLOTS;
	/* Where it has died, the next ring_take finds the end. */
	return count < 0 && errno == EAGAIN ? -EPROTO : 0;
}
