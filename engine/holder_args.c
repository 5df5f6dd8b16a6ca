/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The holder's arguments. They come from the daemon, but out of names that users chose: what could
 * lead out of the mount or out of the log directory is refused here once more.
 */
#include "engine/holder_args.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Room for "/packages/TYPE/VERSION/bin/FUNCTION" behind it. */
#define MOUNT_MAX (PATH_MAX - 640)

typedef bool (*check)(const char *value);

static bool is_number(const char *value)
{
	size_t digits = strspn(value, "0123456789");

	return digits > 0 && digits <= 10 && value[digits] == '\0';
}

static bool is_name(const char *value)
{
	size_t length = strlen(value);

	return length > 0 && length <= NAME_MAX && !strchr(value, '/') && strcmp(value, ".") != 0 &&
	       strcmp(value, "..") != 0;
}

static bool is_absolute(const char *value)
{
	return value[0] == '/' && strlen(value) <= MOUNT_MAX;
}

static bool is_version(const char *value)
{
	return strlen(value) == 64 && strspn(value, "0123456789abcdef") == 64;
}

static bool is_list(const char *value)
{
	return value[strspn(value, "0123456789,")] == '\0';
}

static bool is_text(const char *value)
{
	return strlen(value) < PATH_MAX;
}

/* Returns false for a number that is no id; (uid_t)-1 means "unchanged" to the system calls. */
static bool read_id(const char *text, char **ret_end, id_t *ret_id)
{
	unsigned long value = strtoul(text, ret_end, 10);

	if (*ret_end == text || value >= (id_t)-1)
		return false;
	*ret_id = (id_t)value;
	return true;
}

static bool read_whole_id(const char *text, id_t *ret_id)
{
	char *end;

	return read_id(text, &end, ret_id) && *end == '\0';
}

static bool read_groups(const char *text, struct holder_args *args)
{
	const size_t room = sizeof(args->groups) / sizeof(args->groups[0]);
	char *end = (char *)text;

	while (*text != '\0') {
		if (args->group_count == room ||
		    !read_id(text, &end, &args->groups[args->group_count++]))
			return false;
		if (*end == ',')
			end++;
		text = end;
	}
	return true;
}

struct key {
	const char *name;
	check is_valid;
	const char *value;
};

enum {
	MOUNT,
	RUN,
	TYPE,
	VERSION,
	FUNCTION,
	ATTEMPT,
	LOG,
	PATH,
	HOME,
	USER,
	SHELL,
	USER_ID,
	GROUP_ID,
	OPTIONAL,
	GROUPS = OPTIONAL,
	TZ,
	KEYS,
};

static struct key *find_key(struct key *keys, const char *argument, size_t length)
{
	for (size_t i = 0; i < KEYS; i++) {
		if (strlen(keys[i].name) == length && memcmp(keys[i].name, argument, length) == 0)
			return &keys[i];
	}
	return NULL;
}

static int sort_arguments(int argc, char **argv, struct key *keys, const char **ret_key)
{
	for (int i = 1; i < argc; i++) {
		size_t length = strcspn(argv[i], "=");
		struct key *key = find_key(keys, argv[i], length);

		*ret_key = key ? key->name : argv[i];
		if (!key || key->value || argv[i][length] != '=' ||
		    !key->is_valid(argv[i] + length + 1))
			return -EINVAL;
		key->value = argv[i] + length + 1;
	}
	for (size_t i = 0; i < OPTIONAL; i++) {
		*ret_key = keys[i].name;
		if (!keys[i].value)
			return -EINVAL;
	}
	return 0;
}

static int read_identity(const struct key *keys, struct holder_args *args, const char **ret_key)
{
	*ret_key = "uid";
	if (!read_whole_id(keys[USER_ID].value, &args->uid))
		return -EINVAL;
	*ret_key = "gid";
	if (!read_whole_id(keys[GROUP_ID].value, &args->gid))
		return -EINVAL;
	*ret_key = "groups";
	args->becomes_user = keys[GROUPS].value;
	if (keys[GROUPS].value && !read_groups(keys[GROUPS].value, args))
		return -EINVAL;
	return 0;
}

int holder_args_parse(int argc, char **argv, struct holder_args *ret_args, const char **ret_key)
{
	struct key keys[KEYS] = {
	    [MOUNT] = {"mount", is_absolute, NULL},
	    [RUN] = {"run", is_name, NULL},
	    [TYPE] = {"type", is_name, NULL},
	    [VERSION] = {"version", is_version, NULL},
	    [FUNCTION] = {"function", is_name, NULL},
	    [ATTEMPT] = {"attempt", is_number, NULL},
	    [LOG] = {"log", is_name, NULL},
	    [PATH] = {"path", is_text, NULL},
	    [HOME] = {"home", is_text, NULL},
	    [USER] = {"user", is_text, NULL},
	    [SHELL] = {"shell", is_text, NULL},
	    [USER_ID] = {"uid", is_number, NULL},
	    [GROUP_ID] = {"gid", is_number, NULL},
	    [GROUPS] = {"groups", is_list, NULL},
	    [TZ] = {"tz", is_text, NULL},
	};
	int result = sort_arguments(argc, argv, keys, ret_key);

	if (result < 0)
		return result;
	ret_args->mount = keys[MOUNT].value;
	ret_args->run = keys[RUN].value;
	ret_args->type = keys[TYPE].value;
	ret_args->version = keys[VERSION].value;
	ret_args->function = keys[FUNCTION].value;
	ret_args->attempt = keys[ATTEMPT].value;
	ret_args->log = keys[LOG].value;
	ret_args->path = keys[PATH].value;
	ret_args->home = keys[HOME].value;
	ret_args->user = keys[USER].value;
	ret_args->shell = keys[SHELL].value;
	ret_args->tz = keys[TZ].value;
	return read_identity(keys, ret_args, ret_key);
}
