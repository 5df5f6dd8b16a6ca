/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks along a tar archive of any variant: v7, ustar, pax, GNU. Collects the headers that stand
 * in front of an entry, and hands on at most one pax header, written anew, the entry's own header
 * with its size made plain, and the body: libarchive has nothing left to guess. Refuses a bad
 * header checksum, an archive without its two zero blocks, data behind them, links with
 * a size that readers disagree about, and types that stand for no entry here.
 *
 * A header is 512 bytes (tar(5)); the offsets of the fields that are used:
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tarpax.h"
#include "engine/walk.h"

#define BLOCK ((size_t)512)

enum {
	NAME = 0,
	NAME_SIZE = 100,
	SIZE = 124,
	SIZE_SIZE = 12,
	CHECKSUM = 148,
	CHECKSUM_SIZE = 8,
	TYPE = 156,
	LINK = 157,
	MAGIC = 257,
	SPARSE = 386,
	SPARSE_END = 495, /* GNU: the map's beginning and the real size */
	EXTENDED = 482,
	EXTENDED_NEXT = 504, /* GNU: whether another block of the map follows */
};

struct tarwalk {
	struct walk walk;
	bool ended;
	bool extended;	    /* a block of a sparse map follows */
	bool any_pax;	    /* the archive has pax headers */
	uint64_t body_next; /* what walk.body becomes behind the blocks of the map */
	struct tarpax pax;
	bool pax_pending; /* something in it waits for its entry */
	uint8_t *piece;	  /* the headers that are handed on */
	size_t piece_room;
};

