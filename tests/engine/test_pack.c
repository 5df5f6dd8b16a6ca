/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory as an archive: golden version and golden bytes (made by Python's hashlib and
 * tarfile), what is refused, what happens when files change under the packing, and deep trees with
 * few descriptors.
 */
#include "engine/pack.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST       "{\"entry_module\":\"order\"}\n"
#define GOLDEN_VERSION "4f8023486a3f93d0413c506752caca3a33cbbef913b41080019e67f9b5f9b816"
#define GOLDEN_TAR     "629c780622f4314f11f313b91094f4f7c8c36c8d071bb904b509404bb878f563"
#define GOLDEN_SIGNED  "a2b537cd862f96c7185ee18ae5a4e5d8a8693d9e288d68fb510f4a03b52a0356"

static char scratch[256];
static int scratch_fd = -1;

/* ---- a directory to pack ---- */

static void make_scratch(void)
{
	const char *where = getenv("TMPDIR");

	umask(022);
	snprintf(scratch, sizeof(scratch), "%s/aionfs-pack-XXXXXX", where ? where : "/tmp");
	cr_assert(mkdtemp(scratch), "mkdtemp: %s", strerror(errno));
	scratch_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(scratch_fd >= 0);
}

static void remove_scratch(void)
{
	char command[400];

	close(scratch_fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
	cr_expect_eq(system(command), 0);
}

static void put_file(const char *path, const char *bytes, mode_t mode)
{
	int fd = openat(scratch_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void put_directory(const char *path)
{
	cr_assert_eq(mkdirat(scratch_fd, path, 0700), 0, "%s: %s", path, strerror(errno));
}

/* The golden package below `prefix` ("" or "name/"). */
static void put_golden(const char *prefix)
{
	static const char *const directories[] = {"bin", "empty"};
	char path[64], digits[1001] = "", hard[64];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s%s", prefix, directories[i]);
		put_directory(path);
	}
	snprintf(path, sizeof(path), "%sbin/run", prefix);
	put_file(path, "#!/bin/sh\nexec cat\n", 0711);
	for (size_t i = 0; i < 1000; i++)
		digits[i] = (char)('0' + i % 10);
	snprintf(path, sizeof(path), "%sdata", prefix);
	put_file(path, digits, 0600);
	snprintf(hard, sizeof(hard), "%shard", prefix);
	cr_assert_eq(linkat(scratch_fd, path, scratch_fd, hard, 0), 0);
	snprintf(path, sizeof(path), "%slatest", prefix);
	cr_assert_eq(symlinkat("bin/run", scratch_fd, path), 0);
	snprintf(path, sizeof(path), "%smanifest.json", prefix);
	put_file(path, MANIFEST, 0644);
	snprintf(path, sizeof(path), "%sna\xc3\xafve file", prefix);
	put_file(path, "", 0644);
}

/* ---- what comes out ---- */

struct output {
	struct digest_stream stream;
	unsigned calls;
	uint64_t bytes;
	void (*between)(void); /* called before the first byte is taken */
	int error;	       /* answered to the third call */
};

static int take(void *context, const void *bytes, size_t length)
{
	struct output *output = context;

	output->calls++;
	if (output->calls == 1 && output->between)
		output->between();
	if (output->calls == 3 && output->error)
		return output->error;
	output->bytes += length;
	return digest_add(&output->stream, bytes, length);
}

static void expect_archive(const char *version_hex, const char *archive_hex)
{
	struct digest version, archive;
	struct manifest manifest;
	struct output output = {0};
	struct reason reason = {0};
	char hex[DIGEST_HEX + 1];

	cr_assert_eq(digest_open(&output.stream), 0);
	cr_assert_eq(pack_directory(scratch, take, &output, &manifest, &version, &reason), 0,
		     "%s: %s", reason.code, reason.message);
	cr_assert_eq(digest_finish(&output.stream, &archive), 0);
	digest_close(&output.stream);
	cr_expect_str_eq(digest_hex(&version, hex), version_hex);
	cr_expect_str_eq(digest_hex(&archive, hex), archive_hex);
	cr_expect_str_eq(manifest.type, "order");
	cr_expect_eq(output.bytes % 512, 0);
}

static void expect_refused(const char *path, int expected, const char *code, const char *entry)
{
	struct digest version;
	struct manifest manifest;
	struct reason reason = {0};

	cr_expect_eq(pack_directory(path, NULL, NULL, &manifest, &version, &reason), expected,
		     "%s: %s", reason.code, reason.message);
	cr_expect_str_eq(reason.code, code);
	cr_expect_eq(reason.error, -expected);
	if (entry)
		cr_expect_str_eq(reason.entry, entry);
}

TestSuite(pack, .init = make_scratch, .fini = remove_scratch, .timeout = 300);

Test(pack, golden_version_and_bytes)
{
	put_golden("");
	expect_archive(GOLDEN_VERSION, GOLDEN_TAR);
}

Test(pack, a_signature_travels_last_and_changes_no_version)
{
	put_golden("");
	put_file("manifest.sig", "signature", 0755);
	expect_archive(GOLDEN_VERSION, GOLDEN_SIGNED);
}

Test(pack, a_single_top_directory_is_taken_off)
{
	put_directory("order-1.4");
	put_golden("order-1.4/");
	expect_archive(GOLDEN_VERSION, GOLDEN_TAR);
}

Test(pack, a_signature_in_a_single_top_directory)
{
	put_directory("order-1.4");
	put_golden("order-1.4/");
	put_file("order-1.4/manifest.sig", "signature", 0644);
	expect_archive(GOLDEN_VERSION, GOLDEN_SIGNED);
}

Test(pack, modes_and_times_do_not_matter)
{
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2}};

	put_golden("");
	cr_assert_eq(fchmodat(scratch_fd, "bin/run", 06755, 0), 0);
	cr_assert_eq(fchmodat(scratch_fd, "data", 0400, 0), 0);
	cr_assert_eq(fchmodat(scratch_fd, "empty", 01777, 0), 0);
	cr_assert_eq(utimensat(scratch_fd, "data", times, 0), 0);
	expect_archive(GOLDEN_VERSION, GOLDEN_TAR);
}

