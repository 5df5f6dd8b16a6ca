/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

/* A private state directory, and short ways to deploy into it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/contents.h"
#include "store/private.h"
#include "store/rows.h"
#include "store/store.h"
#include "store/upload.h"

/*
 * Criterion's assertions talk to its runner, also when they hold, and a child of a test must not:
 * it would speak on its parent's line, and be killed in the middle. So what children use, too,
 * asserts with must().
 */
static bool fixture_is_child;

static inline void fixture_must(bool holds, const char *text, const char *file, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: %s does not hold\n", file, line, text);
	if (fixture_is_child)
		_exit(99);
	cr_assert_fail("%s:%d: %s", file, line, text);
}

#define must(condition) fixture_must((condition), #condition, __FILE__, __LINE__)

/* For calls that say why they failed. */
static inline void fixture_ok(int error, const struct reason *reason)
{
	if (error)
		fprintf(stderr, "%d: %s: %s\n", error, reason->code, reason->message);
	must(error == 0);
}

struct fixture {
	char path[64];
	struct store *store;
};

static inline void fixture_mount(struct fixture *fixture)
{
	struct reason reason = {0};

	fixture_ok(store_open(fixture->path, STORE_WRITE, &fixture->store, &reason), &reason);
}

static inline void fixture_unmount(struct fixture *fixture)
{
	store_close(fixture->store);
	fixture->store = NULL;
}

static inline void fixture_remount(struct fixture *fixture)
{
	fixture_unmount(fixture);
	fixture_mount(fixture);
}

/* A directory that holds nothing yet. */
static inline void fixture_make(struct fixture *fixture)
{
	*fixture = (struct fixture){.path = "/tmp/aionfs-store-XXXXXX"};
	must(mkdtemp(fixture->path) != NULL);
}

static inline void fixture_open(struct fixture *fixture)
{
	fixture_make(fixture);
	fixture_mount(fixture);
}

static inline int fixture_remove_one(const char *path, const struct stat *attributes, int kind,
				     struct FTW *walk)
{
	(void)attributes;
	(void)kind;
	(void)walk;
	return remove(path);
}