static bool is_zero(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

/* An octal number between spaces and NULs. */
static bool parse_octal(const uint8_t *field, size_t length, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t i = 0;

	while (i < length && field[i] == ' ')
		i++;
	while (i < length && field[i] >= '0' && field[i] <= '7')
		value = value * 8 + (uint64_t)(field[i++] - '0');
	while (i < length && (field[i] == ' ' || field[i] == '\0'))
		i++;
	*ret_value = value;
	return i == length;
}

/* The same, or a binary number with the highest bit set, as GNU tar writes from 8 GiB on. */
static bool parse_size(const uint8_t *field, uint64_t *ret_value)
{
	uint64_t value = 0;

	if ((field[0] & 0x80) == 0)
		return parse_octal(field, SIZE_SIZE, ret_value);
	if (field[0] != 0x80 || !is_zero(field + 1, 3))
		return false;
	for (size_t i = 4; i < SIZE_SIZE; i++)
		value = value << 8 | field[i];
	*ret_value = value;
	return value <= INT64_MAX / 2;
}

/* Old BSD and Solaris tars added the bytes up as signed ones. */
static bool checksum_is_right(const uint8_t *header)
{
	int64_t plain = INT64_C(8) * ' ', with_sign = plain;
	uint64_t said;

	for (size_t i = 0; i < BLOCK; i++) {
		if (i >= CHECKSUM && i < CHECKSUM + CHECKSUM_SIZE)
			continue;
		plain += header[i];
		with_sign += (int8_t)header[i];
	}
	if (!parse_octal(header + CHECKSUM, CHECKSUM_SIZE, &said))
		return false;
	return (int64_t)said == plain || (int64_t)said == with_sign;
}

static void write_checksum(uint8_t *header)
{
	unsigned sum = 0;
	char digits[CHECKSUM_SIZE + 1];

	memset(header + CHECKSUM, ' ', CHECKSUM_SIZE);
	for (size_t i = 0; i < BLOCK; i++)
		sum += header[i];
	snprintf(digits, sizeof(digits), "%06o", sum);
	memcpy(header + CHECKSUM, digits, 7);
}

static void write_size(uint8_t *header, uint64_t size)
{
	char digits[SIZE_SIZE + 1];

	if (size >> 33 == 0) {
		snprintf(digits, sizeof(digits), "%011" PRIo64, size);
		memcpy(header + SIZE, digits, SIZE_SIZE);
		return;
	}
	memset(header + SIZE, 0, SIZE_SIZE);
	header[SIZE] = 0x80;
	for (size_t i = 0; i < 8; i++)
		header[SIZE + 4 + i] = (uint8_t)(size >> (56 - 8 * i));
}

bool tarwalk_matches(const uint8_t *bytes, size_t length)
{
	if (length < BLOCK)
		return false;
	return memcmp(bytes + MAGIC, "ustar", 5) == 0 ||
	       (!is_zero(bytes, BLOCK) && checksum_is_right(bytes));
}

static int refuse(struct tarwalk *tar, const uint8_t *header, int error, const char *code,
		  const char *message, struct reason *reason)
{
	const char *name = (const char *)header + NAME;
	size_t length = strnlen(name, NAME_SIZE);
	int result = reason_set(reason, error, code, "%s", message);

	if (tar->pax.path_length > 0) {
		name = tar->pax.path;
		length = tar->pax.path_length;
	}
	reason_name_entry(reason, name, length);
	return result;
}

static int grow_piece(struct tarwalk *tar, size_t need, struct reason *reason)
{
	uint8_t *grown;

	if (need <= tar->piece_room)
		return 0;
	grown = realloc(tar->piece, need);
	if (!grown)
		return codec_out_of_memory("headers", reason);
	tar->piece = grown;
	tar->piece_room = need;
	return 0;
}

static uint64_t padded(uint64_t length)
{
	return (length + BLOCK - 1) / BLOCK * BLOCK;
}

/* Passes over a body that concerns nobody. */
static int drop_body(struct tarwalk *tar, uint64_t size, struct reason *reason)
{
	const uint8_t *bytes;
	size_t length;
	int result = 0;

	tar->walk.body = padded(size);
	while (result == 0 && tar->walk.body > 0) {
		result = walk_body(&tar->walk, &bytes, &length, reason);
		if (result == 0)
			codec_consume(tar->walk.codec, length);
	}
	tar->walk.pending = 0;
	return result;
}

/* Brings the whole body of an extended header together, in the buffer for pieces. */
static int collect_body(struct tarwalk *tar, uint64_t size, struct reason *reason)
{
	const uint8_t *bytes;
	size_t length, used = 0;
	int result;

	if (size > TARPAX_MAX)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "an extended header of the tar archive has more than 1 MiB");
	result = grow_piece(tar, (size_t)padded(size) + BLOCK, reason);
	tar->walk.body = padded(size);
	while (result == 0 && tar->walk.body > 0) {
		result = walk_body(&tar->walk, &bytes, &length, reason);
		if (result < 0)
			break;
		memcpy(tar->piece + used, bytes, length);
		used += length;
		codec_consume(tar->walk.codec, length);
	}
	tar->walk.pending = 0;
	return result;
}

/* x, X, g, L, K: headers about the entry that follows, or about all of them. */
static int take_extension(struct tarwalk *tar, char type, uint64_t size, struct reason *reason)
{
	int result = collect_body(tar, size, reason);

	if (result < 0)
		return result;
	if (type == 'g') {
		tar->any_pax = true;
		return tarpax_take(&tar->pax, tar->piece, (size_t)size, true, reason);
	}
	tar->pax_pending = true;
	if (type == 'L' || type == 'K')
		return tarpax_take_long(&tar->pax, tar->piece, (size_t)size, type == 'K', reason);
	tar->any_pax = true;
	if (tar->pax.given)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "an entry of the tar archive has two extended headers");
	return tarpax_take(&tar->pax, tar->piece, (size_t)size, false, reason);
}

/*
 * Whether a hard link's size means a body. Of old it did not; POSIX.1-2001 gave it one in pax
 * archives. Where neither is certain, a valid header or the end right behind the link settles it.
 */
static int link_has_body(struct tarwalk *tar, const uint8_t *header, bool *ret_has,
			 struct reason *reason)
{
	const uint8_t *bytes;
	int result;

