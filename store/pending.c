/* SPDX-License-Identifier: Apache-2.0 */
/* The codecs of pending rows and their chunks, and the few ways to find them. */
#include "store/pending.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "store/private.h"
#include "store/row.h"
#include "store/sequence.h"

#define PENDING_LAYOUT 1
#define PENDING_ROOM   (TYPE_MAX + DIGEST_BYTES + 64)
#define CHUNK_LAYOUT   1
#define LEFT_FROM      0x80000000u
#define CHUNK_KEY      12
#define CHUNK_ROOM     (CHUNK_DIGESTS * DIGEST_BYTES + 32)

static const char number_name[] = "number";

int pending_next_number(struct env *contents, uint64_t *ret_number)
{
	struct timespec now;
	MDB_txn *txn;
	int error = env_read_begin(contents, &txn);

	if (error)
		return error;
	error = sequence_peek(txn, contents->tables[CONTENTS_META], number_name, ret_number);
	env_read_end(contents, txn);
	if (error != -EBADMSG)
		return error;
	/* The counter is lost: nanoseconds are past any number that was ever counted up to. */
	clock_gettime(CLOCK_REALTIME, &now);
	*ret_number = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return 0;
}

/* A version's and a value's rows name their owners each in its own way. */
static bool is_of_value(enum pending_kind kind)
{
	return kind == PENDING_VALUE_UPLOAD || kind == PENDING_VALUE_RELEASE;
}

int pending_put(MDB_txn *txn, const struct env *contents, const struct pending *pending)
{
	uint8_t bytes[8], buffer[PENDING_ROOM];
	MDB_val key = {.mv_size = sizeof(bytes), .mv_data = bytes}, value = {.mv_data = buffer};
	struct row row;
	int error;

	be64_put(bytes, pending->number);
	row_begin(&row, PENDING_LAYOUT, buffer, sizeof(buffer));
	row_put_u8(&row, (uint8_t)pending->kind);
	row_put_u8(&row, pending->sealed);
	if (is_of_value(pending->kind)) {
		row_put_u64(&row, pending->run);
		row_put_u64(&row, pending->sequence);
	} else {
		row_put_text(&row, pending->type, strnlen(pending->type, TYPE_MAX));
		row_put_bytes(&row, pending->version.bytes, DIGEST_BYTES);
	}
	row_put_u64(&row, pending->upload);
	error = row_seal(&row, bytes, sizeof(bytes));
	if (error)
		return error;
	value.mv_size = row.length;
	error = env_error(mdb_put(txn, contents->tables[CONTENTS_PENDING], &key, &value, 0));
	return error ? error
		     : sequence_raise(txn, contents->tables[CONTENTS_META], number_name,
				      pending->number);
}

int pending_delete(MDB_txn *txn, const struct env *contents, uint64_t number)
{
	uint8_t bytes[8];
	MDB_val key = {.mv_size = sizeof(bytes), .mv_data = bytes};
	int error;

	be64_put(bytes, number);
	error = env_error(mdb_del(txn, contents->tables[CONTENTS_PENDING], &key, NULL));
	return error == -ENOENT ? 0 : error;
}

static void decode_owner(struct row_view *view, struct pending *pending)
{
	const uint8_t *version;

	if (is_of_value(pending->kind)) {
		pending->run = row_get_u64(view);
		pending->sequence = row_get_u64(view);
		return;
	}
	row_get_text(view, pending->type, sizeof(pending->type));
	version = row_get_bytes(view, DIGEST_BYTES);
	if (version)
		memcpy(pending->version.bytes, version, DIGEST_BYTES);
}

int pending_decode(const struct env_row *row, struct pending *ret_pending)
{
	struct row_view view;
	uint8_t kind;
	int error;

	*ret_pending = (struct pending){0};
	if (row->key_length != 8)
		return -EBADMSG;
	ret_pending->number = be64_get(row->key);
	if (!row->value)
		return -EBADMSG;
	error = row_open(&view, PENDING_LAYOUT, row->key, row->key_length, row->value, row->length);
	if (error)
		return error;
	kind = row_get_u8(&view);
	if (kind < PENDING_UPLOAD || kind > PENDING_VALUE_RELEASE)
		return -EBADMSG;
	ret_pending->kind = (enum pending_kind)kind;
	ret_pending->sealed = row_get_u8(&view) != 0;
	decode_owner(&view, ret_pending);
	ret_pending->upload = row_get_u64(&view);
	return row_finish(&view);
}

uint32_t pending_chunks(size_t digests)
{
	return (uint32_t)((digests + CHUNK_DIGESTS - 1) / CHUNK_DIGESTS);
}

static MDB_val chunk_key(uint8_t bytes[CHUNK_KEY], uint64_t number, uint32_t index)
{
	be64_put(bytes, number);
	be32_put(bytes + 8, index);
	return (MDB_val){.mv_size = CHUNK_KEY, .mv_data = bytes};
}

