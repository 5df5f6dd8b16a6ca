/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ZIPFIELD_H
#define ENGINE_ZIPFIELD_H

#include "engine/codec.h"
#include "engine/zipdir.h"

/* The parts of a zip archive: numbers, extra fields, local headers. For zipdir only. */

static inline uint16_t zipfield_u16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t zipfield_u32(const uint8_t *bytes)
{
	return (uint32_t)zipfield_u16(bytes) | (uint32_t)zipfield_u16(bytes + 2) << 16;
}

static inline uint64_t zipfield_u64(const uint8_t *bytes)
{
	return (uint64_t)zipfield_u32(bytes) | (uint64_t)zipfield_u32(bytes + 4) << 32;
}

/* Numbers that an extra field may replace where they are all ones. */
struct zip_sizes {
	uint64_t packed_size, size, offset;
	uint32_t disk;
	bool wide; /* there was a zip64 field */
};

/* Reads exactly `length` bytes. Returns -EBADMSG archive_truncated or -EIO. */
int zipfield_read(int fd, uint64_t offset, void *buffer, size_t length, struct reason *reason);

/*
 * Goes through the extra fields of a header of the member: completes the sizes, refuses another
 * name, and encryption. Returns -EBADMSG archive_corrupt or archive_encrypted.
 */
int zipfield_extra(const uint8_t *bytes, size_t length, const struct zip_member *member,
		   struct zip_sizes *sizes, struct reason *reason);

/*
 * Holds the member against its local header and its data descriptor, which must end exactly at
 * `next`, so that nothing hides between members; and sets its data_offset.
 * Returns -EBADMSG archive_corrupt, archive_truncated, archive_encrypted, -EINVAL entry_unsafe,
 * -EIO.
 */
int zipfield_local(int fd, struct zip_member *member, uint64_t next, struct reason *reason);

#endif
