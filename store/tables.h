/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_TABLES_H
#define STORE_TABLES_H

#include <lmdb.h>
#include <stdint.h>

#include "store/env.h"
#include "store/journal.h"
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

/* journal.c. Return -EEXIST, -ESTALE as store/rows.h says, -EINVAL for what no row can hold. */
int journal_run_put(MDB_txn *txn, const struct env *rows, const struct row_change *put);
int journal_event_append(MDB_txn *txn, const struct env *rows, const struct row_change *append);

/* The number that a run's row holds. Returns -EBADMSG. */
int journal_run_decode(const struct env_row *stored, uint64_t *ret_number);

/* The sequence of a run's last event, 0 when it has none. */
int journal_event_last(MDB_txn *txn, const struct env *rows, uint64_t run, uint64_t *ret_sequence);

/* Points into the row; `bytes` NULL when it is unreadable, `run` 0 when the key is, too. */
void journal_event_decode(const struct env_row *stored, struct event_bytes *ret_event);

/* For store_open: finds the number that journal_next_run begins with. */
int journal_begin(struct store *store);

/* The key of an event and of its value. */
#define JOURNAL_KEY 16
MDB_val journal_key(uint8_t bytes[JOURNAL_KEY], uint64_t run, uint64_t sequence);

/* Its two numbers; 0 and 0 where it is none. */
void journal_parse_key(const struct env_row *row, uint64_t *ret_run, uint64_t *ret_sequence);

/* journal_each_run in a snapshot that the caller has. */
int journal_each_run_in(MDB_txn *txn, struct env *rows,
			int (*each)(void *context, const char *id, uint64_t number,
				    const struct reason *why),
			void *context);

/* Every row of one run in `table`, in a snapshot of its own. */
int journal_scan(struct env *rows, unsigned int table, uint64_t run, uint64_t from,
		 int (*each)(void *context, const struct env_row *row), void *context);

/* journal_value.c. Returns -ESTALE when the event has a value already. */
int value_row_put(MDB_txn *txn, const struct env *rows, const struct row_change *put);

/*
 * Takes a row apart. `ret_bytes` (may be NULL) points into it, NULL where a content has the bytes.
 * Returns -EBADMSG; the row's two numbers are then right, or 0.
 */
int value_row_decode(const struct env_row *stored, struct value_row *ret_row,
		     const uint8_t **ret_bytes);

/* Reads one value row. Returns -ENOENT, -EBADMSG (there, but unreadable), -EIO, -ENOMEM. */
int value_row_find(struct env *rows, uint64_t run, uint64_t sequence, struct value_row *ret_row);

/*
 * Does a value of the run come from that upload? Returns -EBADMSG when one that is unreadable might.
 */
int value_rows_have(struct env *rows, uint64_t run, uint64_t upload, bool *ret_have);

/* journal_remove.c. Returns -ENOENT, -ESTALE as store/rows.h says. */
int journal_run_delete(MDB_txn *txn, const struct env *rows, const struct row_change *gone);

#endif