Test(pack, the_version_alone_writes_nothing)
{
	char hex[DIGEST_HEX + 1];
	struct digest version;
	struct manifest manifest;

	put_golden("");
	cr_assert_eq(pack_directory(scratch, NULL, NULL, &manifest, &version, NULL), 0);
	cr_expect_str_eq(digest_hex(&version, hex), GOLDEN_VERSION);
}

Test(pack, names_are_bytes)
{
	struct digest version;
	struct manifest manifest;
	struct output output = {0};

	put_golden("");
	put_file("\xff\xfe\n\\\x01", "x", 0644);
	cr_assert_eq(symlinkat("\xff\xfe", scratch_fd, "\x80"), 0);
	cr_assert_eq(digest_open(&output.stream), 0);
	cr_expect_eq(pack_directory(scratch, take, &output, &manifest, &version, NULL), 0);
	digest_close(&output.stream);
}

/* ---- refusals ---- */

Test(pack, what_is_no_directory)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/absent", scratch);
	expect_refused(path, -ENOENT, "entry_unreadable", NULL);
	put_file("file", "", 0644);
	snprintf(path, sizeof(path), "%s/file", scratch);
	expect_refused(path, -ENOTDIR, "entry_unreadable", NULL);
}

Test(pack, a_package_is_judged_as_a_deploy_would)
{
	expect_refused(scratch, -EINVAL, "manifest_missing", NULL);
	put_file("manifest.json", "{", 0644);
	expect_refused(scratch, -EINVAL, "manifest_invalid", NULL);
	put_file("manifest.json", MANIFEST, 0644);
	put_directory("d");
	cr_assert_eq(symlinkat("../../x", scratch_fd, "d/out"), 0);
	expect_refused(scratch, -EINVAL, "entry_unsafe", "d/out");
	cr_assert_eq(unlinkat(scratch_fd, "d/out", 0), 0);
	cr_assert_eq(symlinkat("/etc/passwd", scratch_fd, "abs"), 0);
	expect_refused(scratch, -EINVAL, "entry_unsafe", "abs");
}

