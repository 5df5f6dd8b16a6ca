/* SPDX-License-Identifier: Apache-2.0 */
/* Damage to stored bytes: noticed, remembered, repaired by the next deploy of the same bytes. */
#include "tests/store/fixture.h"

#include <fcntl.h>

#include "store/private.h"

/* Flips bits in the data file wherever `bytes` lie. Returns how often. */
static unsigned int damage(struct fixture *fixture, const void *bytes, size_t length)
{
	unsigned int found = 0;
	char path[128], *data, *at;
	struct stat stat;
	int fd;

	fixture_unmount(fixture);
	snprintf(path, sizeof(path), "%s/contents/data.mdb", fixture->path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &stat), 0);
	data = malloc((size_t)stat.st_size);
	cr_assert_not_null(data);
	cr_assert_eq(pread(fd, data, (size_t)stat.st_size, 0), stat.st_size);
	for (at = data; (at = memmem(at, (size_t)(data + stat.st_size - at), bytes, length));
	     at++, found++) {
		char flipped = (char)(*at ^ 1);

		cr_assert_eq(pwrite(fd, &flipped, 1, at - data), 1);
	}
	free(data);
	close(fd);
	fixture_mount(fixture);
	return found;
}

#define TEXT "a text that can be found in the file again"

Test(verify, what_this_process_wrote_is_good)
{
	struct fixture fixture;
	struct digest digest;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", TEXT);
	cr_assert_eq(contents_verdict(fixture.store, &digest), CONTENT_GOOD);
	fixture_remount(&fixture);
	cr_assert_eq(contents_verdict(fixture.store, &digest), CONTENT_UNKNOWN);
	cr_assert_eq(contents_verify(fixture.store, &digest, strlen(TEXT), NULL), 0);
	cr_assert_eq(contents_verdict(fixture.store, &digest), CONTENT_GOOD);
	fixture_close(&fixture);
}

Test(verify, another_size_is_bad)
{
	struct reason reason = {0};
	struct fixture fixture;
	struct digest digest;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", TEXT);
	fixture_remount(&fixture);
	cr_assert_eq(contents_verify(fixture.store, &digest, 1, &reason), -EIO);
	cr_assert_str_eq(reason.code, "content_damaged");
	cr_assert_eq(contents_verdict(fixture.store, &digest), CONTENT_BAD);
	fixture_close(&fixture);
}

Test(verify, what_is_missing_is_missing_and_bad)
{
	struct digest digest = {.bytes = {1}};
	struct reason reason = {0};
	struct fixture fixture;
	size_t length;
	char *bytes;

	fixture_open(&fixture);
	cr_assert_eq(contents_load(fixture.store, &digest, 10, &bytes, &length, &reason), -ENOENT);
	cr_assert_str_eq(reason.code, "content_missing");
	digest.bytes[0] = 2;
	cr_assert_eq(contents_verify(fixture.store, &digest, 1, &reason), -ENOENT);
	cr_assert_str_eq(reason.code, "content_missing");
	cr_assert_eq(contents_verdict(fixture.store, &digest), CONTENT_BAD);
	fixture_close(&fixture);
}

Test(verify, load_copies_what_is_good_and_bounds_it)
{
	struct reason reason = {0};
	struct fixture fixture;
	struct digest digest;
	size_t length = 0;
	char *bytes = NULL;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", TEXT);
	cr_assert_eq(contents_load(fixture.store, &digest, strlen(TEXT), &bytes, &length, &reason),
		     0);
	cr_assert_eq(length, strlen(TEXT));
	cr_assert_str_eq(bytes, TEXT);
	free(bytes);
	cr_assert_eq(contents_load(fixture.store, &digest, strlen(TEXT) - 1, &bytes, &length,
				   &reason), -EFBIG);
	fixture_close(&fixture);
}

Test(verify, damage_is_found_and_repaired_for_all_who_share_it)
{
	struct reason reason = {0};
	struct digest digest, other;
	struct fixture fixture;
	struct upload *upload;
	size_t length;
	char *bytes;

	fixture_open(&fixture);
	upload = fixture_upload(fixture.store);
	other = fixture_content(upload, "a neighbour", 11);
	digest = fixture_content(upload, TEXT, strlen(TEXT));
	fixture_seal(upload, "t", &digest);
	fixture_finish(fixture.store, upload, "t", &digest);
	cr_assert_gt(damage(&fixture, TEXT, strlen(TEXT)), 0);

	cr_assert_eq(contents_verify(fixture.store, &other, 11, &reason), 0);
	cr_assert_eq(contents_verify(fixture.store, &digest, strlen(TEXT), &reason), -EIO);
	cr_assert_str_eq(reason.code, "content_damaged");
	cr_assert_eq(contents_verify(fixture.store, &digest, strlen(TEXT), &reason), -EIO);
	cr_assert_eq(contents_load(fixture.store, &digest, 1000, &bytes, &length, &reason), -EIO);

	upload = fixture_upload(fixture.store);
	fixture_content(upload, TEXT, strlen(TEXT));
	fixture_seal(upload, "u", &digest);
	fixture_finish(fixture.store, upload, "u", &digest);
	cr_assert_eq(contents_verdict(fixture.store, &digest), CONTENT_GOOD);
	cr_assert_eq(fixture_references(fixture.store, &digest), 2);
	fixture_drain(fixture.store);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_remount(&fixture);
	cr_assert_eq(contents_verify(fixture.store, &digest, strlen(TEXT), &reason), 0);
	cr_assert_eq(contents_verify(fixture.store, &other, 11, &reason), 0);
	fixture_close(&fixture);
}