static inline void fixture_close(struct fixture *fixture)
{
	fixture_unmount(fixture);
	nftw(fixture->path, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- processes ---- */

/* Runs `main` in a child; returns its wait status. The fixture must not be mounted here. */
static inline int fixture_in_child(void (*child_main)(struct fixture *fixture),
				   struct fixture *fixture)
{
	int status = -1;
	pid_t child = fork();

	must(child >= 0);
	if (child == 0) {
		fixture_is_child = true;
		child_main(fixture);
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		must(errno == EINTR);
	return status;
}

/* What a crash is to the store: the process is gone from one instruction to the next. */
static inline _Noreturn void fixture_crash(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Deletes all tables of rows from the `first` on, as if the state were older. */
static inline void fixture_drop_tables(struct fixture *fixture, unsigned int first)
{
	struct env env;
	MDB_txn *txn;

	must(env_open(fixture->path, &rows_kind, ENV_WRITE, &env, NULL) == 0);
	must(mdb_txn_begin(env.lmdb, NULL, 0, &txn) == 0);
	for (unsigned int i = first; i < rows_kind.table_count; i++)
		must(mdb_drop(txn, env.tables[i], 1) == 0);
	must(mdb_txn_commit(txn) == 0);
	env_close(&env);
}

/* Makes the values of a table's rows something else: `spoil` changes a copy of each. */
static inline void fixture_spoil(struct fixture *fixture, const struct env_kind *kind,
				 unsigned int table, void (*spoil)(uint8_t *bytes, size_t length))
{
	struct env env;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;

	must(env_open(fixture->path, kind, ENV_WRITE, &env, NULL) == 0);
	must(mdb_txn_begin(env.lmdb, NULL, 0, &txn) == 0);
	must(mdb_cursor_open(txn, env.tables[table], &cursor) == 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		uint8_t *copy = malloc(value.mv_size + 1);

		must(copy != NULL);
		memcpy(copy, value.mv_data, value.mv_size);
		spoil(copy, value.mv_size);
		value.mv_data = copy;
		must(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT) == 0);
		free(copy);
	}
	mdb_cursor_close(cursor);
	must(mdb_txn_commit(txn) == 0);
	env_close(&env);
}

static inline void fixture_flip(uint8_t *bytes, size_t length)
{
	bytes[length / 2] ^= 1;
}

/* ---- uploads ---- */

static inline struct upload *fixture_upload(struct store *store)
{
	struct upload *upload = NULL;

	must(upload_open(store, &upload, NULL) == 0);
	return upload;
}

static inline struct digest fixture_content(struct upload *upload, const void *bytes, size_t length)
{
	struct reason reason = {0};
	struct digest digest = {0};
	uint64_t size = 0;

	fixture_ok(upload_write(upload, bytes, length, &reason), &reason);
	fixture_ok(upload_end(upload, &digest, &size, &reason), &reason);
	must(size == length);
	return digest;
}

/* Bytes that differ for each seed, and do not repeat within a page. */
static inline uint8_t *fixture_bytes(uint64_t seed, size_t length)
{
	uint8_t *bytes = malloc(length + 8);
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;

	must(bytes != NULL);
	for (size_t i = 0; i < length; i += 8) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(bytes + i, &state, 8);
	}
	return bytes;
}

static inline struct digest fixture_random(struct upload *upload, uint64_t seed, size_t length)
{
	uint8_t *bytes = fixture_bytes(seed, length);
	struct digest digest = fixture_content(upload, bytes, length);

	free(bytes);
	return digest;
}

static inline void fixture_seal(struct upload *upload, const char *type,
				const struct digest *version)
{
	struct reason reason = {0};

	fixture_ok(upload_seal(upload, type, version, &reason), &reason);
}

static inline struct row_change fixture_put_version(const char *type, const struct digest *version,
						    uint64_t upload)
{
	struct row_change change = {.kind = ROW_PUT_VERSION};

	snprintf(change.version.type, sizeof(change.version.type), "%s", type);
	change.version.version = *version;
	change.version.upload = upload;
	change.version.deployed = DEPLOYED_NOW;
	return change;
}

static inline void fixture_commit(struct store *store, struct row_change *change)
{
	struct reason reason = {0};

	fixture_ok(rows_commit(store, change, 1, &reason), &reason);
}

/* Commits the row of a sealed upload, and hands the references over. */
static inline void fixture_finish(struct store *store, struct upload *upload, const char *type,
				  const struct digest *version)
{
	struct row_change change = fixture_put_version(type, version, upload_number(upload));

	fixture_commit(store, &change);
	if (change.existed)
		upload_abort(upload);
	else
		upload_adopt(upload);
}

/* A version of one text; the text is its index, too. */
static inline struct digest fixture_deploy(struct store *store, const char *type, const char *text)
{
	struct upload *upload = fixture_upload(store);
	struct digest digest = fixture_content(upload, text, strlen(text));

	fixture_seal(upload, type, &digest);
	fixture_finish(store, upload, type, &digest);
	return digest;
}

static inline void fixture_delete_row(struct store *store, const char *type,
				      const struct digest *version)
{
	struct row_change change = fixture_put_version(type, version, 0);

	change.kind = ROW_DELETE_VERSION;
	fixture_commit(store, &change);
}

static inline void fixture_unload(struct store *store, const char *type,
				  const struct digest *version, const struct digest *digests,
				  size_t count)
{
	uint64_t hold = 0;

	must(contents_hold(store, type, version, digests, count, &hold, NULL) == 0);
	fixture_delete_row(store, type, version);
	must(contents_release(store, hold, NULL) == 0);
}

/* ---- looking ---- */

struct fixture_counted {
	const struct digest *digest;
	uint64_t references;
};

static inline int fixture_count_one(void *context, const struct digest *digest, uint64_t size,
				    uint64_t references)
{
	struct fixture_counted *counted = context;

	(void)size;
	if (digest_equal(digest, counted->digest))
		counted->references = references;
	return 0;
}

/* How many references a content has; 0 when it is not stored. */
static inline uint64_t fixture_references(struct store *store, const struct digest *digest)
{
	struct fixture_counted counted = {.digest = digest};

	must(contents_each(store, fixture_count_one, &counted) == 0);
	return counted.references;
}

static inline void fixture_wrong(void *context, const struct reason *reason)
{
	unsigned int *count = context;

	fprintf(stderr, "contents_check: %s: %s\n", reason->code, reason->message);
	(*count)++;
}

/* How much contents_check finds. */
static inline unsigned int fixture_findings(struct store *store)
{
	unsigned int count = 0;

	must(contents_check(store, fixture_wrong, &count) == 0);
	return count;
}

static inline int fixture_read_version(void *context, const char *type,
				       const struct digest *version, const struct version_row *row,
				       const struct reason *why)
{
	(void)type;
	(void)version;
	(void)why;
	if (row)
		*(struct version_row *)context = *row;
	return 0;
}

/* The last version row in key order. */
static inline struct version_row fixture_version(struct store *store)
{
	struct version_row row = {0};

	must(rows_each_version(store, fixture_read_version, &row) == 0);
	return row;
}

static inline int fixture_nothing(MDB_txn *txn, struct writer_job *job)
{
	(void)txn;
	(void)job;
	return 0;
}

/* Waits for what nobody waits for: the dropping of pending rows, step by step. */
static inline void fixture_drain(struct store *store)
{
	uint64_t pending = 1;

	for (int i = 0; i < 10000 && pending; i++) {
		struct writer_job job = {.apply = fixture_nothing, .reserved = true};

		must(writer_run(&store->contents_writer, &job) == 0);
		must(env_count(&store->contents, CONTENTS_PENDING, &pending) == 0);
	}
	must(pending == 0);
}

#endif
