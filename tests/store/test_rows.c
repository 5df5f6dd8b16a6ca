/* SPDX-License-Identifier: Apache-2.0 */
/* Version and route rows: what stays when a version comes again, all or none, damage isolated. */
#include "tests/store/fixture.h"

#include "store/private.h"
#include "store/tables.h"

static const struct digest first = {.bytes = {1}}, second = {.bytes = {2}};

static struct row_change put_route(const char *type, const struct digest *version, bool removed)
{
	struct row_change change = {.kind = ROW_PUT_ROUTE};

	snprintf(change.route.type, sizeof(change.route.type), "%s", type);
	change.route.version = *version;
	change.route.removed = removed;
	change.route.at_ns = 17;
	return change;
}

Test(rows, a_version_is_read_back_after_a_remount)
{
	struct row_change put = fixture_put_version("order", &first, 42);
	struct version_row row;
	struct fixture fixture;

	fixture_open(&fixture);
	put.version.first_ns = 11;
	put.version.last_ns = 12;
	put.version.entries = 13;
	put.version.bytes = 14;
	put.version.index_bytes = 15;
	put.version.uid = 16;
	put.version.has_signature = true;
	put.version.signature = second;
	put.version.signature_bytes = 17;
	fixture_commit(fixture.store, &put);
	cr_assert_not(put.existed);
	fixture_remount(&fixture);
	row = fixture_version(fixture.store);
	cr_assert_str_eq(row.type, "order");
	cr_assert(digest_equal(&row.version, &first));
	cr_assert_eq(row.upload, 42);
	cr_assert_eq(row.deployed, row.changed);
	cr_assert_eq(put.version.changed, row.changed, "the change says what was stored");
	cr_assert_eq(row.first_ns, 11);
	cr_assert_eq(row.last_ns, 12);
	cr_assert_eq(row.entries, 13);
	cr_assert_eq(row.bytes, 14);
	cr_assert_eq(row.index_bytes, 15);
	cr_assert_eq(row.uid, 16);
	cr_assert(row.has_signature);
	cr_assert(digest_equal(&row.signature, &second));
	cr_assert_eq(row.signature_bytes, 17);
	fixture_close(&fixture);
}

Test(rows, a_second_deploy_keeps_what_the_first_one_said)
{
	struct row_change put = fixture_put_version("order", &first, 42);
	struct version_row row;
	struct fixture fixture;
	uint64_t deployed;

	fixture_open(&fixture);
	put.version.first_ns = 11;
	put.version.uid = 1000;
	fixture_commit(fixture.store, &put);
	put = fixture_put_version("order", &first, 43);
	put.version.first_ns = 21;
	put.version.last_ns = 22;
	put.version.uid = 2000;
	fixture_commit(fixture.store, &put);
	cr_assert(put.existed);
	cr_assert_eq(put.version.upload, 42, "the change says what was stored");
	cr_assert_eq(put.version.first_ns, 11);
	row = fixture_version(fixture.store);
	cr_assert_eq(row.upload, 42);
	cr_assert_eq(row.first_ns, 11);
	cr_assert_eq(row.last_ns, 22);
	cr_assert_eq(row.uid, 1000);
	deployed = row.deployed;
	put.version.deployed = 0;
	fixture_commit(fixture.store, &put);
	row = fixture_version(fixture.store);
	cr_assert_eq(row.deployed, deployed, "staging what was deployed does not undo the deploy");
	cr_assert_gt(row.changed, deployed);
	fixture_close(&fixture);
}

Test(rows, changes_are_numbered_in_the_order_of_their_commits)
{
	struct row_change changes[2];
	struct fixture fixture;
	uint64_t last = 0;

	fixture_open(&fixture);
	for (int i = 0; i < 5; i++) {
		changes[0] = fixture_put_version("order", i % 2 ? &first : &second, 1);
		changes[1] = put_route("order", &first, false);
		cr_assert_eq(rows_commit(fixture.store, changes, 2, NULL), 0);
		cr_assert_gt(changes[0].version.changed, last);
		cr_assert_gt(changes[1].route.changed, changes[0].version.changed);
		last = changes[1].route.changed;
		fixture_remount(&fixture);
	}
	fixture_close(&fixture);
}

Test(rows, a_failing_change_takes_the_others_with_it)
{
	struct row_change changes[2] = {
		fixture_put_version("order", &first, 1),
		fixture_put_version("other", &second, 1),
	};
	struct reason reason = {0};
	struct fixture fixture;

	fixture_open(&fixture);
	changes[1].kind = ROW_DELETE_VERSION;
	cr_assert_eq(rows_commit(fixture.store, changes, 2, &reason), -ENOENT);
	cr_assert_eq(reason.error, ENOENT);
	cr_assert_str_empty(fixture_version(fixture.store).type);
	fixture_commit(fixture.store, &changes[0]);
	changes[1].version = changes[0].version;
	fixture_commit(fixture.store, &changes[1]);
	cr_assert_str_empty(fixture_version(fixture.store).type);
	fixture_close(&fixture);
}

static int read_route(void *context, const char *type, const struct route_row *row,
		      const struct reason *why)
{
	(void)type;
	cr_assert_null(why);
	*(struct route_row *)context = *row;
	return 0;
}

