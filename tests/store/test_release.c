/* SPDX-License-Identifier: Apache-2.0 */
/* Unloading, and what the next mount makes of every point at which it can be cut off. */
#include "tests/store/fixture.h"

#include "store/piece.h"
#include "store/private.h"

static uint64_t count_contents(struct store *store)
{
	uint64_t count = 0;

	must(contents_count(store, &count) == 0);
	return count;
}

Test(release, frees_what_nobody_else_holds)
{
	struct digest versions[2], mine[2], shared;
	struct fixture fixture;

	fixture_open(&fixture);
	for (int i = 0; i < 2; i++) {
		struct upload *upload = fixture_upload(fixture.store);

		shared = fixture_content(upload, "shared", 6);
		mine[i] = fixture_random(upload, (uint64_t)i, 5000);
		versions[i] = fixture_random(upload, 10 + (uint64_t)i, 100);
		fixture_seal(upload, "t", &versions[i]);
		fixture_finish(fixture.store, upload, "t", &versions[i]);
	}
	fixture_unload(fixture.store, "t", &versions[0],
		       (struct digest[]){shared, mine[0], versions[0]}, 3);
	must(fixture_references(fixture.store, &shared) == 1);
	must(fixture_references(fixture.store, &mine[0]) == 0);
	must(fixture_references(fixture.store, &versions[0]) == 0);
	must(count_contents(fixture.store) == 3);
	must(contents_verify(fixture.store, &shared, 6, NULL) == 0);
	must(fixture_findings(fixture.store) == 0);
	fixture_unload(fixture.store, "t", &versions[1],
		       (struct digest[]){shared, mine[1], versions[1]}, 3);
	must(count_contents(fixture.store) == 0);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}

/* Neighbours that stay are moved to a smaller piece, and are still what they were. */
Test(release, compacts_the_pieces_of_what_stays)
{
	enum { COUNT = 1000 };
	static struct digest all[COUNT], odd[COUNT / 2];
	struct store_space before, after;
	struct fixture fixture;
	struct upload *upload;

	fixture_open(&fixture);
	for (int half = 0; half < 2; half++) {
		upload = fixture_upload(fixture.store);
		/* The first upload brings all, the second one holds the even ones. */
		for (unsigned int i = 0; i < COUNT; i++) {
			if (half == 0 || i % 2 == 0)
				all[i] = fixture_random(upload, i, 3000 + i);
			if (half == 0 && i % 2)
				odd[i / 2] = all[i];
		}
		fixture_seal(upload, "t", &all[half]);
		fixture_finish(fixture.store, upload, "t", &all[half]);
	}
	must(store_space(fixture.store, &before) == 0);
	fixture_unload(fixture.store, "t", &all[0], all, COUNT);
	must(count_contents(fixture.store) == COUNT / 2);
	must(fixture_references(fixture.store, &odd[0]) == 0);
	must(store_space(fixture.store, &after) == 0);
	must(after.used_bytes < before.used_bytes * 6 / 10);
	must(fixture_findings(fixture.store) == 0);
	fixture_remount(&fixture);
	for (unsigned int i = 0; i < COUNT; i += 2)
		must(contents_verify(fixture.store, &all[i], 3000 + i, NULL) == 0);
	fixture_close(&fixture);
}

Test(release, a_reader_keeps_what_it_looks_at)
{
	struct contents_reader *reader;
	struct fixture fixture;
	struct iovec vector;
	struct digest digest;
	int count;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", "text");
	must(contents_reader_open(fixture.store, &reader) == 0);
	fixture_unload(fixture.store, "t", &digest, &digest, 1);
	for (int i = 0; i < 20; i++) {
		char text[32];

		snprintf(text, sizeof(text), "other %d", i);
		fixture_deploy(fixture.store, "t", text);
	}
	must(contents_map(reader, &digest, 0, 100, &vector, 1, &count) == 4);
	cr_assert_arr_eq(vector.iov_base, "text", 4);
	contents_reader_close(reader);
	must(contents_reader_open(fixture.store, &reader) == 0);
	must(contents_map(reader, &digest, 0, 100, &vector, 1, &count) == -ENOENT);
	contents_reader_close(reader);
	fixture_close(&fixture);
}

