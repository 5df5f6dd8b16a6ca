/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full disk, on a small tmpfs in a mount namespace of the test's own: deploys fail with ENOSPC
 * and leave nothing behind, what is there stays readable, rows can still be written and versions be
 * unloaded, and then there is room again.
 */
#include "tests/store/fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

static void mount_small(struct fixture *fixture, const char *options)
{
	fixture_make(fixture);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", fixture->path, "tmpfs", 0, options) < 0) {
		rmdir(fixture->path);
		cr_skip_test("cannot mount a tmpfs here (%s)", strerror(errno));
	}
	fixture_mount(fixture);
}

static void unmount_small(struct fixture *fixture)
{
	fixture_unmount(fixture);
	cr_assert_eq(umount2(fixture->path, MNT_DETACH), 0);
	rmdir(fixture->path);
}

/* Deploys something random of that size. Returns what the store says. */
static int try_deploy(struct store *store, uint64_t seed, size_t length, struct digest *ret_digest)
{
	uint8_t *bytes = fixture_bytes(seed, length);
	struct upload *upload = fixture_upload(store);
	struct reason reason = {0};
	uint64_t size;
	int error = upload_write(upload, bytes, length, &reason);

	if (!error)
		error = upload_end(upload, ret_digest, &size, &reason);
	if (!error)
		error = upload_seal(upload, "t", ret_digest, &reason);
	if (error) {
		cr_assert_str_eq(reason.code, "store_full");
		upload_abort(upload);
	} else {
		fixture_finish(store, upload, "t", ret_digest);
	}
	free(bytes);
	return error;
}

Test(room, a_full_disk_refuses_deploys_and_nothing_else, .timeout = 300)
{
	struct store_space space;
	struct digest digests[64], refused;
	struct fixture fixture;
	unsigned int count = 0;

	mount_small(&fixture, "size=64m");
	while (count < 64 && try_deploy(fixture.store, count, 3000000, &digests[count]) == 0)
		count++;
	cr_assert(count > 5 && count < 64, "%u deploys", count);
	cr_assert_eq(try_deploy(fixture.store, 100, 40000000, &refused), -ENOSPC);
	fixture_drain(fixture.store);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	cr_assert_eq(fixture_references(fixture.store, &refused), 0);
	cr_assert_eq(store_space(fixture.store, &space), 0);
	cr_assert_eq(space.total_bytes, 64 << 20);

	fixture_remount(&fixture);
	for (unsigned int i = 0; i < count; i++)
		cr_assert_eq(contents_verify(fixture.store, &digests[i], 3000000, NULL), 0);
	for (unsigned int i = 0; i < 4; i++)
		fixture_unload(fixture.store, "t", &digests[i], &digests[i], 1);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	for (unsigned int i = 0; i < 3; i++)
		cr_assert_eq(try_deploy(fixture.store, 200 + i, 3000000, &refused), 0);
	fixture_drain(fixture.store);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	unmount_small(&fixture);
}

/* Somebody else takes the reserve as well. */
Test(room, a_disk_without_a_single_block_fails_softly, .timeout = 300)
{
	static char block[1 << 16];
	struct digest digest = {0}, refused;
	struct fixture fixture;
	struct row_change change;
	struct reason reason = {0};
	char path[128];
	int fd, error = 0;

	mount_small(&fixture, "size=32m");
	cr_assert_eq(try_deploy(fixture.store, 1, 3000000, &digest), 0);
	fixture_unmount(&fixture);
	snprintf(path, sizeof(path), "%s/rows/fill", fixture.path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	while (write(fd, block, 1) > 0)
		;
	close(fd);

	fixture_mount(&fixture);
	cr_assert_eq(contents_verify(fixture.store, &digest, 3000000, NULL), 0);
	cr_assert_eq(try_deploy(fixture.store, 2, 3000000, &refused), -ENOSPC);
	for (unsigned int i = 0; i < 200 && !error; i++) {
		struct digest version = {.bytes = {(uint8_t)i}};

		change = fixture_put_version("t", &version, 1);
		error = rows_commit(fixture.store, &change, 1, &reason);
	}
	cr_assert_eq(error, -ENOSPC);
	cr_assert_str_eq(reason.code, "store_full");
	cr_assert_eq(fixture_findings(fixture.store), 0);

	cr_assert_eq(unlink(path), 0);
	fixture_commit(fixture.store, &change);
	cr_assert_eq(try_deploy(fixture.store, 2, 3000000, &refused), 0);
	fixture_remount(&fixture);
	cr_assert_eq(fixture_findings(fixture.store), 0);
	unmount_small(&fixture);
}

Test(room, a_disk_that_is_too_small_for_a_state_says_so)
{
	struct reason reason = {0};
	struct fixture fixture;
	struct store *store;
	int error;

	mount_small(&fixture, "size=1m");
	unmount_small(&fixture);
	mount_small(&fixture, "size=1m");
	fixture_unmount(&fixture);
	cr_assert_eq(umount2(fixture.path, MNT_DETACH), 0);
	if (mount("tmpfs", fixture.path, "tmpfs", 0, "size=64k") < 0)
		cr_skip_test("cannot mount a tmpfs here (%s)", strerror(errno));
	error = store_open(fixture.path, STORE_WRITE, &store, &reason);
	cr_assert_eq(error, -ENOSPC, "%s", reason.message);
	cr_assert_str_eq(reason.code, "store_full");
	cr_assert_eq(umount2(fixture.path, MNT_DETACH), 0);
	rmdir(fixture.path);
}
