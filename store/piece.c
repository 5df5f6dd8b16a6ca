/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces: writing, reading what they say about themselves, taking out what died. Invariant: every
 * entry of a packed piece is where the record of its digest points, at the end of a transaction.
 */
#include "store/piece.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "store/private.h"
#include "store/record.h"
#include "store/row.h"
#include "store/sequence.h"

#define PIECE_LAYOUT 1

enum { KIND_PACKED = 1, KIND_PART = 2 };

uint64_t piece_parts(uint64_t size)
{
	return size <= PACKED_MAX ? 0 : size / PART_BYTES + (size % PART_BYTES != 0);
}

/* Where the counter was lost: a number behind all pieces, and behind any run that still grows. */
static int past_the_last(MDB_txn *txn, const struct env *contents, uint64_t *ret_number)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	int error = env_error(mdb_cursor_open(txn, contents->tables[CONTENTS_PIECES], &cursor));

	if (error)
		return error;
	*ret_number = 1;
	error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_LAST));
	if (!error && key.mv_size == 8)
		*ret_number = be64_get(key.mv_data) + RUN_NUMBERS;
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

int piece_number(MDB_txn *txn, const struct env *contents, uint64_t count, uint64_t *ret_number)
{
	MDB_dbi meta = contents->tables[CONTENTS_META];
	int error = sequence_take(txn, meta, "piece", count, ret_number);

	if (error != -EBADMSG)
		return error;
	error = past_the_last(txn, contents, ret_number);
	return error ? error : sequence_set(txn, meta, "piece", *ret_number + count);
}

static uint32_t header_checksum(const uint8_t number[8], const uint8_t *header,
				const uint8_t *entries, size_t entries_length)
{
	uLong crc = crc32_z(crc32_z(0, NULL, 0), number, 8);

	crc = crc32_z(crc, header, PIECE_HEADER - 4);
	/* zlib answers a NULL buffer with a fresh checksum, so an empty list is left out. */
	return (uint32_t)(entries_length ? crc32_z(crc, entries, entries_length) : crc);
}

static void write_header(uint8_t *value, const uint8_t number[8], uint8_t kind, uint32_t count,
			 uint32_t length)
{
	memset(value, 0, PIECE_HEADER);
	value[0] = PIECE_LAYOUT;
	value[1] = kind;
	be32_put(value + 4, count);
	be32_put(value + 8, length);
	be32_put(value + 12, header_checksum(number, value, value + PIECE_HEADER,
					     (size_t)count * PIECE_ENTRY));
}

/* Has LMDB make the value's pages, so that the bytes are copied once only. */
static int reserve(MDB_txn *txn, const struct env *contents, uint8_t number[8], size_t length,
		   uint8_t **ret_value)
{
	MDB_val key = {.mv_size = 8, .mv_data = number}, value = {.mv_size = length};
	int error = env_error(
		mdb_put(txn, contents->tables[CONTENTS_PIECES], &key, &value, MDB_RESERVE));

	if (!error)
		*ret_value = value.mv_data;
	return error;
}

int piece_write(MDB_txn *txn, const struct env *contents, uint64_t number,
		struct piece_entry *entries, size_t count)
{
	size_t offset = PIECE_HEADER + count * PIECE_ENTRY, length = 0;
	uint8_t key[8], *value, *entry;
	int error;

	for (size_t i = 0; i < count; i++)
		length += entries[i].size;
	be64_put(key, number);
	error = reserve(txn, contents, key, offset + length, &value);
	if (error)
		return error;
	entry = value + PIECE_HEADER;
	for (size_t i = 0; i < count; i++, entry += PIECE_ENTRY) {
		entries[i].offset = (uint32_t)offset;
		memcpy(entry, entries[i].digest.bytes, DIGEST_BYTES);
		be32_put(entry + DIGEST_BYTES, entries[i].offset);
		be32_put(entry + DIGEST_BYTES + 4, entries[i].size);
		memcpy(value + offset, entries[i].bytes, entries[i].size);
		offset += entries[i].size;
	}
	write_header(value, key, KIND_PACKED, (uint32_t)count, (uint32_t)length);
	return 0;
}

int piece_write_part(MDB_txn *txn, const struct env *contents, uint64_t number,
		     const uint8_t *bytes, size_t length)
{
	uint8_t key[8], *value;
	int error;

	be64_put(key, number);
	error = reserve(txn, contents, key, PIECE_HEADER + length, &value);
	if (error)
		return error;
	write_header(value, key, KIND_PART, 0, (uint32_t)length);
	memcpy(value + PIECE_HEADER, bytes, length);
	return 0;
}

int piece_delete(MDB_txn *txn, const struct env *contents, uint64_t number, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		uint8_t bytes[8];
		MDB_val key = {.mv_size = sizeof(bytes), .mv_data = bytes};
		int error;

		be64_put(bytes, number + i);
		error = env_error(mdb_del(txn, contents->tables[CONTENTS_PIECES], &key, NULL));
		if (error && error != -ENOENT)
			return error;
	}
	return 0;
}

struct piece_entry piece_view_entry(const struct piece_view *view, uint32_t index)
{
	const uint8_t *bytes = view->entries + (size_t)index * PIECE_ENTRY;
	struct piece_entry entry = {
		.offset = be32_get(bytes + DIGEST_BYTES),
		.size = be32_get(bytes + DIGEST_BYTES + 4),
	};

