/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads: one reference for each digest, bytes stored once, whatever their size. */
#include "tests/store/fixture.h"

#include "store/batch.h"
#include "store/piece.h"
#include "store/private.h"

static void check_bytes(struct store *store, const struct digest *digest, const uint8_t *bytes,
			size_t length)
{
	struct contents_reader *reader;
	size_t offset = 0;
	uint64_t size;

	cr_assert_eq(contents_reader_open(store, &reader), 0);
	cr_assert_eq(contents_size(reader, digest, &size), 0);
	cr_assert_eq(size, length);
	while (offset < length) {
		struct iovec vectors[3];
		int count = 0;
		ssize_t got = contents_map(reader, digest, offset, 777777, vectors, 3, &count);

		cr_assert_gt(got, 0);
		for (int i = 0; i < count; i++) {
			cr_assert_eq(memcmp(vectors[i].iov_base, bytes + offset,
					    vectors[i].iov_len), 0);
			offset += vectors[i].iov_len;
		}
	}
	contents_reader_close(reader);
}

/* Uploads, mounts anew, and reads back. */
static void there_and_back(size_t length)
{
	uint8_t *bytes = fixture_bytes(length, length);
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;

	fixture_open(&fixture);
	upload = fixture_upload(fixture.store);
	digest = fixture_content(upload, bytes, length);
	fixture_seal(upload, "t", &digest);
	cr_assert_eq(upload_new_bytes(upload), length);
	fixture_finish(fixture.store, upload, "t", &digest);
	fixture_remount(&fixture);
	check_bytes(fixture.store, &digest, bytes, length);
	cr_assert_eq(contents_verify(fixture.store, &digest, length, NULL), 0);
	cr_assert_eq(fixture_references(fixture.store, &digest), 1);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	free(bytes);
	fixture_close(&fixture);
}

