/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts, in the order in which they came (key: a growing number), and the table that finds one
 * by box and name. A box's name holds one receipt, the latest; past RECEIPTS_MAX the oldest go.
 */
#include <errno.h>
#include <string.h>

#include "store/private.h"
#include "store/row.h"
#include "store/rows.h"
#include "store/tables.h"

#define RECEIPT_LAYOUT 1
#define BOX_MAX        31
#define NAME_MAX_BYTES 255
#define TEXT_MAX       (64 * 1024)
#define NAME_KEY_ROOM  (BOX_MAX + 1 + NAME_MAX_BYTES)
#define ROW_ROOM       (TEXT_MAX + NAME_KEY_ROOM + 32)

static int name_key(const char *box, const char *name, uint8_t bytes[NAME_KEY_ROOM], MDB_val *key)
{
	size_t box_length = strlen(box), name_length = strlen(name);

	if (box_length > BOX_MAX || name_length == 0 || name_length > NAME_MAX_BYTES)
		return -EINVAL;
	memcpy(bytes, box, box_length);
	bytes[box_length] = 0;
	memcpy(bytes + box_length + 1, name, name_length);
	*key = (MDB_val){.mv_size = box_length + 1 + name_length, .mv_data = bytes};
	return 0;
}

/* Under which number a name's receipt lies. Returns -ENOENT also for a row that says nothing. */
static int find_number(MDB_txn *txn, const struct env *rows, MDB_val *key, uint8_t number[8])
{
	struct row_view view;
	MDB_val value;
	int error = env_error(mdb_get(txn, rows->tables[ROWS_RECEIPT_NAMES], key, &value));

	if (error)
		return error;
	error = row_open(&view, RECEIPT_LAYOUT, key->mv_data, key->mv_size, value.mv_data,
			 value.mv_size);
	if (error)
		return -ENOENT;
	be64_put(number, row_get_u64(&view));
	return row_finish(&view) ? -ENOENT : 0;
}

static int delete_number(MDB_txn *txn, const struct env *rows, uint8_t number[8])
{
	MDB_val key = {.mv_size = 8, .mv_data = number};
	int error = env_error(mdb_del(txn, rows->tables[ROWS_RECEIPTS], &key, NULL));

	return error == -ENOENT ? 0 : error;
}

static int put_name(MDB_txn *txn, const struct env *rows, MDB_val *key, uint64_t number)
{
	uint8_t buffer[16];
	MDB_val value = {.mv_data = buffer};
	struct row row;
	int error;

	row_begin(&row, RECEIPT_LAYOUT, buffer, sizeof(buffer));
	row_put_u64(&row, number);
	error = row_seal(&row, key->mv_data, key->mv_size);
	if (error)
		return error;
	value.mv_size = row.length;
	return env_error(mdb_put(txn, rows->tables[ROWS_RECEIPT_NAMES], key, &value, 0));
}

static int next_number(MDB_txn *txn, const struct env *rows, uint64_t *ret_number)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	int error = env_error(mdb_cursor_open(txn, rows->tables[ROWS_RECEIPTS], &cursor));

	if (error)
		return error;
	error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_LAST));
	if (!error)
		*ret_number = key.mv_size == 8 ? be64_get(key.mv_data) + 1 : 1;
	else
		*ret_number = 1;
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

static int put_text(MDB_txn *txn, const struct env *rows, const struct row_change *put,
		    uint64_t number)
{
	uint8_t bytes[8], buffer[ROW_ROOM];
	MDB_val key = {.mv_size = sizeof(bytes), .mv_data = bytes}, value = {.mv_data = buffer};
	struct row row;
	int error;

	be64_put(bytes, number);
	row_begin(&row, RECEIPT_LAYOUT, buffer, sizeof(buffer));
	row_put_text(&row, put->box, strlen(put->box));
	row_put_text(&row, put->name, strlen(put->name));
	row_put_text(&row, put->text, put->text_length);
	error = row_seal(&row, bytes, sizeof(bytes));
	if (error)
		return error;
	value.mv_size = row.length;
	return env_error(mdb_put(txn, rows->tables[ROWS_RECEIPTS], &key, &value, MDB_APPEND));
}

/* Box, name and where the text lies. Returns -EBADMSG. */
static int decode(const MDB_val *key, const MDB_val *value, char *box, char *name,
		  const uint8_t **ret_text, size_t *ret_length)
{
	struct row_view view;
	int error = row_open(&view, RECEIPT_LAYOUT, key->mv_data, key->mv_size, value->mv_data,
			     value->mv_size);

	if (error)
		return error;
	row_get_text(&view, box, BOX_MAX + 1);
	row_get_text(&view, name, NAME_MAX_BYTES + 1);
	*ret_length = row_get_u32(&view);
	*ret_text = row_get_bytes(&view, *ret_length);
	return row_finish(&view);
}

