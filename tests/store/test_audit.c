/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: readable from every offset, and whole even where a line is not. */
#include "tests/store/fixture.h"

#include "store/private.h"

static void append(struct store *store, const char *line)
{
	struct row_change change = {
		.kind = ROW_APPEND_AUDIT, .text = line, .text_length = strlen(line)};

	fixture_commit(store, &change);
}

Test(audit, reads_from_every_offset)
{
	static const char whole[] = "{\"a\":1}\n{\"b\":22}\n{\"c\":333}\n";
	struct fixture fixture;
	uint64_t size = 99;

	fixture_open(&fixture);
	cr_assert_eq(rows_audit_size(fixture.store, &size), 0);
	cr_assert_eq(size, 0);
	append(fixture.store, "{\"a\":1}\n");
	append(fixture.store, "{\"b\":22}\n");
	fixture_remount(&fixture);
	append(fixture.store, "{\"c\":333}\n");
	cr_assert_eq(rows_audit_size(fixture.store, &size), 0);
	cr_assert_eq(size, sizeof(whole) - 1);
	for (size_t offset = 0; offset <= size; offset++) {
		for (size_t room = 0; room <= size; room++) {
			char buffer[64];
			size_t left = (size_t)size - offset, expected = room < left ? room : left;

			cr_assert_eq(rows_audit_read(fixture.store, offset, buffer, room),
				     (ssize_t)expected);
			cr_assert_arr_eq(buffer, whole + offset, expected);
		}
	}
	cr_assert_eq(rows_audit_read(fixture.store, 1000, (char[8]){0}, 8), 0);
	fixture_close(&fixture);
}

Test(audit, refuses_lines_that_are_empty_or_endless)
{
	static char endless[65 * 1024];
	struct row_change change = {.kind = ROW_APPEND_AUDIT, .text = endless};
	struct fixture fixture;
	uint64_t size;

	fixture_open(&fixture);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -EINVAL);
	memset(endless, 'x', sizeof(endless));
	change.text_length = sizeof(endless);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -EINVAL);
	change.text_length = 64 * 1024;
	fixture_commit(fixture.store, &change);
	cr_assert_eq(rows_audit_size(fixture.store, &size), 0);
	cr_assert_eq(size, 64 * 1024);
	fixture_close(&fixture);
}

enum damage { FLIPPED, DELETED, EMPTIED };

/* Flips a bit in the row at `offset`, deletes it, or takes its bytes away. */
static void damage(struct fixture *fixture, uint8_t offset, enum damage how)
{
	uint8_t bytes[8] = {0, 0, 0, 0, 0, 0, 0, offset}, copy[256];
	MDB_val key = {.mv_size = 8, .mv_data = bytes}, value;
	struct env env;
	MDB_txn *txn;

	fixture_unmount(fixture);
	cr_assert_eq(env_open(fixture->path, &rows_kind, ENV_WRITE, &env, NULL), 0);
	cr_assert_eq(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_get(txn, env.tables[ROWS_AUDIT], &key, &value), 0);
	memcpy(copy, value.mv_data, value.mv_size);
	copy[3] ^= 1;
	value.mv_data = copy;
	if (how == EMPTIED)
		value.mv_size = 0;
	if (how == DELETED)
		cr_assert_eq(mdb_del(txn, env.tables[ROWS_AUDIT], &key, NULL), 0);
	else
		cr_assert_eq(mdb_put(txn, env.tables[ROWS_AUDIT], &key, &value, 0), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	env_close(&env);
	fixture_mount(fixture);
}

static void check_hole(enum damage how)
{
	static const char line[] = "{\"event\":\"deploy\",\"type\":\"order\",\"pid\":42}\n";
	const size_t length = sizeof(line) - 1;
	struct fixture fixture;
	char buffer[256];

	fixture_open(&fixture);
	for (int i = 0; i < 3; i++)
		append(fixture.store, line);
	damage(&fixture, (uint8_t)length, how);
	cr_assert_eq(rows_audit_read(fixture.store, 0, buffer, sizeof(buffer)),
		     (ssize_t)(3 * length));
	cr_assert_arr_eq(buffer, line, length);
	cr_assert_arr_eq(buffer + 2 * length, line, length);
	cr_assert_arr_eq(buffer + length, "{\"event\":\"audit_unreadable\"", 27);
	cr_assert_arr_eq(buffer + 2 * length - 2, "}\n", 2);
	cr_assert_eq(rows_audit_read(fixture.store, length + 5, buffer, 3), 3);
	cr_assert_arr_eq(buffer, "nt\"", 3);
	fixture_close(&fixture);
}

Test(audit, a_damaged_line_keeps_its_place)
{
	check_hole(FLIPPED);
}

Test(audit, a_missing_line_keeps_its_place)
{
	check_hole(DELETED);
}

Test(audit, an_emptied_line_keeps_its_place)
{
	check_hole(EMPTIED);
}

Test(audit, goes_on_behind_a_last_line_that_was_emptied)
{
	struct fixture fixture;
	char buffer[64];

	fixture_open(&fixture);
	append(fixture.store, "{\"a\":1}\n");
	append(fixture.store, "{\"b\":1}\n");
	damage(&fixture, 8, EMPTIED);
	append(fixture.store, "{\"c\":1}\n");
	cr_assert_eq(rows_audit_read(fixture.store, 0, buffer, sizeof(buffer)), 17);
	cr_assert_arr_eq(buffer, "{\"a\":1}\n\n{\"c\":1}\n", 17);
	fixture_close(&fixture);
}