/* Nobody has looked yet: the upload itself must. */
Test(verify, an_upload_does_not_reuse_what_it_has_not_seen)
{
	struct fixture fixture;
	struct digest digest;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", TEXT);
	cr_assert_gt(damage(&fixture, TEXT, strlen(TEXT)), 0);
	cr_assert_eq(contents_verdict(fixture.store, &digest), CONTENT_UNKNOWN);
	fixture_deploy(fixture.store, "t", TEXT);
	cr_assert_eq(fixture_references(fixture.store, &digest), 1);
	fixture_remount(&fixture);
	cr_assert_eq(contents_verify(fixture.store, &digest, strlen(TEXT), NULL), 0);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_close(&fixture);
}

static void repair_large(size_t size)
{
	uint8_t *bytes = fixture_bytes(3, size);
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;

	fixture_open(&fixture);
	for (int round = 0; round < 2; round++) {
		upload = fixture_upload(fixture.store);
		digest = fixture_content(upload, bytes, size);
		fixture_seal(upload, "t", &digest);
		fixture_finish(fixture.store, upload, "t", &digest);
		fixture_drain(fixture.store);
		cr_assert_eq(fixture_references(fixture.store, &digest), 1);
		cr_assert_eq(fixture_findings(fixture.store), 0);
		if (round == 0)
			cr_assert_gt(damage(&fixture, bytes + size / 2, 64), 0);
	}
	fixture_remount(&fixture);
	cr_assert_eq(contents_verify(fixture.store, &digest, size, NULL), 0);
	free(bytes);
	fixture_close(&fixture);
}

Test(verify, a_large_content_is_repaired, .timeout = 300)
{
	repair_large(5000000);
}

Test(verify, a_streamed_content_is_repaired, .timeout = 300)
{
	repair_large(40000000);
}

/* An unreadable record hides how often it is used: it must not be freed too early. */
Test(verify, an_unreadable_record_is_rewritten_and_then_kept)
{
	struct fixture fixture;
	struct digest digest;
	struct env env;
	MDB_val key, value = {.mv_size = 3, .mv_data = (void *)"bad"};
	MDB_txn *txn;

	fixture_open(&fixture);
	digest = fixture_deploy(fixture.store, "t", TEXT);
	fixture_unmount(&fixture);
	cr_assert_eq(env_open(fixture.path, &contents_kind, ENV_WRITE, &env, NULL), 0);
	cr_assert_eq(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
	key = (MDB_val){.mv_size = DIGEST_BYTES, .mv_data = digest.bytes};
	cr_assert_eq(mdb_put(txn, env.tables[CONTENTS_RECORDS], &key, &value, 0), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	env_close(&env);
	fixture_mount(&fixture);

	cr_assert_gt(fixture_findings(fixture.store), 0);
	cr_assert_eq(contents_verify(fixture.store, &digest, strlen(TEXT), NULL), -EIO);
	fixture_deploy(fixture.store, "t", TEXT);
	cr_assert_gt(fixture_references(fixture.store, &digest), 1000000);
	cr_assert_eq(contents_verify(fixture.store, &digest, strlen(TEXT), NULL), 0);
	fixture_close(&fixture);
}

/* Somebody cuts the file of a live mount: those who read get errors, the process lives. */
Test(verify, a_file_cut_under_a_mount_is_an_error, .timeout = 120)
{
	struct reason reason = {0};
	struct contents_reader *reader;
	struct fixture fixture;
	struct upload *upload;
	struct digest digest;
	struct iovec vector;
	char path[128];
	uint64_t size;
	int count;

	fixture_open(&fixture);
	upload = fixture_upload(fixture.store);
	digest = fixture_random(upload, 1, 3000000);
	fixture_seal(upload, "t", &digest);
	fixture_finish(fixture.store, upload, "t", &digest);
	fixture_remount(&fixture);
	snprintf(path, sizeof(path), "%s/contents/data.mdb", fixture.path);
	cr_assert_eq(truncate(path, 2 * 4096), 0);
	cr_assert_eq(contents_verify(fixture.store, &digest, 3000000, &reason), -EIO);
	cr_assert_eq(contents_reader_open(fixture.store, &reader), 0);
	cr_assert_eq(contents_size(reader, &digest, &size), -EIO);
	cr_assert_eq(contents_map(reader, &digest, 0, 1, &vector, 1, &count), -EIO);
	contents_reader_close(reader);
	fixture_close(&fixture);
}