Test(release, a_cancelled_hold_holds_nothing)
{
	struct fixture fixture;
	struct digest digest;
	uint64_t hold;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", "text");
	must(contents_hold(fixture.store, "t", &digest, &digest, 1, &hold, NULL) == 0);
	must(contents_hold_cancel(fixture.store, hold) == 0);
	must(fixture_references(fixture.store, &digest) == 1);
	must(fixture_findings(fixture.store) == 0);
	fixture_remount(&fixture);
	must(fixture_references(fixture.store, &digest) == 1);
	fixture_close(&fixture);
}

Test(release, there_is_nothing_to_hold_without_a_row)
{
	struct digest digest = {.bytes = {1}};
	struct fixture fixture;
	uint64_t hold;

	fixture_open(&fixture);
	must(contents_hold(fixture.store, "t", &digest, &digest, 1, &hold, NULL) == -ENOENT);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}

/* ---- crashes: each child stops at one step, and the parent mounts ---- */

static struct digest text_digest(const char *text)
{
	struct digest digest;

	must(digest_of(text, strlen(text), &digest) == 0);
	return digest;
}

static void crash_in(struct fixture *fixture, void (*child_main)(struct fixture *fixture))
{
	int status;

	fixture_make(fixture);
	status = fixture_in_child(child_main, fixture);
	must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	fixture_mount(fixture);
	must(fixture_findings(fixture->store) == 0);
}

static struct upload *start_text(struct fixture *fixture)
{
	struct upload *upload;

	fixture_mount(fixture);
	upload = fixture_upload(fixture->store);
	fixture_content(upload, "text", 4);
	return upload;
}

static void crash_unsealed(struct fixture *fixture)
{
	struct upload *upload = start_text(fixture);

	/* Enough for two batches to be durable: small contents, and a run that goes on. */
	for (unsigned int i = 0; i < 40; i++)
		fixture_random(upload, i, 1000000);
	fixture_random(upload, 99, 70000000);
	fixture_crash();
}

Test(crash, an_upload_that_was_not_sealed_is_collected, .timeout = 300)
{
	struct fixture fixture;

	crash_in(&fixture, crash_unsealed);
	must(count_contents(fixture.store) == 0);
	fixture_close(&fixture);
}

static void crash_mid_stream(struct fixture *fixture)
{
	struct upload *upload = start_text(fixture);
	uint8_t *bytes = fixture_bytes(5, 80000000);

	must(upload_write(upload, bytes, 80000000, NULL) == 0);
	fixture_crash();
}

Test(crash, a_content_that_still_streamed_is_collected, .timeout = 300)
{
	struct store_space space;
	struct fixture fixture;

	crash_in(&fixture, crash_mid_stream);
	must(count_contents(fixture.store) == 0);
	must(store_space(fixture.store, &space) == 0);
	must(space.used_bytes < 1000000);
	fixture_close(&fixture);
}

static void crash_sealed(struct fixture *fixture)
{
	struct upload *upload = start_text(fixture);
	struct digest version = text_digest("text");

	fixture_seal(upload, "t", &version);
	fixture_crash();
}

Test(crash, a_sealed_upload_without_its_row_is_collected)
{
	struct fixture fixture;

	crash_in(&fixture, crash_sealed);
	must(count_contents(fixture.store) == 0);
	fixture_close(&fixture);
}

static void crash_committed(struct fixture *fixture)
{
	struct upload *upload = start_text(fixture);
	struct digest version = text_digest("text");
	struct row_change change = fixture_put_version("t", &version, upload_number(upload));

	fixture_seal(upload, "t", &version);
	fixture_commit(fixture->store, &change);
	fixture_crash();
}

Test(crash, a_committed_row_keeps_its_contents)
{
	struct digest digest = text_digest("text");
	struct fixture fixture;

	crash_in(&fixture, crash_committed);
	must(fixture_references(fixture.store, &digest) == 1);
	must(fixture_version(fixture.store).version.bytes[0] == digest.bytes[0]);
	fixture_close(&fixture);
}

static void crash_second_deploy(struct fixture *fixture)
{
	struct digest version = text_digest("text");
	struct upload *upload;

	fixture_mount(fixture);
	fixture_deploy(fixture->store, "t", "text");
	upload = fixture_upload(fixture->store);
	fixture_content(upload, "text", 4);
	fixture_seal(upload, "t", &version);
	struct row_change change = fixture_put_version("t", &version, upload_number(upload));
	fixture_commit(fixture->store, &change);
	must(change.existed);
	fixture_crash();
}

