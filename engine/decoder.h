/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DECODER_H
#define ENGINE_DECODER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/reason.h"

/*
 * Reads one archive in a process of its own, `aionfs-decoder`, that can do nothing else: no
 * privileges, no filesystem, no network, little memory, little time. The archive is hostile, and
 * so, once it has met the archive, is the process: everything that it says is bounded, checked
 * and counted again on this side.
 */

/* What one archive may cost. Every field is a hard limit; none may be 0. */
struct decoder_limits {
	uint64_t archive_bytes;	 /* the size of the spool, as it was written */
	uint64_t inflated_bytes; /* what the filter delivers, and what the entries hold: each */
	uint64_t entries;
	unsigned cpu_seconds;  /* of the process */
	uint64_t memory_bytes; /* of its address space */
};

enum decoder_kind {
	DECODER_FILE = 1,
	DECODER_DIR,
	DECODER_SYMLINK,
	DECODER_HARDLINK,
};

/*
 * One entry, as the archive names it. `path` and `target` are raw bytes, not yet judged: `..`,
 * absolute paths, a trailing slash and duplicates are passed on. Neither holds a NUL byte, both
 * are NUL-terminated, a path has 1 to 4095 bytes and no component over 255. `target` is NULL but
 * for links. Valid during the call only.
 */
struct decoder_entry {
	enum decoder_kind kind;
	const char *path;
	size_t path_length;
	const char *target;
	size_t target_length;
	bool executable; /* any execute bit is set */
};

/*
 * Where the entries go: entry, data any number of times, end, for each entry in archive order.
 * DECODER_FILE and DECODER_HARDLINK may have data (cpio stores the body with any of its links),
 * the holes of sparse files come as zeros. Each returns 0, or a negative errno with the reason
 * filled in, which stops the decoding and is what decoder_run returns.
 *
 * A sink that keeps the data may say with `room` where it wants the next of it, 1 byte or more;
 * then the bytes of each call of `data` lie there, and nothing is copied twice. NULL: they lie
 * anywhere, and during the call only.
 */
struct decoder_sink {
	int (*entry)(void *context, const struct decoder_entry *entry, struct reason *reason);
	int (*data)(void *context, const void *bytes, size_t length, struct reason *reason);
	int (*end)(void *context, struct reason *reason);
	int (*room)(void *context, void **ret_room, size_t *ret_length, struct reason *reason);
};

/*
 * Names the decoder's executable, for tests; NULL is the default: the one next to
 * /proc/self/exe if there is one, else the installed one.
 * Ownership: `path` must live as long as decoder_run may be called. Context: before any threads.
 */
void decoder_set_program(const char *path);

/*
 * Decodes the archive that `spool_fd` holds, from its first byte to its last, into the sink.
 * `spool_fd` is reopened read-only: its offset is neither used nor moved, and it must stay
 * unchanged during the call. `cancel` is polled at least every 100 ms.
 * Returns 0 when the whole archive was decoded and found to be well-formed: only then may the
 * entries be believed. Otherwise a negative errno, with the reason filled in:
 *   -EBADMSG  archive_empty, archive_unsupported, archive_truncated, archive_corrupt (also when
 *             the process died, or used up its time or memory), archive_encrypted
 *   -EINVAL   entry_unsafe, entry_unsupported, name_invalid
 *   -EFBIG    archive_too_large, inflated_too_large, too_many_entries
 *   -EINTR    `cancel` became true; code "interrupted"
 *   -EIO      the process could not be started; code "decoder_failed"
 *   or what the sink returned, as it is, with the sink's reason.
 * Context: any thread; blocks; the sink is called in this thread. No process is left behind.
 */
int decoder_run(int spool_fd, const struct decoder_limits *limits, const struct decoder_sink *sink,
		void *context, const atomic_bool *cancel, struct reason *reason);

#endif
