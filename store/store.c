/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing. The order in which a state is made is what makes a crash harmless: lock,
 * environments, then the file `format`, which says that all of it is there. A directory that holds
 * anything else is refused: a wrong path must not become a state directory.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/check.h"
#include "store/fault.h"
#include "store/pending.h"
#include "store/private.h"
#include "store/settle.h"
#include "store/state.h"
#include "store/tables.h"

int store_explain(const struct store *store, int error, struct reason *reason)
{
	switch (error) {
	case 0:
		return 0;
	case -ENOSPC:
		return reason_set(reason, ENOSPC, "store_full",
				  "there is no room left in %s; remove versions that are not "
				  "needed or make room on its filesystem",
				  store->path);
	case -ENOENT:
		return reason_set(reason, ENOENT, "not_found", "there is no such row in %s",
				  store->path);
	case -EEXIST:
		return reason_set(reason, EEXIST, "run_exists",
				  "a run of that ID is in %s already; choose another ID",
				  store->path);
	case -ESTALE:
		return reason_set(reason, ESTALE, "run_stale",
				  "somebody else appended to the run meanwhile; look at its history "
				  "and try again");
	case -EINVAL:
		return reason_set(reason, EINVAL, "name_invalid",
				  "a row for %s has a name or a text that is too long",
				  store->path);
	case -ENOMEM:
		return reason_set(reason, ENOMEM, "store_failed", "out of memory");
	default:
		reason_set(reason, EIO, "store_failed",
			   "writing to %s failed; look at the kernel's log for errors of its disk",
			   store->path);
		return -EIO;
	}
}

uint64_t store_next_number(struct store *store)
{
	uint64_t number;

	pthread_mutex_lock(&store->numbers_lock);
	number = store->next_number++;
	pthread_mutex_unlock(&store->numbers_lock);
	return number;
}

int store_directory(const struct store *store)
{
	return store->directory;
}

int store_spool(struct store *store, int *ret_fd)
{
	return state_spool(store->directory, ret_fd);
}

int store_space(struct store *store, struct store_space *ret_space)
{
	struct env_pages rows, contents;
	struct room_space space;
	int error = room_space(store->directory, &space);

	if (!error)
		error = env_pages(&store->rows, &rows);
	if (!error)
		error = env_pages(&store->contents, &contents);
	if (error)
		return -EIO;
	ret_space->total_bytes = space.total_bytes;
	ret_space->free_bytes = space.free_bytes > space.reserve_bytes
					? space.free_bytes - space.reserve_bytes
					: 0;
	ret_space->free_bytes += contents.reusable;
	ret_space->used_bytes = rows.used + contents.used;
	return 0;
}

static int start_writers(struct store *store, struct reason *reason)
{
	int error = writer_open(&store->rows_writer, &store->rows, store->directory);

	if (!error)
		error = writer_open(&store->contents_writer, &store->contents, store->directory);
	if (error)
		return reason_set(reason, -error, "store_failed", "cannot start a thread: %s",
				  strerror(-error));
	error = pending_next_number(&store->contents, &store->next_number);
	if (!error)
		error = settle_all(store);
	if (!error)
		error = journal_begin(store);
	return store_explain(store, error, reason);
}

/*
 * The format file is the last thing that the making of a state writes. Where it is missing, the
 * tables must be empty: a state that has lost it, or half of it, must not come up as a new one.
 */
static int check_new(struct store *store, struct reason *reason)
{
	uint64_t versions = 0, contents = 0;
	int error = env_count(&store->rows, ROWS_VERSIONS, &versions);

	if (!error)
		error = env_count(&store->contents, CONTENTS_RECORDS, &contents);
	if (error)
		return store_explain(store, error, reason);
	if (versions == 0 && contents == 0)
		return 0;
	return reason_set(reason, EBADMSG, "store_damaged",
			  "the state in %s has lost its file named format; restore it from a backup, "
			  "or, if nothing else is missing, write the number %d and a newline into it",
			  store->path, STORE_FORMAT);
}

