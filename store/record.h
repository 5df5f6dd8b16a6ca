/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <lmdb.h>
#include <stdint.h>

#include "store/digest.h"
#include "store/env.h"

/* Where a content lies and how often it is used. Key: its digest. */
struct record {
	uint64_t size;
	uint64_t references;
	uint64_t piece;  /* the only one, or the first of a run; 0 for an empty content */
	uint32_t offset; /* of its bytes in the piece's value; in a run the header's length */
};

/*
 * What a record counts whose real count was lost when it became unreadable: too many references
 * leak some bytes, too few lose a package.
 */
#define RECORD_REFERENCES_LOST (UINT64_MAX / 2)

/* Returns -ENOENT, -EBADMSG (there, but unreadable), -EIO. Any kind of transaction. */
int record_get(MDB_txn *txn, const struct env *contents, const struct digest *digest,
	       struct record *ret_record);

/* For walks that copied the value already. Returns -EBADMSG. */
int record_decode(const uint8_t *key, size_t key_length, const uint8_t *value, size_t length,
		  struct digest *ret_digest, struct record *ret_record);

int record_put(MDB_txn *txn, const struct env *contents, const struct digest *digest,
	       const struct record *record);

/* Returns -ENOENT when it is not there. */
int record_delete(MDB_txn *txn, const struct env *contents, const struct digest *digest);

#endif
