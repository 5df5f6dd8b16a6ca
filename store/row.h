/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ROW_H
#define STORE_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How a row lies on the disk, whatever it holds:
 *
 *     1 byte    version of the row's layout; a reader refuses what it does not know
 *     n bytes   fields, integers big-endian, texts with their length in front
 *     4 bytes   CRC-32 (zlib) of the key, then of everything above
 *
 * The key is part of the checksum, so that a row under a wrong key is as bad as a flipped bit.
 */
#define ROW_OVERHEAD 5

/* Big-endian integers for keys and headers. */
void be32_put(uint8_t *bytes, uint32_t value);
void be64_put(uint8_t *bytes, uint64_t value);
uint32_t be32_get(const uint8_t *bytes);
uint64_t be64_get(const uint8_t *bytes);

/* A row being written into the caller's buffer. What does not fit makes row_seal fail. */
struct row {
	uint8_t *bytes;
	size_t length, room;
	bool overflow;
};

void row_begin(struct row *row, uint8_t version, void *buffer, size_t room);
void row_put_u8(struct row *row, uint8_t value);
void row_put_u32(struct row *row, uint32_t value);
void row_put_u64(struct row *row, uint64_t value);
void row_put_bytes(struct row *row, const void *bytes, size_t length);

/* Length first (u32), then the bytes. */
void row_put_text(struct row *row, const char *text, size_t length);

/* Adds the checksum. Returns -EFBIG if something did not fit. */
int row_seal(struct row *row, const void *key, size_t key_length);

/* A row being read. Fields past the end read as zero and make row_finish fail. */
struct row_view {
	const uint8_t *at, *end;
	bool failed;
};

/* Checks checksum and version. Returns -EBADMSG when either is wrong. */
int row_open(struct row_view *view, uint8_t version, const void *key, size_t key_length,
	     const void *value, size_t length);
uint8_t row_get_u8(struct row_view *view);
uint32_t row_get_u32(struct row_view *view);
uint64_t row_get_u64(struct row_view *view);

/* Points into the row; NULL (and failed) when there are not as many. */
const uint8_t *row_get_bytes(struct row_view *view, size_t length);

/* Copies a text and ends it with NUL; fails when it has no room or holds a NUL. */
void row_get_text(struct row_view *view, char *text, size_t room);

/* Returns -EBADMSG if a field was missing or bytes are left over. */
int row_finish(const struct row_view *view);

#endif
