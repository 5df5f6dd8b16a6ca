/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version rows. Key: the type, a NUL, the 32 bytes of the version. What the first deploy of a
 * version said (upload, time, user) stays when it is deployed again.
 */
#include <errno.h>
#include <string.h>

#include "store/private.h"
#include "store/row.h"
#include "store/rows.h"
#include "store/tables.h"

#define VERSION_LAYOUT 1
#define VERSION_ROOM   256
#define KEY_ROOM       (TYPE_MAX + 1 + DIGEST_BYTES)

static size_t make_key(const char *type, const struct digest *version, uint8_t key[KEY_ROOM])
{
	size_t length = strnlen(type, TYPE_MAX);

	memcpy(key, type, length);
	key[length] = 0;
	memcpy(key + length + 1, version->bytes, DIGEST_BYTES);
	return length + 1 + DIGEST_BYTES;
}

static int parse_key(const uint8_t *key, size_t length, char type[TYPE_MAX + 1],
		     struct digest *ret_version)
{
	const uint8_t *end = memchr(key, 0, length);
	size_t type_length = end ? (size_t)(end - key) : 0;

	type[0] = '\0';
	*ret_version = (struct digest){0};
	if (!end || type_length > TYPE_MAX || length - type_length - 1 != DIGEST_BYTES)
		return -EBADMSG;
	memcpy(type, key, type_length + 1);
	memcpy(ret_version->bytes, end + 1, DIGEST_BYTES);
	return 0;
}

static int encode(const struct version_row *version, const uint8_t *key, size_t key_length,
		  struct row *row, uint8_t buffer[VERSION_ROOM])
{
	row_begin(row, VERSION_LAYOUT, buffer, VERSION_ROOM);
	row_put_u64(row, version->upload);
	row_put_u64(row, version->deployed);
	row_put_u64(row, version->changed);
	row_put_u64(row, (uint64_t)version->first_ns);
	row_put_u64(row, (uint64_t)version->last_ns);
	row_put_u64(row, version->entries);
	row_put_u64(row, version->bytes);
	row_put_u64(row, version->index_bytes);
	row_put_u32(row, version->uid);
	row_put_u8(row, version->has_signature);
	row_put_bytes(row, version->signature.bytes, DIGEST_BYTES);
	row_put_u64(row, version->signature_bytes);
	return row_seal(row, key, key_length);
}

static int decode(const void *key, size_t key_length, const void *value, size_t length,
		  struct version_row *version)
{
	const uint8_t *signature;
	struct row_view view;
	int error;

	*version = (struct version_row){0};
	error = parse_key(key, key_length, version->type, &version->version);
	if (!error)
		error = row_open(&view, VERSION_LAYOUT, key, key_length, value, length);
	if (error)
		return error;
	version->upload = row_get_u64(&view);
	version->deployed = row_get_u64(&view);
	version->changed = row_get_u64(&view);
	version->first_ns = (int64_t)row_get_u64(&view);
	version->last_ns = (int64_t)row_get_u64(&view);
	version->entries = row_get_u64(&view);
	version->bytes = row_get_u64(&view);
	version->index_bytes = row_get_u64(&view);
	version->uid = row_get_u32(&view);
	version->has_signature = row_get_u8(&view) != 0;
	signature = row_get_bytes(&view, DIGEST_BYTES);
	if (signature)
		memcpy(version->signature.bytes, signature, DIGEST_BYTES);
	version->signature_bytes = row_get_u64(&view);
	return row_finish(&view);
}

uint64_t version_changed(const MDB_val *key, const MDB_val *value)
{
	struct version_row row;

	return decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &row) == 0
		       ? row.changed
		       : 0;
}

/* Carries over what the stored row says for good. */
static int merge(MDB_txn *txn, MDB_dbi table, MDB_val *key, struct version_row *row, bool *existed)
{
	struct version_row old;
	MDB_val value;
	int error = env_error(mdb_get(txn, table, key, &value));

	*existed = error == 0;
	if (error)
		return error == -ENOENT ? 0 : error;
	if (decode(key->mv_data, key->mv_size, value.mv_data, value.mv_size, &old)) {
		row->upload = 0;
		return 0;
	}
	row->upload = old.upload;
	row->first_ns = old.first_ns;
	row->uid = old.uid;
	if (!row->deployed)
		row->deployed = old.deployed;
	return 0;
}

int versions_put(MDB_txn *txn, const struct env *rows, struct row_change *put)
{
	MDB_dbi table = rows->tables[ROWS_VERSIONS];
	struct version_row *version = &put->version;
	uint8_t buffer[VERSION_ROOM], bytes[KEY_ROOM];
	MDB_val key = {.mv_data = bytes}, value;
	struct row row;
	int error = change_next(txn, rows, &version->changed);

	if (error)
		return error;
	if (version->deployed == DEPLOYED_NOW)
		version->deployed = version->changed;
	key.mv_size = make_key(version->type, &version->version, bytes);
	error = merge(txn, table, &key, version, &put->existed);
	if (!error)
		error = encode(version, bytes, key.mv_size, &row, buffer);
	if (error)
		return error;
	value = (MDB_val){.mv_size = row.length, .mv_data = buffer};
	return env_error(mdb_put(txn, table, &key, &value, 0));
}

int versions_delete(MDB_txn *txn, const struct env *rows, const struct version_row *row)
{
	uint8_t bytes[KEY_ROOM];
	MDB_val key = {.mv_data = bytes};

	key.mv_size = make_key(row->type, &row->version, bytes);
	return env_error(mdb_del(txn, rows->tables[ROWS_VERSIONS], &key, NULL));
}

int versions_find(struct env *rows, const char *type, const struct digest *version,
		 struct version_row *ret_row)
{
	uint8_t key[KEY_ROOM], copy[VERSION_ROOM];
	size_t key_length = make_key(type, version, key), length = 0;
	MDB_val value;
	MDB_txn *txn;
	int error = env_read_begin(rows, &txn);

	if (error)
		return error;
	error = env_get(txn, rows->tables[ROWS_VERSIONS], key, key_length, &value);
	if (!error)
		error = env_copy(&value, copy, sizeof(copy), &length);
	env_read_end(rows, txn);
	return error ? error : decode(key, key_length, copy, length, ret_row);
}

struct version_walk {
	int (*each)(void *context, const char *type, const struct digest *version,
		    const struct version_row *row, const struct reason *why);
	void *context;
};

static int walk_version(void *context, const struct env_row *stored)
{
	struct version_walk *walk = context;
	struct reason why = {0};
	struct version_row row;
	char type[TYPE_MAX + 1];
	struct digest version;

	if (stored->value &&
	    decode(stored->key, stored->key_length, stored->value, stored->length, &row) == 0)
		return walk->each(walk->context, row.type, &row.version, &row, NULL);
	if (parse_key(stored->key, stored->key_length, type, &version))
		reason_set(&why, EBADMSG, "row_damaged", "a version row has no readable key");
	else
		reason_set(&why, EBADMSG, "row_damaged",
			   "the version row fails its checksum or has an unknown layout; deploy "
			   "the same archive again to repair it");
	return walk->each(walk->context, type, &version, NULL, &why);
}

int rows_each_version(struct store *store,
		      int (*each)(void *context, const char *type, const struct digest *version,
				  const struct version_row *row, const struct reason *why),
		      void *context)
{
	struct version_walk walk = {.each = each, .context = context};

	return env_scan(&store->rows, ROWS_VERSIONS, walk_version, &walk);
}
