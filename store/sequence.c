/* SPDX-License-Identifier: Apache-2.0 */
/* Named counters in a meta table. A number that was handed out in a committed transaction never
 * comes again. */
#include "store/sequence.h"

#include <errno.h>
#include <string.h>

#include "store/env.h"
#include "store/row.h"

#define SEQUENCE_LAYOUT 1

int sequence_peek(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t *ret_number)
{
	uint8_t copy[8 + ROW_OVERHEAD];
	struct row_view view;
	size_t length;
	MDB_val value;
	int error = env_get(txn, meta, name, strlen(name), &value);

	if (error == -ENOENT) {
		*ret_number = 1;
		return 0;
	}
	if (!error)
		error = env_copy(&value, copy, sizeof(copy), &length);
	if (!error)
		error = row_open(&view, SEQUENCE_LAYOUT, name, strlen(name), copy, length);
	if (error)
		return error;
	*ret_number = row_get_u64(&view);
	return row_finish(&view);
}

int sequence_set(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t next)
{
	uint8_t buffer[8 + ROW_OVERHEAD];
	MDB_val key = {.mv_size = strlen(name), .mv_data = (void *)name};
	MDB_val value = {.mv_data = buffer};
	struct row row;
	int error;

	row_begin(&row, SEQUENCE_LAYOUT, buffer, sizeof(buffer));
	row_put_u64(&row, next);
	error = row_seal(&row, name, key.mv_size);
	if (error)
		return error;
	value.mv_size = row.length;
	return env_error(mdb_put(txn, meta, &key, &value, 0));
}

int sequence_raise(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t number)
{
	uint64_t next;
	int error = sequence_peek(txn, meta, name, &next);

	if (error && error != -EBADMSG)
		return error;
	if (!error && next > number)
		return 0;
	return sequence_set(txn, meta, name, number + 1);
}

int sequence_take(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t count,
		  uint64_t *ret_number)
{
	int error = sequence_peek(txn, meta, name, ret_number);

	return error ? error : sequence_set(txn, meta, name, *ret_number + count);
}
