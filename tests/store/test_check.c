/* SPDX-License-Identifier: Apache-2.0 */
/* Damage to LMDB's own pages: the mount is refused, and the process survives. */
#include "tests/store/fixture.h"

#include <fcntl.h>

#define PAGE 4096

static void fill(struct fixture *fixture)
{
	fixture_open(fixture);
	for (int i = 0; i < 200; i++) {
		struct digest version = {.bytes = {(uint8_t)i, 1}};
		struct row_change put = fixture_put_version("order", &version, 1);

		fixture_commit(fixture->store, &put);
	}
	fixture_deploy(fixture->store, "order", "text");
	fixture_unmount(fixture);
}

static int open_data(const struct fixture *fixture, const char *environment, off_t *ret_size)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/data.mdb", fixture->path, environment);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	*ret_size = lseek(fd, 0, SEEK_END);
	return fd;
}

static int mount_error(const struct fixture *fixture, struct reason *reason)
{
	struct store *store = NULL;
	int error = store_open(fixture->path, STORE_WRITE, &store, reason);

	if (!error)
		store_close(store);
	return error;
}

static void refused(struct fixture *fixture)
{
	struct reason reason = {0};

	cr_assert_eq(mount_error(fixture, &reason), -EBADMSG);
	cr_assert_str_eq(reason.code, "store_damaged");
	cr_assert_not_null(strstr(reason.message, "backup"));
}

static void overwrite(const char *environment, uint8_t with)
{
	struct fixture fixture;
	uint8_t bytes[PAGE];
	off_t size;
	int fd;

	fill(&fixture);
	fd = open_data(&fixture, environment, &size);
	memset(bytes, with, sizeof(bytes));
	for (off_t at = 2 * PAGE; at + PAGE <= size; at += PAGE)
		cr_assert_eq(pwrite(fd, bytes, PAGE, at), PAGE);
	close(fd);
	refused(&fixture);
	fixture_close(&fixture);
}

Test(check, rows_of_zeros_are_refused)
{
	overwrite("rows", 0);
}

Test(check, rows_of_ones_are_refused)
{
	overwrite("rows", 0xff);
}

Test(check, contents_of_zeros_are_refused)
{
	overwrite("contents", 0);
}

static void cut(const char *environment)
{
	struct fixture fixture;
	off_t size;
	int fd;

	fill(&fixture);
	fd = open_data(&fixture, environment, &size);
	cr_assert_eq(ftruncate(fd, 2 * PAGE), 0);
	close(fd);
	refused(&fixture);
	fixture_close(&fixture);
}

Test(check, rows_that_were_cut_are_refused)
{
	cut("rows");
}

Test(check, contents_that_were_cut_are_refused)
{
	cut("contents");
}

Test(check, meta_pages_of_garbage_are_refused)
{
	struct fixture fixture;
	uint8_t bytes[2 * PAGE];
	off_t size;
	int fd;

	fill(&fixture);
	fd = open_data(&fixture, "rows", &size);
	memset(bytes, 0x5a, sizeof(bytes));
	cr_assert_eq(pwrite(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	close(fd);
	refused(&fixture);
	fixture_close(&fixture);
}

/*
 * One damaged page at a time. Some hold nothing that is in use, and some only rows whose checksums
 * will tell; but whatever the mount says, the process lives.
 */
Test(check, any_single_damaged_page_is_survived, .timeout = 300)
{
	unsigned int refusals = 0;
	struct fixture fixture;
	uint8_t saved[PAGE], bytes[PAGE];
	off_t size;
	int fd;

	fill(&fixture);
	fd = open_data(&fixture, "rows", &size);
	for (off_t at = 2 * PAGE; at + PAGE <= size; at += PAGE) {
		struct reason reason = {0};
		int error;

		cr_assert_eq(pread(fd, saved, PAGE, at), PAGE);
		for (size_t i = 0; i < PAGE; i++)
			bytes[i] = (uint8_t)(i * 37 + (size_t)at / PAGE);
		cr_assert_eq(pwrite(fd, bytes, PAGE, at), PAGE);
		error = mount_error(&fixture, &reason);
		cr_assert(error == 0 || error == -EBADMSG, "%s", reason.message);
		refusals += error != 0;
		cr_assert_eq(pwrite(fd, saved, PAGE, at), PAGE);
	}
	close(fd);
	cr_assert_gt(refusals, 0);
	fixture_mount(&fixture);
	fixture_close(&fixture);
}
