/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks along a cpio archive: newc (070701), crc (070702), odc (070707) and binary in either byte
 * order, one and the same from the first entry to TRAILER!!!. Hands everything on as it is.
 * Refuses names and targets that a NUL cuts short, sums of crc archives that are wrong, numbers
 * that are none, and whatever follows the trailer but zeros. cpio(5).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/walk.h"

enum cpio_kind { CPIO_NONE, CPIO_NEWC, CPIO_CRC, CPIO_ODC, CPIO_LITTLE, CPIO_BIG };

struct cpiowalk {
	struct walk walk;
	enum cpio_kind kind;
	bool ended;
	bool summing;	   /* the body that passes has a sum to be compared */
	uint64_t data;	   /* what is left of it without padding */
	uint32_t sum;	   /* so far */
	uint32_t sum_said; /* by the header */
	char name[WALK_NAME_MAX + 1];
	size_t name_length;
};

struct cpio_header {
	size_t length; /* of the header itself */
	size_t align;
	uint64_t mode, name_size, file_size, check;
};

static enum cpio_kind kind_of(const uint8_t *bytes, size_t length)
{
	if (length >= 6 && memcmp(bytes, "070701", 6) == 0)
		return CPIO_NEWC;
	if (length >= 6 && memcmp(bytes, "070702", 6) == 0)
		return CPIO_CRC;
	if (length >= 6 && memcmp(bytes, "070707", 6) == 0)
		return CPIO_ODC;
	if (length >= 6 && memcmp(bytes, "\xc7\x71", 2) == 0)
		return CPIO_LITTLE;
	if (length >= 6 && memcmp(bytes, "\x71\xc7", 2) == 0)
		return CPIO_BIG;
	return CPIO_NONE;
}

bool cpiowalk_matches(const uint8_t *bytes, size_t length)
{
	return kind_of(bytes, length) != CPIO_NONE;
}

static int digit_of(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	if (byte >= 'a' && byte <= 'f')
		return byte - 'a' + 10;
	if (byte >= 'A' && byte <= 'F')
		return byte - 'A' + 10;
	return 16;
}

static bool parse_digits(const uint8_t *bytes, size_t length, int base, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (size_t i = 0; i < length; i++) {
		int digit = digit_of(bytes[i]);

		if (digit >= base)
			return false;
		value = value * (uint64_t)base + (uint64_t)digit;
	}
	*ret_value = value;
	return true;
}

static bool parse_hex_header(const uint8_t *bytes, struct cpio_header *header)
{
	header->length = 110;
	header->align = 4;
	return parse_digits(bytes + 14, 8, 16, &header->mode) &&
	       parse_digits(bytes + 54, 8, 16, &header->file_size) &&
	       parse_digits(bytes + 94, 8, 16, &header->name_size) &&
	       parse_digits(bytes + 102, 8, 16, &header->check);
}

static bool parse_octal_header(const uint8_t *bytes, struct cpio_header *header)
{
	header->length = 76;
	header->align = 1;
	return parse_digits(bytes + 18, 6, 8, &header->mode) &&
	       parse_digits(bytes + 59, 6, 8, &header->name_size) &&
	       parse_digits(bytes + 65, 11, 8, &header->file_size);
}

static uint64_t half(const uint8_t *bytes, bool big)
{
	return big ? (uint64_t)bytes[0] << 8 | bytes[1] : (uint64_t)bytes[1] << 8 | bytes[0];
}

static bool parse_binary_header(const uint8_t *bytes, bool big, struct cpio_header *header)
{
	header->length = 26;
	header->align = 2;
	header->mode = half(bytes + 6, big);
	header->name_size = half(bytes + 20, big);
	header->file_size = half(bytes + 22, big) << 16 | half(bytes + 24, big);
	return true;
}

static size_t header_length(enum cpio_kind kind)
{
	if (kind == CPIO_NEWC || kind == CPIO_CRC)
		return 110;
	return kind == CPIO_ODC ? 76 : 26;
}

static bool parse_header(enum cpio_kind kind, const uint8_t *bytes, struct cpio_header *header)
{
	memset(header, 0, sizeof(*header));
	if (kind == CPIO_NEWC || kind == CPIO_CRC)
		return parse_hex_header(bytes, header);
	if (kind == CPIO_ODC)
		return parse_octal_header(bytes, header);
	return parse_binary_header(bytes, kind == CPIO_BIG, header);
}

static uint64_t padded(uint64_t length, size_t align)
{
	return (length + align - 1) / align * align;
}

static int refuse(struct cpiowalk *cpio, int error, const char *code, const char *message,
		  struct reason *reason)
{
	int result = reason_set(reason, error, code, "%s", message);

	if (cpio->name_length > 0)
		reason_name_entry(reason, cpio->name, cpio->name_length);
	return result;
}

