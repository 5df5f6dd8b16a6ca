/* SPDX-License-Identifier: Apache-2.0 */
/* Route rows. Key: the type. A removed route keeps its row, so that no reload brings it back. */
#include <errno.h>
#include <string.h>

#include "store/private.h"
#include "store/row.h"
#include "store/rows.h"
#include "store/tables.h"

#define ROUTE_LAYOUT 1
#define ROUTE_ROOM   64

static int decode(const void *key, size_t key_length, const void *value, size_t length,
		  struct route_row *route)
{
	const uint8_t *version;
	struct row_view view;
	int error;

	*route = (struct route_row){0};
	if (key_length > TYPE_MAX || memchr(key, 0, key_length))
		return -EBADMSG;
	memcpy(route->type, key, key_length);
	error = row_open(&view, ROUTE_LAYOUT, key, key_length, value, length);
	if (error)
		return error;
	route->removed = row_get_u8(&view) != 0;
	version = row_get_bytes(&view, DIGEST_BYTES);
	if (version)
		memcpy(route->version.bytes, version, DIGEST_BYTES);
	route->changed = row_get_u64(&view);
	route->at_ns = (int64_t)row_get_u64(&view);
	return row_finish(&view);
}

uint64_t route_changed(const MDB_val *key, const MDB_val *value)
{
	struct route_row row;

	return decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &row) == 0
		       ? row.changed
		       : 0;
}

int route_put(MDB_txn *txn, const struct env *rows, struct row_change *put)
{
	struct route_row *route = &put->route;
	MDB_val key = {.mv_size = strnlen(route->type, TYPE_MAX), .mv_data = route->type}, value;
	uint8_t buffer[ROUTE_ROOM];
	struct row row;
	int error = change_next(txn, rows, &route->changed);

	if (error)
		return error;
	row_begin(&row, ROUTE_LAYOUT, buffer, sizeof(buffer));
	row_put_u8(&row, route->removed);
	row_put_bytes(&row, route->version.bytes, DIGEST_BYTES);
	row_put_u64(&row, route->changed);
	row_put_u64(&row, (uint64_t)route->at_ns);
	error = row_seal(&row, key.mv_data, key.mv_size);
	if (error)
		return error;
	value = (MDB_val){.mv_size = row.length, .mv_data = buffer};
	return env_error(mdb_put(txn, rows->tables[ROWS_ROUTES], &key, &value, 0));
}

struct route_walk {
	int (*each)(void *context, const char *type, const struct route_row *row,
		    const struct reason *why);
	void *context;
};

static int walk_route(void *context, const struct env_row *stored)
{
	struct route_walk *walk = context;
	struct reason why = {0};
	struct route_row row;

	if (stored->value &&
	    decode(stored->key, stored->key_length, stored->value, stored->length, &row) == 0)
		return walk->each(walk->context, row.type, &row, NULL);
	row.type[0] = '\0';
	if (stored->key_length <= TYPE_MAX && !memchr(stored->key, 0, stored->key_length)) {
		memcpy(row.type, stored->key, stored->key_length);
		row.type[stored->key_length] = '\0';
	}
	reason_set(&why, EBADMSG, "row_damaged",
		   "the route row fails its checksum or has an unknown layout; point the route "
		   "anew to repair it");
	return walk->each(walk->context, row.type, NULL, &why);
}

int rows_each_route(struct store *store,
		    int (*each)(void *context, const char *type, const struct route_row *row,
				const struct reason *why),
		    void *context)
{
	struct route_walk walk = {.each = each, .context = context};

	return env_scan(&store->rows, ROWS_ROUTES, walk_route, &walk);
}
