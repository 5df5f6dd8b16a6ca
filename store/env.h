/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ENV_H
#define STORE_ENV_H

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/reason.h"

#define ENV_TABLES_MAX 12
#define ENV_IDLE_MAX   64

/* What an environment is called, how large it may grow, and which tables it has. */
struct env_kind {
	const char *name; /* "rows": also the directory's name under STATE */
	size_t map_bytes;
	unsigned int table_count;
	const char *tables[ENV_TABLES_MAX];
};

/*
 * An open LMDB environment and its idle read transactions. Scans and counts of tables that its kind
 * does not have find nothing.
 */
struct env {
	const struct env_kind *kind;
	MDB_env *lmdb;
	MDB_dbi tables[ENV_TABLES_MAX];
	pthread_mutex_t idle_lock;
	MDB_txn *idle[ENV_IDLE_MAX];
	unsigned int idle_count;
};

enum env_mode {
	ENV_WRITE, /* makes what is missing */
	ENV_READ,  /* beside a writer, through LMDB's own lock file */
	ENV_ALONE, /* read without LMDB's lock file: the caller knows that nobody writes */
};

/* The one place where LMDB's codes become errnos: -ENOENT, -EEXIST, -ENOSPC, -ENOMEM, else -EIO. */
int env_error(int code);

/*
 * Opens STATE/<kind->name>. In ENV_WRITE the directory, the files and the tables are made, and
 * read slots of dead processes are cleared.
 * Returns -ENOENT (ENV_READ: no such environment or table), -ENOSPC, -ENOMEM, -EACCES, -EIO;
 * `reason` is filled in with store_failed or store_full, whatever is returned.
 */
int env_open(const char *state, const struct env_kind *kind, enum env_mode mode,
	     struct env *ret_env, struct reason *reason);

/* Ends idle transactions and closes. All others must be back. A zeroed one is accepted. */
void env_close(struct env *env);

/* A snapshot from the pool. Returns -ENOMEM (too many at once) or -EIO. */
int env_read_begin(struct env *env, MDB_txn **ret_txn);
void env_read_end(struct env *env, MDB_txn *txn);

/*
 * mdb_get with the errno of env_error; survives a map that is shorter than LMDB believes.
 * For read transactions only.
 */
int env_get(MDB_txn *txn, MDB_dbi table, const void *key, size_t key_length, MDB_val *ret_value);

/*
 * Copies what env_get found, and survives like it. Returns -EBADMSG when it is longer than `room`.
 */
int env_copy(const MDB_val *value, void *bytes, size_t room, size_t *ret_length);

/* A row as env_scan hands it out: a copy, valid during the call. */
struct env_row {
	const uint8_t *key;
	size_t key_length;
	const uint8_t *value; /* NULL: too long to be one, or it could not be touched */
	size_t length;
};

/*
 * Calls `each` for every row of a table in key order; the value is copied first, so that the map is
 * not touched while the callback runs. Stops and returns what `each` returns if not 0.
 * Returns -EIO when the table cannot be walked, -ENOMEM.
 */
int env_scan(struct env *env, unsigned int table,
	     int (*each)(void *context, const struct env_row *row), void *context);

/* The same in a snapshot that the caller has. */
int env_scan_in(MDB_txn *txn, struct env *env, unsigned int table,
		int (*each)(void *context, const struct env_row *row), void *context);

/* The same from the key `from` on, for the keys that begin with the first `prefix` bytes of it. */
int env_scan_from(MDB_txn *txn, struct env *env, unsigned int table, const void *from,
		  size_t from_length, size_t prefix,
		  int (*each)(void *context, const struct env_row *row), void *context);

/* mdb_cursor_get as env_get. */
int env_step(MDB_cursor *cursor, MDB_cursor_op op, MDB_val *ret_key, MDB_val *ret_value);

/* How many rows a table has. */
int env_count(struct env *env, unsigned int table, uint64_t *ret_count);

struct env_pages {
	uint64_t used;     /* in all tables, in bytes */
	uint64_t reusable; /* allocated in the file, but free */
};

/* From statistics only. Returns -EIO, -ENOMEM. */
int env_pages(struct env *env, struct env_pages *ret_pages);

#endif