	*ret_has = tar->any_pax;
	if (tar->any_pax || memcmp(header + MAGIC, "ustar\0", 6) != 0) {
		*ret_has = tar->any_pax && memcmp(header + MAGIC, "ustar\0", 6) == 0;
		return 0;
	}
	result = walk_need(&tar->walk, 2 * BLOCK, &bytes, reason);
	if (result == 0)
		*ret_has = !is_zero(bytes + BLOCK, BLOCK) && !checksum_is_right(bytes + BLOCK);
	return result;
}

/* What follows the header as its body; types that have none may still carry a size. */
static int body_size(struct tarwalk *tar, uint8_t *header, uint64_t *size, struct reason *reason)
{
	char type = (char)header[TYPE];
	bool has_body = true;
	int result = 0;

	if (type >= '2' && type <= '6')
		has_body = false;
	if (type == '1' && *size > 0 && !tar->pax.has_size)
		result = link_has_body(tar, header, &has_body, reason);
	if (!has_body && tar->pax.has_size && tar->pax.size > 0)
		return refuse(tar, header, EBADMSG, "archive_corrupt",
			      "the entry has a size, but its type has no body", reason);
	if (!has_body)
		*size = 0;
	else if (tar->pax.has_size)
		*size = tar->pax.size;
	return result;
}

static bool names_directory(const struct tarwalk *tar, const uint8_t *header)
{
	size_t length = strnlen((const char *)header + NAME, NAME_SIZE);

	if (tar->pax.path_length > 0)
		return tar->pax.path[tar->pax.path_length - 1] == '/';
	return length > 0 && header[NAME + length - 1] == '/';
}

/* Refuses types that stand for no entry, and makes the several signs of a file one. */
static int judge_type(struct tarwalk *tar, uint8_t *header, uint64_t size, struct reason *reason)
{
	bool gnu = memcmp(header + MAGIC, "ustar  \0", 8) == 0;
	uint8_t type = header[TYPE];

	if (type == '\0' || type == '7')
		header[TYPE] = '0';
	else if (!strchr("0123456S", type) || (type == 'S' && !gnu))
		return refuse(tar, header, EINVAL, "entry_unsupported",
			      "the entry is of a type that cannot be deployed", reason);
	if ((type == '1' || type == '2') && header[LINK] == 0 && tar->pax.target_length == 0)
		return refuse(tar, header, EINVAL, "name_invalid", "the link has no target",
			      reason);
	if (header[TYPE] == '0' && size > 0 && names_directory(tar, header))
		return refuse(tar, header, EBADMSG, "archive_corrupt",
			      "the entry is named as a directory, but has contents", reason);
	/* Only the type tells whether a file is sparse, and not what is left in the header. */
	if (gnu && type != 'S')
		memset(header + SPARSE, 0, SPARSE_END - SPARSE);
	return 0;
}

/* Writes the headers to hand on into `piece`. */
static int write_headers(struct tarwalk *tar, const uint8_t *header, size_t *ret_length,
			 struct reason *reason)
{
	static const char plain[] = "0000644\0"
				    "0000000\0"
				    "0000000\0"
				    "00000000000\0"
				    "00000000000";
	bool link = header[TYPE] == '1' || header[TYPE] == '2';
	size_t length = 0, pax_length;
	int result = grow_piece(tar, padded(tarpax_written_max(&tar->pax)) + 2 * BLOCK, reason);

	if (result < 0)
		return result;
	if (tar->pax_pending || header[TYPE] == '1') {
		memset(tar->piece, 0, BLOCK);
		memcpy(tar->piece + NAME, "pax", 3);
		memcpy(tar->piece + NAME_SIZE, plain, sizeof(plain));
		tar->piece[TYPE] = 'x';
		memcpy(tar->piece + MAGIC,
		       "ustar\0"
		       "00",
		       8);
		pax_length = tarpax_write(&tar->pax, link, (char *)tar->piece + BLOCK);
		length = BLOCK + (size_t)padded(pax_length);
		memset(tar->piece + BLOCK + pax_length, 0, length - BLOCK - pax_length);
		write_size(tar->piece, pax_length);
		write_checksum(tar->piece);
	}
	memcpy(tar->piece + length, header, BLOCK);
	*ret_length = length + BLOCK;
	return 0;
}