Test(crash, a_second_upload_of_the_same_version_is_given_back)
{
	struct digest digest = text_digest("text");
	struct fixture fixture;

	crash_in(&fixture, crash_second_deploy);
	must(fixture_references(fixture.store, &digest) == 1);
	fixture_close(&fixture);
}

static uint64_t deploy_and_hold(struct fixture *fixture)
{
	struct digest digest = text_digest("text");
	uint64_t hold = 0;

	fixture_mount(fixture);
	fixture_deploy(fixture->store, "t", "text");
	must(contents_hold(fixture->store, "t", &digest, &digest, 1, &hold, NULL) == 0);
	return hold;
}

static void crash_held(struct fixture *fixture)
{
	deploy_and_hold(fixture);
	fixture_crash();
}

Test(crash, a_hold_whose_row_stayed_is_dropped)
{
	struct digest digest = text_digest("text");
	struct fixture fixture;

	crash_in(&fixture, crash_held);
	must(fixture_references(fixture.store, &digest) == 1);
	fixture_close(&fixture);
}

static void crash_deleted(struct fixture *fixture)
{
	struct digest digest = text_digest("text");

	deploy_and_hold(fixture);
	fixture_delete_row(fixture->store, "t", &digest);
	fixture_crash();
}

Test(crash, a_hold_whose_row_is_gone_is_given_back)
{
	struct fixture fixture;

	crash_in(&fixture, crash_deleted);
	must(count_contents(fixture.store) == 0);
	fixture_close(&fixture);
}

static void crash_deployed_again(struct fixture *fixture)
{
	struct digest digest = text_digest("text");

	deploy_and_hold(fixture);
	fixture_delete_row(fixture->store, "t", &digest);
	fixture_deploy(fixture->store, "t", "text");
	must(fixture_references(fixture->store, &digest) == 2);
	fixture_crash();
}

Test(crash, a_hold_is_given_back_although_its_version_came_back)
{
	struct digest digest = text_digest("text");
	struct fixture fixture;

	crash_in(&fixture, crash_deployed_again);
	must(fixture_references(fixture.store, &digest) == 1);
	fixture_close(&fixture);
}

static void crash_after_release(struct fixture *fixture)
{
	struct digest digest = text_digest("text");
	uint64_t hold = deploy_and_hold(fixture);

	fixture_delete_row(fixture->store, "t", &digest);
	must(contents_release(fixture->store, hold, NULL) == 0);
	fixture_crash();
}

Test(crash, a_finished_release_is_not_repeated)
{
	struct fixture fixture;

	crash_in(&fixture, crash_after_release);
	must(count_contents(fixture.store) == 0);
	fixture_close(&fixture);
}

/* ---- unreadable rows: leak rather than lose ---- */

static void break_values(struct fixture *fixture, const struct env_kind *kind, unsigned int table)
{
	struct env env;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;

	must(env_open(fixture->path, kind, ENV_WRITE, &env, NULL) == 0);
	must(mdb_txn_begin(env.lmdb, NULL, 0, &txn) == 0);
	must(mdb_cursor_open(txn, env.tables[table], &cursor) == 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		value.mv_size = 3;
		value.mv_data = (void *)"bad";
		must(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT) == 0);
	}
	mdb_cursor_close(cursor);
	must(mdb_txn_commit(txn) == 0);
	env_close(&env);
}

static void crash_with_broken(struct fixture *fixture, const struct env_kind *kind,
			      unsigned int table)
{
	fixture_make(fixture);
	must(WIFSIGNALED(fixture_in_child(crash_committed, fixture)));
	break_values(fixture, kind, table);
	fixture_mount(fixture);
}

Test(crash, an_unreadable_version_row_keeps_its_contents)
{
	struct digest digest = text_digest("text");
	struct fixture fixture;

	crash_with_broken(&fixture, &rows_kind, ROWS_VERSIONS);
	must(fixture_references(fixture.store, &digest) == 1);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}

Test(crash, an_unreadable_pending_row_gives_nothing_back)
{
	struct digest digest = text_digest("text");
	struct fixture fixture;

	crash_with_broken(&fixture, &contents_kind, CONTENTS_PENDING);
	must(fixture_references(fixture.store, &digest) == 1);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}

Test(crash, an_unreadable_chunk_is_dropped)
{
	struct digest digest = text_digest("text");
	struct fixture fixture;

	crash_with_broken(&fixture, &contents_kind, CONTENTS_CHUNKS);
	must(fixture_references(fixture.store, &digest) == 1);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}