Test(pack, devices_fifos_and_sockets)
{
	put_golden("");
	cr_assert_eq(mknodat(scratch_fd, "bin/fifo", S_IFIFO | 0644, 0), 0);
	expect_refused(scratch, -EINVAL, "entry_unsupported", "bin/fifo");
	cr_assert_eq(unlinkat(scratch_fd, "bin/fifo", 0), 0);
	cr_assert_eq(mknodat(scratch_fd, "socket", S_IFSOCK | 0644, 0), 0);
	expect_refused(scratch, -EINVAL, "entry_unsupported", "socket");
}

/* Root reads everything; so root becomes nobody meanwhile, and enters by the current directory. */
static void expect_unreadable(const char *entry)
{
	bool is_root = geteuid() == 0;

	cr_assert_eq(fchmod(scratch_fd, 0755), 0);
	cr_assert_eq(fchdir(scratch_fd), 0);
	if (is_root && seteuid(65534) != 0)
		cr_skip_test("root may not change its user here: %s", strerror(errno));
	expect_refused(".", -EACCES, "entry_unreadable", entry);
	if (is_root)
		cr_assert_eq(seteuid(0), 0);
}

Test(pack, an_unreadable_file_is_named)
{
	put_file("manifest.json", MANIFEST, 0644);
	put_file("secret", "x", 0);
	expect_unreadable("secret");
}

Test(pack, an_unreadable_directory_is_named)
{
	put_file("manifest.json", MANIFEST, 0644);
	put_directory("closed");
	cr_assert_eq(fchmodat(scratch_fd, "closed", 0, 0), 0);
	expect_unreadable("closed");
	cr_assert_eq(fchmodat(scratch_fd, "closed", 0755, 0), 0);
}