static int hand_on_entry(struct tarwalk *tar, const uint8_t *block, uint64_t size,
			 const uint8_t **ret_bytes, size_t *ret_length, struct reason *reason)
{
	uint8_t header[BLOCK];
	int result;

	memcpy(header, block, BLOCK);
	result = body_size(tar, header, &size, reason);
	if (result == 0)
		result = judge_type(tar, header, size, reason);
	if (result < 0)
		return result;
	write_size(header, size);
	write_checksum(header);
	result = write_headers(tar, header, ret_length, reason);
	if (result < 0)
		return result;
	codec_consume(tar->walk.codec, BLOCK);
	tarpax_reset(&tar->pax);
	tar->pax_pending = false;
	tar->extended = header[TYPE] == 'S' && header[EXTENDED] != 0;
	tar->walk.header = tar->walk.handed;
	tar->walk.headers++;
	tar->walk.body = tar->extended ? 0 : padded(size);
	tar->body_next = padded(size);
	*ret_bytes = tar->piece;
	return 0;
}

/* Another block of an old GNU sparse map. */
static int hand_on_map(struct tarwalk *tar, const uint8_t **ret_bytes, size_t *ret_length,
		       struct reason *reason)
{
	int result = walk_need(&tar->walk, BLOCK, ret_bytes, reason);

	if (result < 0)
		return result;
	tar->extended = (*ret_bytes)[EXTENDED_NEXT] != 0;
	tar->walk.pending = BLOCK;
	tar->walk.body = tar->extended ? 0 : tar->body_next;
	*ret_length = BLOCK;
	return 0;
}

/* The first zero block is there; so must the second be, and then nothing but zeros. */
static int finish(struct tarwalk *tar, struct reason *reason)
{
	const uint8_t *bytes;
	int result;

	if (tar->pax_pending)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "the last header of the tar archive has no entry");
	result = walk_need(&tar->walk, 2 * BLOCK, &bytes, reason);
	if (result < 0)
		return result;
	tar->ended = true;
	return walk_to_end(&tar->walk, reason);
}

static int tarwalk_next(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
			struct reason *reason)
{
	struct tarwalk *tar = (struct tarwalk *)walk;
	const uint8_t *block;
	uint64_t size;
	int result = 0;

	*ret_length = 0;
	if (tar->ended)
		return 0;
	if (tar->extended)
		return hand_on_map(tar, ret_bytes, ret_length, reason);
	for (;;) {
		char type;

		result = walk_need(walk, BLOCK, &block, reason);
		if (result < 0)
			return result;
		if (is_zero(block, BLOCK))
			return finish(tar, reason);
		if (!checksum_is_right(block) || !parse_size(block + SIZE, &size))
			return reason_set(reason, EBADMSG, "archive_corrupt",
					  "a header of the tar archive is damaged; copy it again");
		type = (char)block[TYPE];
		if (!strchr("xXgLKVA", type) || type == '\0')
			return hand_on_entry(tar, block, size, ret_bytes, ret_length, reason);
		codec_consume(walk->codec, BLOCK);
		/* V names a volume, A holds an access list of Solaris: neither is an entry. */
		if (type == 'V' || type == 'A')
			result = drop_body(tar, size, reason);
		else
			result = take_extension(tar, type, size, reason);
		if (result < 0)
			return result;
	}
}

static void tarwalk_close(struct walk *walk)
{
	struct tarwalk *tar = (struct tarwalk *)walk;

	tarpax_free(&tar->pax);
	free(tar->piece);
	free(tar);
}

struct walk *tarwalk_open(struct codec *codec)
{
	struct tarwalk *tar = calloc(1, sizeof(*tar));

	if (!tar)
		return NULL;
	tar->walk.codec = codec;
	tar->walk.next = tarwalk_next;
	tar->walk.piece = walk_body;
	tar->walk.close = tarwalk_close;
	return &tar->walk;
}
