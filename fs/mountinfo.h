/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_MOUNTINFO_H
#define FS_MOUNTINFO_H

#include <limits.h>

/*
 * What is mounted where, from /proc/self/mountinfo (proc(5)): unlike stat(2) it never waits for a
 * filesystem that does not answer.
 */
struct mountinfo {
	unsigned int major, minor; /* of the filesystem: its st_dev */
	char mountpoint[PATH_MAX]; /* unescaped */
	char kind[64];		   /* "ext4", "fuse.aionfs" */
	char source[PATH_MAX];	   /* unescaped; ours is the state directory */
};

#define MOUNTINFO_TABLE "/proc/self/mountinfo"
#define MOUNTINFO_KIND "fuse.aionfs"

/* Reads one line. Returns -EINVAL for what is no such line, or is too long. */
int mountinfo_parse(const char *line, struct mountinfo *ret_info);

/*
 * Finds the last mount in the table `path` (MOUNTINFO_TABLE, or a test's own file), which is the
 * topmost one, at exactly `mountpoint` (absolute, without links or dots; NULL: anywhere), of the
 * source `source` and of our kind (NULL: of any).
 * Returns -ENOENT when there is none, -errno when the table can't be read.
 */
int mountinfo_find(const char *path, const char *mountpoint, const char *source,
		   struct mountinfo *ret_info);

#endif
