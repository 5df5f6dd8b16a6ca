/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading contents: snapshots, and where in the map the bytes of a content are. What a record says
 * is checked against the pieces that are there, so no damaged row points outside of the map.
 */
#include "store/contents.h"

#include <errno.h>
#include <stdlib.h>

#include "store/piece.h"
#include "store/private.h"
#include "store/record.h"
#include "store/row.h"

const struct env_kind contents_kind = {
	.name = "contents",
	.map_bytes = (size_t)1 << 40,
	.table_count = 5,
	.tables = {"contents", "pieces", "pending", "chunks", "meta"},
};

struct contents_reader {
	struct env *contents;
	MDB_txn *txn;
};

int contents_reader_open(struct store *store, struct contents_reader **ret_reader)
{
	struct contents_reader *reader = malloc(sizeof(*reader));
	int error;

	if (!reader)
		return -ENOMEM;
	reader->contents = &store->contents;
	error = env_read_begin(reader->contents, &reader->txn);
	if (error) {
		free(reader);
		return error == -ENOMEM ? error : -EIO;
	}
	*ret_reader = reader;
	return 0;
}

void contents_reader_close(struct contents_reader *reader)
{
	if (!reader)
		return;
	env_read_end(reader->contents, reader->txn);
	free(reader);
}

static int find(struct contents_reader *reader, const struct digest *digest, struct record *record)
{
	int error = record_get(reader->txn, reader->contents, digest, record);

	return error && error != -ENOENT ? -EIO : error;
}

int contents_size(struct contents_reader *reader, const struct digest *digest, uint64_t *ret_size)
{
	struct record record;
	int error = find(reader, digest, &record);

	if (!error)
		*ret_size = record.size;
	return error;
}

/* `length` bytes at `start` of a piece's value. */
static int map_piece(struct contents_reader *reader, uint64_t number, size_t start, size_t length,
		     struct iovec *vector)
{
	uint8_t key[8];
	MDB_val value;
	int error;

	be64_put(key, number);
	error = env_get(reader->txn, reader->contents->tables[CONTENTS_PIECES], key, sizeof(key),
			&value);
	if (error || start < PIECE_HEADER || start > value.mv_size ||
	    length > value.mv_size - start)
		return -EIO;
	*vector = (struct iovec){.iov_base = (char *)value.mv_data + start, .iov_len = length};
	return 0;
}

ssize_t contents_map(struct contents_reader *reader, const struct digest *digest, uint64_t offset,
		     size_t length, struct iovec *vectors, int count_max, int *ret_count)
{
	struct record record;
	uint64_t end;
	size_t done = 0;
	int error = find(reader, digest, &record);

	*ret_count = 0;
	if (error)
		return error;
	if (offset >= record.size || !length)
		return 0;
	end = length < record.size - offset ? offset + length : record.size;
	if (!piece_parts(record.size)) {
		error = map_piece(reader, record.piece, record.offset + (size_t)offset,
				  (size_t)(end - offset), vectors);
		if (error)
			return error;
		*ret_count = 1;
		return (ssize_t)(end - offset);
	}
	while (offset < end && *ret_count < count_max) {
		size_t skip = (size_t)(offset % PART_BYTES), part = PART_BYTES - skip;

		if (part > end - offset)
			part = (size_t)(end - offset);
		error = map_piece(reader, record.piece + offset / PART_BYTES, PIECE_HEADER + skip,
				  part, &vectors[*ret_count]);
		if (error)
			return error;
		(*ret_count)++;
		offset += part;
		done += part;
	}
	return (ssize_t)done;
}

struct content_walk {
	int (*each)(void *context, const struct digest *digest, uint64_t size,
		    uint64_t references);
	void *context;
};

static int walk_content(void *context, const struct env_row *row)
{
	struct content_walk *walk = context;
	struct record record;
	struct digest digest;

	/* contents_check names the unreadable ones. */
	if (record_decode(row->key, row->key_length, row->value, row->length, &digest, &record))
		return 0;
	return walk->each(walk->context, &digest, record.size, record.references);
}

int contents_each(struct store *store,
		  int (*each)(void *context, const struct digest *digest, uint64_t size,
			      uint64_t references),
		  void *context)
{
	struct content_walk walk = {.each = each, .context = context};

	return env_scan(&store->contents, CONTENTS_RECORDS, walk_content, &walk);
}

int contents_count(struct store *store, uint64_t *ret_count)
{
	return env_count(&store->contents, CONTENTS_RECORDS, ret_count);
}
