/* SPDX-License-Identifier: Apache-2.0 */
/* The table of mounts: fields, escapes, the topmost one, and lines that are none. */
#include "fs/mountinfo.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char table[] =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "40 21 0:41 / /mnt/aion rw,nosuid shared:7 master:2 - fuse.aionfs /srv/one rw,user_id=0\n"
    "41 40 0:42 / /mnt/aion rw - fuse.aionfs /srv/two rw\n"
    "42 21 0:43 / /mnt/with\\040space\\011and\\134 rw - fuse.aionfs /srv/a\\040b rw\n"
    "not a line\n"
    "43 21 0:44 / /mnt/other rw - fuse.sshfs /srv/one rw\n";

static char path[] = "/tmp/aionfs-mountinfo-XXXXXX";

static void write_table(void)
{
	int file = mkstemp(path);

	cr_assert(file >= 0);
	cr_assert_eq(write(file, table, strlen(table)), (ssize_t)strlen(table));
	close(file);
}

static void remove_table(void)
{
	unlink(path);
}

Test(mountinfo, a_line_has_its_fields)
{
	struct mountinfo info;

	cr_assert_eq(
	    mountinfo_parse("36 35 98:12 /root /mnt rw,noatime a:1 b:2 - fuse.aionfs /s rw", &info),
	    0);
	cr_assert_eq(info.major, 98u);
	cr_assert_eq(info.minor, 12u);
	cr_assert_str_eq(info.mountpoint, "/mnt");
	cr_assert_str_eq(info.kind, "fuse.aionfs");
	cr_assert_str_eq(info.source, "/s");
}

Test(mountinfo, optional_fields_may_be_missing)
{
	struct mountinfo info;

	cr_assert_eq(mountinfo_parse("36 35 0:1 / /mnt rw - tmpfs none rw\n", &info), 0);
	cr_assert_str_eq(info.kind, "tmpfs");
	cr_assert_str_eq(info.source, "none");
}

Test(mountinfo, what_is_no_line_is_refused)
{
	static const char *const bad[] = {
	    "",
	    "\n",
	    "36",
	    "36 35 98:0 / /mnt rw",
	    "36 35 98 / /mnt rw - a b",
	    "36 35 a:b / /mnt rw - a b",
	    "36 35 98:0x / /mnt rw - a b",
	    " - a b",
	    "36 35 98:0 - a b c d e",
	    "36 35 98:0 / /mnt rw - a",
	};
	struct mountinfo info;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_eq(mountinfo_parse(bad[i], &info), -EINVAL, "%s", bad[i]);
}

Test(mountinfo, too_long_a_name_is_refused)
{
	struct mountinfo info;
	char *line, *name = malloc(2 * PATH_MAX);

	cr_assert_not_null(name);
	memset(name, 'x', 2 * PATH_MAX);
	name[2 * PATH_MAX - 1] = '\0';
	cr_assert(asprintf(&line, "36 35 98:0 / /%s rw - a b", name) > 0);
	cr_assert_eq(mountinfo_parse(line, &info), -EINVAL);
	free(line);
	free(name);
}

Test(mountinfo, a_cut_escape_is_text)
{
	struct mountinfo info;

	cr_assert_eq(mountinfo_parse("36 35 0:1 / /mnt\\04 rw - a b\\1", &info), 0);
	cr_assert_str_eq(info.mountpoint, "/mnt\\04");
	cr_assert_str_eq(info.source, "b\\1");
}

Test(mountinfo, the_topmost_mount_is_found, .init = write_table, .fini = remove_table)
{
	struct mountinfo info;

	cr_assert_eq(mountinfo_find(path, "/mnt/aion", NULL, &info), 0);
	cr_assert_str_eq(info.source, "/srv/two");
	cr_assert_eq(info.minor, 42u);
}

Test(mountinfo, names_are_unescaped, .init = write_table, .fini = remove_table)
{
	struct mountinfo info;

	cr_assert_eq(mountinfo_find(path, "/mnt/with space\tand\\", NULL, &info), 0);
	cr_assert_str_eq(info.source, "/srv/a b");
}

Test(mountinfo, a_state_is_found_by_its_source_and_our_kind, .init = write_table,
     .fini = remove_table)
{
	struct mountinfo info;

	cr_assert_eq(mountinfo_find(path, NULL, "/srv/one", &info), 0);
	cr_assert_str_eq(info.mountpoint, "/mnt/aion");
	cr_assert_eq(mountinfo_find(path, "/mnt/other", "/srv/one", &info), -ENOENT);
	cr_assert_eq(mountinfo_find(path, NULL, "/srv/three", &info), -ENOENT);
	cr_assert_eq(mountinfo_find(path, "/mnt", NULL, &info), -ENOENT);
}

Test(mountinfo, a_missing_table_is_an_error)
{
	struct mountinfo info;

	cr_assert_eq(mountinfo_find("/nonexistent/table", "/", NULL, &info), -ENOENT);
}

Test(mountinfo, the_kernels_table_has_a_root)
{
	struct mountinfo info;

	cr_assert_eq(mountinfo_find(MOUNTINFO_TABLE, "/", NULL, &info), 0);
}
