/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the programs that belong to this one: the decoder of archives, the holder of attempts. */
#include "engine/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/program_path.h"

int program_directory(char *path, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", path, size);
	char *slash;

	if (length < 0)
		return -errno;
	if ((size_t)length >= size)
		return -ENAMETOOLONG;
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	return 0;
}

void program_find(const char *name, char *path, size_t size)
{
	char directory[PATH_MAX];

	if (program_directory(directory, sizeof(directory)) == 0) {
		int length = snprintf(path, size, "%s/%s", directory, name);

		if (length > 0 && (size_t)length < size && access(path, X_OK) == 0)
			return;
	}
	snprintf(path, size, "%s/%s", PROGRAM_DIRECTORY, name);
}
