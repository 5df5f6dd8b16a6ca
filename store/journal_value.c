/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of values. A row either holds the bytes or names the upload that brought them into the
 * contents: it then holds one reference to its digest, whatever other rows name the same one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/journal.h"
#include "store/private.h"
#include "store/row.h"
#include "store/rows.h"
#include "store/tables.h"

#define VALUE_LAYOUT 1
#define VALUE_FIELDS (DIGEST_BYTES + 8 + 8)
#define VALUE_ROOM (VALUE_FIELDS + VALUE_INLINE_MAX + ROW_OVERHEAD)

static bool is_sound(const struct row_change *put)
{
	if (!put->run || !put->sequence)
		return false;
	return put->upload ? put->text_length == 0
			   : put->size <= VALUE_INLINE_MAX && put->text_length == put->size;
}

int value_row_put(MDB_txn *txn, const struct env *rows, const struct row_change *put)
{
	uint8_t bytes[JOURNAL_KEY];
	MDB_val key = journal_key(bytes, put->run, put->sequence);
	MDB_val value = {.mv_size = VALUE_FIELDS + put->text_length + ROW_OVERHEAD};
	struct row row;
	int error;

	if (!is_sound(put))
		return -EINVAL;
	error = env_error(
	    mdb_put(txn, rows->tables[ROWS_VALUES], &key, &value, MDB_NOOVERWRITE | MDB_RESERVE));
	/* Whose event it is, is decided in the same commit; who has the value has the event. */
	if (error)
		return error == -EEXIST ? -ESTALE : error;
	row_begin(&row, VALUE_LAYOUT, value.mv_data, value.mv_size);
	row_put_bytes(&row, put->digest.bytes, DIGEST_BYTES);
	row_put_u64(&row, put->size);
	row_put_u64(&row, put->upload);
	row_put_bytes(&row, put->text, put->text_length);
	return row_seal(&row, bytes, sizeof(bytes));
}

int value_row_decode(const struct env_row *stored, struct value_row *ret_row,
		     const uint8_t **ret_bytes)
{
	const uint8_t *digest, *bytes = NULL;
	struct row_view view;
	int error;

	*ret_row = (struct value_row){0};
	journal_parse_key(stored, &ret_row->run, &ret_row->sequence);
	if (!ret_row->run || !stored->value)
		return -EBADMSG;
	error = row_open(&view, VALUE_LAYOUT, stored->key, stored->key_length, stored->value,
			 stored->length);
	if (error)
		return error;
	digest = row_get_bytes(&view, DIGEST_BYTES);
	if (digest)
		memcpy(ret_row->digest.bytes, digest, DIGEST_BYTES);
	ret_row->size = row_get_u64(&view);
	ret_row->upload = row_get_u64(&view);
	if (!ret_row->upload && ret_row->size > VALUE_INLINE_MAX)
		return -EBADMSG;
	if (!ret_row->upload)
		bytes = row_get_bytes(&view, (size_t)ret_row->size);
	if (ret_bytes)
		*ret_bytes = bytes;
	return row_finish(&view);
}

/* Copies one row out of the map. Returns -ENOENT, -EBADMSG, -EIO, -ENOMEM. */
static int load(struct env *rows, const uint8_t key[JOURNAL_KEY], uint8_t **ret_copy,
		size_t *ret_length)
{
	uint8_t *copy = NULL;
	MDB_val value;
	MDB_txn *txn;
	int error;

	if (ROWS_VALUES >= rows->kind->table_count)
		return -ENOENT;
	error = env_read_begin(rows, &txn);
	if (error)
		return error;
	error = env_get(txn, rows->tables[ROWS_VALUES], key, JOURNAL_KEY, &value);
	if (!error && value.mv_size > VALUE_ROOM)
		error = -EBADMSG;
	if (!error) {
		copy = malloc(value.mv_size + 1);
		error = copy ? env_copy(&value, copy, value.mv_size, ret_length) : -ENOMEM;
	}
	env_read_end(rows, txn);
	if (error)
		free(copy);
	else
		*ret_copy = copy;
	return error;
}

int value_row_find(struct env *rows, uint64_t run, uint64_t sequence, struct value_row *ret_row)
{
	uint8_t key[JOURNAL_KEY], *copy;
	struct env_row stored = {.key = key, .key_length = sizeof(key)};
	int error;

	journal_key(key, run, sequence);
	error = load(rows, key, &copy, &stored.length);
	if (error)
		return error;
	stored.value = copy;
	error = value_row_decode(&stored, ret_row, NULL);
	free(copy);
	return error;
}

struct search {
	uint64_t upload;
	bool found, is_blind;
};

static int search_row(void *context, const struct env_row *stored)
{
	struct search *search = context;
	struct value_row row;

	if (value_row_decode(stored, &row, NULL))
		search->is_blind = true;
	else if (row.upload == search->upload)
		search->found = true;
	return 0;
}

int value_rows_have(struct env *rows, uint64_t run, uint64_t upload, bool *ret_have)
{
	struct search search = {.upload = upload};
	int error = journal_scan(rows, ROWS_VALUES, run, 0, search_row, &search);

	*ret_have = search.found;
	if (error)
		return error;
	return search.is_blind && !search.found ? -EBADMSG : 0;
}

/* The bytes are hashed although their row has a checksum: a reader relies on the digest. */
static int copy_bytes(const struct value_row *row, const uint8_t *bytes, char **ret_bytes)
{
	struct digest digest;
	char *copy;
	int error = digest_of(bytes, (size_t)row->size, &digest);

	if (error)
		return error;
	if (!digest_equal(&digest, &row->digest))
		return -EIO;
	copy = malloc((size_t)row->size + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, (size_t)row->size);
	copy[row->size] = '\0';
	*ret_bytes = copy;
	return 0;
}

int journal_value(struct store *store, uint64_t run, uint64_t sequence, struct value_row *ret_row,
		  char **ret_bytes)
{
	uint8_t key[JOURNAL_KEY], *copy;
	struct env_row stored = {.key = key, .key_length = sizeof(key)};
	const uint8_t *bytes;
	int error;

	if (ret_bytes)
		*ret_bytes = NULL;
	journal_key(key, run, sequence);
	error = load(&store->rows, key, &copy, &stored.length);
	if (error)
		return error == -EBADMSG ? -EIO : error;
	stored.value = copy;
	error = value_row_decode(&stored, ret_row, &bytes);
	if (!error && ret_bytes && !ret_row->upload)
		error = copy_bytes(ret_row, bytes, ret_bytes);
	free(copy);
	return error == -EBADMSG ? -EIO : error;
}

struct value_walk {
	int (*each)(void *context, uint64_t run, uint64_t sequence, const struct value_row *row);
	void *context;
};

static int walk_value(void *context, const struct env_row *stored)
{
	struct value_walk *walk = context;
	struct value_row row;
	int error = value_row_decode(stored, &row, NULL);

	return walk->each(walk->context, row.run, row.sequence, error ? NULL : &row);
}

int journal_each_value(struct store *store,
		       int (*each)(void *context, uint64_t run, uint64_t sequence,
				   const struct value_row *row),
		       void *context)
{
	struct value_walk walk = {.each = each, .context = context};

	return env_scan(&store->rows, ROWS_VALUES, walk_value, &walk);
}