int chunk_put(MDB_txn *txn, const struct env *contents, const struct chunk *chunk)
{
	uint8_t bytes[CHUNK_KEY], buffer[CHUNK_ROOM];
	MDB_val key = chunk_key(bytes, chunk->number, chunk->index), value = {.mv_data = buffer};
	struct row row;
	int error;

	row_begin(&row, CHUNK_LAYOUT, buffer, sizeof(buffer));
	row_put_u8(&row, (uint8_t)chunk->kind);
	if (chunk->kind == CHUNK_RUN) {
		row_put_u64(&row, chunk->run_first);
		row_put_u64(&row, chunk->run_count);
	} else {
		row_put_u32(&row, chunk->count);
		row_put_bytes(&row, chunk->digests, chunk->count * sizeof(*chunk->digests));
	}
	error = row_seal(&row, bytes, sizeof(bytes));
	if (error)
		return error;
	value.mv_size = row.length;
	return env_error(mdb_put(txn, contents->tables[CONTENTS_CHUNKS], &key, &value, 0));
}

int chunk_delete(MDB_txn *txn, const struct env *contents, uint64_t number, uint32_t index)
{
	uint8_t bytes[CHUNK_KEY];
	MDB_val key = chunk_key(bytes, number, index);
	int error = env_error(mdb_del(txn, contents->tables[CONTENTS_CHUNKS], &key, NULL));

	return error == -ENOENT ? 0 : error;
}

static int decode_fields(struct row_view *view, struct chunk *chunk)
{
	const uint8_t *digests;

	switch (row_get_u8(view)) {
	case CHUNK_RUN:
		chunk->kind = CHUNK_RUN;
		chunk->run_first = row_get_u64(view);
		chunk->run_count = row_get_u64(view);
		break;
	case CHUNK_DIGEST_LIST:
		chunk->kind = CHUNK_DIGEST_LIST;
		chunk->count = row_get_u32(view);
		if (chunk->count > CHUNK_DIGESTS)
			return -EBADMSG;
		digests = row_get_bytes(view, chunk->count * sizeof(*chunk->digests));
		if (digests)
			memcpy(chunk->digests, digests, chunk->count * sizeof(*chunk->digests));
		break;
	default:
		return -EBADMSG;
	}
	return row_finish(view);
}

static int decode(const MDB_val *key, const MDB_val *value, struct chunk *chunk)
{
	uint8_t copy[CHUNK_ROOM];
	struct row_view view;
	size_t length;
	int error = env_copy(value, copy, sizeof(copy), &length);

	chunk->number = be64_get(key->mv_data);
	chunk->index = be32_get((const uint8_t *)key->mv_data + 8);
	if (!error)
		error = row_open(&view, CHUNK_LAYOUT, key->mv_data, key->mv_size, copy, length);
	if (!error)
		error = decode_fields(&view, chunk);
	if (error == -EBADMSG) {
		chunk->kind = CHUNK_UNREADABLE;
		error = 0;
	}
	return error;
}

void chunk_decode(const struct env_row *row, struct chunk *ret_chunk)
{
	MDB_val key = {.mv_size = row->key_length, .mv_data = (void *)row->key};
	MDB_val value = {.mv_size = row->length, .mv_data = (void *)row->value};

	if (row->key_length != CHUNK_KEY || !row->value || decode(&key, &value, ret_chunk))
		ret_chunk->kind = CHUNK_UNREADABLE;
}

int chunk_get(MDB_txn *txn, const struct env *contents, uint64_t number, uint32_t index,
	      struct chunk *ret_chunk)
{
	uint8_t bytes[CHUNK_KEY];
	MDB_val key = chunk_key(bytes, number, index), value;
	int error = env_get(txn, contents->tables[CONTENTS_CHUNKS], bytes, sizeof(bytes), &value);

	return error ? error : decode(&key, &value, ret_chunk);
}

int chunk_first(MDB_txn *txn, const struct env *contents, uint64_t number, struct chunk *ret_chunk)
{
	uint8_t bytes[CHUNK_KEY];
	MDB_val key = chunk_key(bytes, number, 0), value;
	MDB_cursor *cursor;
	int error = env_error(mdb_cursor_open(txn, contents->tables[CONTENTS_CHUNKS], &cursor));

	if (error)
		return error;
	error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
	if (!error && (key.mv_size != CHUNK_KEY || be64_get(key.mv_data) != number))
		error = -ENOENT;
	if (!error)
		error = decode(&key, &value, ret_chunk);
	mdb_cursor_close(cursor);
	return error;
}

static int free_index(MDB_txn *txn, const struct env *contents, uint64_t number,
		      uint32_t *ret_index)
{
	uint8_t bytes[CHUNK_KEY];
	MDB_val key = chunk_key(bytes, number + 1, 0), value;
	MDB_cursor *cursor;
	uint32_t last;
	int error = env_error(mdb_cursor_open(txn, contents->tables[CONTENTS_CHUNKS], &cursor));

	if (error)
		return error;
	*ret_index = LEFT_FROM;
	error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
	error = env_error(mdb_cursor_get(cursor, &key, &value, error ? MDB_LAST : MDB_PREV));
	if (!error && key.mv_size == CHUNK_KEY && be64_get(key.mv_data) == number) {
		last = be32_get((const uint8_t *)key.mv_data + 8);
		if (last >= LEFT_FROM)
			*ret_index = last + 1;
	}
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

int chunk_leave_run(MDB_txn *txn, const struct env *contents, uint64_t number, uint64_t first,
		    uint64_t count)
{
	struct chunk chunk = {.number = number, .kind = CHUNK_RUN};
	int error = free_index(txn, contents, number, &chunk.index);

	chunk.run_first = first;
	chunk.run_count = count;
	return error ? error : chunk_put(txn, contents, &chunk);
}