Test(upload, sizes_around_every_boundary)
{
	static const size_t sizes[] = {
		0,	      1,	      4095,	      4096,	    PACKED_MAX - 1,
		PACKED_MAX,   PACKED_MAX + 1, PART_BYTES,     PART_BYTES + 1, 2 * PART_BYTES,
		2 * PART_BYTES + 1,
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		there_and_back(sizes[i]);
}

Test(upload, sizes_around_a_batch, .timeout = 300)
{
	there_and_back(BATCH_BYTES - 1);
	there_and_back(BATCH_BYTES);
	there_and_back(BATCH_BYTES + 1);
	there_and_back(2 * BATCH_BYTES + 12345);
}

Test(upload, many_contents_of_all_sizes, .timeout = 300)
{
	enum { COUNT = 9000 };
	static struct digest digests[COUNT];
	struct fixture fixture;
	struct upload *upload;

	fixture_open(&fixture);
	upload = fixture_upload(fixture.store);
	for (size_t i = 0; i < COUNT; i++)
		digests[i] = fixture_random(upload, i, i % 500 == 0 ? 1000000 + i : 1 + i % 100);
	fixture_seal(upload, "t", &digests[0]);
	fixture_finish(fixture.store, upload, "t", &digests[0]);
	fixture_remount(&fixture);
	for (size_t i = 0; i < COUNT; i += 100) {
		size_t length = i % 500 == 0 ? 1000000 + i : 1 + i % 100;
		uint8_t *bytes = fixture_bytes(i, length);

		check_bytes(fixture.store, &digests[i], bytes, length);
		free(bytes);
	}
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}

Test(upload, one_digest_takes_one_reference)
{
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;
	uint64_t count = 0;

	fixture_open(&fixture);
	upload = fixture_upload(fixture.store);
	for (int i = 0; i < 5; i++)
		digest = fixture_content(upload, "same", 4);
	fixture_seal(upload, "t", &digest);
	cr_assert_eq(upload_new_bytes(upload), 4);
	fixture_finish(fixture.store, upload, "t", &digest);
	cr_assert_eq(fixture_references(fixture.store, &digest), 1);
	cr_assert_eq(contents_count(fixture.store, &count), 0);
	cr_assert_eq(count, 1);
	fixture_close(&fixture);
}

Test(upload, a_large_content_that_is_stored_already_leaves_nothing_behind, .timeout = 300)
{
	struct store_space before, after;
	struct fixture fixture;
	struct digest digest, other;

	fixture_open(&fixture);
	for (int i = 0; i < 3; i++) {
		struct upload *upload = fixture_upload(fixture.store);

		digest = fixture_random(upload, 1, BATCH_BYTES + 100);
		/* And once more in the same upload. */
		fixture_random(upload, 1, BATCH_BYTES + 100);
		other = (struct digest){.bytes = {(uint8_t)i}};
		fixture_seal(upload, "t", &other);
		cr_assert_eq(upload_new_bytes(upload), i ? 0 : BATCH_BYTES + 100);
		fixture_finish(fixture.store, upload, "t", &other);
		fixture_drain(fixture.store);
		if (i == 0)
			cr_assert_eq(store_space(fixture.store, &before), 0);
	}
	cr_assert_eq(store_space(fixture.store, &after), 0);
	cr_assert_leq(after.used_bytes, before.used_bytes + 512 * 1024);
	cr_assert_eq(fixture_references(fixture.store, &digest), 3);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}

Test(upload, an_aborted_one_leaves_nothing_behind, .timeout = 300)
{
	struct fixture fixture;
	struct digest shared;
	struct upload *upload;
	uint64_t count = 0;

	fixture_open(&fixture);
	shared = fixture_deploy(fixture.store, "t", "shared");
	upload = fixture_upload(fixture.store);
	fixture_content(upload, "shared", 6);
	fixture_random(upload, 1, 5000000);
	fixture_random(upload, 2, BATCH_BYTES + 5000000);
	fixture_content(upload, "end", 3);
	fixture_seal(upload, "t", &shared);
	cr_assert_eq(fixture_references(fixture.store, &shared), 2);
	upload_abort(upload);
	cr_assert_eq(fixture_references(fixture.store, &shared), 1);
	cr_assert_eq(contents_count(fixture.store, &count), 0);
	cr_assert_eq(count, 1);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	upload_abort(NULL);
	fixture_close(&fixture);
}

static int do_nothing(MDB_txn *txn, struct writer_job *job)
{
	(void)txn;
	(void)job;
	return 0;
}

/* Waits until the writer has done all that was handed in, then limits how large the file may grow. */
static void set_map_bytes(struct store *store, size_t bytes)
{
	struct writer_job job = {.apply = do_nothing, .reserved = true};

	cr_assert_eq(writer_run(&store->contents_writer, &job), 0);
	cr_assert_eq(mdb_env_set_mapsize(store->contents.lmdb, bytes), 0);
}

/* Of a content that streams, and of many small ones: those behind the failed batch are not stored. */
static void fail_half_way(size_t content_bytes)
{
	uint8_t *bytes = fixture_bytes(3, 8 * BATCH_BYTES);
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;
	uint64_t size;
	int error = 0;

	fixture_open(&fixture);
	set_map_bytes(fixture.store, 2 * BATCH_BYTES);
	upload = fixture_upload(fixture.store);
	for (size_t at = 0; at < 8 * BATCH_BYTES && !error; at += content_bytes) {
		error = upload_write(upload, bytes + at, content_bytes, NULL);
		if (!error)
			error = upload_end(upload, &digest, &size, NULL);
	}
	if (!error)
		error = upload_seal(upload, "t", &digest, NULL);
	cr_assert_eq(error, -ENOSPC);
	cr_assert_eq(upload_write(upload, "x", 1, NULL), -ENOSPC, "it can only be aborted");
	set_map_bytes(fixture.store, (size_t)1 << 40);
	upload_abort(upload);
	cr_assert_eq(contents_count(fixture.store, &size), 0);
	cr_assert_eq(size, 0);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_remount(&fixture);
	cr_assert_eq(contents_count(fixture.store, &size), 0);
	cr_assert_eq(size, 0);
	upload = fixture_upload(fixture.store);
	digest = fixture_content(upload, bytes, 3 * BATCH_BYTES);
	fixture_seal(upload, "t", &digest);
	fixture_finish(fixture.store, upload, "t", &digest);
	check_bytes(fixture.store, &digest, bytes, 3 * BATCH_BYTES);
	free(bytes);
	fixture_close(&fixture);
}

Test(upload, one_that_fails_half_way_leaves_nothing_behind, .timeout = 300)
{
	fail_half_way(100000);
}

Test(upload, one_that_fails_half_way_through_a_large_content_leaves_nothing_behind, .timeout = 300)
{
	fail_half_way(8 * BATCH_BYTES);
}

Test(upload, a_returned_one_leaves_what_its_version_had_lost)
{
	struct digest lost, kept;
	struct fixture fixture;
	struct upload *upload;

	fixture_open(&fixture);
	kept = fixture_deploy(fixture.store, "t", "kept");
	upload = fixture_upload(fixture.store);
	fixture_content(upload, "kept", 4);
	lost = fixture_content(upload, "lost", 4);
	fixture_seal(upload, "t", &kept);
	upload_return(upload);
	cr_assert_eq(fixture_references(fixture.store, &kept), 1);
	cr_assert_eq(fixture_references(fixture.store, &lost), 1);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}

Test(upload, one_that_never_wrote_anything_is_freed)
{
	struct fixture fixture;
	struct upload *upload;

	fixture_open(&fixture);
	upload = fixture_upload(fixture.store);
	cr_assert_eq(upload_write(upload, "x", 1, NULL), 0);
	upload_abort(upload);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}

Test(upload, two_at_once_share_what_they_have_in_common, .timeout = 300)
{
	struct upload *uploads[2];
	struct digest digests[2];
	struct fixture fixture;

	fixture_open(&fixture);
	for (int i = 0; i < 2; i++)
		uploads[i] = fixture_upload(fixture.store);
	for (int i = 0; i < 2; i++) {
		fixture_content(uploads[i], "common", 6);
		digests[i] = fixture_random(uploads[i], 7, BATCH_BYTES + 1);
	}
	for (int i = 0; i < 2; i++) {
		fixture_seal(uploads[i], "t", &(struct digest){.bytes = {(uint8_t)i}});
		fixture_finish(fixture.store, uploads[i], "t",
			       &(struct digest){.bytes = {(uint8_t)i}});
	}
	cr_assert(digest_equal(&digests[0], &digests[1]));
	cr_assert_eq(fixture_references(fixture.store, &digests[0]), 2);
	fixture_drain(fixture.store);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}

Test(upload, a_release_between_end_and_seal_takes_nothing_away)
{
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", "text");
	upload = fixture_upload(fixture.store);
	fixture_content(upload, "text", 4);
	fixture_unload(fixture.store, "t", &digest, &digest, 1);
	cr_assert_eq(fixture_references(fixture.store, &digest), 0);
	fixture_seal(upload, "t", &digest);
	fixture_finish(fixture.store, upload, "t", &digest);
	cr_assert_eq(fixture_references(fixture.store, &digest), 1);
	cr_assert_eq(contents_verify(fixture.store, &digest, 4, NULL), 0);
	fixture_drain(fixture.store);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}

Test(upload, numbers_are_never_used_twice)
{
	struct fixture fixture;
	uint64_t last = 0;

	fixture_open(&fixture);
	for (int i = 0; i < 6; i++) {
		struct upload *upload = fixture_upload(fixture.store);

		cr_assert_gt(upload_number(upload), last);
		last = upload_number(upload);
		fixture_seal(upload, "t", &(struct digest){0});
		upload_abort(upload);
		if (i % 2)
			fixture_remount(&fixture);
	}
	fixture_close(&fixture);
}

/* A small deploy costs the durable transactions that it needs, and none besides. */
Test(upload, a_small_deploy_waits_for_two_transactions)
{
	uint64_t jobs, contents[2], rows[2];
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;

	fixture_open(&fixture);
	writer_statistics(&fixture.store->contents_writer, &jobs, &contents[0]);
	writer_statistics(&fixture.store->rows_writer, &jobs, &rows[0]);
	upload = fixture_upload(fixture.store);
	for (unsigned int i = 0; i < 20; i++)
		digest = fixture_random(upload, i, 1000);
	fixture_seal(upload, "t", &digest);
	writer_statistics(&fixture.store->contents_writer, &jobs, &contents[1]);
	cr_assert_eq(contents[1] - contents[0], 1);
	fixture_finish(fixture.store, upload, "t", &digest);
	writer_statistics(&fixture.store->rows_writer, &jobs, &rows[1]);
	cr_assert_eq(rows[1] - rows[0], 1);
	fixture_close(&fixture);
}
