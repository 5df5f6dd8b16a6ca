/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the way of the commands into a run's directory. Nothing here knows more of a run than its
 * files' names: whatever these commands do, a program in any language can do with open, write,
 * rename and read.
 */
#include "fs/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/say.h"

#define PIECE_BYTES (256 << 10)

bool client_open(struct client *client, const char *command, const char *run)
{
	client->command = command;
	client->run = run ? run : getenv("AION_RUN");
	if (client->run && client->run[0])
		return true;
	say("%s: AION_RUN is not set: this is for workflows, whose attempts have it from aionfs",
	    command);
	return false;
}

bool client_check_name(const struct client *client, const char *name)
{
	if (name[0] && name[0] != '.' && !strchr(name, '/'))
		return true;
	say("%s: \"%s\" can't be a name: at most 255 bytes of UTF-8, no slash, no leading dot",
	    client->command, name);
	return false;
}

char *client_path(const struct client *client, const char *directory, const char *mark,
		  const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s/%s%s", client->run, directory, mark, name) >= 0)
		return path;
	say("%s: no memory left", client->command);
	return NULL;
}

int client_write(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t put = write(fd, bytes, length);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		bytes += put;
		length -= (size_t)put;
	}
	return 0;
}

int client_print(const struct client *client, int fd, bool *ret_is_told)
{
	static char piece[PIECE_BYTES];
	int error;

	*ret_is_told = false;
	for (;;) {
		ssize_t got = read(fd, piece, sizeof(piece));

		/* A stopped reader that goes on sees one, too. */
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : 0;
		error = client_write(STDOUT_FILENO, piece, (size_t)got);
		if (error)
			break;
	}
	say("%s: the output could not be written: %s", client->command, strerror(-error));
	*ret_is_told = true;
	return error;
}

const char *client_error(const struct client *client, char text[CLIENT_ERROR_ROOM])
{
	ssize_t got = 0;
	char *path;
	int fd;

	text[0] = '\0';
	if (asprintf(&path, "%s/error", client->run) < 0)
		return text;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (fd < 0)
		return text;
	got = read(fd, text, CLIENT_ERROR_ROOM - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	if (got > 0 && text[got - 1] == '\n')
		text[got - 1] = '\0';
	return text;
}
