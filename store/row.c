/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The row codec. Owns nothing; every length that it reads is checked against what is there, because
 * a row from a disk is as hostile as one from an archive.
 */
#include "store/row.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

void be32_put(uint8_t *bytes, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

void be64_put(uint8_t *bytes, uint64_t value)
{
	be32_put(bytes, (uint32_t)(value >> 32));
	be32_put(bytes + 4, (uint32_t)value);
}

uint32_t be32_get(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

uint64_t be64_get(const uint8_t *bytes)
{
	return (uint64_t)be32_get(bytes) << 32 | be32_get(bytes + 4);
}

static uint32_t checksum(const void *key, size_t key_length, const void *value, size_t length)
{
	uLong crc = crc32_z(crc32_z(0, NULL, 0), key, key_length);

	return (uint32_t)crc32_z(crc, value, length);
}

void row_begin(struct row *row, uint8_t version, void *buffer, size_t room)
{
	*row = (struct row){.bytes = buffer, .room = room};
	row_put_u8(row, version);
}

void row_put_bytes(struct row *row, const void *bytes, size_t length)
{
	if (row->overflow || length > row->room - row->length) {
		row->overflow = true;
		return;
	}
	if (length)
		memcpy(row->bytes + row->length, bytes, length);
	row->length += length;
}

void row_put_u8(struct row *row, uint8_t value)
{
	row_put_bytes(row, &value, 1);
}

void row_put_u32(struct row *row, uint32_t value)
{
	uint8_t bytes[4];

	be32_put(bytes, value);
	row_put_bytes(row, bytes, sizeof(bytes));
}

void row_put_u64(struct row *row, uint64_t value)
{
	uint8_t bytes[8];

	be64_put(bytes, value);
	row_put_bytes(row, bytes, sizeof(bytes));
}

void row_put_text(struct row *row, const char *text, size_t length)
{
	if (length > UINT32_MAX) {
		row->overflow = true;
		return;
	}
	row_put_u32(row, (uint32_t)length);
	row_put_bytes(row, text, length);
}

int row_seal(struct row *row, const void *key, size_t key_length)
{
	row_put_u32(row, checksum(key, key_length, row->bytes, row->length));
	return row->overflow ? -EFBIG : 0;
}

int row_open(struct row_view *view, uint8_t version, const void *key, size_t key_length,
	     const void *value, size_t length)
{
	const uint8_t *bytes = value;

	*view = (struct row_view){.failed = true};
	if (length < ROW_OVERHEAD)
		return -EBADMSG;
	if (checksum(key, key_length, bytes, length - 4) != be32_get(bytes + length - 4))
		return -EBADMSG;
	if (bytes[0] != version)
		return -EBADMSG;
	*view = (struct row_view){.at = bytes + 1, .end = bytes + length - 4};
	return 0;
}

const uint8_t *row_get_bytes(struct row_view *view, size_t length)
{
	const uint8_t *bytes = view->at;

	if (view->failed || length > (size_t)(view->end - view->at)) {
		view->failed = true;
		return NULL;
	}
	view->at += length;
	return bytes;
}

uint8_t row_get_u8(struct row_view *view)
{
	const uint8_t *bytes = row_get_bytes(view, 1);

	return bytes ? *bytes : 0;
}

uint32_t row_get_u32(struct row_view *view)
{
	const uint8_t *bytes = row_get_bytes(view, 4);

	return bytes ? be32_get(bytes) : 0;
}

uint64_t row_get_u64(struct row_view *view)
{
	const uint8_t *bytes = row_get_bytes(view, 8);

	return bytes ? be64_get(bytes) : 0;
}

void row_get_text(struct row_view *view, char *text, size_t room)
{
	uint32_t length = row_get_u32(view);
	const uint8_t *bytes = row_get_bytes(view, length);

	text[0] = '\0';
	if (!bytes || length >= room || memchr(bytes, 0, length)) {
		view->failed = true;
		return;
	}
	memcpy(text, bytes, length);
	text[length] = '\0';
}

int row_finish(const struct row_view *view)
{
	return view->failed || view->at != view->end ? -EBADMSG : 0;
}
