/* SPDX-License-Identifier: Apache-2.0 */
/* contents_check: silent on a sound store, and not silent on each kind of disagreement. */
#include "tests/store/fixture.h"

#include "store/piece.h"
#include "store/private.h"
#include "store/record.h"
#include "store/row.h"

static struct digest small, large;

static void fill(struct fixture *fixture)
{
	struct upload *upload;

	fixture_open(fixture);
	upload = fixture_upload(fixture->store);
	small = fixture_content(upload, "small", 5);
	fixture_content(upload, "its neighbour", 13);
	large = fixture_random(upload, 1, 3 * PART_BYTES);
	fixture_seal(upload, "t", &small);
	fixture_finish(fixture->store, upload, "t", &small);
	fixture_drain(fixture->store);
	cr_assert_eq(fixture_findings(fixture->store), 0);
	fixture_unmount(fixture);
}

/* Makes one change behind the store's back, and counts what is found. */
static unsigned int findings_after(struct fixture *fixture,
				   int (*change)(MDB_txn *txn, const struct env *contents))
{
	unsigned int findings;
	struct env env;
	MDB_txn *txn;

	fill(fixture);
	cr_assert_eq(env_open(fixture->path, &contents_kind, ENV_WRITE, &env, NULL), 0);
	cr_assert_eq(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
	cr_assert_eq(change(txn, &env), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	env_close(&env);
	fixture_mount(fixture);
	findings = fixture_findings(fixture->store);
	fixture_close(fixture);
	return findings;
}

static int lose_record(MDB_txn *txn, const struct env *contents)
{
	return record_delete(txn, contents, &small);
}

static int lose_large_record(MDB_txn *txn, const struct env *contents)
{
	return record_delete(txn, contents, &large);
}

static int change_record(MDB_txn *txn, const struct env *contents, const struct digest *digest,
			 void (*change)(struct record *record))
{
	struct record record;
	int error = record_get(txn, contents, digest, &record);

	if (error)
		return error;
	change(&record);
	return record_put(txn, contents, digest, &record);
}

static void shift(struct record *record)
{
	record->offset++;
}

static int shift_record(MDB_txn *txn, const struct env *contents)
{
	return change_record(txn, contents, &small, shift);
}

static void unreference(struct record *record)
{
	record->references = 0;
}

static int unreference_record(MDB_txn *txn, const struct env *contents)
{
	return change_record(txn, contents, &small, unreference);
}

static void shorten(struct record *record)
{
	record->size -= PART_BYTES;
}

static int shorten_large(MDB_txn *txn, const struct env *contents)
{
	return change_record(txn, contents, &large, shorten);
}

static int lose_part(MDB_txn *txn, const struct env *contents)
{
	struct record record;
	int error = record_get(txn, contents, &large, &record);

	return error ? error : piece_delete(txn, contents, record.piece + 1, 1);
}

static int lose_piece(MDB_txn *txn, const struct env *contents)
{
	struct record record;
	int error = record_get(txn, contents, &small, &record);

	return error ? error : piece_delete(txn, contents, record.piece, 1);
}

static int add_part(MDB_txn *txn, const struct env *contents)
{
	return piece_write_part(txn, contents, 1u << 30, (const uint8_t *)"x", 1);
}

static int share_run(MDB_txn *txn, const struct env *contents)
{
	const struct digest other = {.bytes = {1}};
	struct record record;
	int error = record_get(txn, contents, &large, &record);

	return error ? error : record_put(txn, contents, &other, &record);
}

static int break_header(MDB_txn *txn, const struct env *contents)
{
	uint8_t key_bytes[8], copy[4096];
	MDB_val key = {.mv_size = 8, .mv_data = key_bytes}, value;
	struct record record;
	int error = record_get(txn, contents, &small, &record);

	if (error)
		return error;
	be64_put(key_bytes, record.piece);
	error = mdb_get(txn, contents->tables[CONTENTS_PIECES], &key, &value);
	cr_assert_leq(value.mv_size, sizeof(copy));
	memcpy(copy, value.mv_data, value.mv_size);
	copy[PIECE_HEADER + 3] ^= 1;
	value.mv_data = copy;
	return error ? error : mdb_put(txn, contents->tables[CONTENTS_PIECES], &key, &value, 0);
}

#define FOUND(test, change, count)                                                                 \
	Test(inspect, test)                                                                        \
	{                                                                                          \
		struct fixture fixture;                                                            \
                                                                                                   \
		cr_assert_eq(findings_after(&fixture, change), count);                             \
	}

FOUND(a_piece_that_lists_what_has_no_record, lose_record, 1)
FOUND(parts_that_belong_to_nothing, lose_large_record, 3)
FOUND(a_record_that_points_beside_its_entry, shift_record, 2)
FOUND(a_content_that_nobody_uses, unreference_record, 1)
FOUND(a_run_that_is_longer_than_its_content, shorten_large, 1)
FOUND(a_run_with_a_hole, lose_part, 1)
FOUND(records_without_their_piece, lose_piece, 2)
FOUND(a_part_outside_of_every_run, add_part, 1)
FOUND(two_contents_on_the_same_pieces, share_run, 1)
FOUND(a_piece_whose_entries_are_damaged, break_header, 3)

Test(inspect, a_pending_row_of_a_live_upload)
{
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;

	fixture_open(&fixture);
	upload = fixture_upload(fixture.store);
	digest = fixture_content(upload, "x", 1);
	fixture_seal(upload, "t", &digest);
	cr_assert_eq(fixture_findings(fixture.store), 1);
	upload_abort(upload);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}