Test(pack, a_path_of_more_than_4095_bytes)
{
	char name[256];
	int at = dup(scratch_fd);

	put_golden("");
	memset(name, 'n', 255);
	name[255] = '\0';
	for (int i = 0; i < 17; i++) {
		int next;

		cr_assert_eq(mkdirat(at, name, 0755), 0);
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		cr_assert(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	expect_refused(scratch, -EINVAL, "name_invalid", NULL);
}

/* ---- files that change between the two readings ---- */

static void expect_changed(void (*between)(void))
{
	struct digest version;
	struct manifest manifest;
	struct output output = {.between = between};
	struct reason reason = {0};

	put_golden("");
	cr_assert_eq(digest_open(&output.stream), 0);
	cr_expect_eq(pack_directory(scratch, take, &output, &manifest, &version, &reason), -EBUSY);
	cr_expect_str_eq(reason.code, "entry_changed");
	cr_expect_str_eq(reason.entry, "data");
	cr_expect_eq(reason.error, EBUSY);
	digest_close(&output.stream);
}

static void other_bytes(void)
{
	char bytes[1001];

	memset(bytes, 'x', 1000);
	bytes[1000] = '\0';
	put_file("data", bytes, 0644);
}

static void shorter(void)
{
	put_file("data", "short", 0644);
}

static void longer(void)
{
	int fd = openat(scratch_fd, "data", O_WRONLY | O_APPEND | O_CLOEXEC);

	cr_assert_eq(write(fd, "more", 4), 4);
	close(fd);
}

static void gone(void)
{
	cr_assert_eq(unlinkat(scratch_fd, "data", 0), 0);
}

static void a_link(void)
{
	gone();
	cr_assert_eq(symlinkat("hard", scratch_fd, "data"), 0);
}

static void a_fifo(void)
{
	gone();
	cr_assert_eq(mknodat(scratch_fd, "data", S_IFIFO | 0644, 0), 0);
}

static void a_directory(void)
{
	gone();
	put_directory("data");
}

Test(pack, other_bytes_of_the_same_length)
{
	expect_changed(other_bytes);
}

Test(pack, a_file_that_became_shorter)
{
	expect_changed(shorter);
}

Test(pack, a_file_that_became_longer)
{
	expect_changed(longer);
}

Test(pack, a_file_that_vanished)
{
	expect_changed(gone);
}

Test(pack, a_file_that_became_a_link)
{
	expect_changed(a_link);
}

Test(pack, a_file_that_became_a_fifo_does_not_block)
{
	expect_changed(a_fifo);
}

Test(pack, a_file_that_became_a_directory)
{
	expect_changed(a_directory);
}

static int take_into_package(void *context, const void *bytes, size_t length)
{
	return write(*(int *)context, bytes, length) == (ssize_t)length ? 0 : -EIO;
}

Test(pack, the_archive_itself_inside_of_the_package)
{
	struct digest version;
	struct manifest manifest;
	struct reason reason = {0};
	int fd;

	put_golden("");
	put_file("order.tar", "", 0644);
	fd = openat(scratch_fd, "order.tar", O_WRONLY | O_CLOEXEC);
	cr_assert(fd >= 0);
	cr_expect_eq(pack_directory(scratch, take_into_package, &fd, &manifest, &version, &reason),
		     -EBUSY);
	cr_expect_str_eq(reason.entry, "order.tar");
	close(fd);
}

static void lead_out(void)
{
	cr_assert_eq(renameat(scratch_fd, "bin", scratch_fd, "elsewhere"), 0);
	cr_assert_eq(symlinkat("elsewhere", scratch_fd, "bin"), 0);
}

/* The bytes would be the same; but the way to them goes through a link now. */
Test(pack, a_directory_that_became_a_link_is_not_followed)
{
	struct digest version;
	struct manifest manifest;
	struct output output = {.between = lead_out};
	struct reason reason = {0};

	put_golden("");
	cr_assert_eq(digest_open(&output.stream), 0);
	cr_expect_eq(pack_directory(scratch, take, &output, &manifest, &version, &reason), -EBUSY);
	cr_expect_str_eq(reason.entry, "bin/run");
	digest_close(&output.stream);
}

Test(pack, an_error_of_the_writer_ends_it)
{
	struct digest version;
	struct manifest manifest;
	struct output output = {.error = -ENOSPC};

	put_golden("");
	cr_assert_eq(digest_open(&output.stream), 0);
	cr_expect_eq(pack_directory(scratch, take, &output, &manifest, &version, NULL), -ENOSPC);
	cr_expect_eq(output.calls, 3);
	digest_close(&output.stream);
}

/* ---- resources ---- */

static unsigned open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	cr_assert(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

Test(pack, no_descriptor_is_left_open)
{
	unsigned before;

	put_golden("");
	before = open_descriptors();
	expect_archive(GOLDEN_VERSION, GOLDEN_TAR);
	cr_expect_eq(open_descriptors(), before);
	cr_assert_eq(mknodat(scratch_fd, "bin/fifo", S_IFIFO | 0644, 0), 0);
	expect_refused(scratch, -EINVAL, "entry_unsupported", "bin/fifo");
	cr_expect_eq(open_descriptors(), before);
}

Test(pack, two_thousand_directories_deep_with_few_descriptors)
{
	int at = dup(scratch_fd);
	struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
	struct digest version;
	struct manifest manifest;
	struct output output = {0};
	struct reason reason = {0};

	put_file("manifest.json", MANIFEST, 0644);
	for (int i = 0; i < 2000; i++) {
		int next;

		cr_assert_eq(mkdirat(at, "d", 0755), 0);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		cr_assert(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(digest_open(&output.stream), 0);
	cr_expect_eq(pack_directory(scratch, take, &output, &manifest, &version, &reason), 0,
		     "%s: %s", reason.code, reason.message);
	digest_close(&output.stream);
}

Test(pack, a_directory_of_ten_thousand_files)
{
	struct digest version;
	struct manifest manifest;
	struct output output = {0};
	char path[32];

	put_file("manifest.json", MANIFEST, 0644);
	put_directory("d");
	for (int i = 0; i < 10000; i++) {
		snprintf(path, sizeof(path), "d/%05d", i);
		put_file(path, path, 0644);
	}
	cr_assert_eq(digest_open(&output.stream), 0);
	cr_expect_eq(pack_directory(scratch, take, &output, &manifest, &version, NULL), 0);
	cr_expect_eq(output.bytes, 2 * 512 + 512 + 10000 * 1024 + 1024);
	digest_close(&output.stream);
}
