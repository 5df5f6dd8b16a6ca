/* SPDX-License-Identifier: Apache-2.0 */
/* The table of contents: digest -> where its bytes are. */
#include "store/record.h"

#include <errno.h>
#include <string.h>

#include "store/private.h"
#include "store/row.h"

#define RECORD_LAYOUT 1
#define RECORD_BYTES  (8 + 8 + 8 + 4 + ROW_OVERHEAD)

static int decode(const void *key, const void *value, size_t length, struct record *record)
{
	struct row_view view;
	int error = row_open(&view, RECORD_LAYOUT, key, DIGEST_BYTES, value, length);

	if (error)
		return error;
	record->size = row_get_u64(&view);
	record->references = row_get_u64(&view);
	record->piece = row_get_u64(&view);
	record->offset = row_get_u32(&view);
	return row_finish(&view);
}

int record_get(MDB_txn *txn, const struct env *contents, const struct digest *digest,
	       struct record *ret_record)
{
	uint8_t copy[RECORD_BYTES];
	size_t length;
	MDB_val value;
	int error = env_get(txn, contents->tables[CONTENTS_RECORDS], digest->bytes, DIGEST_BYTES,
			    &value);

	if (!error)
		error = env_copy(&value, copy, sizeof(copy), &length);
	return error ? error : decode(digest->bytes, copy, length, ret_record);
}

int record_decode(const uint8_t *key, size_t key_length, const uint8_t *value, size_t length,
		  struct digest *ret_digest, struct record *ret_record)
{
	if (key_length != DIGEST_BYTES || !value)
		return -EBADMSG;
	memcpy(ret_digest->bytes, key, DIGEST_BYTES);
	return decode(key, value, length, ret_record);
}

int record_put(MDB_txn *txn, const struct env *contents, const struct digest *digest,
	       const struct record *record)
{
	uint8_t buffer[RECORD_BYTES];
	MDB_val key = {.mv_size = DIGEST_BYTES, .mv_data = (void *)digest->bytes};
	MDB_val value = {.mv_data = buffer};
	struct row row;
	int error;

	row_begin(&row, RECORD_LAYOUT, buffer, sizeof(buffer));
	row_put_u64(&row, record->size);
	row_put_u64(&row, record->references);
	row_put_u64(&row, record->piece);
	row_put_u32(&row, record->offset);
	error = row_seal(&row, digest->bytes, DIGEST_BYTES);
	if (error)
		return error;
	value.mv_size = row.length;
	return env_error(mdb_put(txn, contents->tables[CONTENTS_RECORDS], &key, &value, 0));
}

int record_delete(MDB_txn *txn, const struct env *contents, const struct digest *digest)
{
	MDB_val key = {.mv_size = DIGEST_BYTES, .mv_data = (void *)digest->bytes};

	return env_error(mdb_del(txn, contents->tables[CONTENTS_RECORDS], &key, NULL));
}