/* Reads the header and the name that follows it. */
static int read_header(struct cpiowalk *cpio, struct cpio_header *header, struct reason *reason)
{
	const uint8_t *bytes;
	const char *name;
	int result = walk_need(&cpio->walk, header_length(cpio->kind), &bytes, reason);

	if (result < 0)
		return result;
	if (kind_of(bytes, 6) != cpio->kind || !parse_header(cpio->kind, bytes, header))
		return refuse(cpio, EBADMSG, "archive_corrupt",
			      "what follows this entry is not a cpio header", reason);
	if (header->name_size == 0 || header->name_size > WALK_NAME_MAX + 1)
		return refuse(cpio, EINVAL, "name_invalid",
			      "the entry behind this one has a name of no bytes or over 4095",
			      reason);
	result = walk_need(&cpio->walk,
			   (size_t)padded(header->length + header->name_size, header->align),
			   &bytes, reason);
	if (result < 0)
		return result;
	name = (const char *)bytes + header->length;
	cpio->name_length = strnlen(name, (size_t)header->name_size);
	if (cpio->name_length > WALK_NAME_MAX)
		cpio->name_length = WALK_NAME_MAX;
	memcpy(cpio->name, name, cpio->name_length);
	cpio->name[cpio->name_length] = '\0';
	if (cpio->name_length + 1 != header->name_size)
		return refuse(cpio, EINVAL, "name_invalid",
			      "the entry's name holds a NUL byte, or lacks the one at its end",
			      reason);
	return 0;
}

/* A link's target is its body: all of it must be the target. */
static int check_target(struct cpiowalk *cpio, const struct cpio_header *header,
			struct reason *reason)
{
	size_t start = (size_t)padded(header->length + header->name_size, header->align);
	const uint8_t *bytes;
	int result;

	if (header->file_size == 0 || header->file_size > WALK_NAME_MAX)
		return refuse(cpio, EINVAL, "name_invalid",
			      "the link's target is empty or has more than 4095 bytes", reason);
	result = walk_need(&cpio->walk, start + (size_t)header->file_size, &bytes, reason);
	if (result < 0)
		return result;
	if (memchr(bytes + start, 0, (size_t)header->file_size))
		return refuse(cpio, EINVAL, "name_invalid", "the link's target holds a NUL byte",
			      reason);
	return 0;
}

/* The sum of a crc archive is that of the body's bytes; only files have one. */
static void begin_sum(struct cpiowalk *cpio, const struct cpio_header *header)
{
	cpio->summing = cpio->kind == CPIO_CRC && S_ISREG(header->mode) && header->file_size > 0;
	cpio->data = header->file_size;
	cpio->sum = 0;
	cpio->sum_said = (uint32_t)header->check;
}

static int check_sum(struct cpiowalk *cpio, struct reason *reason)
{
	bool wrong = cpio->summing && cpio->sum != cpio->sum_said;

	cpio->summing = false;
	if (!wrong)
		return 0;
	return refuse(cpio, EBADMSG, "archive_corrupt",
		      "the entry's checksum is wrong; copy the archive again", reason);
}

static int cpiowalk_next(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
			 struct reason *reason)
{
	struct cpiowalk *cpio = (struct cpiowalk *)walk;
	struct cpio_header header = {0};
	size_t length;
	int result = 0;

	*ret_length = 0;
	if (cpio->ended)
		return walk_to_end(walk, reason);
	result = check_sum(cpio, reason);
	if (result == 0)
		result = read_header(cpio, &header, reason);
	if (result < 0)
		return result;
	length = (size_t)padded(header.length + header.name_size, header.align);
	cpio->ended = strcmp(cpio->name, "TRAILER!!!") == 0;
	if (cpio->ended && header.file_size > 0)
		return refuse(cpio, EBADMSG, "archive_corrupt", "the trailer has a body", reason);
	if (!cpio->ended && S_ISLNK(header.mode))
		result = check_target(cpio, &header, reason);
	if (result == 0)
		result = walk_need(walk, length, ret_bytes, reason);
	if (result < 0)
		return result;
	begin_sum(cpio, &header);
	walk->header = walk->handed;
	walk->headers += cpio->ended ? 0 : 1;
	walk->body = padded(header.file_size, header.align);
	walk->pending = length;
	*ret_length = length;
	return 0;
}

/* Stands before walk_body, for the sums. */
static int cpiowalk_piece(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
			  struct reason *reason)
{
	struct cpiowalk *cpio = (struct cpiowalk *)walk;
	size_t data;
	int result = walk_body(walk, ret_bytes, ret_length, reason);

	if (result < 0 || !cpio->summing)
		return result;
	data = *ret_length < cpio->data ? *ret_length : (size_t)cpio->data;
	for (size_t i = 0; i < data; i++)
		cpio->sum += (*ret_bytes)[i];
	cpio->data -= data;
	return 0;
}

static void cpiowalk_close(struct walk *walk)
{
	free(walk);
}

struct walk *cpiowalk_open(struct codec *codec)
{
	struct cpiowalk *cpio = calloc(1, sizeof(*cpio));
	struct reason nobody = {0};
	const uint8_t *bytes;
	size_t length;

	if (!cpio)
		return NULL;
	cpio->walk.codec = codec;
	cpio->walk.next = cpiowalk_next;
	cpio->walk.piece = cpiowalk_piece;
	cpio->walk.close = cpiowalk_close;
	/* cpiowalk_matches has seen them: they are at hand. */
	if (codec_peek(codec, 6, &bytes, &length, &nobody) == 0)
		cpio->kind = kind_of(bytes, length);
	return &cpio->walk;
}