Test(rows, a_route_is_replaced_and_its_removal_is_kept)
{
	struct row_change put = put_route("order", &first, false);
	struct route_row row = {0};
	struct fixture fixture;

	fixture_open(&fixture);
	fixture_commit(fixture.store, &put);
	put = put_route("order", &second, true);
	fixture_commit(fixture.store, &put);
	fixture_remount(&fixture);
	cr_assert_eq(rows_each_route(fixture.store, read_route, &row), 0);
	cr_assert_str_eq(row.type, "order");
	cr_assert(row.removed);
	cr_assert(digest_equal(&row.version, &second));
	cr_assert_eq(row.at_ns, 17);
	fixture_close(&fixture);
}

/* Flips a bit in the middle of every value of a table. */
static void damage(struct fixture *fixture, unsigned int table)
{
	struct env env;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;

	fixture_unmount(fixture);
	cr_assert_eq(env_open(fixture->path, &rows_kind, ENV_WRITE, &env, NULL), 0);
	cr_assert_eq(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_cursor_open(txn, env.tables[table], &cursor), 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		uint8_t bytes[4096];
		MDB_val copy = {.mv_size = value.mv_size, .mv_data = bytes};

		cr_assert_leq(value.mv_size, sizeof(bytes));
		memcpy(bytes, value.mv_data, value.mv_size);
		bytes[value.mv_size / 2] ^= 4;
		cr_assert_eq(mdb_cursor_put(cursor, &key, &copy, MDB_CURRENT), 0);
	}
	mdb_cursor_close(cursor);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	env_close(&env);
	fixture_mount(fixture);
}

struct seen {
	unsigned int good, bad;
	char type[TYPE_MAX + 1];
	struct digest version;
	char message[256];
};

static int see_version(void *context, const char *type, const struct digest *version,
		       const struct version_row *row, const struct reason *why)
{
	struct seen *seen = context;

	cr_assert_neq(row == NULL, why == NULL);
	seen->good += row != NULL;
	seen->bad += row == NULL;
	snprintf(seen->type, sizeof(seen->type), "%s", type);
	seen->version = *version;
	return 0;
}

static int see_route(void *context, const char *type, const struct route_row *row,
		     const struct reason *why)
{
	struct seen *seen = context;

	cr_assert_neq(row == NULL, why == NULL);
	seen->bad += row == NULL;
	snprintf(seen->type, sizeof(seen->type), "%s", type);
	return 0;
}

Test(rows, a_damaged_version_row_is_named_and_repaired_by_the_next_deploy)
{
	struct row_change put = fixture_put_version("order", &first, 42);
	struct fixture fixture;
	struct seen seen = {0};
	struct version_row row;

	fixture_open(&fixture);
	fixture_commit(fixture.store, &put);
	damage(&fixture, ROWS_VERSIONS);
	cr_assert_eq(rows_each_version(fixture.store, see_version, &seen), 0);
	cr_assert_eq(seen.bad, 1);
	cr_assert_eq(seen.good, 0);
	cr_assert_str_eq(seen.type, "order");
	cr_assert(digest_equal(&seen.version, &first));
	cr_assert_eq(versions_find(&fixture.store->rows, "order", &first, &row), -EBADMSG);

	put = fixture_put_version("order", &first, 43);
	put.version.first_ns = 5;
	fixture_commit(fixture.store, &put);
	cr_assert(put.existed);
	cr_assert_eq(versions_find(&fixture.store->rows, "order", &first, &row), 0);
	cr_assert_eq(row.upload, 0, "nobody knows whose references it holds");
	cr_assert_eq(row.first_ns, 5);
	fixture_close(&fixture);
}

Test(rows, a_damaged_route_is_named)
{
	struct row_change put = put_route("order", &first, false);
	struct fixture fixture;
	struct seen seen = {0};

	fixture_open(&fixture);
	fixture_commit(fixture.store, &put);
	damage(&fixture, ROWS_ROUTES);
	cr_assert_eq(rows_each_route(fixture.store, see_route, &seen), 0);
	cr_assert_eq(seen.bad, 1);
	cr_assert_str_eq(seen.type, "order");
	fixture_close(&fixture);
}

Test(rows, a_lost_change_number_is_found_again)
{
	struct row_change put = fixture_put_version("order", &first, 1);
	struct fixture fixture;
	uint64_t last;

	fixture_open(&fixture);
	for (int i = 0; i < 9; i++)
		fixture_commit(fixture.store, &put);
	last = put.version.changed;
	damage(&fixture, ROWS_META);
	fixture_commit(fixture.store, &put);
	cr_assert_gt(put.version.changed, last);
	last = put.version.changed;
	fixture_commit(fixture.store, &put);
	cr_assert_gt(put.version.changed, last);
	fixture_close(&fixture);
}

static void put_and_crash(struct fixture *fixture)
{
	struct row_change put = fixture_put_version("order", &first, 42);

	fixture_mount(fixture);
	fixture_commit(fixture->store, &put);
	fixture_crash();
}

Test(rows, what_was_committed_is_there_after_a_crash)
{
	struct fixture fixture;

	fixture_make(&fixture);
	cr_assert(WIFSIGNALED(fixture_in_child(put_and_crash, &fixture)));
	fixture_mount(&fixture);
	cr_assert_eq(fixture_version(fixture.store).upload, 42);
	fixture_close(&fixture);
}
