/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SEQUENCE_H
#define STORE_SEQUENCE_H

#include <lmdb.h>
#include <stdint.h>

/*
 * Numbers that only grow, kept by name in a meta table. The first one is 1.
 *
 * All return -EBADMSG when the row that keeps the number is there but unreadable.
 */

/* The number that comes next. */
int sequence_peek(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t *ret_number);

/* Takes `count` numbers, the first of which is returned. */
int sequence_take(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t count,
		  uint64_t *ret_number);

/* Raises what comes next above `number`, also where the row is unreadable. */
int sequence_raise(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t number);

/* Sets the number that comes next. */
int sequence_set(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t next);

#endif
