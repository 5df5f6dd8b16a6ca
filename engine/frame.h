/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FRAME_H
#define ENGINE_FRAME_H

#include <errno.h>
#include <stdint.h>

/*
 * What the decoder process tells the daemon: a sequence of frames, each a header and `length`
 * bytes. Both sides are one build on one machine, so the numbers are in the machine's own order.
 * The frames travel through a ring of slots in shared memory, engine/ring.h.
 *
 *     FRAME_ENTRY   struct frame_entry, then the path, then the target, neither terminated
 *     FRAME_DATA    1 to FRAME_DATA_MAX bytes of the entry
 *     FRAME_END     no bytes; closes the entry
 *     FRAME_DONE    no bytes; the archive is complete and well-formed; nothing follows
 *     FRAME_FAIL    struct frame_fail, then the message, then the entry's path as struct reason
 *                   has it: printable and escaped; nothing follows
 *
 * The reader trusts none of it: a process that has met a hostile archive may write anything.
 */
enum frame_type {
	FRAME_ENTRY = 1,
	FRAME_DATA,
	FRAME_END,
	FRAME_DONE,
	FRAME_FAIL,
};

struct frame_header {
	uint32_t type;
	uint32_t length; /* of what follows */
};

struct frame_entry {
	uint32_t kind; /* enum decoder_kind */
	uint32_t executable;
	uint32_t path_length;
	uint32_t target_length;
};

struct frame_fail {
	uint32_t code; /* an index into frame_codes */
	uint32_t message_length;
	uint32_t entry_length;
};

/* The refusals that the decoder may pronounce, each with its errno. */
struct frame_code {
	const char *code;
	int error;
};

#define FRAME_CODES                                                                                \
	{                                                                                          \
		{"archive_corrupt", EBADMSG}, {"archive_empty", EBADMSG},                          \
		    {"archive_unsupported", EBADMSG}, {"archive_truncated", EBADMSG},              \
		    {"archive_encrypted", EBADMSG}, {"entry_unsafe", EINVAL},                      \
		    {"entry_unsupported", EINVAL}, {"name_invalid", EINVAL},                       \
		    {"inflated_too_large", EFBIG}, {"too_many_entries", EFBIG},                    \
		    {"decoder_failed", EIO},                                                       \
	}

#define FRAME_DATA_MAX ((uint32_t)256 << 10)
#define FRAME_NAME_MAX ((uint32_t)4095)
#define FRAME_COMPONENT_MAX ((uint32_t)255)
#define FRAME_MESSAGE_MAX ((uint32_t)600)

/* The largest frame that there is. */
#define FRAME_MAX (sizeof(struct frame_header) + FRAME_DATA_MAX)

#endif