	memcpy(entry.digest.bytes, bytes, DIGEST_BYTES);
	return entry;
}

static bool entries_fit(const struct piece_view *view)
{
	uint64_t offset = PIECE_HEADER + (uint64_t)view->count * PIECE_ENTRY;
	uint64_t end = offset + view->length;

	for (uint32_t i = 0; i < view->count; i++) {
		struct piece_entry entry = piece_view_entry(view, i);

		if (entry.offset != offset || entry.size > end - offset)
			return false;
		offset += entry.size;
	}
	return view->part || offset == end;
}

static int check_view(const uint8_t key[8], const uint8_t *header, const MDB_val *value,
		      struct piece_view *view)
{
	MDB_val entries = {.mv_size = (size_t)view->count * PIECE_ENTRY,
			   .mv_data = (uint8_t *)value->mv_data + PIECE_HEADER};
	size_t length;
	int error;

	view->entries = malloc(entries.mv_size + 1);
	if (!view->entries)
		return -ENOMEM;
	error = env_copy(&entries, view->entries, entries.mv_size, &length);
	if (!error && (header_checksum(key, header, view->entries, length) !=
			       be32_get(header + PIECE_HEADER - 4) ||
		       !entries_fit(view)))
		error = -EBADMSG;
	if (error)
		free(view->entries);
	return error;
}

int piece_view(uint64_t number, const MDB_val *value, struct piece_view *ret_view)
{
	MDB_val start = {.mv_size = PIECE_HEADER, .mv_data = value->mv_data};
	uint8_t key[8], header[PIECE_HEADER];
	size_t length;
	int error;

	*ret_view = (struct piece_view){0};
	if (value->mv_size < PIECE_HEADER || value->mv_size > PIECE_VALUE_MAX)
		return -EBADMSG;
	error = env_copy(&start, header, sizeof(header), &length);
	if (error)
		return error;
	be64_put(key, number);
	ret_view->part = header[1] == KIND_PART;
	ret_view->count = be32_get(header + 4);
	ret_view->length = be32_get(header + 8);
	if (header[0] != PIECE_LAYOUT || (header[1] != KIND_PART && header[1] != KIND_PACKED) ||
	    ret_view->count > PIECE_ENTRIES || (ret_view->part && ret_view->count) ||
	    value->mv_size !=
		    PIECE_HEADER + (uint64_t)ret_view->count * PIECE_ENTRY + ret_view->length)
		return -EBADMSG;
	return check_view(key, header, value, ret_view);
}

/* Which entries of a piece still live: those that a record (or an unreadable one) stands for. */
static int survivors(MDB_txn *txn, const struct env *contents, uint64_t number,
		     const struct piece_view *view, const uint8_t *copy,
		     struct piece_entry *entries, size_t *ret_count)
{
	*ret_count = 0;
	for (uint32_t i = 0; i < view->count; i++) {
		struct piece_entry entry = piece_view_entry(view, i);
		struct record record;
		int error = record_get(txn, contents, &entry.digest, &record);

		if (error && error != -ENOENT && error != -EBADMSG)
			return error;
		if (error == -ENOENT ||
		    (!error && (record.piece != number || record.offset != entry.offset)))
			continue;
		entry.bytes = copy + entry.offset;
		entries[(*ret_count)++] = entry;
	}
	return 0;
}

static int move_records(MDB_txn *txn, const struct env *contents,
			const struct piece_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct record record;
		int error = record_get(txn, contents, &entries[i].digest, &record);

		if (error == -EBADMSG)
			continue;
		if (!error) {
			record.offset = entries[i].offset;
			error = record_put(txn, contents, &entries[i].digest, &record);
		}
		if (error)
			return error;
	}
	return 0;
}

static int rewrite(MDB_txn *txn, const struct env *contents, uint64_t number,
		   const struct piece_view *view, const uint8_t *copy)
{
	struct piece_entry *entries = calloc(view->count + 1, sizeof(*entries));
	size_t count;
	int error;

	if (!entries)
		return -ENOMEM;
	error = survivors(txn, contents, number, view, copy, entries, &count);
	if (!error && count == 0)
		error = piece_delete(txn, contents, number, 1);
	else if (!error && count < view->count)
		error = piece_write(txn, contents, number, entries, count);
	if (!error && count && count < view->count)
		error = move_records(txn, contents, entries, count);
	free(entries);
	return error;
}

int piece_compact(MDB_txn *txn, const struct env *contents, uint64_t number)
{
	uint8_t key[8], *copy;
	struct piece_view view;
	size_t length;
	MDB_val value;
	int error;

	be64_put(key, number);
	error = env_get(txn, contents->tables[CONTENTS_PIECES], key, sizeof(key), &value);
	if (!error)
		error = piece_view(number, &value, &view);
	if (error == -ENOENT || error == -EBADMSG || error == -EIO)
		return 0;
	if (error)
		return error;
	/* Its pages may be reused while the new piece is written. */
	copy = malloc(value.mv_size);
	error = copy ? env_copy(&value, copy, value.mv_size, &length) : -ENOMEM;
	if (!error)
		error = rewrite(txn, contents, number, &view, copy);
	else if (error == -EIO)
		error = 0;
	free(copy);
	free(view.entries);
	return error;
}
