/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ZIPDIR_H
#define ENGINE_ZIPDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/decoder.h"

/* One member, as the central directory has it and its local header confirms it. */
struct zip_member {
	const char *name; /* raw bytes, not terminated; in the directory's buffer */
	size_t name_length;
	enum decoder_kind kind; /* DECODER_FILE, DECODER_DIR or DECODER_SYMLINK */
	bool executable;
	uint16_t flags, method;
	uint32_t crc;
	uint64_t packed_size, size;
	uint64_t header_offset; /* of the local header, in the file */
	uint64_t data_offset;
};

struct zipdir {
	struct zip_member *members; /* in the order of their places in the file */
	size_t count;
	uint8_t *bytes; /* the central directory */
	size_t length;
	uint64_t offset; /* of the central directory, in the file */
	uint64_t file_size;
};

/* Whether a file that begins with these bytes is a zip archive. */
bool zipdir_matches(const uint8_t *bytes, size_t length);

/*
 * Reads the directory of the zip archive in `fd` and holds it against every local header: one
 * disk, one directory right before its end record, no encryption, no overlap, no gap, no two names
 * for one member.
 * Ownership: zipdir_free, also after a failure.
 * Returns -EBADMSG archive_truncated, archive_corrupt, archive_encrypted, archive_unsupported,
 * -EINVAL name_invalid, entry_unsafe, entry_unsupported, -EFBIG too_many_entries, -EIO.
 */
int zipdir_read(int fd, const struct decoder_limits *limits, struct zipdir *dir,
		struct reason *reason);

void zipdir_free(struct zipdir *dir);

/*
 * Reads a symbolic link's target: `target` has room for 4096 bytes and is terminated.
 * Returns -EINVAL name_invalid, -EBADMSG archive_corrupt, archive_unsupported, -EIO.
 */
int zipdir_link(int fd, const struct zip_member *member, char *target, size_t *ret_length,
		struct reason *reason);

#endif
