/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_MOUNTINFO_H
#define FS_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * What is mounted where, from /proc/self/mountinfo (proc(5)): unlike stat(2) it never waits for a
 * filesystem that does not answer.
 */
struct mountinfo {
	unsigned int major, minor;  /* of the filesystem: its st_dev */
	char mountpoint[PATH_MAX];  /* unescaped */
	char kind[64];		    /* "ext4", "fuse.aionfs" */
	char source[PATH_MAX];	    /* unescaped; ours is the state directory */
};

#define MOUNTINFO_KIND "fuse.aionfs"

/* Reads one line. Returns -EINVAL for what is no such line, or is too long. */
int mountinfo_parse(const char *line, struct mountinfo *ret_info);

/*
 * Finds the topmost mount at exactly `mountpoint` (an absolute path without links or dots).
 * Returns -ENOENT when nothing is mounted there, -errno when the table can't be read.
 */
int mountinfo_at(const char *mountpoint, struct mountinfo *ret_info);

/* Finds a mount of the state directory `state` by this program. Returns -ENOENT, -errno. */
int mountinfo_of_state(const char *state, struct mountinfo *ret_info);

/* The same searches in an open table, for tests. */
int mountinfo_find(FILE *table, const char *mountpoint, const char *state,
		   struct mountinfo *ret_info);

#endif
