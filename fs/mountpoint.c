/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges where to mount before anything is opened. Every refusal names the path and says what to
 * do. A mount that does not answer must not hang this: what the table of mounts can tell is asked
 * first, and a mount of our own kind is touched only when it belongs to the same state.
 */
#include "fs/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/attach.h"
#include "fs/mountinfo.h"

#define DEAD_MOUNTS_MAX 64

/* Resolves all but the last component, and puts that behind it as it is. */
static int resolve_parent(const char *path, char ret_path[PATH_MAX])
{
	char copy[PATH_MAX], parent[PATH_MAX], *slash;
	const char *name;
	size_t length = strlen(path);

	while (length > 1 && path[length - 1] == '/')
		length--;
	if (length == 0 || length >= sizeof(copy))
		return length ? -ENAMETOOLONG : -ENOENT;
	memcpy(copy, path, length);
	copy[length] = '\0';
	slash = strrchr(copy, '/');
	name = slash ? slash + 1 : copy;
	if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -ENOENT;
	if (slash)
		*slash = '\0';
	if (!realpath(slash ? (copy[0] ? copy : "/") : ".", parent))
		return -errno;
	if (strcmp(parent, "/") == 0)
		parent[0] = '\0';
	if (strlen(parent) + 1 + strlen(name) >= PATH_MAX)
		return -ENAMETOOLONG;
	stpcpy(stpcpy(stpcpy(ret_path, parent), "/"), name);
	return 0;
}

int mountpoint_resolve_state(const char *path, char ret_path[PATH_MAX], struct reason *reason)
{
	int error;

	if (realpath(path, ret_path))
		return 0;
	error = errno == ENOENT ? resolve_parent(path, ret_path) : -errno;
	if (error)
		return reason_set(reason, -error, "state_unusable",
				  "the state directory %s can't be used: %s", path,
				  strerror(-error));
	return 0;
}

int mountpoint_resolve(const char *path, char ret_path[PATH_MAX], struct reason *reason)
{
	struct mountinfo info;

	if (realpath(path, ret_path))
		return 0;
	if (errno == ENOENT)
		return reason_set(reason, ENOENT, "mountpoint_missing",
				  "the mountpoint %s does not exist; make the directory first",
				  path);
	/* A dead mount answers nothing, but its parent does, and the table knows it. */
	if (errno == ENOTCONN && resolve_parent(path, ret_path) == 0 &&
	    mountinfo_find(MOUNTINFO_TABLE, ret_path, NULL, &info) == 0)
		return 0;
	return reason_set(reason, errno, "mountpoint_unusable",
			  "the mountpoint %s can't be used: %s", path, strerror(errno));
}

/* Whether `inner` is `outer` or below it. */
static bool is_inside(const char *inner, const char *outer)
{
	size_t length = strlen(outer);

	if (strcmp(outer, "/") == 0)
		return true;
	return strncmp(inner, outer, length) == 0 && (!inner[length] || inner[length] == '/');
}

static int check_apart(const char *mountpoint, const char *state, struct reason *reason)
{
	if (is_inside(mountpoint, state))
		return reason_set(reason, EINVAL, "mountpoint_in_state",
				  "the mountpoint %s is inside the state directory %s; keep them "
				  "apart",
				  mountpoint, state);
	if (is_inside(state, mountpoint))
		return reason_set(reason, EINVAL, "state_in_mountpoint",
				  "the state directory %s is inside the mountpoint %s, which would "
				  "hide it; keep them apart",
				  state, mountpoint);
	return 0;
}

/* Takes dead mounts of `state` away from the mountpoint; what else is there of our kind is busy. */
static int clear_dead(const char *mountpoint, const char *state, struct reason *reason)
{
	struct mountinfo info;
	struct stat attributes;

	for (int i = 0; i < DEAD_MOUNTS_MAX; i++) {
		struct attached attached;
		int error;

		if (mountinfo_find(MOUNTINFO_TABLE, mountpoint, NULL, &info) != 0 ||
		    strcmp(info.kind, MOUNTINFO_KIND) != 0)
			return 0;
		if (strcmp(info.source, state) != 0)
			return reason_set(reason, EBUSY, "mountpoint_busy",
					  "%s is the mountpoint of another state, %.300s; unmount "
					  "it first",
					  mountpoint, info.source);
		if (stat(mountpoint, &attributes) == 0 || errno != ENOTCONN)
			return reason_set(reason, EBUSY, "mountpoint_busy",
					  "%s is mounted at %s already", state, mountpoint);
		attached = (struct attached){info.major, info.minor};
		error = attach_detach(mountpoint, &attached);
		if (error)
			return reason_set(reason, ENOTCONN, "mountpoint_dead",
					  "a dead mount is at %s and can't be unmounted: %s; try "
					  "umount -l %s",
					  mountpoint, strerror(-error), mountpoint);
	}
	return reason_set(reason, EBUSY, "mountpoint_busy", "too many dead mounts are at %s",
			  mountpoint);
}

static int check_empty(const char *mountpoint, struct reason *reason)
{
	DIR *directory = opendir(mountpoint);
	struct dirent *entry;
	int error = 0;

	if (!directory)
		return reason_set(reason, errno, "mountpoint_unusable",
				  "the mountpoint %s can't be used: %s", mountpoint,
				  strerror(errno));
	while (!error && (entry = readdir(directory))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			error =
			    reason_set(reason, ENOTEMPTY, "mountpoint_not_empty",
				       "the mountpoint %s is not empty (it has %.100s); mounting "
				       "would hide what is there",
				       mountpoint, entry->d_name);
	}
	closedir(directory);
	return error;
}

int mountpoint_check(const char *mountpoint, const char *state, struct reason *reason)
{
	struct stat attributes;
	int error = clear_dead(mountpoint, state, reason);

	if (error)
		return error;
	if (stat(mountpoint, &attributes) != 0)
		return reason_set(reason, errno, "mountpoint_unusable",
				  "the mountpoint %s can't be used: %s", mountpoint,
				  strerror(errno));
	if (!S_ISDIR(attributes.st_mode))
		return reason_set(reason, ENOTDIR, "mountpoint_unusable",
				  "the mountpoint %s is not a directory", mountpoint);
	error = check_apart(mountpoint, state, reason);
	return error ? error : check_empty(mountpoint, reason);
}
