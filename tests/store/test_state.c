/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory: whose it is, which format it has, what is refused. */
#include "tests/store/fixture.h"

#include <dirent.h>
#include <fcntl.h>

#include "store/journal.h"

static void write_file(const struct fixture *fixture, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", fixture->path, name);
	file = fopen(path, "we");
	cr_assert_not_null(file);
	fputs(text, file);
	fclose(file);
}

static int open_error(const struct fixture *fixture, enum store_mode mode, struct reason *reason)
{
	struct store *store = NULL;
	int error = store_open(fixture->path, mode, &store, reason);

	cr_assert_neq(error, 0);
	cr_assert_null(store);
	cr_assert_eq(reason->error, -error);
	return error;
}

Test(state, is_made_where_there_is_nothing)
{
	struct fixture fixture;
	struct stat stat;
	char path[128];

	fixture_make(&fixture);
	cr_assert_eq(rmdir(fixture.path), 0);
	fixture_mount(&fixture);
	snprintf(path, sizeof(path), "%s/rows/data.mdb", fixture.path);
	cr_assert_eq(lstat(path, &stat), 0);
	cr_assert_eq(stat.st_mode & 0777, 0600);
	cr_assert_eq(lstat(fixture.path, &stat), 0);
	cr_assert_eq(stat.st_mode & 0777, 0700);
	fixture_remount(&fixture);
	fixture_close(&fixture);
}

Test(state, a_directory_of_something_else_is_refused_and_left_alone)
{
	struct reason reason = {0};
	struct fixture fixture;
	char path[128];

	fixture_make(&fixture);
	write_file(&fixture, "precious", "data");
	cr_assert_eq(open_error(&fixture, STORE_WRITE, &reason), -EIO);
	cr_assert_not_null(strstr(reason.message, "precious"));
	cr_assert_not_null(strstr(reason.message, "not an aionfs state directory"));
	snprintf(path, sizeof(path), "%s/lock", fixture.path);
	cr_assert_eq(access(path, F_OK), -1, "not even a lock is left in it");
	snprintf(path, sizeof(path), "%s/rows", fixture.path);
	cr_assert_neq(access(path, F_OK), 0);
	fixture_close(&fixture);
}

Test(state, another_format_is_refused_with_both_numbers)
{
	static const char *const texts[] = {"999\n", "0\n", "x\n", "", "1"};
	struct fixture fixture;

	fixture_open(&fixture);
	fixture_unmount(&fixture);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct reason reason = {0};

		write_file(&fixture, "format", texts[i]);
		cr_assert_eq(open_error(&fixture, STORE_WRITE, &reason), -EPROTO);
		cr_assert_str_eq(reason.code, "store_format");
		if (i == 0)
			cr_assert(strstr(reason.message, "999") && strstr(reason.message, "newer"));
		cr_assert_eq(open_error(&fixture, STORE_READ, &reason), -EPROTO);
	}
	write_file(&fixture, "format", "2\n");
	fixture_mount(&fixture);
	fixture_close(&fixture);
}

/* ---- a state of format 1, which has no tables of runs ---- */

static void make_format_1(struct fixture *fixture)
{
	fixture_open(fixture);
	fixture_deploy(fixture->store, "order", "text");
	fixture_unmount(fixture);
	fixture_drop_tables(fixture, rows_kind_1.table_count);
	write_file(fixture, "format", "1\n");
}

static void must_have_format(const struct fixture *fixture, char wanted)
{
	char path[128], text[4] = "";
	FILE *file;

	snprintf(path, sizeof(path), "%s/format", fixture->path);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	cr_assert_not_null(fgets(text, sizeof(text), file));
	fclose(file);
	cr_assert_eq(text[0], wanted);
}

static int fail_run(void *context, const char *id, uint64_t number, const struct reason *why)
{
	(void)context;
	(void)id;
	(void)number;
	(void)why;
	return -EEXIST;
}