/* A state of format 1 has no more tables than this until the tables of runs are made. */
static const struct env_kind *rows_of(enum state_age age)
{
	return age == STATE_OLDER ? &rows_kind_1 : &rows_kind;
}

/*
 * Upgrading an older state is the end of making a new one: the tables that are missing are made in
 * one transaction, then the format file. In between it is an older one still, for everybody.
 */
static int open_for_writing(struct store *store, struct reason *reason)
{
	enum state_age age;
	/* Before the lock is taken, which makes a file: in a directory that is no state, nothing is. */
	int error = state_inspect(store->directory, store->path, &age, reason);

	if (!error)
		error = state_lock(store->directory, store->path, &store->lock, reason);
	if (!error)
		error = state_inspect(store->directory, store->path, &age, reason);
	if (!error && age != STATE_NEW)
		error = check_state(store->path, rows_of(age), reason);
	if (!error)
		error = env_open(store->path, &rows_kind, ENV_WRITE, &store->rows, reason);
	if (!error)
		error = env_open(store->path, &contents_kind, ENV_WRITE, &store->contents, reason);
	if (!error && age == STATE_NEW)
		error = check_new(store, reason);
	if (!error)
		error = state_complete(store->directory, store->path, age, reason);
	return error ? error : start_writers(store, reason);
}

/*
 * Beside a mount through LMDB's lock file; where that cannot be written, only while nobody mounts.
 */
static int open_env_reading(struct store *store, const struct env_kind *kind, struct env *env,
			    struct reason *reason)
{
	int error = env_open(store->path, kind, ENV_READ, env, reason);

	if (error == -EACCES && !state_is_locked(store->directory))
		error = env_open(store->path, kind, ENV_ALONE, env, reason);
	return error == -ENOENT ? -EIO : error;
}

static int open_for_reading(struct store *store, struct reason *reason)
{
	enum state_age age;
	int error = state_inspect(store->directory, store->path, &age, reason);

	if (!error && age == STATE_NEW)
		error = reason_set(reason, ENOENT, "no_store", "there is no aionfs state in %s",
				   store->path);
	if (!error)
		error = open_env_reading(store, rows_of(age), &store->rows, reason);
	if (!error)
		error = open_env_reading(store, &contents_kind, &store->contents, reason);
	return error;
}

static int store_new(const char *path, enum store_mode mode, struct store **ret_store,
		     struct reason *reason)
{
	struct store *store = calloc(1, sizeof(*store));

	if (store)
		store->path = strdup(path);
	if (!store || !store->path) {
		free(store);
		return reason_set(reason, ENOMEM, "store_failed", "out of memory");
	}
	store->mode = mode;
	store->directory = -1;
	store->lock = -1;
	pthread_mutex_init(&store->adopted.lock, NULL);
	pthread_mutex_init(&store->verdicts_lock, NULL);
	pthread_mutex_init(&store->numbers_lock, NULL);
	*ret_store = store;
	return 0;
}

int store_open(const char *path, enum store_mode mode, struct store **ret_store,
	       struct reason *reason)
{
	struct store *store = NULL;
	int error = store_new(path, mode, &store, reason);

	if (error)
		return error;
	error = fault_install();
	if (error)
		reason_set(reason, EIO, "store_failed", "cannot handle SIGBUS");
	if (!error)
		error = state_open(path, mode == STORE_WRITE, &store->directory, reason);
	if (!error)
		error = mode == STORE_WRITE ? open_for_writing(store, reason)
					    : open_for_reading(store, reason);
	if (error) {
		store_close(store);
		return error;
	}
	*ret_store = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	writer_close(&store->contents_writer);
	writer_close(&store->rows_writer);
	env_close(&store->contents);
	env_close(&store->rows);
	/* The lock goes last: until then nobody else may open what is still open here. */
	if (store->lock >= 0)
		close(store->lock);
	if (store->directory >= 0)
		close(store->directory);
	digest_map_clear(&store->verdicts);
	free(store->adopted.numbers);
	pthread_mutex_destroy(&store->adopted.lock);
	pthread_mutex_destroy(&store->verdicts_lock);
	pthread_mutex_destroy(&store->numbers_lock);
	free(store->path);
	free(store);
}
