/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the table of mounts. A line looks like this; space, tab, newline and backslash in names are
 * written \ooo, and any number of fields may stand before the single "-":
 *
 *     36 35 98:0 /root /mnt/aion rw,nosuid shared:1 - fuse.aionfs /srv/state rw,user_id=0
 *
 * Lines that don't look like that are passed over: a mount of somebody else must not stop ours.
 */
#include "fs/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies a field without its escapes. */
static int unescape(const char *field, size_t length, char *ret_text, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		char byte = field[i];

		if (byte == '\\' && length - i > 3 && strspn(field + i + 1, "01234567") >= 3) {
			byte = (char)((field[i + 1] - '0') << 6 | (field[i + 2] - '0') << 3 |
				      (field[i + 3] - '0'));
			i += 3;
		}
		if (used + 1 >= size)
			return -EINVAL;
		ret_text[used++] = byte;
	}
	ret_text[used] = '\0';
	return 0;
}

/* Takes the field at *at and moves on to the next one. */
static int take_field(const char **at, char *ret_text, size_t size)
{
	size_t length = strcspn(*at, " \n");
	int error = length > 0 ? unescape(*at, length, ret_text, size) : -EINVAL;

	*at += length;
	*at += strspn(*at, " ");
	return error;
}

int mountinfo_parse(const char *line, struct mountinfo *ret_info)
{
	const char *at = line, *separator = strstr(line, " - ");
	char device[32], ignored[PATH_MAX];
	int end = 0;

	if (!separator)
		return -EINVAL;
	for (int i = 0; i < 2; i++) {
		if (take_field(&at, ignored, sizeof(ignored)) != 0)
			return -EINVAL;
	}
	if (take_field(&at, device, sizeof(device)) != 0 ||
	    sscanf(device, "%u:%u%n", &ret_info->major, &ret_info->minor, &end) != 2 || device[end])
		return -EINVAL;
	if (take_field(&at, ignored, sizeof(ignored)) != 0 ||
	    take_field(&at, ret_info->mountpoint, sizeof(ret_info->mountpoint)) != 0)
		return -EINVAL;
	if (at > separator + 1)
		return -EINVAL;
	at = separator + 3;
	if (take_field(&at, ret_info->kind, sizeof(ret_info->kind)) != 0 ||
	    take_field(&at, ret_info->source, sizeof(ret_info->source)) != 0)
		return -EINVAL;
	return 0;
}

static int matches(const struct mountinfo *info, const char *mountpoint, const char *source)
{
	if (mountpoint && strcmp(info->mountpoint, mountpoint) != 0)
		return 0;
	return !source ||
	       (strcmp(info->kind, MOUNTINFO_KIND) == 0 && strcmp(info->source, source) == 0);
}

int mountinfo_find(const char *path, const char *mountpoint, const char *source,
		   struct mountinfo *ret_info)
{
	FILE *table = fopen(path, "re");
	int error = -ENOENT;
	struct mountinfo info;
	char *line = NULL;
	size_t room = 0;

	if (!table)
		return -errno;
	while (getline(&line, &room, table) >= 0) {
		if (mountinfo_parse(line, &info) != 0 || !matches(&info, mountpoint, source))
			continue;
		*ret_info = info;
		error = 0;
	}
	if (ferror(table))
		error = -EIO;
	free(line);
	fclose(table);
	return error;
}