static void must_have_no_runs(struct store *store)
{
	struct value_row row;

	cr_assert_eq(journal_each_run(store, fail_run, NULL), 0);
	cr_assert_eq(journal_each_event(store, NULL, NULL), 0);
	cr_assert_eq(journal_events(store, 1, 1, NULL, NULL), 0);
	cr_assert_eq(journal_each_value(store, NULL, NULL), 0);
	cr_assert_eq(journal_value(store, 1, 1, &row, NULL), -ENOENT);
}

Test(state, an_older_format_is_read_as_it_is)
{
	struct reason reason = {0};
	struct fixture fixture;

	make_format_1(&fixture);
	fixture_ok(store_open(fixture.path, STORE_READ, &fixture.store, &reason), &reason);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	cr_assert_str_eq(fixture_version(fixture.store).type, "order");
	must_have_no_runs(fixture.store);
	must_have_format(&fixture, '1');
	fixture_close(&fixture);
}

Test(state, an_older_format_is_upgraded_by_mounting_it)
{
	struct fixture fixture;
	struct row_change put = {.kind = ROW_PUT_RUN, .name = "r"};

	make_format_1(&fixture);
	fixture_mount(&fixture);
	must_have_format(&fixture, '2');
	cr_assert_str_eq(fixture_version(fixture.store).type, "order");
	must_have_no_runs(fixture.store);
	put.run = journal_next_run(fixture.store);
	cr_assert_eq(put.run, 1);
	fixture_commit(fixture.store, &put);
	fixture_remount(&fixture);
	cr_assert_eq(journal_each_run(fixture.store, fail_run, NULL), -EEXIST);
	fixture_close(&fixture);
}

/* The tables are there and the format file is not: it is an older one still. */
Test(state, an_interrupted_upgrade_is_finished)
{
	struct fixture fixture;

	fixture_open(&fixture);
	fixture_deploy(fixture.store, "order", "text");
	fixture_unmount(&fixture);
	write_file(&fixture, "format", "1\n");
	write_file(&fixture, "format.new", "");
	cr_assert_eq(store_open(fixture.path, STORE_READ, &fixture.store, NULL), 0);
	must_have_no_runs(fixture.store);
	fixture_remount(&fixture);
	must_have_format(&fixture, '2');
	cr_assert_str_eq(fixture_version(fixture.store).type, "order");
	fixture_close(&fixture);
}

/* ---- who has it ---- */

static void hold_until_told(struct fixture *fixture)
{
	char byte;

	fixture_mount(fixture);
	if (write(STDOUT_FILENO, "r", 1) != 1 || read(STDIN_FILENO, &byte, 1) < 0)
		_exit(1);
	fixture_unmount(fixture);
}

Test(state, a_second_mount_is_told_the_first_ones_pid)
{
	int to[2], from[2], status;
	struct reason reason = {0};
	struct fixture fixture;
	char byte, pid[32];
	pid_t child;

	fixture_make(&fixture);
	cr_assert_eq(pipe(to), 0);
	cr_assert_eq(pipe(from), 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		close(to[1]);
		fixture_is_child = true;
		hold_until_told(&fixture);
		_exit(0);
	}
	cr_assert_eq(read(from[0], &byte, 1), 1);
	cr_assert_eq(open_error(&fixture, STORE_WRITE, &reason), -EBUSY);
	cr_assert_str_eq(reason.code, "store_in_use");
	snprintf(pid, sizeof(pid), "%ld", (long)child);
	cr_assert_not_null(strstr(reason.message, pid));

	cr_assert_eq(store_open(fixture.path, STORE_READ, &fixture.store, &reason), 0, "%s",
		     reason.message);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	fixture_unmount(&fixture);

	close(to[1]);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	fixture_mount(&fixture);
	fixture_close(&fixture);
}

Test(state, reading_needs_a_state)
{
	struct reason reason = {0};
	struct fixture fixture;

	fixture_make(&fixture);
	cr_assert_eq(open_error(&fixture, STORE_READ, &reason), -ENOENT);
	cr_assert_str_eq(reason.code, "no_store");
	cr_assert_eq(rmdir(fixture.path), 0);
	cr_assert_eq(open_error(&fixture, STORE_READ, &reason), -ENOENT);
	cr_assert_str_eq(reason.code, "no_store");
}

