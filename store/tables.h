/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_TABLES_H
#define STORE_TABLES_H

#include <lmdb.h>
#include <stdint.h>

#include "store/env.h"
#include "store/rows.h"

/*
 * What each kind of row change does inside the writer's transaction. All return 0, an errno of
 * env_error, or what is said here; the transaction is taken back by the caller then.
 */

/* versions.c */
int versions_put(MDB_txn *txn, const struct env *rows, struct row_change *put);
int versions_delete(MDB_txn *txn, const struct env *rows, const struct version_row *row);

/*
 * Reads one version row by itself. Returns -ENOENT, -EBADMSG (there, but unreadable), -EIO.
 */
int versions_find(struct env *rows, const char *type, const struct digest *version,
		 struct version_row *ret_row);

/* routes.c */
int route_put(MDB_txn *txn, const struct env *rows, struct row_change *put);

/*
 * change.c: the next change number, greater than every one given out before; kept in the meta
 * table, and found again from the rows if that was lost.
 */
int change_next(MDB_txn *txn, const struct env *rows, uint64_t *ret_change);

/* The change number in a version's or a route's stored row, 0 when that is unreadable. */
uint64_t version_changed(const MDB_val *key, const MDB_val *value);
uint64_t route_changed(const MDB_val *key, const MDB_val *value);

/* receipts.c */
int receipt_put(MDB_txn *txn, const struct env *rows, const struct row_change *put);
int receipt_delete(MDB_txn *txn, const struct env *rows, const struct row_change *gone);

/* audit.c. Returns -EINVAL for an empty line or one over 64 KiB. */
int audit_append(MDB_txn *txn, const struct env *rows, const char *line, size_t length);

#endif