/* Deletes the oldest receipt, and its name if that still means this one. */
static int prune_one(MDB_txn *txn, const struct env *rows, MDB_cursor *cursor)
{
	char box[BOX_MAX + 1], name[NAME_MAX_BYTES + 1];
	uint8_t bytes[NAME_KEY_ROOM], number[8];
	MDB_val key, value, named;
	const uint8_t *text;
	size_t length;
	int error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_FIRST));

	if (error)
		return error;
	if (decode(&key, &value, box, name, &text, &length) == 0 &&
	    name_key(box, name, bytes, &named) == 0 &&
	    find_number(txn, rows, &named, number) == 0 && key.mv_size == sizeof(number) &&
	    memcmp(number, key.mv_data, sizeof(number)) == 0)
		error = env_error(mdb_del(txn, rows->tables[ROWS_RECEIPT_NAMES], &named, NULL));
	return error ? error : env_error(mdb_cursor_del(cursor, 0));
}

static int prune(MDB_txn *txn, const struct env *rows)
{
	MDB_cursor *cursor;
	MDB_stat stat;
	int error = env_error(mdb_stat(txn, rows->tables[ROWS_RECEIPTS], &stat));

	if (error || stat.ms_entries <= RECEIPTS_MAX)
		return error;
	error = env_error(mdb_cursor_open(txn, rows->tables[ROWS_RECEIPTS], &cursor));
	if (error)
		return error;
	for (size_t extra = stat.ms_entries - RECEIPTS_MAX; extra && !error; extra--)
		error = prune_one(txn, rows, cursor);
	mdb_cursor_close(cursor);
	return error;
}

int receipt_put(MDB_txn *txn, const struct env *rows, const struct row_change *put)
{
	uint8_t bytes[NAME_KEY_ROOM], old[8];
	uint64_t number;
	MDB_val key;
	int error = name_key(put->box, put->name, bytes, &key);

	if (error || put->text_length > TEXT_MAX)
		return -EINVAL;
	error = find_number(txn, rows, &key, old);
	if (!error)
		error = delete_number(txn, rows, old);
	else if (error == -ENOENT)
		error = 0;
	if (!error)
		error = next_number(txn, rows, &number);
	if (!error)
		error = put_text(txn, rows, put, number);
	if (!error)
		error = put_name(txn, rows, &key, number);
	return error ? error : prune(txn, rows);
}

int receipt_delete(MDB_txn *txn, const struct env *rows, const struct row_change *gone)
{
	uint8_t bytes[NAME_KEY_ROOM], number[8];
	MDB_val key;
	int error = name_key(gone->box, gone->name, bytes, &key);

	if (error)
		return -ENOENT;
	error = find_number(txn, rows, &key, number);
	if (!error)
		error = delete_number(txn, rows, number);
	return error ? error
		     : env_error(mdb_del(txn, rows->tables[ROWS_RECEIPT_NAMES], &key, NULL));
}

struct receipt_walk {
	int (*each)(void *context, const char *box, const char *name, const char *text,
		    size_t length, const struct reason *why);
	void *context;
};

static int walk_receipt(void *context, const struct env_row *stored)
{
	MDB_val key = {.mv_size = stored->key_length, .mv_data = (void *)stored->key};
	MDB_val value = {.mv_size = stored->length, .mv_data = (void *)stored->value};
	char box[BOX_MAX + 1], name[NAME_MAX_BYTES + 1];
	struct receipt_walk *walk = context;
	struct reason why = {0};
	const uint8_t *text;
	size_t length;

	if (stored->value && decode(&key, &value, box, name, &text, &length) == 0)
		return walk->each(walk->context, box, name, (const char *)text, length, NULL);
	reason_set(&why, EBADMSG, "row_damaged", "a receipt fails its checksum and is lost");
	return walk->each(walk->context, "", "", NULL, 0, &why);
}

int rows_each_receipt(struct store *store,
		      int (*each)(void *context, const char *box, const char *name,
				  const char *text, size_t length, const struct reason *why),
		      void *context)
{
	struct receipt_walk walk = {.each = each, .context = context};

	return env_scan(&store->rows, ROWS_RECEIPTS, walk_receipt, &walk);
}
