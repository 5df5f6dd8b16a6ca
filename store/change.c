/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The change number: one for every change of a version or a route. The reload orders by
 * it, so it must never go back, not even when the row that keeps it is lost.
 */
#include <errno.h>

#include "store/private.h"
#include "store/sequence.h"
#include "store/tables.h"

static int largest(MDB_txn *txn, MDB_dbi table,
		   uint64_t (*changed)(const MDB_val *key, const MDB_val *value), uint64_t *most)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	int error = env_error(mdb_cursor_open(txn, table, &cursor));

	if (error)
		return error;
	for (MDB_cursor_op op = MDB_FIRST; !error; op = MDB_NEXT) {
		error = env_error(mdb_cursor_get(cursor, &key, &value, op));
		if (!error && changed(&key, &value) > *most)
			*most = changed(&key, &value);
	}
	mdb_cursor_close(cursor);
	return error == -ENOENT ? 0 : error;
}

int change_next(MDB_txn *txn, const struct env *rows, uint64_t *ret_change)
{
	MDB_dbi meta = rows->tables[ROWS_META];
	uint64_t most = 0;
	int error = sequence_take(txn, meta, "change", 1, ret_change);

	if (error != -EBADMSG)
		return error;
	error = largest(txn, rows->tables[ROWS_VERSIONS], version_changed, &most);
	if (!error)
		error = largest(txn, rows->tables[ROWS_ROUTES], route_changed, &most);
	if (error)
		return error;
	*ret_change = most + 1;
	return sequence_set(txn, meta, "change", most + 2);
}
