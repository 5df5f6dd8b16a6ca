/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB environments: opening, snapshots, walking. Invariant: a read transaction is either handed
 * out or idle in the pool; none is ever forgotten, because one that stays open keeps every page
 * that is freed after it.
 */
#include "store/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/fault.h"

#define READERS_MAX 1024
/* What LMDB wants for READERS_MAX slots, rounded up. */
#define LOCK_BYTES (128 * 1024)
/* No row that is scanned is longer; pieces are never scanned. */
#define SCAN_VALUE_MAX (1024u * 1024u)

int env_error(int code)
{
	switch (code) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_KEYEXIST:
		return -EEXIST;
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT:
		return -ENOSPC;
	case MDB_READERS_FULL:
	case ENOMEM:
		return -ENOMEM;
	case EACCES:
	case EPERM:
	case EROFS:
		return -EACCES;
	case ENOENT:
		return -ENOENT;
	default:
		return -EIO;
	}
}

/*
 * LMDB truncates its lock file to size and maps it; where the disk is full, the first touch of a
 * missing block is SIGBUS. So the blocks are made before LMDB sees the file.
 */
static int reserve_lock_file(const char *path)
{
	char name[PATH_MAX];
	int fd, error;

	if (snprintf(name, sizeof(name), "%s/lock.mdb", path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = -posix_fallocate(fd, 0, LOCK_BYTES);
	close(fd);
	return error;
}

static int make_directory(const char *path)
{
	int error;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	error = reserve_lock_file(path);
	/* Some filesystems cannot reserve; LMDB then makes the file as it always does. */
	return error == -EOPNOTSUPP || error == -EINVAL ? 0 : error;
}

static int open_tables(struct env *env, enum env_mode mode)
{
	unsigned int flags = mode == ENV_WRITE ? MDB_CREATE : 0;
	MDB_txn *txn;
	int code = mdb_txn_begin(env->lmdb, NULL, mode == ENV_WRITE ? 0 : MDB_RDONLY, &txn);

	if (code)
		return code;
	for (unsigned int i = 0; i < env->kind->table_count && !code; i++)
		code = mdb_dbi_open(txn, env->kind->tables[i], flags, &env->tables[i]);
	if (code) {
		mdb_txn_abort(txn);
		return code;
	}
	return mdb_txn_commit(txn);
}

/*
 * LMDB 0.9.24 keeps a second descriptor of its data file without O_CLOEXEC, and gives no access to
 * it. What the daemon spawns must not inherit a way to write into the state.
 */
static int close_on_exec(MDB_env *lmdb)
{
	struct stat data, other;
	struct dirent *entry;
	mdb_filehandle_t fd;
	DIR *fds;

	if (mdb_env_get_fd(lmdb, &fd) || fstat(fd, &data) < 0)
		return EIO;
	fds = opendir("/proc/self/fd");
	if (!fds)
		return errno;
	while ((entry = readdir(fds))) {
		int number = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && fstat(number, &other) == 0 &&
		    other.st_dev == data.st_dev && other.st_ino == data.st_ino)
			fcntl(number, F_SETFD, FD_CLOEXEC);
	}
	closedir(fds);
	return 0;
}

static int open_lmdb(struct env *env, const char *path, enum env_mode mode)
{
	unsigned int flags = MDB_NOTLS;
	int dead, code = mdb_env_create(&env->lmdb);

	if (code)
		return code;
	if (mode != ENV_WRITE)
		flags |= MDB_RDONLY;
	if (mode == ENV_ALONE)
		flags |= MDB_NOLOCK;
	code = mdb_env_set_mapsize(env->lmdb, env->kind->map_bytes);
	if (!code)
		code = mdb_env_set_maxdbs(env->lmdb, 32);
	if (!code)
		code = mdb_env_set_maxreaders(env->lmdb, READERS_MAX);
	if (!code)
		code = mdb_env_open(env->lmdb, path, flags, 0600);
	if (!code)
		code = close_on_exec(env->lmdb);
	if (!code && mode == ENV_WRITE)
		code = mdb_reader_check(env->lmdb, &dead);
	return code;
}

int env_open(const char *state, const struct env_kind *kind, enum env_mode mode,
	     struct env *ret_env, struct reason *reason)
{
	char path[PATH_MAX];
	int code, error;

	*ret_env = (struct env){.kind = kind};
	if (snprintf(path, sizeof(path), "%s/%s", state, kind->name) >= (int)sizeof(path))
		return reason_set(reason, EIO, "store_failed", "the path %s is too long", state);
	error = mode == ENV_WRITE ? make_directory(path) : 0;
	if (error)
		return reason_set(reason, -error, error == -ENOSPC ? "store_full" : "store_failed",
				  "cannot make %s: %s", path, strerror(-error));
	code = open_lmdb(ret_env, path, mode);
	if (!code)
		code = open_tables(ret_env, mode);
	if (!code) {
		pthread_mutex_init(&ret_env->idle_lock, NULL);
		return 0;
	}
	mdb_env_close(ret_env->lmdb);
	*ret_env = (struct env){0};
	error = env_error(code);
	return reason_set(reason, -error, error == -ENOSPC ? "store_full" : "store_failed",
			  "cannot open %s: %s", path, mdb_strerror(code));
}

void env_close(struct env *env)
{
	if (!env->lmdb)
		return;
	for (unsigned int i = 0; i < env->idle_count; i++)
		mdb_txn_abort(env->idle[i]);
	mdb_env_close(env->lmdb);
	pthread_mutex_destroy(&env->idle_lock);
	*env = (struct env){0};
}

int env_read_begin(struct env *env, MDB_txn **ret_txn)
{
	MDB_txn *txn = NULL;
	int code;

	pthread_mutex_lock(&env->idle_lock);
	if (env->idle_count)
		txn = env->idle[--env->idle_count];
	pthread_mutex_unlock(&env->idle_lock);
	if (!txn)
		return env_error(mdb_txn_begin(env->lmdb, NULL, MDB_RDONLY, ret_txn));
	code = mdb_txn_renew(txn);
	if (code)
		mdb_txn_abort(txn);
	else
		*ret_txn = txn;
	return env_error(code);
}

void env_read_end(struct env *env, MDB_txn *txn)
{
	bool kept = false;

	mdb_txn_reset(txn);
	pthread_mutex_lock(&env->idle_lock);
	if (env->idle_count < ENV_IDLE_MAX) {
		env->idle[env->idle_count++] = txn;
		kept = true;
	}
	pthread_mutex_unlock(&env->idle_lock);
	if (!kept)
		mdb_txn_abort(txn);
}

int env_get(MDB_txn *txn, MDB_dbi table, const void *key, size_t key_length, MDB_val *ret_value)
{
	MDB_val wanted = {.mv_size = key_length, .mv_data = (void *)key};
	struct fault_guard guard;
	int code;

	if (sigsetjmp(fault_guard_enter(&guard), 0)) {
		fault_guard_leave(&guard);
		return -EIO;
	}
	code = mdb_get(txn, table, &wanted, ret_value);
	fault_guard_leave(&guard);
	return env_error(code);
}

int env_copy(const MDB_val *value, void *bytes, size_t room, size_t *ret_length)
{
	struct fault_guard guard;

	if (value->mv_size > room)
		return -EBADMSG;
	if (sigsetjmp(fault_guard_enter(&guard), 0)) {
		fault_guard_leave(&guard);
		return -EIO;
	}
	memcpy(bytes, value->mv_data, value->mv_size);
	fault_guard_leave(&guard);
	*ret_length = value->mv_size;
	return 0;
}

struct scan {
	MDB_cursor *cursor;
	const void *from; /* NULL: from the first row to the last */
	size_t from_length, prefix;
	uint8_t key[512];
	uint8_t *copy;
	size_t room;
};

int env_step(MDB_cursor *cursor, MDB_cursor_op op, MDB_val *ret_key, MDB_val *ret_value)
{
	struct fault_guard guard;
	int code;

	if (sigsetjmp(fault_guard_enter(&guard), 0)) {
		fault_guard_leave(&guard);
		return -EIO;
	}
	code = mdb_cursor_get(cursor, ret_key, ret_value, op);
	fault_guard_leave(&guard);
	return env_error(code);
}

static int scan_value(struct scan *scan, const MDB_val *value, struct env_row *row)
{
	uint8_t *larger;
	size_t length;

	row->length = value->mv_size;
	if (value->mv_size > SCAN_VALUE_MAX)
		return 0;
	if (value->mv_size > scan->room || !scan->copy) {
		larger = realloc(scan->copy, value->mv_size + 4096);
		if (!larger)
			return -ENOMEM;
		scan->copy = larger;
		scan->room = value->mv_size + 4096;
	}
	if (env_copy(value, scan->copy, scan->room, &length) == 0)
		row->value = scan->copy;
	return 0;
}

static bool has_prefix(const struct scan *scan, const struct env_row *row)
{
	return !scan->prefix || (row->key_length >= scan->prefix &&
				 memcmp(row->key, scan->from, scan->prefix) == 0);
}

static int scan_all(struct scan *scan, int (*each)(void *context, const struct env_row *row),
		    void *context)
{
	MDB_val key = {.mv_size = scan->from_length, .mv_data = (void *)scan->from}, value;
	int error;

	for (MDB_cursor_op op = scan->from ? MDB_SET_RANGE : MDB_FIRST;; op = MDB_NEXT) {
		struct env_row row = {.key = scan->key};

		error = env_step(scan->cursor, op, &key, &value);
		if (error)
			return error == -ENOENT ? 0 : error;
		if (env_copy(&key, scan->key, sizeof(scan->key), &row.key_length))
			return -EIO;
		if (!has_prefix(scan, &row))
			return 0;
		error = scan_value(scan, &value, &row);
		if (!error)
			error = each(context, &row);
		if (error)
			return error;
	}
}

int env_scan_from(MDB_txn *txn, struct env *env, unsigned int table, const void *from,
		  size_t from_length, size_t prefix,
		  int (*each)(void *context, const struct env_row *row), void *context)
{
	struct scan scan = {.from = from, .from_length = from_length, .prefix = prefix};
	int error;

	if (table >= env->kind->table_count)
		return 0;
	error = env_error(mdb_cursor_open(txn, env->tables[table], &scan.cursor));
	if (error)
		return error;
	error = scan_all(&scan, each, context);
	mdb_cursor_close(scan.cursor);
	free(scan.copy);
	return error;
}

int env_scan_in(MDB_txn *txn, struct env *env, unsigned int table,
		int (*each)(void *context, const struct env_row *row), void *context)
{
	return env_scan_from(txn, env, table, NULL, 0, 0, each, context);
}

int env_scan(struct env *env, unsigned int table,
	     int (*each)(void *context, const struct env_row *row), void *context)
{
	MDB_txn *txn;
	int error = env_read_begin(env, &txn);

	if (error)
		return error;
	error = env_scan_in(txn, env, table, each, context);
	env_read_end(env, txn);
	return error;
}

int env_count(struct env *env, unsigned int table, uint64_t *ret_count)
{
	MDB_stat stat;
	MDB_txn *txn;
	int error;

	*ret_count = 0;
	if (table >= env->kind->table_count)
		return 0;
	error = env_read_begin(env, &txn);
	if (error)
		return error;
	error = env_error(mdb_stat(txn, env->tables[table], &stat));
	env_read_end(env, txn);
	if (!error)
		*ret_count = stat.ms_entries;
	return error;
}

static int table_pages(MDB_txn *txn, MDB_dbi table, uint64_t *pages)
{
	MDB_stat stat;
	int error = env_error(mdb_stat(txn, table, &stat));

	if (!error)
		*pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
	return error;
}

int env_pages(struct env *env, struct env_pages *ret_pages)
{
	/* 0 is LMDB's list of free pages, 1 the table of tables; two meta pages besides. */
	uint64_t pages = 2, all;
	MDB_envinfo info;
	MDB_stat stat;
	MDB_txn *txn;
	int error = env_read_begin(env, &txn);

	if (error)
		return error;
	for (MDB_dbi table = 0; table < 2 && !error; table++)
		error = table_pages(txn, table, &pages);
	for (unsigned int i = 0; i < env->kind->table_count && !error; i++)
		error = table_pages(txn, env->tables[i], &pages);
	env_read_end(env, txn);
	if (!error)
		error = env_error(mdb_env_stat(env->lmdb, &stat));
	if (!error)
		error = env_error(mdb_env_info(env->lmdb, &info));
	if (error)
		return error;
	all = (uint64_t)info.me_last_pgno + 1;
	ret_pages->used = pages * stat.ms_psize;
	ret_pages->reusable = all > pages ? (all - pages) * stat.ms_psize : 0;
	return 0;
}