Test(state, a_missing_environment_is_damage_and_never_an_empty_mount)
{
	struct reason reason = {0};
	struct fixture fixture;
	char path[128];

	fixture_open(&fixture);
	fixture_unmount(&fixture);
	snprintf(path, sizeof(path), "%s/contents/data.mdb", fixture.path);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(open_error(&fixture, STORE_WRITE, &reason), -EBADMSG);
	cr_assert_str_eq(reason.code, "store_damaged");
	fixture_close(&fixture);
}

/* What a crash before the last step of making a state leaves. */
Test(state, an_interrupted_making_is_finished)
{
	struct fixture fixture;
	char path[128];

	fixture_open(&fixture);
	fixture_unmount(&fixture);
	snprintf(path, sizeof(path), "%s/format", fixture.path);
	cr_assert_eq(unlink(path), 0);
	write_file(&fixture, "format.new", "");
	fixture_mount(&fixture);
	cr_assert_eq(access(path, F_OK), 0);
	fixture_close(&fixture);
}

Test(state, one_that_has_lost_its_format_never_comes_up_as_new)
{
	static const char *const lost[] = {"format", "rows/data.mdb"};
	struct reason reason = {0};
	struct fixture fixture;
	char path[128];

	fixture_open(&fixture);
	fixture_deploy(fixture.store, "order", "text");
	fixture_unmount(&fixture);
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", fixture.path, lost[i]);
		cr_assert_eq(unlink(path), 0);
		cr_assert_eq(open_error(&fixture, STORE_WRITE, &reason), -EBADMSG);
		cr_assert_str_eq(reason.code, "store_damaged");
	}
	fixture_close(&fixture);
}

Test(state, spools_have_no_name_and_old_ones_go)
{
	struct fixture fixture;
	struct stat stat;
	char path[128];
	int fd = -1;

	fixture_open(&fixture);
	cr_assert_eq(store_spool(fixture.store, &fd), 0);
	cr_assert_eq(write(fd, "x", 1), 1);
	cr_assert_eq(fstat(fd, &stat), 0);
	cr_assert_eq(stat.st_nlink, 0);
	close(fd);
	write_file(&fixture, "spool/left", "x");
	fixture_remount(&fixture);
	snprintf(path, sizeof(path), "%s/spool/left", fixture.path);
	cr_assert_neq(access(path, F_OK), 0);
	fixture_close(&fixture);
}

/* The daemon starts other programs, which must not get hold of its files. */
Test(state, every_descriptor_closes_on_exec)
{
	struct fixture fixture;
	struct dirent *entry;
	unsigned int ours = 0;
	char target[256];
	int spool = -1;
	DIR *fds;

	fixture_open(&fixture);
	cr_assert_eq(store_spool(fixture.store, &spool), 0);
	fds = opendir("/proc/self/fd");
	cr_assert_not_null(fds);
	while ((entry = readdir(fds))) {
		ssize_t length = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		if (length < 0)
			continue;
		target[length] = '\0';
		if (strncmp(target, fixture.path, strlen(fixture.path)) != 0)
			continue;
		ours++;
		cr_assert(fcntl(atoi(entry->d_name), F_GETFD) & FD_CLOEXEC, "%s", target);
	}
	closedir(fds);
	cr_assert_geq(ours, 6);
	close(spool);
	fixture_close(&fixture);
}

Test(state, space_is_reported)
{
	struct store_space before, after;
	struct fixture fixture;
	struct upload *upload;

	fixture_open(&fixture);
	cr_assert_eq(store_space(fixture.store, &before), 0);
	cr_assert_gt(before.total_bytes, 0);
	upload = fixture_upload(fixture.store);
	fixture_random(upload, 1, 3000000);
	fixture_seal(upload, "t", &(struct digest){0});
	cr_assert_eq(store_space(fixture.store, &after), 0);
	cr_assert_geq(after.used_bytes, before.used_bytes + 3000000);
	upload_abort(upload);
	cr_assert_eq(store_space(fixture.store, &after), 0);
	cr_assert_lt(after.used_bytes, before.used_bytes + 100000);
	fixture_close(&fixture);
}
